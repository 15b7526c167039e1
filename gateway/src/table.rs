//! The routing table: which models there are, which Workers serve them, which replicas are Ready. Built from objects of the
//! API, never changed, published as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use rbee_crds::worker::{GatewayLoad, SCHEDULED};
use rbee_crds::{Assignment, AssignmentState, ConditionStatus, Model, Time, Worker, condition, model, names, reason};

use crate::keys::WorkerKey;

/// `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId {
    pub namespace: String,
    pub name: String,
}

/// All that routing looks at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// By the id in the OpenAI API.
    pub models: BTreeMap<String, ModelEntry>,
}

/// A Model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelEntry {
    /// Creation, in Unix seconds.
    pub created: i64,
    /// Why it cannot be had as things are, for people.
    pub broken: Option<String>,
    pub workers: BTreeMap<WorkerId, WorkerEntry>,
}

impl ModelEntry {
    /// Replicas that answer requests.
    pub fn replicas(&self) -> impl Iterator<Item = &Arc<Replica>> {
        self.workers.values().flat_map(|w| &w.replicas)
    }
}

/// A Worker of that Model.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerEntry {
    /// Whether there are to be replicas, or the queen may start some when somebody asks.
    pub can_run: bool,
    /// Why no replica can run as things are, for people.
    pub stuck: Option<String>,
    /// By name.
    pub replicas: Vec<Arc<Replica>>,
    /// When the last request came, as the API has it.
    pub last_request: Option<Time>,
    /// What this gateway last said of its load, as the API has it.
    pub reported: Option<GatewayLoad>,
}

/// A process that answers requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Replica {
    /// Assignment, process and address: another process is another replica.
    pub id: String,
    pub worker: WorkerId,
    pub url: String,
    /// Requests that it answers at a time.
    pub slots: u32,
    /// None: it wants none.
    pub key: Option<WorkerKey>,
}

/// What is known of the key of a Worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    Known(WorkerKey),
    /// There is no Secret: the Worker's processes want no key.
    None,
}

/// What the API server has; and whose entry in `status.gateways` is this gateway's.
#[derive(Clone, Copy)]
pub struct Objects<'a> {
    pub models: &'a [Arc<Model>],
    pub workers: &'a [Arc<Worker>],
    pub assignments: &'a [Arc<Assignment>],
    /// Keys that were read; replicas of other Workers are left out until theirs is.
    pub keys: &'a BTreeMap<WorkerId, KeyState>,
    pub gateway: &'a str,
}

/// Reasons of Scheduled=False and Resolved=False that do not pass by themselves.
const STUCK: &[&str] = &[
    reason::BACKEND_NOT_AVAILABLE,
    reason::DEVICE_NOT_AVAILABLE,
    reason::INSUFFICIENT_MEMORY,
    reason::HIVE_NOT_FOUND,
    reason::MODEL_NOT_FOUND,
    reason::INVALID_MODEL_FILE,
    reason::CHECKSUM_MISMATCH,
    reason::INVALID_REQUEST,
    reason::UNSUPPORTED_FORMAT,
    "SelectorMismatch",
    "ModelNotOnHive",
    "Unschedulable",
];

/// The table of these objects.
pub fn build(objects: Objects<'_>) -> Table {
    let mut table = Table::default();
    for model in objects.models {
        let (namespace, name) = place(&model.metadata);
        let conditions = model.status.as_ref().map_or(&[][..], |s| &s.conditions);
        let entry = ModelEntry {
            created: model.metadata.creation_timestamp.as_ref().map_or(0, |t| t.0.as_second()),
            broken: stuck(conditions, model::RESOLVED, model.metadata.generation),
            workers: BTreeMap::new(),
        };
        table.models.insert(names::openai_id(namespace, name), entry);
    }
    for worker in objects.workers {
        let (namespace, name) = place(&worker.metadata);
        let id = names::openai_id(namespace, &worker.spec.model_ref.name);
        if let Some(model) = table.models.get_mut(&id) {
            let worker_id = WorkerId { namespace: namespace.to_owned(), name: name.to_owned() };
            model.workers.insert(worker_id, worker_entry(worker, objects.gateway));
        }
    }
    for assignment in objects.assignments {
        let Some(replica) = replica(assignment, objects.keys) else { continue };
        let id = names::openai_id(&replica.worker.namespace, &assignment.spec.model.name);
        if let Some(worker) = table.models.get_mut(&id).and_then(|m| m.workers.get_mut(&replica.worker)) {
            worker.replicas.push(Arc::new(replica));
        }
    }
    for (id, reason) in hopeless(objects.assignments) {
        if let Some(worker) = table.models.values_mut().find_map(|m| m.workers.get_mut(&id)) {
            let WorkerId { name, .. } = &id;
            worker.stuck.get_or_insert_with(|| format!("{reason}; the status of Worker {name} says what is wrong"));
        }
    }
    for worker in table.models.values_mut().flat_map(|m| m.workers.values_mut()) {
        worker.replicas.sort_by(|a, b| a.id.cmp(&b.id));
    }
    table
}

/// Workers whose replicas all failed for a reason that does not pass by itself, and that reason.
fn hopeless(assignments: &[Arc<Assignment>]) -> BTreeMap<WorkerId, String> {
    let mut all: BTreeMap<WorkerId, Option<String>> = BTreeMap::new();
    for assignment in assignments.iter().filter(|a| a.metadata.deletion_timestamp.is_none()) {
        let status = assignment.status.as_ref().filter(|s| s.state == Some(AssignmentState::Failed));
        let reason = status.and_then(|s| s.last_failure.as_ref()).map(|f| f.reason.clone());
        let reason = reason.filter(|r| STUCK.contains(&r.as_str()));
        all.entry(worker_of(assignment))
            .and_modify(|other| *other = other.take().and(reason.clone()))
            .or_insert(reason);
    }
    all.into_iter().filter_map(|(id, reason)| Some((id, reason?))).collect()
}

/// Workers that have a Ready replica, whose keys are wanted.
pub fn workers_with_replicas(assignments: &[Arc<Assignment>]) -> impl Iterator<Item = WorkerId> + '_ {
    assignments.iter().filter(|a| is_ready(a)).map(|a| worker_of(a))
}

fn place(metadata: &kube::api::ObjectMeta) -> (&str, &str) {
    let namespace = metadata.namespace.as_deref().unwrap_or(names::DEFAULT_NAMESPACE);
    (namespace, metadata.name.as_deref().unwrap_or_default())
}

fn worker_entry(worker: &Worker, gateway: &str) -> WorkerEntry {
    let spec = &worker.spec;
    let status = worker.status.clone().unwrap_or_default();
    WorkerEntry {
        can_run: spec.suspend != Some(true) && (spec.autoscaling.is_some() || spec.wanted_replicas() > 0),
        stuck: stuck(&status.conditions, SCHEDULED, worker.metadata.generation),
        replicas: Vec::new(),
        last_request: status.gateways.iter().filter_map(|g| g.last_request_time.clone()).max_by_key(|t| t.0),
        reported: status.gateways.into_iter().find(|g| g.name == gateway),
    }
}

/// The message of a condition that is False for a reason that lasts, and speaks of the newest spec.
fn stuck(conditions: &[rbee_crds::Condition], type_: &str, generation: Option<i64>) -> Option<String> {
    let found = condition::find(conditions, type_)?;
    let lasts = found.status == ConditionStatus::False && STUCK.contains(&found.reason.as_str());
    let newest = found.observed_generation.is_none() || found.observed_generation == generation;
    (lasts && newest).then(|| format!("{}: {}", found.reason, found.message))
}

fn is_ready(assignment: &Assignment) -> bool {
    assignment.metadata.deletion_timestamp.is_none()
        && assignment.status.as_ref().is_some_and(|s| s.state == Some(AssignmentState::Ready) && s.url.is_some())
}

fn worker_of(assignment: &Assignment) -> WorkerId {
    let (namespace, _) = place(&assignment.metadata);
    WorkerId { namespace: namespace.to_owned(), name: assignment.spec.worker_name.clone() }
}

fn replica(assignment: &Assignment, keys: &BTreeMap<WorkerId, KeyState>) -> Option<Replica> {
    if !is_ready(assignment) {
        return None;
    }
    let status = assignment.status.as_ref()?;
    let url = status.url.as_ref()?.trim_end_matches('/').to_owned();
    let worker = worker_of(assignment);
    let key = match keys.get(&worker)? {
        KeyState::Known(key) => Some(key.clone()),
        KeyState::None => None,
    };
    let (namespace, name) = place(&assignment.metadata);
    let id = format!("{namespace}/{name}#{}@{url}", status.incarnation.unwrap_or(0));
    let slots = u32::try_from(assignment.spec.slots).unwrap_or(1).max(1);
    Some(Replica { id, worker, url, slots, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assignment, model, ready, worker};
    use serde_json::json;

    fn table(models: &[Model], workers: &[Worker], assignments: &[Assignment], keys: &[(&str, KeyState)]) -> Table {
        fn arcs<T: Clone>(items: &[T]) -> Vec<Arc<T>> {
            items.iter().cloned().map(Arc::new).collect()
        }
        let keys = keys
            .iter()
            .map(|(name, key)| (WorkerId { namespace: "default".into(), name: (*name).into() }, key.clone()))
            .collect();
        let (models, workers, assignments) = (arcs(models), arcs(workers), arcs(assignments));
        build(Objects { models: &models, workers: &workers, assignments: &assignments, keys: &keys, gateway: "g" })
    }

    #[test]
    fn ready_replicas_are_found_under_their_model() {
        let key = WorkerKey::new("k");
        let mut deleted = ready(assignment("w-3", "w", "bee"), "http://h:4");
        deleted.metadata.deletion_timestamp = Some(rbee_crds::Time(jiff::Timestamp::UNIX_EPOCH));
        let assignments = [
            ready(assignment("w-1", "w", "bee"), "http://h:2/"),
            ready(assignment("w-0", "w", "bee"), "http://h:1"),
            assignment("w-2", "w", "bee"),
            deleted,
            ready(assignment("x-0", "x", "bee"), "http://h:9"),
            ready(assignment("y-0", "y", "other"), "http://h:10"),
        ];
        let workers = [worker("w", "bee", 2), worker("x", "bee", 1)];
        let table = table(&[model("bee")], &workers, &assignments, &[("w", KeyState::Known(key.clone()))]);
        let entry = &table.models["bee"];
        let found: Vec<_> = entry.replicas().map(|r| (r.id.as_str(), r.url.as_str(), r.key.clone())).collect();
        let expected = [
            ("default/w-0#1@http://h:1", "http://h:1", Some(key.clone())),
            ("default/w-1#1@http://h:2", "http://h:2", Some(key)),
        ];
        assert_eq!(found, expected, "a replica whose key is not known yet is left out");
    }

    #[test]
    fn models_of_other_namespaces_have_both_names_as_id() {
        let mut other = model("bee");
        other.metadata.namespace = Some("lab".into());
        let table = table(&[model("bee"), other], &[], &[], &[]);
        assert_eq!(table.models.keys().collect::<Vec<_>>(), ["bee", "lab/bee"]);
    }

    #[test]
    fn whether_a_worker_can_run() {
        let of = |spec: serde_json::Value| {
            let mut w = worker("w", "bee", 1);
            let mut merged = serde_json::to_value(&w.spec).unwrap();
            merged.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
            w.spec = serde_json::from_value(merged).unwrap();
            table(&[model("bee")], &[w], &[], &[]).models["bee"].workers.values().next().unwrap().can_run
        };
        assert!(of(json!({})) && of(json!({"replicas": null})));
        assert!(!of(json!({"replicas": 0})) && !of(json!({"suspend": true})));
        assert!(of(json!({"replicas": null, "autoscaling": {"minReplicas": 0, "maxReplicas": 2}})));
    }

    #[test]
    fn conditions_that_last_are_told_and_those_of_an_older_spec_are_not() {
        let with = |reason: &str, observed: i64| {
            let mut w = worker("w", "bee", 1);
            w.metadata.generation = Some(2);
            w.status = serde_json::from_value(json!({"conditions": [{"type": "Scheduled", "status": "False", "reason": reason,
                "message": "no backend metal", "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": observed}]}))
            .unwrap();
            table(&[model("bee")], &[w], &[], &[]).models["bee"].workers.values().next().unwrap().stuck.clone()
        };
        assert_eq!(with("BackendNotAvailable", 2).as_deref(), Some("BackendNotAvailable: no backend metal"));
        assert_eq!(with("BackendNotAvailable", 1), None);
        assert_eq!(with("ModelNotReady", 2), None);
    }

    #[test]
    fn replicas_that_can_never_run_are_not_waited_for() {
        let failed = |name: &str, state: &str, reason: &str| {
            let mut a = assignment(name, "w", "bee");
            let failure = json!({"reason": reason, "message": "/secret/path is damaged"});
            a.status = serde_json::from_value(json!({"state": state, "lastFailure": failure})).unwrap();
            a
        };
        let stuck = |assignments: &[Assignment]| {
            let table = table(&[model("bee")], &[worker("w", "bee", 2)], assignments, &[]);
            table.models["bee"].workers.values().next().unwrap().stuck.clone()
        };
        let damaged = failed("w-0", "Failed", "InvalidModelFile");
        let why = stuck(&[damaged.clone(), failed("w-1", "Failed", "InvalidModelFile")]).unwrap();
        assert!(why.starts_with("InvalidModelFile") && why.contains("Worker w") && !why.contains("/secret"), "{why}");
        assert_eq!(stuck(&[damaged.clone(), failed("w-1", "Pending", "WorkerCrashed")]), None);
        assert_eq!(stuck(&[failed("w-0", "Failed", "WorkerCrashed")]), None);
        assert_eq!(stuck(&[]), None);
    }
}
