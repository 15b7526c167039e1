//! What the hive knows of one replica: its process, if it has one, and what that is doing.

use std::{fmt, time::Duration};

use rbee_crds::{Backend, worker::Failure};
use rbee_wire::worker::Health;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::plan::FileState;

/// Time since the hive started. It never jumps, as the time of day does.
pub type Tick = Duration;

/// The uid of an Assignment: the one name that never comes again.
pub type Uid = String;

/// A process that cannot be taken for another: pids come again, a pid together with its start time does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessId {
    pub pid: u32,
    /// In the platform's own unit; only compared.
    pub start_time: u64,
}

/// A one-time secret that ties a process to the start it came from.
#[derive(Clone)]
pub struct Nonce(String);

impl Nonce {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the child's environment and the private state file.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares in constant time.
    pub fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce")
    }
}

/// Which object a replica belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    pub uid: Uid,
    pub namespace: String,
    pub name: String,
    pub worker_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_uid: Option<String>,
}

/// What a process was started with.
#[derive(Clone, Debug)]
pub struct Launched {
    pub nonce: Nonce,
    pub port: u16,
    pub template_hash: String,
    pub model_id: String,
    pub backend: Backend,
    pub device: i32,
    pub slots: i32,
    pub memory_bytes: i64,
    /// The model's file as it was then, if this hive made the process.
    pub file: Option<FileState>,
}

/// One Assignment on this hive, with or without a process.
#[derive(Clone, Debug)]
pub struct Replica {
    pub key: Key,
    /// Counts the processes started for it.
    pub incarnation: i64,
    /// How many of them were started because another one ended.
    pub restarts: i32,
    /// Failures without ten good minutes between them.
    pub failures: u32,
    pub last_failure: Option<Failure>,
    pub last_request_unix_ms: Option<u64>,
    /// No start before this.
    pub not_before: Tick,
    /// The refusal that was reported, by its reason.
    pub refused: Option<String>,
    /// No start with the same file and settings: the last process said that it cannot serve them.
    pub hopeless: Option<Hopeless>,
    /// No other try to take the finalizer away before this.
    pub release_after: Tick,
    pub launched: Option<Launched>,
    pub phase: Phase,
}

/// What a process could not be started with.
#[derive(Clone, Debug, PartialEq)]
pub struct Hopeless {
    pub reason: &'static str,
    pub message: String,
    pub template_hash: String,
    pub file: Option<FileState>,
}

/// Whether there is a process, and what is done about it.
#[derive(Clone, Debug)]
pub enum Phase {
    /// No process.
    Idle,
    /// One is being made; its pid is not known yet. It may have said already where it listens.
    Spawning { url: Option<String> },
    /// It runs as wanted.
    Running(Running),
    /// It was asked, or is forced, to end.
    Ending(Ending),
}

#[derive(Clone, Debug)]
pub struct Running {
    pub process: ProcessId,
    pub url: Option<String>,
    pub since: Tick,
    pub stage: Stage,
    pub probe: Probe,
}

/// How far a running process has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// It has not said where it listens.
    Starting,
    /// It listens and reads the weights.
    Loading { layers_loaded: u32, layers_total: u32 },
    /// It answers requests.
    Ready { since: Tick, health: Health },
    /// It said that it takes nothing on any more: it ends by itself.
    Leaving { since: Tick },
    /// Another hive started it; what it is doing is not known yet, so nothing is said about it.
    Adopted,
}

/// The health probes of a running process.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// The next one.
    pub due: Tick,
    pub in_flight: bool,
    /// The last good answer.
    pub last_good: Tick,
    /// Probes without an answer since then.
    pub failures: u32,
    /// The process is stopped by a signal, as far as the last probe saw.
    pub frozen: bool,
    pub last_error: String,
    /// The tokens that it has made, and since when that number stands.
    pub tokens: (u64, Tick),
}

impl Probe {
    /// A probe that is due at once.
    pub fn at(now: Tick) -> Self {
        Self {
            due: now,
            in_flight: false,
            last_good: now,
            failures: 0,
            frozen: false,
            last_error: String::new(),
            tokens: (0, now),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Ending {
    pub process: ProcessId,
    pub url: Option<String>,
    /// When it was asked.
    pub since: Tick,
    pub cause: Cause,
    /// When SIGKILL was sent last.
    pub killed: Option<Tick>,
}

/// Why a process has to end.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// Its Assignment is deleted or gone.
    Unwanted,
    /// Its Assignment asks for another process.
    Replaced,
    /// The hive stops.
    HiveStops,
    /// It does not do what it should.
    Broken { reason: &'static str, message: String },
}

impl Replica {
    pub fn new(key: Key) -> Self {
        Self {
            key,
            incarnation: 0,
            restarts: 0,
            failures: 0,
            last_failure: None,
            last_request_unix_ms: None,
            not_before: Tick::ZERO,
            refused: None,
            hopeless: None,
            release_after: Tick::ZERO,
            launched: None,
            phase: Phase::Idle,
        }
    }

    /// The live process, if its pid is known.
    pub fn process(&self) -> Option<ProcessId> {
        match &self.phase {
            Phase::Running(r) => Some(r.process),
            Phase::Ending(e) => Some(e.process),
            Phase::Idle | Phase::Spawning { .. } => None,
        }
    }

    /// Where the live process answers, if it has said so.
    pub fn url(&self) -> Option<&str> {
        match &self.phase {
            Phase::Running(r) => r.url.as_deref(),
            Phase::Ending(e) => e.url.as_deref(),
            Phase::Idle | Phase::Spawning { .. } => None,
        }
    }

    /// Whether a process exists or may exist.
    pub fn is_live(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }
}
