//! The models on this hive's disk: built-in ones are written out when they are needed, files are looked at where they
//! lie. Level-triggered: each round compares what is asked for with what is there.

pub mod builtin;
mod checkpoint;
mod digest;
pub mod file;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rbee_crds::{
    Assignment, Model,
    hive::{CacheState, CachedModel},
};
use rbee_model::ModelRef;
use rbee_wire::ErrorCode;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{plan::FileState, report::hive::CacheReport, sync::Mirror};
use file::Looked;

/// A model on disk, as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub cached: CachedModel,
    pub state: FileState,
}

/// What keeps the models in order.
pub struct Puller {
    /// Where models are kept that are the hive's own.
    pub folder: PathBuf,
    pub models: watch::Receiver<Mirror<Model>>,
    pub assignments: watch::Receiver<Mirror<Assignment>>,
    pub files: watch::Sender<Arc<BTreeMap<String, FileState>>>,
    pub report: watch::Sender<CacheReport>,
    /// Between two looks at files that nobody said had changed.
    pub interval: Duration,
}

impl Puller {
    /// Runs until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut looked = BTreeMap::<String, Looked>::new();
        let mut hashing = None;
        loop {
            let wanted = self.wanted();
            let hashed: BTreeSet<String> = wanted.iter().filter(|(_, hash)| **hash).map(|(u, _)| u.clone()).collect();
            let folder = self.folder.clone();
            let round = tokio::task::spawn_blocking(move || round(wanted, looked, &folder));
            let entries;
            (entries, looked) = match round.await {
                Ok(done) => done,
                Err(e) => {
                    tracing::error!("looking at models failed: {e}");
                    (BTreeMap::new(), BTreeMap::new())
                }
            };
            self.publish(entries);
            if hashing.is_none() {
                let next = looked.iter().find(|(uri, looked)| hashed.contains(*uri) && looked.lacks_digest());
                hashing = next.map(|(uri, looked)| (uri.clone(), hash(looked.clone(), shutdown.clone())));
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some((uri, done)) = hashed_one(&mut hashing) => {
                    if looked.get(&uri).is_some_and(|now| now.is_same(&done)) {
                        looked.insert(uri, done);
                    }
                }
                Ok(()) = self.models.changed() => {}
                Ok(()) = self.assignments.changed() => {}
                () = tokio::time::sleep(self.interval) => {}
            }
        }
    }

    /// The references to look at, every `file:` Model's and what Assignments ask for; and whether somebody asks for the file's sha256.
    fn wanted(&mut self) -> BTreeMap<String, bool> {
        let models = self.models.borrow_and_update().clone();
        let assignments = self.assignments.borrow_and_update().clone();
        let declared = models.objects.values().map(|m| (&m.spec.uri, m.spec.sha256.is_some()));
        let declared = declared.filter(|(uri, _)| uri.starts_with("file:"));
        let assigned = assignments.objects.values().filter(|a| a.metadata.deletion_timestamp.is_none());
        let assigned = assigned.map(|a| &a.spec.model).map(|m| (&m.uri, m.files.iter().any(|f| f.sha256.is_some())));
        let mut wanted = BTreeMap::new();
        for (uri, hash) in declared.chain(assigned) {
            *wanted.entry(uri.clone()).or_default() |= hash;
        }
        wanted
    }

    fn publish(&self, entries: BTreeMap<String, Entry>) {
        let files: BTreeMap<_, _> = entries.iter().map(|(uri, e)| (uri.clone(), e.state.clone())).collect();
        let report = CacheReport {
            used_bytes: builtin::used_bytes(&self.folder),
            disk_free_bytes: rustix::fs::statvfs(&self.folder).ok().map(|s| s.f_bavail.saturating_mul(s.f_frsize)),
            models: entries.into_values().map(|e| e.cached).collect(),
        };
        self.files.send_if_modified(|old| {
            let changed = **old != files;
            if changed {
                *old = Arc::new(files);
            }
            changed
        });
        self.report.send_if_modified(|old| {
            // The disk's free bytes always change; they count when they cross what the condition looks at.
            let same = CacheReport { disk_free_bytes: old.disk_free_bytes, ..report.clone() } == *old;
            let gib = |bytes: Option<u64>| bytes.map(|b| b >> 30);
            let changed = !same || gib(old.disk_free_bytes) != gib(report.disk_free_bytes);
            *old = report;
            changed
        });
    }
}

/// Computes a sha256 aside, one at a time: it reads all of a file.
fn hash(looked: Looked, shutdown: CancellationToken) -> JoinHandle<Looked> {
    tokio::task::spawn_blocking(move || looked.with_digest(|| !shutdown.is_cancelled()))
}

/// The reference whose sha256 was computed; None while none is.
async fn hashed_one(hashing: &mut Option<(String, JoinHandle<Looked>)>) -> Option<(String, Looked)> {
    let (_, task) = hashing.as_mut()?;
    let done = task.await;
    let (uri, _) = hashing.take()?;
    match done {
        Ok(looked) => Some((uri, looked)),
        Err(e) => {
            tracing::error!("computing the sha256 of {uri} failed: {e}");
            None
        }
    }
}

/// Looks at each reference once.
fn round(
    wanted: BTreeMap<String, bool>,
    mut before: BTreeMap<String, Looked>,
    folder: &std::path::Path,
) -> (BTreeMap<String, Entry>, BTreeMap<String, Looked>) {
    let (mut entries, mut after) = (BTreeMap::new(), BTreeMap::new());
    for uri in wanted.into_keys() {
        let entry = match uri.parse::<ModelRef>() {
            Err(e) => refused(&uri, CacheState::Invalid, ErrorCode::InvalidRequest.camel(), e.to_string()),
            Ok(ModelRef::Builtin(name)) => builtin::entry(&uri, &name, folder),
            Ok(ModelRef::File(path)) => {
                let looked = file::look(path.as_ref(), before.remove(&uri));
                let entry = file::entry(&uri, &looked);
                after.insert(uri.clone(), looked);
                entry
            }
            Ok(ModelRef::Hub { .. } | ModelRef::Https(_)) => {
                let message = format!("{uri}: this hive fetches no models yet; give a file:///PATH or builtin:NAME");
                refused(&uri, CacheState::Failed, ErrorCode::UnsupportedFormat.camel(), message)
            }
        };
        entries.insert(uri, entry);
    }
    (entries, after)
}

/// A model that cannot be used, with the reason in both places.
pub(crate) fn refused(uri: &str, state: CacheState, reason: &'static str, message: String) -> Entry {
    let cached = CachedModel {
        uri: uri.to_owned(),
        revision: None,
        size_bytes: None,
        sha256: None,
        state,
        message: Some(message.clone()),
        gguf: None,
        download: None,
    };
    Entry { cached, state: FileState::Refused { reason, message } }
}
