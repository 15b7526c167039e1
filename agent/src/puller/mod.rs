//! The models on this hive's disk: built-in ones are written out when they are needed, files are looked at where they
//! lie. Level-triggered: each round compares what is asked for with what is there.

pub mod builtin;
mod checkpoint;
mod digest;
pub mod file;
pub mod mark;

use std::{collections::BTreeMap, ops::Bound, path::PathBuf, sync::Arc, time::Duration};

use rbee_crds::{
    Assignment, Model,
    hive::{CacheState, CachedModel},
};
use rbee_model::ModelRef;
use rbee_wire::ErrorCode;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

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
        let (mut known, mut hashing) = (Known::default(), None::<Hashing>);
        loop {
            let wanted = self.wanted();
            let folder = self.folder.clone();
            let asked = wanted.clone();
            let round = tokio::task::spawn_blocking(move || round(asked, known, &folder));
            let entries;
            (entries, known) = match round.await {
                Ok(done) => done,
                Err(e) => {
                    tracing::error!("looking at models failed: {e}");
                    Default::default()
                }
            };
            self.publish(entries);
            let is_wanted = |uri: &str| wanted.get(uri).copied().unwrap_or_default();
            hashing.take_if(|h| !is_wanted(&h.uri) || !known.files.get(&h.uri).is_some_and(|now| now.is_same(&h.of)));
            if hashing.is_none() {
                hashing = known.next_to_hash(is_wanted).map(|(uri, of)| Hashing::start(uri, of, &shutdown));
                known.last_hashed = hashing.as_ref().map_or_else(String::new, |h| h.uri.clone());
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some((uri, done)) = Hashing::done(&mut hashing) => {
                    if known.files.get(&uri).is_some_and(|now| now.is_same(&done)) {
                        known.files.insert(uri, done);
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

/// What earlier rounds found.
#[derive(Default)]
struct Known {
    files: BTreeMap<String, Looked>,
    builtin: builtin::Whole,
    /// The reference whose sha256 was computed last.
    last_hashed: String,
}

impl Known {
    /// The next file whose sha256 is wanted, in turn: one that changes all the time keeps no other waiting.
    fn next_to_hash(&self, is_wanted: impl Fn(&str) -> bool) -> Option<(String, Looked)> {
        let after = self.files.range::<str, _>((Bound::Excluded(&*self.last_hashed), Bound::Unbounded));
        let mut candidates = after.chain(&self.files);
        let next = candidates.find(|(uri, looked)| is_wanted(uri) && looked.lacks_digest());
        next.map(|(uri, looked)| (uri.clone(), looked.clone()))
    }
}

/// A sha256 that is computed aside, as it reads all of a file. Dropping it ends that.
struct Hashing {
    uri: String,
    of: Looked,
    task: JoinHandle<Looked>,
    _stop: DropGuard,
}

impl Hashing {
    fn start(uri: String, of: Looked, shutdown: &CancellationToken) -> Self {
        let stop = shutdown.child_token();
        let (looked, stopped) = (of.clone(), stop.clone());
        let task = tokio::task::spawn_blocking(move || looked.with_digest(|| !stopped.is_cancelled()));
        Self { uri, of, task, _stop: stop.drop_guard() }
    }

    /// The reference whose sha256 was computed; None while none is.
    async fn done(hashing: &mut Option<Self>) -> Option<(String, Looked)> {
        let done = (&mut hashing.as_mut()?.task).await;
        let uri = hashing.take()?.uri;
        let failed = |e| tracing::error!("computing the sha256 of {uri} failed: {e}");
        let looked = done.map_err(failed).ok()?;
        Some((uri, looked))
    }
}

/// Looks at each reference once.
fn round(
    wanted: BTreeMap<String, bool>,
    mut before: Known,
    folder: &std::path::Path,
) -> (BTreeMap<String, Entry>, Known) {
    let (mut entries, mut files) = (BTreeMap::new(), BTreeMap::new());
    for (uri, hash) in wanted {
        let entry = match uri.parse::<ModelRef>() {
            Err(e) => refused(&uri, CacheState::Invalid, ErrorCode::InvalidRequest.camel(), e.to_string()),
            Ok(ModelRef::Builtin(name)) => builtin::entry(&uri, &name, folder, &mut before.builtin),
            Ok(ModelRef::File(path)) => {
                let known = before.files.remove(&uri);
                let known = if hash { known } else { known.map(Looked::without_digest_asked) };
                let looked = file::look(path.as_ref(), known);
                let entry = file::entry(&uri, &looked);
                files.insert(uri.clone(), looked);
                entry
            }
            Ok(ModelRef::Hub { .. } | ModelRef::Https(_)) => {
                let message = format!("{uri}: this hive fetches no models yet; give a file:///PATH or builtin:NAME");
                refused(&uri, CacheState::Failed, ErrorCode::UnsupportedFormat.camel(), message)
            }
        };
        entries.insert(uri, entry);
    }
    (entries, Known { files, ..before })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str, path: &std::path::Path, sha256: Option<&str>) -> Arc<Model> {
        let spec = serde_json::json!({"uri": format!("file://{}", path.display()), "sha256": sha256});
        let model = serde_json::json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Model", "metadata": {"name": name}, "spec": spec});
        Arc::new(serde_json::from_value(model).unwrap())
    }

    #[tokio::test]
    async fn a_sha256_that_is_asked_for_is_told_and_again_when_the_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let tinybee = rbee_model::builtin::get("tinybee").unwrap();
        let (asked, not_asked) = (dir.path().join("asked.gguf"), dir.path().join("not.gguf"));
        for path in [&asked, &not_asked] {
            std::fs::write(path, tinybee.bytes).unwrap();
        }
        // Two Models of one file, one of which does not care.
        let objects = [
            ("a", model("a", &asked, None)),
            ("b", model("b", &asked, Some("0"))),
            ("c", model("c", &not_asked, None)),
        ];
        let objects = Arc::new(objects.map(|(name, model)| (name.to_owned(), model)).into());
        let (_models, models) = watch::channel(Mirror { objects, lists: 1 });
        let (_assignments, assignments) = watch::channel(Mirror::default());
        let (files, _files) = watch::channel(Arc::default());
        let (report, mut reports) = watch::channel(CacheReport::default());
        let interval = Duration::from_millis(20);
        let puller = Puller { folder: dir.path().to_owned(), models, assignments, files, report, interval };
        let end = CancellationToken::new();
        let running = tokio::spawn(puller.run(end.clone()));
        let sha256 = |report: &CacheReport, path: &std::path::Path| {
            let uri = format!("file://{}", path.display());
            report.models.iter().find(|m| m.uri == uri).and_then(|m| m.sha256.clone())
        };
        let first = reports.wait_for(|r| sha256(r, &asked).is_some()).await.unwrap().clone();
        assert_eq!(sha256(&first, &asked).as_deref(), Some(tinybee.sha256));
        assert_eq!(sha256(&first, &not_asked), None);
        let mut bytes = tinybee.bytes.to_vec();
        bytes[500_000] ^= 1;
        std::fs::write(&asked, bytes).unwrap();
        let changed = |r: &CacheReport| sha256(r, &asked).is_some_and(|hash| hash != tinybee.sha256);
        reports.wait_for(changed).await.unwrap();
        end.cancel();
        running.await.unwrap();
    }
}
