//! What the hive learns of its processes, and how that changes the table. Pure.

use jiff::Timestamp;
use rbee_crds::{Time, reason, worker::Failure};
use rbee_wire::worker::{Health, WorkerState};

use crate::{
    config::Timing,
    plan::World,
    supervise::{
        backoff,
        failure::{self, Ended, Exit},
        state::{Cause, Ending, Hopeless, Key, Phase, Probe, ProcessId, Replica, Running, Stage, Tick, Uid},
    },
};

/// Something that happened. What is about a process of the past is told by its incarnation or id, and changes nothing.
#[derive(Debug)]
pub enum Observation {
    /// The process was made.
    Spawned {
        uid: Uid,
        incarnation: i64,
        process: ProcessId,
    },
    /// It could not be made.
    NotSpawned {
        uid: Uid,
        incarnation: i64,
        why: NotStarted,
    },
    /// It said where it listens.
    Located {
        uid: Uid,
        url: String,
    },
    /// It said that it is ready.
    SaysReady {
        uid: Uid,
        url: String,
    },
    Probed {
        uid: Uid,
        process: ProcessId,
        answer: Result<Health, Silence>,
    },
    Ended {
        uid: Uid,
        process: ProcessId,
        ended: Ended,
    },
    /// The finalizer could not be taken away.
    NotReleased {
        uid: Uid,
    },
}

/// Why no process was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotStarted {
    /// Something that another part provides is not there yet; this is no failure of the worker.
    NotYet(String),
    /// The executable cannot be run.
    Failed(String),
}

/// A health probe without a good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    pub error: String,
    /// A signal has stopped the process.
    pub frozen: bool,
}

/// Something worth an Event.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub key: Key,
    pub warning: bool,
    pub reason: String,
    pub message: String,
}

/// When something is observed.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    pub now: Tick,
    /// The time of day.
    pub at: Timestamp,
    pub timing: &'a Timing,
}

/// Takes one observation into the table.
pub fn observe(world: &mut World, seen: Observation, moment: Moment<'_>) -> Vec<Notice> {
    let Moment { now, timing, .. } = moment;
    match seen {
        Observation::Spawned { uid, incarnation, process } => {
            if let Some(replica) = world.replica_mut(&uid, incarnation)
                && let Phase::Spawning { url } = &mut replica.phase
            {
                let url = url.take();
                let loading = Stage::Loading { layers_loaded: 0, layers_total: 0 };
                let stage = if url.is_some() { loading } else { Stage::Starting };
                replica.phase = Phase::Running(Running { process, url, since: now, stage, probe: Probe::at(now) });
            }
            vec![]
        }
        Observation::NotSpawned { uid, incarnation, why } => not_spawned(world, &uid, incarnation, why, moment),
        Observation::Located { uid, url } => {
            located(world, &uid, url, now);
            vec![]
        }
        Observation::SaysReady { uid, url } => {
            located(world, &uid, url, now);
            if let Some(Phase::Running(running)) = world.replicas.get_mut(&uid).map(|r| &mut r.phase) {
                running.probe.due = now;
            }
            vec![]
        }
        Observation::Probed { uid, process, answer } => probed(world, &uid, process, answer, moment),
        Observation::Ended { uid, process, ended } => gone(world, &uid, process, ended, moment),
        Observation::NotReleased { uid } => {
            if let Some(replica) = world.replicas.get_mut(&uid) {
                replica.release_after = now + timing.backoff_first;
            }
            vec![]
        }
    }
}

fn not_spawned(world: &mut World, uid: &str, incarnation: i64, why: NotStarted, moment: Moment<'_>) -> Vec<Notice> {
    let Moment { now, at, timing } = moment;
    let Some(replica) = world.replica_mut(uid, incarnation).filter(|r| matches!(r.phase, Phase::Spawning { .. }))
    else {
        return vec![];
    };
    replica.phase = Phase::Idle;
    match why {
        NotStarted::NotYet(message) => {
            // No process was made, so the number is free again.
            replica.incarnation -= 1;
            replica.not_before = now + timing.backoff_first;
            tracing::debug!(assignment = replica.key.name, "not started yet: {message}");
            vec![]
        }
        NotStarted::Failed(message) => {
            let reason = reason::WORKER_START_FAILED.to_owned();
            fail(replica, Failure { reason, message, exit_code: None, time: Some(Time(at)) }, None, moment)
        }
    }
}

fn located(world: &mut World, uid: &str, url: String, now: Tick) {
    let running = match world.replicas.get_mut(uid).map(|r| &mut r.phase) {
        Some(Phase::Running(running)) => running,
        Some(Phase::Spawning { url: said }) => {
            *said = Some(url);
            return;
        }
        _ => return,
    };
    if running.stage == Stage::Starting {
        running.stage = Stage::Loading { layers_loaded: 0, layers_total: 0 };
    }
    if running.url.as_deref() != Some(url.as_str()) {
        running.url = Some(url);
        running.probe.due = now;
    }
}

fn probed(
    world: &mut World,
    uid: &str,
    process: ProcessId,
    answer: Result<Health, Silence>,
    moment: Moment<'_>,
) -> Vec<Notice> {
    let Moment { now, timing, .. } = moment;
    let Some(replica) = world.replicas.get_mut(uid) else { return vec![] };
    let key = replica.key.clone();
    let Phase::Running(running) = &mut replica.phase else { return vec![] };
    if running.process != process {
        return vec![];
    }
    running.probe.in_flight = false;
    let health = match answer {
        Ok(health) => health,
        Err(silence) => {
            running.probe.failures = running.probe.failures.saturating_add(1);
            running.probe.frozen = silence.frozen;
            running.probe.last_error = silence.error;
            running.probe.due = now + timing.probe_fast;
            return vec![];
        }
    };
    replica.last_request_unix_ms = health.last_request_unix_ms.or(replica.last_request_unix_ms);
    let adopted = running.stage == Stage::Adopted;
    let tokens = match running.probe.tokens {
        same if same.0 == health.tokens_total && health.in_flight > 0 => same,
        _ => (health.tokens_total, now),
    };
    running.probe = Probe { tokens, ..Probe::at(now) };
    running.probe.due = now
        + match (health.state, health.in_flight) {
            (WorkerState::Ready, 0) => timing.probe_idle,
            (WorkerState::Ready, _) => timing.probe_busy,
            _ => timing.probe_fast,
        };
    running.stage = match health.state {
        WorkerState::Ready => {
            let since = if let Stage::Ready { since, .. } = running.stage { since } else { now };
            Stage::Ready { since, health }
        }
        WorkerState::Loading => {
            Stage::Loading { layers_loaded: health.layers_loaded, layers_total: health.layers_total }
        }
        WorkerState::Draining | WorkerState::Failed => match running.stage {
            Stage::Leaving { since } => Stage::Leaving { since },
            _ => Stage::Leaving { since: now },
        },
    };
    if !adopted {
        return vec![];
    }
    let message =
        format!("worker process {} of {} goes on: the hive started again and took it over", process.pid, key.name);
    vec![Notice { key, warning: false, reason: reason::WORKER_ADOPTED.into(), message }]
}

fn gone(world: &mut World, uid: &str, process: ProcessId, ended: Ended, moment: Moment<'_>) -> Vec<Notice> {
    let Moment { now, at, timing } = moment;
    let Some(replica) = world.replicas.get_mut(uid).filter(|r| r.process() == Some(process)) else { return vec![] };
    match std::mem::replace(&mut replica.phase, Phase::Idle) {
        Phase::Running(running) => {
            let healthy = match &running.stage {
                Stage::Ready { since, .. } => Some(now.saturating_sub(*since)),
                Stage::Adopted | Stage::Leaving { .. } => Some(Tick::ZERO),
                Stage::Starting | Stage::Loading { .. } => None,
            };
            if let Some(reason) = ended.last_word().filter(|_| healthy.is_none()) {
                return hopeless(replica, reason, failure::crashed(&ended, process.pid, false, Time(at)));
            }
            replica.restarts = replica.restarts.saturating_add(1);
            if ended.exit == Exit::Code(0) {
                // Somebody asked it to drain. It is wanted, so another one is started.
                replica.not_before = now + timing.backoff_first;
                let message = format!(
                    "worker process {} of {} drained and ended; another one is started",
                    process.pid, replica.key.name
                );
                return vec![Notice {
                    key: replica.key.clone(),
                    warning: false,
                    reason: "WorkerStopped".into(),
                    message,
                }];
            }
            let failure = failure::crashed(&ended, process.pid, healthy.is_some(), Time(at));
            fail(replica, failure, healthy, moment)
        }
        Phase::Ending(ending) => after_ending(replica, ending, &ended, moment),
        Phase::Idle | Phase::Spawning { .. } => vec![],
    }
}

/// Notes a failure that comes again with every start, until the file is another one.
fn hopeless(replica: &mut Replica, reason: &'static str, failure: Failure) -> Vec<Notice> {
    let message = format!("{}: {}; it is started again when the file changes", replica.key.name, failure.message);
    replica.hopeless = replica.launched.as_ref().map(|launched| Hopeless {
        reason,
        message: failure.message.clone(),
        template_hash: launched.template_hash.clone(),
        file: launched.file.clone(),
    });
    replica.refused = Some(reason.to_owned());
    replica.last_failure = Some(failure);
    vec![Notice { key: replica.key.clone(), warning: true, reason: reason.into(), message }]
}

fn after_ending(replica: &mut Replica, ending: Ending, ended: &Ended, moment: Moment<'_>) -> Vec<Notice> {
    let Moment { now, at, timing } = moment;
    match ending.cause {
        Cause::Broken { reason, message } => {
            replica.restarts = replica.restarts.saturating_add(1);
            let message =
                failure::with_tail(format!("{message}; process {} was killed", ending.process.pid), &ended.log_tail);
            let failure =
                Failure { reason: reason.into(), message, exit_code: ended.exit.code(), time: Some(Time(at)) };
            fail(replica, failure, None, moment)
        }
        Cause::Unwanted | Cause::Replaced | Cause::HiveStops => {
            replica.not_before = now;
            if ending.killed.is_none() {
                return vec![];
            }
            let waited = timing.stop_limit.as_secs();
            let message = format!(
                "worker process {} of {} did not end within {waited} s after it was asked to; it was killed",
                ending.process.pid, replica.key.name
            );
            vec![Notice { key: replica.key.clone(), warning: true, reason: reason::WORKER_KILLED.into(), message }]
        }
    }
}

/// Notes a failure and sets the time of the next try.
fn fail(replica: &mut Replica, failure: Failure, healthy: Option<Tick>, moment: Moment<'_>) -> Vec<Notice> {
    let Moment { now, timing, .. } = moment;
    replica.failures = backoff::count(replica.failures, healthy, timing);
    let wait = backoff::delay(replica.failures, timing);
    replica.not_before = now + wait;
    let message = format!("{}: {}; next start in {} s", replica.key.name, failure.message, wait.as_secs());
    let notice = Notice { key: replica.key.clone(), warning: true, reason: failure.reason.clone(), message };
    replica.last_failure = Some(failure);
    vec![notice]
}
