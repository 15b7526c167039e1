//! Everything that a decision of the hive is made from.

use std::{collections::BTreeMap, path::PathBuf};

use rbee_crds::{
    Assignment, Backend,
    hive::{Download, HiveBackend},
    names,
};

use crate::puller::mark::Mark;
use crate::supervise::state::{Key, Replica, Tick, Uid};

/// What an Assignment asks of this hive, parsed once.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    pub key: Key,
    /// It has a deletionTimestamp.
    pub deleting: bool,
    /// Its process finalizer is there.
    pub held: bool,
    pub template_hash: String,
    pub model_id: String,
    pub uri: String,
    /// Of the model's file, where another one is not to be loaded.
    pub sha256: Option<String>,
    pub backend: Backend,
    pub device: i32,
    pub slots: i32,
    pub context_length: Option<i32>,
    /// Bytes.
    pub memory_bytes: i64,
    pub epoch: i64,
    /// Processes that earlier hives say they started.
    pub incarnation: i64,
    pub restarts: i32,
}

impl Desired {
    /// None for an object that the API did not give a uid and a name.
    pub fn parse(assignment: &Assignment) -> Option<Self> {
        let (meta, spec) = (&assignment.metadata, &assignment.spec);
        let status = assignment.status.as_ref();
        let owner = meta.owner_references.iter().flatten().find(|o| o.controller == Some(true) && o.kind == "Worker");
        Some(Self {
            key: Key {
                uid: meta.uid.clone()?,
                namespace: meta.namespace.clone()?,
                name: meta.name.clone()?,
                worker_name: spec.worker_name.clone(),
                worker_uid: owner.map(|o| o.uid.clone()),
            },
            deleting: meta.deletion_timestamp.is_some(),
            held: meta.finalizers.iter().flatten().any(|f| f == names::FINALIZER_PROCESS),
            template_hash: spec.template_hash.clone(),
            model_id: spec.model.id.clone(),
            uri: spec.model.uri.clone(),
            sha256: spec.model.files.first().and_then(|f| f.sha256.clone()),
            backend: spec.backend,
            device: spec.device,
            slots: spec.slots,
            context_length: spec.context_length,
            memory_bytes: spec.memory_bytes,
            epoch: spec.epoch,
            incarnation: status.and_then(|s| s.incarnation).unwrap_or(0),
            restarts: status.and_then(|s| s.restarts).unwrap_or(0),
        })
    }
}

/// A model reference on this hive's disk.
#[derive(Clone, Debug, PartialEq)]
pub enum FileState {
    /// A worker can be started with it.
    Available {
        path: PathBuf,
        /// Another one: the file has changed.
        mark: Option<Mark>,
        sha256: Digest,
    },
    Downloading(Download),
    /// It cannot be used; `reason` is a word of the contract's.
    Refused {
        reason: &'static str,
        message: String,
    },
}

/// The sha256 of a model's file.
#[derive(Clone, Debug, PartialEq)]
pub enum Digest {
    /// Not asked for or not computed yet.
    Unknown,
    Is(String),
    /// There is none, and why.
    Not(String),
}

/// The hive as the plan sees it.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The Assignments were listed at least once; before that nothing is known to be unwanted.
    pub synced: bool,
    /// The hive is about to end and takes its workers with it.
    pub stopping: bool,
    pub desired: BTreeMap<Uid, Desired>,
    pub replicas: BTreeMap<Uid, Replica>,
    /// By model reference.
    pub files: BTreeMap<String, FileState>,
    pub backends: Vec<HiveBackend>,
    /// Highest term of a leader that was seen.
    pub highest_epoch: i64,
    /// How many times the Assignments were listed whole.
    pub lists: u64,
}

impl World {
    /// Takes over what the API says. An Assignment that turns up with a lower epoch than one seen before was written by a
    /// queen that leads no more: it is passed over. In a whole list that cannot be told, so all of it counts.
    pub fn set_desired<'a>(&mut self, lists: u64, assignments: impl Iterator<Item = &'a Assignment>) {
        let listed_again = lists != self.lists;
        let stale =
            |w: &Self, d: &Desired| !listed_again && d.epoch < w.highest_epoch && !w.replicas.contains_key(&d.key.uid);
        let found: BTreeMap<Uid, Desired> = assignments
            .filter_map(Desired::parse)
            .filter(|d| !stale(self, d))
            .map(|d| (d.key.uid.clone(), d))
            .collect();
        self.synced = lists > 0;
        self.lists = lists;
        self.highest_epoch = found.values().map(|d| d.epoch).fold(self.highest_epoch, i64::max);
        for (uid, desired) in &found {
            let replica = self.replicas.entry(uid.clone()).or_insert_with(|| Replica::new(desired.key.clone()));
            replica.key = desired.key.clone();
            replica.incarnation = replica.incarnation.max(desired.incarnation);
            replica.restarts = replica.restarts.max(desired.restarts);
        }
        self.desired = found;
    }

    /// The replica's Assignment, if it shall run.
    pub fn wanted(&self, uid: &str) -> Option<&Desired> {
        self.desired.get(uid).filter(|d| !d.deleting && !self.stopping)
    }

    /// Whether any process exists or may exist.
    pub fn has_processes(&self) -> bool {
        self.replicas.values().any(Replica::is_live)
    }

    /// The replica that a process with this nonce belongs to, if it still has one.
    pub fn by_nonce(&self, nonce: &str) -> Option<&Replica> {
        self.replicas.values().filter(|r| r.is_live()).find(|r| r.launched.as_ref().is_some_and(|l| l.nonce.is(nonce)))
    }

    /// The replica, if this is still its process or its start.
    pub fn replica_mut(&mut self, uid: &str, incarnation: i64) -> Option<&mut Replica> {
        self.replicas.get_mut(uid).filter(|r| r.incarnation == incarnation)
    }
}

/// The sooner of two moments.
pub fn sooner(a: Option<Tick>, b: Option<Tick>) -> Option<Tick> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
