//! Worker: which replicas there shall be, and where.

mod idle;
mod replicas;
mod rollout;
mod status;
mod template;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::ObjectReference,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::Resource;
use rbee_crds::{Assignment, AssignmentSpec, Model, Worker, WorkerSpec, WorkerStatus, names, reason};

pub use replicas::{Replica, Replicas};
pub use template::{Template, Waiting, choose};

use super::{
    Note, Target,
    fleet::Fleet,
    just_after,
    place::{Ground, NoPlace, Place},
    until,
};

/// The longest name of a Worker: it has to fit into a label of its Assignments.
const MAX_NAME: usize = 63;

/// What is known of one Worker and of all that its replicas share machines with.
#[derive(Clone, Debug)]
pub struct Observed {
    pub worker: Arc<Worker>,
    /// The Model that it refers to, if there is one.
    pub model: Option<Arc<Model>>,
    /// Whether another Worker refers to that Model too.
    pub model_is_shared: bool,
    pub fleet: Fleet,
    /// Every Assignment there is, of all Workers.
    pub assignments: Vec<Arc<Assignment>>,
    pub key: KeySecret,
    /// The leader's term.
    pub epoch: i64,
}

/// The Secret with the key of the Worker's processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySecret {
    Missing,
    Present,
    /// Of an earlier Worker of the same name.
    Stale(Target),
}

/// What to write, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub key: Option<KeyStep>,
    pub delete: Vec<Target>,
    pub create: Vec<Assignment>,
    pub status: Option<WorkerStatus>,
    /// Objects that a command left behind and nobody uses.
    pub retire: Option<Retire>,
    pub notes: Vec<Note>,
    /// When to look again, if nothing happens before.
    pub again: Option<Duration>,
}

/// What to do about the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyStep {
    Create,
    Replace(Target),
}

/// An idle Worker, with its Model if nobody else uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retire {
    pub worker: Target,
    pub model: Option<Target>,
}

impl Plan {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        let Self { key, delete, create, status, retire, notes, again: _ } = self;
        key.is_none()
            && delete.is_empty()
            && create.is_empty()
            && status.is_none()
            && retire.is_none()
            && notes.is_empty()
    }
}

/// Decides at `now`; `seed` spreads the wake-ups.
pub fn plan(observed: &Observed, now: Timestamp, seed: u64) -> Plan {
    let worker = &observed.worker;
    let ends = worker.metadata.deletion_timestamp.is_some();
    let idle = idle::judge(observed, now);
    if let idle::Idle::Over(retire) = idle {
        return Plan { retire: Some(retire), ..Plan::default() };
    }
    let template = if ends { Err(Waiting::Deleted) } else { choose(worker, observed.model.as_deref()) };
    let wanted = if ends { 0 } else { usize::try_from(worker.spec.wanted_replicas()).unwrap_or(0) };
    let replicas = replicas::classify(observed, template.as_ref().ok(), now);
    let moves = rollout::first(&replicas, wanted, &worker.spec, template.is_ok());
    let (create, no_place) = match &template {
        Ok(template) => place_all(observed, template, moves.create),
        Err(_) => (vec![], None),
    };
    let delete = rollout::with_lost(&replicas, moves.delete, create.len(), wanted);

    let after = replicas.after(&delete, create.len());
    let obstacle = obstacle(&template, no_place);
    let status = (!ends).then(|| status::build(worker, wanted, &after, obstacle.as_ref(), now)).flatten();
    let key = match &observed.key {
        _ if ends || template == Err(Waiting::ShorterName) => None,
        KeySecret::Present => None,
        KeySecret::Missing => Some(KeyStep::Create),
        KeySecret::Stale(old) => Some(KeyStep::Replace(old.clone())),
    };
    let mut notes: Vec<Note> = create.iter().map(created).chain(delete.iter().map(deleted)).collect();
    notes.extend(status.as_ref().and_then(|s| status::note(worker, s)));
    let due = [replicas.next_verdict, idle.due()].into_iter().flatten().min();
    let again = due.map(|at| just_after(until(now, at), seed));
    let delete = delete.iter().map(|r| Target::of(r.assignment.as_ref())).collect();
    Plan { key, delete, create, status, retire: None, notes, again }
}

/// Why not every wanted replica can have a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    pub reason: String,
    pub message: String,
}

fn obstacle(template: &Result<Template, Waiting>, no_place: Option<NoPlace>) -> Option<Obstacle> {
    match (template, no_place) {
        (Err(waiting), _) => waiting.obstacle(),
        (Ok(_), Some(NoPlace { reason, message })) => Some(Obstacle { reason, message }),
        (Ok(_), None) => None,
    }
}

/// Places `count` replicas one after the other, each aware of those before; stops at the first that has no place.
fn place_all(observed: &Observed, template: &Template, count: usize) -> (Vec<Assignment>, Option<NoPlace>) {
    let worker = &observed.worker;
    let mut names = taken_names(observed);
    let mut created = vec![];
    if count == 0 {
        return (created, None);
    }
    let mut ground = Ground::new(&observed.fleet, observed.assignments.iter().map(Arc::as_ref));
    for _ in 0..count {
        match ground.place(worker, template) {
            Ok(place) => {
                let assignment = assignment(observed, template, &place, &free_name(worker, template, &mut names));
                ground.add(&assignment);
                created.push(assignment);
            }
            Err(no_place) => return (created, Some(no_place)),
        }
    }
    (created, None)
}

fn taken_names(observed: &Observed) -> BTreeSet<String> {
    let namespace = observed.worker.metadata.namespace.as_deref();
    observed
        .assignments
        .iter()
        .filter(|a| a.metadata.namespace.as_deref() == namespace)
        .filter_map(|a| a.metadata.name.clone())
        .collect()
}

/// `<worker>-<template hash>-<ordinal>` with the smallest ordinal that is free; one that is being deleted is not.
fn free_name(worker: &Worker, template: &Template, taken: &mut BTreeSet<String>) -> String {
    let worker = worker.metadata.name.as_deref().unwrap_or_default();
    let name =
        (0_u64..).map(|n| format!("{worker}-{}-{n}", template.hash)).find(|n| !taken.contains(n)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

fn assignment(observed: &Observed, template: &Template, place: &Place, name: &str) -> Assignment {
    let worker = &observed.worker;
    let worker_name = worker.metadata.name.clone().unwrap_or_default();
    let labels = [(names::LABEL_WORKER, worker_name.clone()), (names::LABEL_HIVE, place.hive.clone())];
    let mut assignment = Assignment::new(
        name,
        AssignmentSpec {
            worker_name: worker_name.clone(),
            worker_generation: worker.metadata.generation.unwrap_or(0),
            template_hash: template.hash.clone(),
            hive_name: place.hive.clone(),
            model: template.model.clone(),
            backend: template.backend,
            device: place.device,
            slots: template.slots,
            context_length: template.context_length,
            memory_bytes: place.memory_bytes,
            epoch: observed.epoch,
        },
    );
    assignment.metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: worker.metadata.namespace.clone(),
        labels: Some(labels.into_iter().filter(|(_, v)| v.len() <= MAX_NAME).map(|(k, v)| (k.to_owned(), v)).collect()),
        owner_references: Some(vec![OwnerReference {
            api_version: Worker::api_version(&()).into_owned(),
            kind: Worker::kind(&()).into_owned(),
            name: worker_name,
            uid: worker.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        finalizers: Some(vec![names::FINALIZER_PROCESS.to_owned()]),
        ..ObjectMeta::default()
    };
    assignment
}

fn created(assignment: &Assignment) -> Note {
    let spec = &assignment.spec;
    let message = format!(
        "created assignment {} on hive {}, {} device {}, {} MB",
        assignment.metadata.name.as_deref().unwrap_or_default(),
        spec.hive_name,
        spec.backend,
        spec.device,
        spec.memory_bytes.div_euclid(1_000_000),
    );
    Note::normal("SuccessfulCreate", "Create", message).about(reference(assignment))
}

fn deleted(replica: &Replica) -> Note {
    let name = replica.assignment.metadata.name.as_deref().unwrap_or_default();
    let hive = &replica.assignment.spec.hive_name;
    let note = if replica.lost {
        Note::warning(reason::HIVE_LOST, "Replace", format!("gave up assignment {name}: hive {hive} is lost"))
    } else if replica.updated {
        Note::normal(
            "SuccessfulDelete",
            "Delete",
            format!("deleted assignment {name} on hive {hive}: fewer replicas are wanted"),
        )
    } else {
        Note::normal(
            "SuccessfulDelete",
            "Delete",
            format!("deleted assignment {name} on hive {hive}: it is of an older spec"),
        )
    };
    note.about(reference(replica.assignment.as_ref()))
}

fn reference(assignment: &Assignment) -> ObjectReference {
    assignment.object_ref(&())
}

/// Whether the spec asks that replicas on a lost hive be placed elsewhere.
fn replaces(spec: &WorkerSpec) -> bool {
    spec.on_hive_lost != Some(rbee_crds::worker::OnHiveLost::Wait)
}
