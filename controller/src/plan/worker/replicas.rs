//! The Assignments of one Worker, sorted by what they are good for.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use rbee_crds::{Assignment, AssignmentState, worker::Failure};

use super::{Observed, Template, replaces};
use crate::plan::fleet::Verdict;

/// One replica that is not being deleted.
#[derive(Clone, Debug)]
pub struct Replica {
    pub assignment: Arc<Assignment>,
    /// Made from the newest spec, as far as that is known.
    pub updated: bool,
    /// It answers requests, and its hive is heard.
    pub ready: bool,
    /// Its hive is not heard.
    pub silent: bool,
    /// Its hive is given up.
    pub lost: bool,
}

impl Replica {
    /// The hive that it runs on.
    pub fn hive(&self) -> &str {
        &self.assignment.spec.hive_name
    }

    /// The hive says that it cannot run.
    pub fn failed(&self) -> bool {
        self.assignment.status.as_ref().and_then(|s| s.state) == Some(AssignmentState::Failed)
    }

    fn uid(&self) -> Option<&str> {
        self.assignment.metadata.uid.as_deref()
    }
}

/// All replicas of a Worker.
#[derive(Clone, Debug, Default)]
pub struct Replicas {
    /// Those that are not being deleted, by name.
    pub live: Vec<Replica>,
    /// Those that are.
    pub terminating: Vec<Arc<Assignment>>,
    /// When the next silent hive is given up.
    pub next_verdict: Option<Timestamp>,
    /// So many more are about to be made, of the newest spec.
    pub coming: usize,
}

/// Sorts the Worker's Assignments. Without a template every replica counts as updated: nothing is replaced by a guess.
pub fn classify(observed: &Observed, template: Option<&Template>, now: Timestamp) -> Replicas {
    let worker = &observed.worker;
    let timeout =
        if replaces(&worker.spec) { worker.spec.hive_lost_timeout().get() } else { std::time::Duration::ZERO };
    let mut mine: Vec<&Arc<Assignment>> = observed.assignments.iter().filter(|a| is_of(a, observed)).collect();
    mine.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut replicas = Replicas::default();
    for assignment in mine {
        if assignment.metadata.deletion_timestamp.is_some() {
            replicas.terminating.push(assignment.clone());
            continue;
        }
        let hive = assignment.spec.hive_name.as_str();
        let verdict = observed.fleet.verdict(hive, timeout, now);
        if let Verdict::Until(at) = verdict {
            replicas.next_verdict = Some(replicas.next_verdict.map_or(at, |other| other.min(at)));
        }
        let state = assignment.status.as_ref().and_then(|s| s.state);
        replicas.live.push(Replica {
            assignment: assignment.clone(),
            updated: template.is_none_or(|t| t.hash == assignment.spec.template_hash),
            ready: state == Some(AssignmentState::Ready) && observed.fleet.is_heard(hive),
            silent: !observed.fleet.is_heard(hive),
            lost: verdict == Verdict::Lost,
        });
    }
    replicas
}

/// Whether the Assignment is a replica of this very Worker, not of an earlier one of its name.
pub fn is_of(assignment: &Assignment, observed: &Observed) -> bool {
    let worker = &observed.worker.metadata;
    let owner = assignment.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
    assignment.metadata.namespace == worker.namespace
        && owner.is_some_and(|o| Some(o.uid.as_str()) == worker.uid.as_deref())
}

impl Replicas {
    /// The replicas as they are once `deleted` are on their way out and `created` more exist.
    pub fn after(&self, deleted: &[Replica], created: usize) -> Self {
        let goes = |replica: &Replica| deleted.iter().any(|d| d.uid() == replica.uid());
        let (gone, live): (Vec<Replica>, Vec<Replica>) = self.live.iter().cloned().partition(goes);
        let terminating = self.terminating.iter().cloned().chain(gone.into_iter().map(|r| r.assignment)).collect();
        Self { live, terminating, next_verdict: self.next_verdict, coming: self.coming + created }
    }

    /// How many there are that are not being deleted.
    pub fn total(&self) -> usize {
        self.live.len() + self.coming
    }

    pub fn ready(&self) -> usize {
        self.live.iter().filter(|r| r.ready).count()
    }

    pub fn updated(&self) -> usize {
        self.live.iter().filter(|r| r.updated).count() + self.coming
    }

    /// The newest failure among all, also those that are being deleted.
    pub fn newest_failure(&self) -> Option<&Failure> {
        let live = self.live.iter().map(|r| &r.assignment);
        live.chain(&self.terminating)
            .filter_map(|a| a.status.as_ref()?.last_failure.as_ref())
            .max_by_key(|f| f.time.as_ref().map(|t| t.0))
    }
}

/// Which replicas to give up first: lost, then of an older spec, then not ready, then on the hive with the most of them, then the newest.
pub fn victims(candidates: &[Replica], count: usize) -> Vec<Replica> {
    let mut left: Vec<Replica> = candidates.to_vec();
    let mut chosen = vec![];
    while chosen.len() < count && !left.is_empty() {
        let mut per_hive: BTreeMap<String, usize> = BTreeMap::new();
        for replica in &left {
            *per_hive.entry(replica.hive().to_owned()).or_default() += 1;
        }
        let rank = |r: &Replica| {
            let meta = &r.assignment.metadata;
            let created = meta.creation_timestamp.as_ref().map(|t| t.0);
            (r.lost, !r.updated, !r.ready, per_hive.get(r.hive()).copied().unwrap_or(0), created, meta.name.clone())
        };
        let Some(worst) = (0..left.len()).max_by_key(|&i| rank(&left[i])) else { break };
        chosen.push(left.swap_remove(worst));
    }
    chosen
}
