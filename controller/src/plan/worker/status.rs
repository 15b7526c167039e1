//! What the Worker's status says once the plan is carried out.

use jiff::Timestamp;
use rbee_crds::{
    Time, Worker, WorkerStatus,
    condition::{self, Wanted},
    names, reason,
    worker::{DEGRADED, PROGRESSING, READY, SCHEDULED},
};

use super::{
    Obstacle,
    replicas::{Replica, Replicas},
};
use crate::plan::Note;

/// The reason of a Worker that is not degraded.
const NO_FAILURE: &str = "NoFailure";

/// The status to write, if it differs from the stored one. What gateways write is not in it.
pub fn build(
    worker: &Worker,
    wanted: usize,
    after: &Replicas,
    obstacle: Option<&Obstacle>,
    now: Timestamp,
) -> Option<WorkerStatus> {
    let current = worker.status.clone().unwrap_or_default();
    let name = worker.metadata.name.as_deref().unwrap_or_default();
    let generation = worker.metadata.generation;
    let count = |n: usize| Some(i32::try_from(n).unwrap_or(i32::MAX));
    let conditions = conditions(worker, wanted, after, obstacle);
    let status = WorkerStatus {
        observed_generation: generation,
        desired_replicas: count(wanted),
        replicas: count(after.total()),
        ready_replicas: count(after.ready()),
        updated_replicas: count(after.updated()),
        selector: Some(format!("{}={name}", names::LABEL_WORKER)),
        conditions: condition::set(&current.conditions, &conditions, generation, &Time(now)),
        gateways: vec![],
        last_failure: last_failure(&current, after),
        performance: None,
    };
    let stored = WorkerStatus { gateways: vec![], performance: None, ..current };
    (status != stored).then_some(status)
}

/// The newest failure; the last one stays when its Assignment is gone.
fn last_failure(current: &WorkerStatus, after: &Replicas) -> Option<rbee_crds::worker::Failure> {
    let time = |f: &rbee_crds::worker::Failure| f.time.as_ref().map(|t| t.0);
    match (&current.last_failure, after.newest_failure()) {
        (Some(old), Some(new)) if time(new) < time(old) => Some(old.clone()),
        (_, Some(new)) => Some(new.clone()),
        (old, None) => old.clone(),
    }
}

fn conditions(worker: &Worker, wanted: usize, after: &Replicas, obstacle: Option<&Obstacle>) -> [Wanted; 4] {
    let scheduled = scheduled(worker, wanted, after, obstacle);
    let degraded = degraded(after);
    let ready = ready(worker, wanted, after, &scheduled, &degraded);
    let progressing = progressing(wanted, after, &ready);
    [scheduled, ready, progressing, degraded]
}

fn nothing_wanted(worker: &Worker) -> (&'static str, &'static str) {
    if worker.spec.suspend == Some(true) {
        (reason::SUSPENDED, "spec.suspend is true: no replicas run")
    } else {
        (reason::SCALED_TO_ZERO, "no replicas are wanted")
    }
}

fn scheduled(worker: &Worker, wanted: usize, after: &Replicas, obstacle: Option<&Obstacle>) -> Wanted {
    match obstacle {
        Some(Obstacle { reason, message }) => Wanted::new(SCHEDULED, false, reason.clone(), message.clone()),
        None if wanted == 0 => {
            let (reason, message) = nothing_wanted(worker);
            Wanted::new(SCHEDULED, true, reason, message)
        }
        None => Wanted::new(
            SCHEDULED,
            true,
            reason::SCHEDULED,
            format!("{} of {wanted} replicas have a place", after.total().min(wanted)),
        ),
    }
}

fn ready(worker: &Worker, wanted: usize, after: &Replicas, scheduled: &Wanted, degraded: &Wanted) -> Wanted {
    let count = after.ready();
    let counted = format!("{count} of {wanted} replicas are Ready");
    let because = |reason: &str, why: &str| Wanted::new(READY, false, reason, format!("{counted}; {why}"));
    let mut silent: Vec<&str> = after.live.iter().filter(|r| r.silent).map(|r| r.hive()).collect();
    silent.dedup();
    if wanted == 0 {
        let (reason, message) = nothing_wanted(worker);
        Wanted::new(READY, false, reason, message)
    } else if count >= wanted {
        Wanted::new(READY, true, reason::READY, counted)
    } else if !is_true(scheduled) {
        because(&scheduled.reason, &scheduled.message)
    } else if is_true(degraded) {
        because(&degraded.reason, &degraded.message)
    } else if let Some(hive) = silent.first() {
        because(reason::HIVE_LOST, &format!("hive {hive} is not heard{}", and_more(silent.len())))
    } else {
        Wanted::new(READY, false, reason::REPLICAS_NOT_READY, counted)
    }
}

fn progressing(wanted: usize, after: &Replicas, ready: &Wanted) -> Wanted {
    let starts = |r: &&Replica| r.updated && !r.ready && !r.silent && !r.failed();
    let starting = after.live.iter().filter(starts).count() + after.coming;
    let (older, stopping) = (after.total() - after.updated(), after.terminating.len());
    if starting + stopping + older > 0 {
        let parts = [(starting, "starting"), (older, "of an older spec"), (stopping, "stopping")];
        let said: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        Wanted::new(PROGRESSING, true, reason::PROGRESSING, format!("replicas: {}", said.join(", ")))
    } else if is_true(ready) || wanted == 0 {
        Wanted::new(
            PROGRESSING,
            false,
            reason::COMPLETE,
            format!("{} of {wanted} replicas run as the spec says", after.total()),
        )
    } else {
        Wanted::new(PROGRESSING, false, ready.reason.clone(), ready.message.clone())
    }
}

fn degraded(after: &Replicas) -> Wanted {
    let failing: Vec<_> = after
        .live
        .iter()
        .filter(|r| !r.ready)
        .filter_map(|r| {
            let status = r.assignment.status.as_ref()?;
            let failed = r.failed() || status.restarts.unwrap_or(0) > 0;
            Some((r, status.last_failure.as_ref().filter(|_| failed)?))
        })
        .collect();
    let newest = failing.iter().max_by_key(|(r, f)| (f.time.as_ref().map(|t| t.0), r.assignment.metadata.name.clone()));
    match newest {
        Some((replica, failure)) => {
            let name = replica.assignment.metadata.name.as_deref().unwrap_or_default();
            let (hive, more) = (replica.hive(), and_more(failing.len()));
            Wanted::new(
                DEGRADED,
                true,
                failure.reason.clone(),
                format!("{name} on hive {hive} failed: {}{more}", failure.message),
            )
        }
        None => Wanted::new(DEGRADED, false, NO_FAILURE, "no replica fails"),
    }
}

/// `, and N more` after one of `count` was named.
fn and_more(count: usize) -> String {
    if count > 1 { format!(", and {} more", count - 1) } else { String::new() }
}

fn is_true(wanted: &Wanted) -> bool {
    wanted.status == rbee_crds::ConditionStatus::True
}

/// The Event about a change of Scheduled: where replicas have their places is told at their creation.
pub fn note(worker: &Worker, after: &WorkerStatus) -> Option<Note> {
    let before = worker.status.as_ref().and_then(|s| condition::find(&s.conditions, SCHEDULED));
    let now = condition::find(&after.conditions, SCHEDULED)?;
    let same = before.is_some_and(|b| b.status == now.status && b.reason == now.reason);
    match now.status {
        _ if same || now.reason == reason::SCALED_TO_ZERO || now.reason == reason::SUSPENDED => None,
        rbee_crds::ConditionStatus::True => Some(Note::normal("Scheduled", "Schedule", now.message.clone())),
        // What keeps a Model from being Ready is told at the Model.
        _ if now.reason == reason::MODEL_NOT_READY => {
            Some(Note::normal("WaitingForModel", "Schedule", now.message.clone()))
        }
        _ => Some(Note::warning("FailedScheduling", "Schedule", format!("{}: {}", now.reason, now.message))),
    }
}
