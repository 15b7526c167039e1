//! Assignment: when nobody is left to end it, the queen lets it go.
//!
//! A finalizer holds an Assignment until its hive has ended the process. Two things can make that wait endless: the hive is
//! gone or lost, or the Worker went while nobody collected what it owned.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use rbee_crds::{Assignment, Worker, WorkerSpec, names, reason};

use super::{
    Note, Target,
    fleet::{Fleet, Verdict},
    just_after, until,
};

/// What is known of one Assignment.
#[derive(Clone, Debug)]
pub struct Observed {
    pub assignment: Arc<Assignment>,
    /// The Worker of that name in its namespace, whatever its uid.
    pub worker: Option<Arc<Worker>>,
    pub fleet: Fleet,
}

/// What to write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub step: Option<Step>,
    pub notes: Vec<Note>,
    pub again: Option<Duration>,
}

/// The one thing that can be due.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Take the process finalizer away and leave these.
    Release { assignment: Target, finalizers: Vec<String> },
    /// Delete it, if no Worker of this name and uid is there any more.
    Collect { assignment: Target, owner_name: String, owner_uid: String },
}

impl Plan {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.step.is_none() && self.notes.is_empty()
    }
}

/// Decides at `now`.
pub fn plan(observed: &Observed, now: Timestamp, seed: u64) -> Plan {
    let assignment = &observed.assignment;
    if assignment.metadata.deletion_timestamp.is_none() {
        return collect(observed).unwrap_or_default();
    }
    let (held, finalizers): (Vec<String>, Vec<String>) =
        assignment.metadata.finalizers.iter().flatten().cloned().partition(|f| f == names::FINALIZER_PROCESS);
    if held.is_empty() {
        return Plan::default();
    }
    let hive = assignment.spec.hive_name.as_str();
    let timeout = observed.worker.as_ref().map_or(WorkerSpec::HIVE_LOST_TIMEOUT, |w| w.spec.hive_lost_timeout());
    match observed.fleet.verdict(hive, timeout.get(), now) {
        Verdict::Keep => Plan::default(),
        Verdict::Until(at) => Plan { again: Some(just_after(until(now, at), seed)), ..Plan::default() },
        Verdict::Lost => {
            let message =
                format!("let go without its hive {hive}, which is gone: whether its process ended is not known");
            Plan {
                step: Some(Step::Release { assignment: Target::of(assignment.as_ref()), finalizers }),
                notes: vec![Note::warning(reason::HIVE_LOST, "Release", message)],
                again: None,
            }
        }
    }
}

/// An Assignment whose owner is gone goes too, also where no garbage collector runs.
fn collect(observed: &Observed) -> Option<Plan> {
    let assignment = &observed.assignment;
    let owner = assignment.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true))?;
    if observed.worker.as_ref().is_some_and(|w| w.metadata.uid.as_deref() == Some(owner.uid.as_str())) {
        return None;
    }
    let step = Step::Collect {
        assignment: Target::of(assignment.as_ref()),
        owner_name: owner.name.clone(),
        owner_uid: owner.uid.clone(),
    };
    Some(Plan { step: Some(step), ..Plan::default() })
}
