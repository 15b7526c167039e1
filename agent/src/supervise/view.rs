//! What the hive says of its replicas: to the API in an Assignment's status, to people in lists. Pure.

use jiff::Timestamp;
use rbee_crds::{
    Assignment, AssignmentState, AssignmentStatus, Backend, Time,
    assignment::{LoadProgress, Slots},
    condition::{self, Wanted},
    hive::Download,
    reason,
    worker::Failure,
};
use rbee_wire::hive::WorkerActivity;

use crate::{
    plan::{Blocked, World},
    supervise::state::{Cause, Key, Phase, Replica, Stage},
};

/// The condition of an Assignment that says whether it answers requests.
pub const READY: &str = "Ready";

/// One replica as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaView {
    pub key: Key,
    pub model_id: String,
    pub backend: Backend,
    pub device: i32,
    /// None: nothing is known yet that would be better than what the API holds.
    pub report: Option<Report>,
    pub restarts: i32,
}

/// What goes into an Assignment's status.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub state: AssignmentState,
    pub url: Option<String>,
    pub pid: Option<u32>,
    pub incarnation: i64,
    pub slots: Option<Slots>,
    /// Requests that run or wait.
    pub in_flight: u32,
    pub load: Option<LoadProgress>,
    pub download: Option<Download>,
    pub last_request_unix_ms: Option<u64>,
    pub restarts: i32,
    pub last_failure: Option<Failure>,
    pub ready: Wanted,
}

/// The views of everything on this hive that has an Assignment or a process. `blocked` is the plan's.
pub fn views(world: &World, blocked: &std::collections::BTreeMap<String, Blocked>) -> Vec<ReplicaView> {
    world.replicas.iter().map(|(uid, replica)| view(world, replica, blocked.get(uid))).collect()
}

fn view(world: &World, replica: &Replica, blocked: Option<&Blocked>) -> ReplicaView {
    let desired = world.desired.get(&replica.key.uid);
    let launched = replica.launched.as_ref();
    let model_id = launched.map(|l| l.model_id.clone()).or_else(|| desired.map(|d| d.model_id.clone()));
    ReplicaView {
        key: replica.key.clone(),
        model_id: model_id.unwrap_or_default(),
        backend: launched.map(|l| l.backend).or_else(|| desired.map(|d| d.backend)).unwrap_or(Backend::Cpu),
        device: launched.map(|l| l.device).or_else(|| desired.map(|d| d.device)).unwrap_or(0),
        report: report(world, replica, blocked),
        restarts: replica.restarts,
    }
}

fn report(world: &World, replica: &Replica, blocked: Option<&Blocked>) -> Option<Report> {
    let wanted = world.wanted(&replica.key.uid).is_some();
    let mut report = Report {
        state: AssignmentState::Pending,
        url: replica.url().map(str::to_owned),
        pid: replica.process().map(|p| p.pid),
        incarnation: replica.incarnation,
        slots: None,
        in_flight: 0,
        load: None,
        download: None,
        last_request_unix_ms: replica.last_request_unix_ms,
        restarts: replica.restarts,
        last_failure: replica.last_failure.clone(),
        ready: Wanted::new(READY, false, reason::PENDING, ""),
    };
    let say = |state, reason: &str, message: String| (state, Wanted::new(READY, false, reason, message));
    (report.state, report.ready) = match &replica.phase {
        Phase::Idle if !wanted => say(AssignmentState::Stopped, "Stopped", "its process is gone".into()),
        Phase::Idle => not_running(replica, blocked, &mut report.download),
        Phase::Spawning { .. } => {
            say(AssignmentState::Starting, "Starting", "the worker process is being started".into())
        }
        Phase::Ending(ending) => match &ending.cause {
            Cause::Broken { reason, message } => say(AssignmentState::Draining, reason, message.clone()),
            _ => say(AssignmentState::Draining, "Draining", "it ends what it began and takes nothing on".into()),
        },
        Phase::Running(running) => match &running.stage {
            Stage::Adopted => return None,
            Stage::Starting => say(AssignmentState::Starting, "Starting", "the worker process was started".into()),
            Stage::Leaving { .. } => {
                say(AssignmentState::Draining, "Draining", "the worker was asked to drain and ends by itself".into())
            }
            Stage::Loading { layers_loaded, layers_total } => {
                let progress = LoadProgress { layers_loaded: int(*layers_loaded), layers_total: int(*layers_total) };
                report.load = (*layers_total > 0).then_some(progress);
                say(AssignmentState::Loading, "Loading", "it reads the weights".into())
            }
            Stage::Ready { health, .. } => {
                report.slots = Some(Slots { total: int(health.slots_total), free: int(health.slots_free) });
                report.in_flight = health.in_flight;
                (AssignmentState::Ready, Wanted::new(READY, true, reason::READY, "it answers requests"))
            }
        },
    };
    Some(report)
}

fn not_running(
    replica: &Replica,
    blocked: Option<&Blocked>,
    download: &mut Option<Download>,
) -> (AssignmentState, Wanted) {
    let say = |state, reason: &str, message: String| (state, Wanted::new(READY, false, reason, message));
    match blocked {
        Some(Blocked::Refused { reason, message }) => say(AssignmentState::Failed, reason, message.clone()),
        Some(Blocked::Downloading(progress)) => {
            *download = Some(progress.clone());
            say(AssignmentState::Downloading, "Downloading", "the model is being fetched".into())
        }
        Some(Blocked::Waiting(message)) => say(AssignmentState::Pending, reason::PENDING, message.clone()),
        Some(Blocked::Backoff) | None => match &replica.last_failure {
            Some(failure) => say(AssignmentState::Pending, &failure.reason, failure.message.clone()),
            None => say(AssignmentState::Pending, reason::PENDING, "waits for its start".into()),
        },
    }
}

fn int(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

impl Report {
    /// The status to be written over `current`. What did not change keeps its times, so that writing again changes nothing.
    pub fn status(&self, current: &AssignmentStatus, generation: Option<i64>, now: &Time) -> AssignmentStatus {
        AssignmentStatus {
            state: Some(self.state),
            url: self.url.clone(),
            pid: self.pid.map(i64::from),
            incarnation: Some(self.incarnation),
            slots: self.slots,
            load: self.load,
            download: self.download.clone(),
            last_request_time: self.last_request_time().or_else(|| current.last_request_time.clone()),
            restarts: Some(self.restarts),
            last_failure: self.last_failure.clone().or_else(|| current.last_failure.clone()),
            conditions: condition::set(&current.conditions, std::slice::from_ref(&self.ready), generation, now),
        }
    }

    /// Whole seconds: the API keeps no more.
    fn last_request_time(&self) -> Option<Time> {
        let seconds = i64::try_from(self.last_request_unix_ms? / 1000).ok()?;
        Timestamp::from_second(seconds).ok().map(Time)
    }

    /// What the seeds' list calls it; None where there is no process to be listed.
    pub fn activity(&self) -> Option<WorkerActivity> {
        match self.state {
            AssignmentState::Ready if self.in_flight == 0 => Some(WorkerActivity::Idle),
            AssignmentState::Ready => Some(WorkerActivity::Busy),
            AssignmentState::Draining => Some(WorkerActivity::Draining),
            AssignmentState::Starting | AssignmentState::Loading => Some(WorkerActivity::Loading),
            AssignmentState::Pending
            | AssignmentState::Downloading
            | AssignmentState::Stopped
            | AssignmentState::Failed => None,
        }
    }
}

/// Whether `new` differs from `old` in what has to be known at once; slots, progress and times can wait.
pub fn is_urgent(old: &AssignmentStatus, new: &AssignmentStatus) -> bool {
    let phase = |s: &AssignmentStatus| AssignmentStatus {
        slots: None,
        load: None,
        download: None,
        last_request_time: None,
        ..s.clone()
    };
    phase(old) != phase(new)
}

/// The status that an Assignment has, empty where it has none.
pub fn current(assignment: &Assignment) -> AssignmentStatus {
    assignment.status.clone().unwrap_or_default()
}
