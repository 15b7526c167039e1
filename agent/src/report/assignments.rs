//! Writes the status of Assignments: phases at once, progress now and then, and nothing that did not change.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use rbee_crds::{Assignment, AssignmentStatus, Time};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    report::cluster::{Cluster, ClusterError},
    retry::Retry,
    supervise::{
        state::{Key, Uid},
        view::{self, ReplicaView},
    },
    sync::Mirror,
};

/// Requests at a time.
const CONCURRENCY: usize = 8;

/// At least so long between two writes of one Assignment where somebody else writes another status again and again.
const BETWEEN_CORRECTIONS: Duration = Duration::from_secs(1);

/// What one Assignment was told last, and when.
struct Told {
    status: AssignmentStatus,
    /// What the API held after that, and its version.
    held: Option<(u64, AssignmentStatus)>,
    at: Instant,
}

impl Told {
    fn new(status: AssignmentStatus, answer: Option<&Assignment>) -> Self {
        let held = answer.and_then(|a| Some((version(a)?, view::current(a))));
        Self { status, held, at: Instant::now() }
    }

    /// The status of the mirror, where somebody has written it since. A mirror that is behind says nothing.
    fn overwritten(&self, mirror: &Assignment) -> Option<AssignmentStatus> {
        let (told, held) = self.held.as_ref()?;
        let now = view::current(mirror);
        (version(mirror)? > *told && now != *held).then_some(now)
    }
}

fn version(assignment: &Assignment) -> Option<u64> {
    assignment.metadata.resource_version.as_ref()?.parse().ok()
}

/// Where the reports come from and go to.
pub struct Reporter {
    pub cluster: Cluster,
    pub views: watch::Receiver<Arc<Vec<ReplicaView>>>,
    pub assignments: watch::Receiver<Mirror<Assignment>>,
    /// At least so long between two writes that can wait.
    pub interval: Duration,
}

impl Reporter {
    /// Reports until `done`, and then what is left to be said, once.
    pub async fn run(mut self, done: CancellationToken) {
        let mut told: BTreeMap<Uid, Told> = BTreeMap::new();
        let mut retry = Retry::default();
        loop {
            let last = done.is_cancelled();
            let (due, later) = self.due(&told, last);
            let all_written = self.write(due, &mut told).await;
            if last {
                return;
            }
            let mut wait = later;
            if all_written {
                retry.reset();
            } else {
                wait = Some(wait.unwrap_or(Duration::MAX).min(retry.after_failure(rand::random())));
            }
            tokio::select! {
                () = done.cancelled() => {}
                Ok(()) = self.views.changed() => {}
                Ok(()) = self.assignments.changed() => {}
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
    }

    /// What has to be written, and how long until something that can wait has to be.
    fn due(&mut self, told: &BTreeMap<Uid, Told>, all: bool) -> (Vec<(Key, AssignmentStatus)>, Option<Duration>) {
        let views = self.views.borrow_and_update().clone();
        let assignments = self.assignments.borrow_and_update().clone();
        let now = Time(jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap_or_default());
        let (mut due, mut later) = (vec![], None::<Duration>);
        for replica in views.iter() {
            let Some(report) = &replica.report else { continue };
            let Some(assignment) = assignments.objects.get(&replica.key.uid) else { continue };
            let before = told.get(&replica.key.uid);
            let overwritten = before.and_then(|t| t.overwritten(assignment));
            let is_overwritten = overwritten.is_some();
            let current =
                overwritten.unwrap_or_else(|| before.map_or_else(|| view::current(assignment), |t| t.status.clone()));
            let status = report.status(&current, assignment.metadata.generation, &now);
            if status == current {
                continue;
            }
            let pause = if is_overwritten { BETWEEN_CORRECTIONS } else { self.interval };
            let wait = before.map_or(Duration::ZERO, |t| pause.saturating_sub(t.at.elapsed()));
            if all || wait.is_zero() || (!is_overwritten && view::is_urgent(&current, &status)) {
                due.push((replica.key.clone(), status));
            } else {
                later = Some(later.map_or(wait, |l| l.min(wait)));
            }
        }
        (due, later)
    }

    /// Whether everything was written.
    async fn write(&self, due: Vec<(Key, AssignmentStatus)>, told: &mut BTreeMap<Uid, Told>) -> bool {
        let known: BTreeSet<Uid> = self.assignments.borrow().objects.keys().cloned().collect();
        told.retain(|uid, _| known.contains(uid));
        let requests = due.into_iter().map(|(key, status)| async move {
            let result = self.cluster.apply_assignment(&key, &status).await;
            (key, status, result)
        });
        let mut results = futures::stream::iter(requests).buffer_unordered(CONCURRENCY);
        let mut all_written = true;
        while let Some((key, status, result)) = results.next().await {
            let answer = match result {
                // Gone or another one meanwhile: the watch will say so, and nobody is left to be told.
                Err(e) if is_obsolete(&e) => None,
                Err(e) => {
                    tracing::warn!(assignment = key.name, "cannot write its status, trying again: {e}");
                    all_written = false;
                    continue;
                }
                Ok(answer) => Some(answer),
            };
            told.insert(key.uid, Told::new(status, answer.as_ref()));
        }
        all_written
    }
}

fn is_obsolete(error: &ClusterError) -> bool {
    error.is_gone() || matches!(error, ClusterError::Api(kube::Error::Api(s)) if s.is_conflict())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbee_crds::AssignmentState;

    fn at(version: &str, state: AssignmentState) -> Assignment {
        let object = serde_json::json!({
            "metadata": {"name": "a", "resourceVersion": version},
            "spec": {"workerName": "w", "workerGeneration": 1, "templateHash": "h", "hiveName": "vm", "backend": "cpu",
                "device": 0, "slots": 1, "memoryBytes": 1, "epoch": 1,
                "model": {"name": "bee", "id": "bee", "uri": "builtin:tinybee"}},
            "status": {"state": state},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_status_of_somebody_else_is_noticed_and_an_older_one_of_the_mirror_is_not() {
        use AssignmentState::{Loading, Ready, Stopped};
        let own = at("9", Ready);
        let told = Told::new(view::current(&own), Some(&own));
        let state = |mirror: Assignment| told.overwritten(&mirror).map(|s| s.state);
        assert_eq!(state(at("8", Loading)), None, "the mirror is behind");
        assert_eq!(state(own.clone()), None);
        assert_eq!(state(at("10", Ready)), None, "something else of it has changed");
        assert_eq!(state(at("10", Stopped)), Some(Some(Stopped)));
    }
}
