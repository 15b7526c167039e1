//! Snapshots for planning, read from the watch caches and nothing else.

mod cache;
mod settle;

pub use cache::{Cache, Caches};
pub use settle::{Behind, Change, Written};

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};
use rbee_crds::{Assignment, Hive, Model, Worker, names};

use crate::plan::{
    Target, assignment,
    fleet::Fleet,
    hive::{self, Heartbeat},
    model,
    worker::{self, KeySecret},
};

/// What the leader of this term knows beside the caches.
#[derive(Clone, Debug)]
pub struct Term {
    pub epoch: i64,
    /// No hive is judged before this.
    pub judge_from: Timestamp,
    pub lost_after: Duration,
    /// Version of the queen.
    pub version: String,
}

impl Caches {
    /// All that planning a Model needs.
    pub fn model(&self, model: &Arc<Model>) -> model::Observed {
        model::Observed { model: self.models.newest(model), hives: self.hives.all() }
    }

    /// All that planning a Worker needs.
    pub fn worker(&self, worker: &Arc<Worker>, term: &Term) -> worker::Observed {
        let worker = self.workers.newest(worker);
        let namespace = worker.namespace().unwrap_or_default();
        let refers = &worker.spec.model_ref.name;
        let model_is_shared = self.workers.all().iter().any(|w| {
            w.spec.model_ref.name == *refers && w.namespace().as_ref() == Some(&namespace) && w.uid() != worker.uid()
        });
        worker::Observed {
            model: self.models.get(Some(&namespace), refers),
            model_is_shared,
            fleet: self.fleet(term),
            assignments: self.assignments.all(),
            key: self.key(&worker, &namespace),
            epoch: term.epoch,
            worker,
        }
    }

    /// All that planning an Assignment needs.
    pub fn assignment(&self, assignment: &Arc<Assignment>, term: &Term) -> assignment::Observed {
        let assignment = self.assignments.newest(assignment);
        assignment::Observed {
            worker: self.workers.get(assignment.namespace().as_deref(), &assignment.spec.worker_name),
            fleet: self.fleet(term),
            assignment,
        }
    }

    /// All that planning a Hive needs.
    pub fn hive(&self, hive: &Arc<Hive>, term: &Term) -> hive::Observed {
        let hive = self.hives.newest(hive);
        let lease = self.leases.get(Some(&self.system_namespace), &names::hive_lease(&hive.name_any()));
        hive::Observed {
            heartbeat: lease.and_then(|l| heartbeat(&l)),
            version: term.version.clone(),
            judge_from: term.judge_from,
            lost_after: term.lost_after,
            hive,
        }
    }

    fn fleet(&self, term: &Term) -> Fleet {
        let heartbeats: BTreeMap<String, Timestamp> =
            self.leases.all().iter().filter_map(|l| Some((hive_of(l)?, heartbeat(l)?.renewed))).collect();
        Fleet {
            hives: self.hives.all().into_iter().map(|h| (h.name_any(), h)).collect(),
            heartbeats,
            judge_from: term.judge_from,
            lost_after: term.lost_after,
        }
    }

    fn key(&self, worker: &Worker, namespace: &str) -> KeySecret {
        let Some(secret) = self.secrets.get(Some(namespace), &names::worker_key_secret(&worker.name_any())) else {
            return KeySecret::Missing;
        };
        let mine = secret.owner_references().iter().any(|o| Some(&o.uid) == worker.metadata.uid.as_ref());
        if mine { KeySecret::Present } else { KeySecret::Stale(Target::of(secret.as_ref())) }
    }
}

/// The hive whose heartbeat a Lease is.
pub fn hive_of(lease: &Lease) -> Option<String> {
    lease.metadata.name.as_deref()?.strip_prefix(&names::hive_lease("")).map(str::to_owned)
}

fn heartbeat(lease: &Lease) -> Option<Heartbeat> {
    let spec = lease.spec.as_ref()?;
    Some(Heartbeat { renewed: spec.renew_time.as_ref()?.0, released: spec.holder_identity.as_deref() == Some("") })
}

/// The reconcile key of an object.
pub fn key<K: Resource<DynamicType = ()>>(namespace: Option<&str>, name: &str) -> ObjectRef<K> {
    let key = ObjectRef::new(name);
    match namespace {
        Some(namespace) => key.within(namespace),
        None => key,
    }
}
