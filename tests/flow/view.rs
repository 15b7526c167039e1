//! The world as the API shows it at one moment, and the rules that it keeps once it is at rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Event, Secret};
use kube::{Api, Client, Resource, ResourceExt, api::ListParams};
use rbee_controller::plan::check;
use rbee_crds::{Assignment, AssignmentState, Condition, Hive, Model, Worker, condition, names, worker};
use serde::de::DeserializeOwned;

/// Everything but heartbeats.
pub struct View {
    pub models: BTreeMap<String, Model>,
    pub workers: BTreeMap<String, Worker>,
    pub hives: BTreeMap<String, Arc<Hive>>,
    pub assignments: Vec<Arc<Assignment>>,
    pub secrets: Vec<Secret>,
    pub events: Vec<Event>,
}

async fn list<K>(client: &Client) -> Vec<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    Api::<K>::all(client.clone()).list(&ListParams::default()).await.expect("a list").items
}

fn by_name<K: ResourceExt>(objects: Vec<K>) -> BTreeMap<String, K> {
    objects.into_iter().map(|o| (o.name_any(), o)).collect()
}

impl View {
    pub async fn look(client: &Client) -> Self {
        let hives = by_name(list::<Hive>(client).await);
        let keys = list::<Secret>(client).await.into_iter().filter(|s| s.namespace().as_deref() == Some("default"));
        Self {
            models: by_name(list(client).await),
            workers: by_name(list(client).await),
            hives: hives.into_iter().map(|(name, hive)| (name, Arc::new(hive))).collect(),
            assignments: list::<Assignment>(client).await.into_iter().map(Arc::new).collect(),
            secrets: keys.collect(),
            events: list(client).await,
        }
    }

    /// The Assignments of a Worker that are not being deleted.
    pub fn replicas(&self, worker: &str) -> Vec<&Assignment> {
        let mine = |a: &&Arc<Assignment>| a.spec.worker_name == worker && a.metadata.deletion_timestamp.is_none();
        self.assignments.iter().filter(mine).map(Arc::as_ref).collect()
    }

    pub fn uids(&self, worker: &str) -> BTreeSet<String> {
        self.replicas(worker).iter().filter_map(|a| a.uid()).collect()
    }

    pub fn hives_of(&self, worker: &str) -> Vec<&str> {
        let mut hives: Vec<&str> = self.replicas(worker).iter().map(|a| a.spec.hive_name.as_str()).collect();
        hives.sort_unstable();
        hives
    }

    /// A condition of a Worker.
    pub fn worker_condition(&self, worker: &str, type_: &str) -> Option<&Condition> {
        condition::find(&self.workers.get(worker)?.status.as_ref()?.conditions, type_)
    }

    /// A condition of a Model.
    pub fn model_condition(&self, model: &str, type_: &str) -> Option<&Condition> {
        condition::find(&self.models.get(model)?.status.as_ref()?.conditions, type_)
    }

    /// Ok once the Worker has so many Ready replicas, nothing else, and says so.
    pub fn settled(&self, name: &str, wanted: usize) -> Result<(), String> {
        let worker = self.workers.get(name).ok_or_else(|| format!("there is no worker {name}"))?;
        let status = worker.status.clone().unwrap_or_default();
        let of: Vec<_> = self.assignments.iter().filter(|a| a.spec.worker_name == name).collect();
        let ready = of.iter().filter(|a| is_ready(a)).count();
        let told = status.observed_generation == worker.metadata.generation
            && status.ready_replicas == i32::try_from(wanted).ok()
            && condition::is_true(&status.conditions, worker::READY) == (wanted > 0)
            && !condition::is_true(&status.conditions, worker::PROGRESSING);
        if told && ready == wanted && of.len() == wanted {
            return Ok(());
        }
        Err(format!("worker {name}: {ready} of {} assignments are Ready, wanted {wanted}; {status:?}", of.len()))
    }

    /// Every version of every object, to see whether anything was written.
    pub fn versions(&self) -> BTreeMap<String, String> {
        let mut versions = BTreeMap::new();
        let mut add = |kind: &str, meta: &kube::api::ObjectMeta| {
            let text = |t: &Option<String>| t.clone().unwrap_or_default();
            let version = format!("{} at {}", text(&meta.uid), text(&meta.resource_version));
            versions.insert(format!("{kind} {}/{}", text(&meta.namespace), text(&meta.name)), version);
        };
        self.models.values().for_each(|o| add("Model", &o.metadata));
        self.workers.values().for_each(|o| add("Worker", &o.metadata));
        self.hives.values().for_each(|o| add("Hive", &o.metadata));
        self.assignments.iter().for_each(|o| add("Assignment", &o.metadata));
        self.secrets.iter().for_each(|o| add("Secret", &o.metadata));
        self.events.iter().for_each(|o| add("Event", &o.metadata));
        versions
    }

    /// The rules of a world at rest that are broken.
    pub fn broken_rules(&self) -> Vec<String> {
        let mut broken: Vec<String> =
            check::always(&self.hives, &self.assignments, i64::MAX).iter().map(ToString::to_string).collect();
        for worker in self.workers.values() {
            broken.extend(check::planned(worker, &self.hives, &self.assignments).iter().map(ToString::to_string));
            broken.extend(self.worker_rules(worker));
        }
        for assignment in &self.assignments {
            broken.extend(self.assignment_rules(assignment));
        }
        for secret in &self.secrets {
            let owners = secret.owner_references();
            if owners.iter().any(|o| self.workers.get(&o.name).and_then(ResourceExt::uid).as_ref() != Some(&o.uid)) {
                broken.push(format!("secret {} outlived its owner", secret.name_any()));
            }
        }
        broken
    }

    fn worker_rules(&self, worker: &Worker) -> Vec<String> {
        let name = worker.name_any();
        let wanted = usize::try_from(worker.spec.wanted_replicas()).unwrap_or(0);
        let replicas = self.replicas(&name);
        let ready = replicas.iter().filter(|a| is_ready(a)).count();
        let mut broken = vec![];
        if ready > wanted {
            broken.push(format!("worker {name} has {ready} Ready replicas, wanted are {wanted}"));
        }
        let scheduled = self.worker_condition(&name, worker::SCHEDULED);
        match scheduled {
            None => broken.push(format!("worker {name} has no condition {}", worker::SCHEDULED)),
            Some(c) if c.status == rbee_crds::ConditionStatus::True && ready != wanted => {
                broken.push(format!("worker {name} is Scheduled, but {ready} of {wanted} replicas are Ready"));
            }
            Some(_) => {}
        }
        let told = worker.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or(-1);
        if usize::try_from(told) != Ok(ready) {
            broken.push(format!("worker {name} tells of {told} Ready replicas, there are {ready}"));
        }
        let key = names::worker_key_secret(&name);
        if !self.secrets.iter().any(|s| s.name_any() == key) {
            broken.push(format!("worker {name} has no key"));
        }
        broken
    }

    fn assignment_rules(&self, assignment: &Assignment) -> Vec<String> {
        let name = assignment.name_any();
        let mut broken = vec![];
        if assignment.metadata.deletion_timestamp.is_some() {
            broken.push(format!("assignment {name} never ends"));
        }
        if !self.hives.contains_key(&assignment.spec.hive_name) {
            broken.push(format!("assignment {name} is on hive {}, which is not there", assignment.spec.hive_name));
        }
        if assignment.labels().get(names::LABEL_HIVE) != Some(&assignment.spec.hive_name) {
            broken.push(format!("assignment {name} is labelled with another hive: {:?}", assignment.labels()));
        }
        let owner = self.workers.get(&assignment.spec.worker_name).and_then(ResourceExt::uid);
        if !matches!(assignment.owner_references(), [only] if Some(&only.uid) == owner.as_ref()) {
            broken.push(format!("assignment {name} is not owned by its worker alone"));
        }
        broken
    }
}

/// Whether the replica serves.
pub fn is_ready(assignment: &Assignment) -> bool {
    assignment.metadata.deletion_timestamp.is_none()
        && assignment.status.as_ref().and_then(|s| s.state) == Some(AssignmentState::Ready)
}
