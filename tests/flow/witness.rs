//! Sees every change of an Assignment, in order: rules that hold at every moment, and how many replicas served when.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::StreamExt;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher, watcher::Event},
};
use rbee_controller::plan::check;
use rbee_crds::Assignment;
use tokio::task::JoinHandle;

use super::view::is_ready;

/// How many replicas of each Worker served after one change.
pub type Moment = BTreeMap<String, usize>;

#[derive(Default)]
struct Record {
    moments: Vec<Moment>,
    broken: Vec<String>,
}

/// Watches until it is dropped.
pub struct Witness {
    record: Arc<Mutex<Record>>,
    task: JoinHandle<()>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn open(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Witness {
    pub fn start(client: Client) -> Self {
        let record = Arc::new(Mutex::new(Record::default()));
        let task = tokio::spawn(watch(client, record.clone()));
        Self { record, task }
    }

    /// So many changes were seen.
    pub fn moments(&self) -> usize {
        open(&self.record).moments.len()
    }

    /// The fewest replicas of a Worker that served after any change since `mark`.
    pub fn fewest(&self, worker: &str, mark: usize) -> Option<usize> {
        open(&self.record).moments[mark..].iter().map(|m| m.get(worker).copied().unwrap_or(0)).min()
    }

    /// Rules that were broken at some moment.
    pub fn broken_rules(&self) -> Vec<String> {
        open(&self.record).broken.clone()
    }
}

async fn watch(client: Client, record: Arc<Mutex<Record>>) {
    let mut assignments: BTreeMap<String, Arc<Assignment>> = BTreeMap::new();
    let mut events = watcher(Api::<Assignment>::all(client), watcher::Config::default()).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => {
                let (key, object) = (object.uid().unwrap_or_default(), Arc::new(object));
                let before = assignments.insert(key, object.clone());
                look(&record, &assignments, before.as_deref(), &object);
            }
            Ok(Event::Delete(object)) => {
                assignments.remove(&object.uid().unwrap_or_default());
                count(&record, &assignments);
            }
            Ok(Event::Init) => assignments.clear(),
            Ok(Event::InitDone) => count(&record, &assignments),
            Err(error) => open(&record).broken.push(format!("the witness lost sight: {error}")),
        }
    }
}

fn look(
    record: &Mutex<Record>,
    all: &BTreeMap<String, Arc<Assignment>>,
    before: Option<&Assignment>,
    after: &Assignment,
) {
    let living: Vec<_> = all.values().filter(|a| a.metadata.deletion_timestamp.is_none()).cloned().collect();
    let mut broken: Vec<String> =
        check::always(&BTreeMap::new(), &living, i64::MAX).iter().map(ToString::to_string).collect();
    if let Some(before) = before.filter(|b| b.spec.hive_name != after.spec.hive_name || b.spec.epoch > after.spec.epoch)
    {
        broken.push(format!("{} went from {:?} to {:?}", after.name_any(), before.spec, after.spec));
    }
    open(record).broken.extend(broken);
    count(record, all);
}

fn count(record: &Mutex<Record>, all: &BTreeMap<String, Arc<Assignment>>) {
    let mut moment = Moment::new();
    for assignment in all.values().filter(|a| is_ready(a)) {
        *moment.entry(assignment.spec.worker_name.clone()).or_default() += 1;
    }
    open(record).moments.push(moment);
}
