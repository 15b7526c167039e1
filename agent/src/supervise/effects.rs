//! Everything that the supervisor does to the world outside its table, behind one narrow trait.

use std::path::PathBuf;

use async_trait::async_trait;
use jiff::Timestamp;
use rbee_wire::worker::Health;

use crate::{
    adopt::state_file::Saved,
    plan::Desired,
    puller::mark::Mark,
    supervise::{
        failure::Ended,
        observe::{NotStarted, Silence},
        state::{Key, Nonce, ProcessId, Tick},
    },
};

/// A process to be made.
#[derive(Clone, Debug)]
pub struct StartOrder {
    pub desired: Desired,
    pub model: PathBuf,
    /// Of the model's file as it was when it was found to be the right one.
    pub mark: Option<Mark>,
    pub port: u16,
    pub nonce: Nonce,
}

/// A process to be asked to drain.
#[derive(Clone, Debug)]
pub struct StopOrder {
    pub key: Key,
    pub process: ProcessId,
    pub url: Option<String>,
}

/// Spawn, probe, kill, clock, disk and the two writes at the API that belong to a process.
#[async_trait]
pub trait Effects: Send + Sync + 'static {
    /// Time since the hive started.
    fn now(&self) -> Tick;
    /// The time of day.
    fn wall(&self) -> Timestamp;
    /// A secret that nobody can guess.
    fn nonce(&self) -> Nonce;
    /// Keeps the table, so that a hive that is killed in the next instant can be followed by one that knows it.
    async fn save(&self, saved: Saved);
    async fn start(&self, order: StartOrder) -> Result<ProcessId, NotStarted>;
    /// Waits for the end of a process and everything in its group.
    async fn ended(&self, key: &Key, process: ProcessId) -> Ended;
    async fn health(&self, url: &str, process: ProcessId) -> Result<Health, Silence>;
    /// Asks a process to drain and end; says nothing about whether it will.
    async fn ask_to_stop(&self, order: StopOrder);
    /// SIGKILL for the process and its group.
    fn kill(&self, process: ProcessId);
    /// Ends a worker of some earlier hive that no Assignment and no record knows.
    async fn end_stray(&self, pid: u32);
    /// Takes the process finalizer off the Assignment.
    async fn release(&self, key: &Key) -> Result<(), String>;
}
