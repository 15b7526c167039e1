//! What a simulated hive's machine does: processes that start, load, serve, crash and end. Pure; time is an argument.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use kube::ResourceExt;
use rbee_crds::{
    Assignment, AssignmentState, AssignmentStatus, Backend, HiveStatus, Model, Time,
    assignment::Slots,
    hive::{Cache, CacheState, CachedModel, Device, HiveBackend},
    names, reason,
    worker::Failure,
};
use tokio::time::Instant;

/// A worker whose hive is away for so long ends by itself.
const ALONE: Duration = Duration::from_secs(60);

/// How long things take on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub start: Duration,
    pub load: Duration,
    pub drain: Duration,
    pub backoff: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { start: ms(300), load: ms(2_000), drain: ms(700), backoff: ms(1_000) }
    }
}

/// One process, or the wait before its next start.
#[derive(Clone, Debug)]
pub struct Process {
    pub name: String,
    state: AssignmentState,
    /// When the state changes by itself.
    until: Option<Instant>,
    incarnation: i64,
    restarts: i32,
    last_failure: Option<Failure>,
    slots: i32,
    port: u16,
    /// What was written last.
    pub told: Option<AssignmentStatus>,
}

/// The machine of one hive. It outlives the hive's process.
#[derive(Clone, Debug)]
pub struct Machine {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub memory_bytes: i64,
    pub backends: Vec<Backend>,
    pub pace: Pace,
    /// What looking at a path finds, by URI; nothing: there is no such file.
    pub files: BTreeMap<String, CacheState>,
    /// By uid of the Assignment.
    pub processes: BTreeMap<String, Process>,
    pub next_port: u16,
}

impl Machine {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            labels: BTreeMap::new(),
            memory_bytes: 8_000_000_000,
            backends: vec![Backend::Cpu],
            pace: Pace::default(),
            files: BTreeMap::new(),
            processes: BTreeMap::new(),
            next_port: 8001,
        }
    }

    /// The hive's process was away since then.
    pub fn was_alone(&mut self, since: Instant, now: Instant) {
        if now.duration_since(since) >= ALONE {
            self.processes.clear();
        }
    }

    /// Starts what is assigned and has no process, ends what is not wanted, lets time do the rest.
    pub fn follow(&mut self, assigned: &BTreeMap<String, Assignment>, now: Instant) {
        let port = &mut self.next_port;
        for (uid, assignment) in assigned.iter().filter(|(_, a)| a.metadata.deletion_timestamp.is_none()) {
            self.processes.entry(uid.clone()).or_insert_with(|| {
                *port += 1;
                Process {
                    name: assignment.name_any(),
                    state: AssignmentState::Pending,
                    until: Some(now),
                    incarnation: 0,
                    restarts: 0,
                    last_failure: None,
                    slots: assignment.spec.slots,
                    port: *port,
                    told: assignment.status.clone(),
                }
            });
        }
        for (uid, process) in &mut self.processes {
            let wanted = assigned.get(uid).is_some_and(|a| a.metadata.deletion_timestamp.is_none());
            if !wanted && !matches!(process.state, AssignmentState::Draining | AssignmentState::Stopped) {
                process.state = AssignmentState::Draining;
                process.until = Some(now + self.pace.drain);
            }
            process.go_on(&self.pace, now);
        }
        self.processes.retain(|uid, p| p.state != AssignmentState::Stopped || assigned.contains_key(uid));
    }

    /// When something changes by itself.
    pub fn due(&self) -> Option<Instant> {
        self.processes.values().filter_map(|p| p.until).min()
    }

    /// Ends the process with an exit code, if it runs.
    pub fn crash(&mut self, name: &str, now: Instant, at: Timestamp) {
        let running = [AssignmentState::Starting, AssignmentState::Loading, AssignmentState::Ready];
        for process in self.processes.values_mut().filter(|p| p.name == name && running.contains(&p.state)) {
            process.state = AssignmentState::Pending;
            process.until = Some(now + self.pace.backoff);
            process.restarts += 1;
            process.last_failure = Some(Failure {
                reason: reason::WORKER_CRASHED.into(),
                message: "the process ended by signal 11".into(),
                exit_code: Some(139),
                time: Timestamp::from_second(at.as_second()).ok().map(Time),
            });
        }
    }

    /// The hive's status without the condition that the queen writes.
    pub fn status(&self, models: &BTreeMap<String, Model>) -> HiveStatus {
        let device =
            || Device { index: 0, name: "simulated".into(), memory_bytes: self.memory_bytes, memory_free_bytes: None };
        let uris = models.values().map(|m| &m.spec.uri).filter(|uri| uri.starts_with("file:"));
        let found: BTreeMap<&String, CachedModel> = uris.map(|uri| (uri, self.look_at(uri))).collect();
        HiveStatus {
            version: Some(super::world::VERSION.into()),
            address: Some(format!("http://{}:9200", self.name)),
            hostname: Some(self.name.clone()),
            backends: self.backends.iter().map(|b| HiveBackend { name: *b, devices: vec![device()] }).collect(),
            cache: Some(Cache { models: found.into_values().collect(), ..Cache::default() }),
            conditions: vec![],
        }
    }

    fn look_at(&self, uri: &str) -> CachedModel {
        let state = self.files.get(uri).copied().unwrap_or(CacheState::Missing);
        let path = uri.trim_start_matches("file://");
        let (size_bytes, message) = match state {
            CacheState::Available => (Some(1_000_000), None),
            CacheState::Invalid => (None, Some(format!("{path} is not a GGUF file: it starts with \"PK\""))),
            _ => (None, Some(format!("{path}: no such file"))),
        };
        CachedModel {
            uri: uri.into(),
            revision: None,
            size_bytes,
            sha256: None,
            state,
            message,
            gguf: None,
            download: None,
        }
    }
}

impl Process {
    fn go_on(&mut self, pace: &Pace, now: Instant) {
        while let Some(at) = self.until.filter(|at| *at <= now) {
            let (state, wait) = match self.state {
                AssignmentState::Pending => {
                    self.incarnation += 1;
                    (AssignmentState::Starting, Some(pace.start))
                }
                AssignmentState::Starting => (AssignmentState::Loading, Some(pace.load)),
                AssignmentState::Loading => (AssignmentState::Ready, None),
                AssignmentState::Draining => (AssignmentState::Stopped, None),
                other => (other, None),
            };
            (self.state, self.until) = (state, wait.map(|wait| at + wait));
        }
    }

    pub fn is_gone(&self) -> bool {
        self.state == AssignmentState::Stopped
    }

    /// What the hive has to say about it.
    pub fn status(&self) -> AssignmentStatus {
        let serves = self.state == AssignmentState::Ready;
        let lives = !matches!(self.state, AssignmentState::Pending | AssignmentState::Stopped);
        AssignmentStatus {
            state: Some(self.state),
            url: serves.then(|| format!("http://127.0.0.1:{}", self.port)),
            pid: lives.then_some(100_000 + i64::from(self.port)),
            incarnation: Some(self.incarnation),
            slots: serves.then_some(Slots { total: self.slots, free: self.slots }),
            restarts: Some(self.restarts),
            last_failure: self.last_failure.clone(),
            ..AssignmentStatus::default()
        }
    }
}

/// The name of the field manager of a machine's hive.
pub fn manager(machine: &Machine) -> String {
    names::manager_hive(&machine.name)
}
