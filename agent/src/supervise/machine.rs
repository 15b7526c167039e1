//! The real effects: processes of this machine, files of the hive's folder, HTTP to workers, writes at the API.

use std::{
    collections::HashMap,
    ffi::OsString,
    net::IpAddr,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use async_trait::async_trait;
use jiff::Timestamp;
use rbee_wire::worker::Health;
use tokio::process::Child;

use crate::{
    adopt::state_file::{self, Saved},
    config::{Timing, WorkerCommand},
    puller::mark::Mark,
    report::cluster::{Cluster, WorkerKey},
    supervise::{
        effects::{Effects, StartOrder, StopOrder},
        failure::{self, Ended, Exit},
        launch, logs,
        observe::{NotStarted, Silence},
        process::{self, Program},
        state::{Key, Nonce, ProcessId, Tick},
    },
};

/// What the machine needs to know.
pub struct Settings {
    pub command: WorkerCommand,
    /// What workers get of the hive's environment.
    pub environment: Vec<(OsString, OsString)>,
    pub logs: PathBuf,
    pub state: PathBuf,
    pub socket: PathBuf,
    pub callback_url: String,
    /// Where workers listen.
    pub ip: IpAddr,
    pub timing: Timing,
}

/// This machine.
pub struct Machine {
    settings: Settings,
    cluster: Cluster,
    http: reqwest::Client,
    begun: Instant,
    /// Children that nobody waits for yet, and what is needed when they end. Never held across an await.
    children: Mutex<HashMap<ProcessId, Started>>,
    /// Keys of the workers that were started, for their stop. Never held across an await.
    keys: Mutex<HashMap<String, WorkerKey>>,
}

struct Started {
    child: Child,
    log_begin: u64,
    out_of_memory_kills: Option<u64>,
}

impl Machine {
    /// # Errors
    /// If no HTTP client can be made.
    pub fn new(settings: Settings, cluster: Cluster) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
        let (children, keys) = Default::default();
        Ok(Self { settings, cluster, http, begun: Instant::now(), children, keys })
    }

    fn remember(&self, uid: &str, key: WorkerKey) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), key);
    }

    fn remembered(&self, uid: &str) -> Option<WorkerKey> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }

    fn program(&self, order: &StartOrder, key: &WorkerKey, log: std::fs::File) -> Program {
        let Settings { command, environment, socket, callback_url, ip, .. } = &self.settings;
        let hive = launch::HiveAddress { ip: *ip, callback_url, socket };
        let mut environment = environment.clone();
        environment.push(("RBEE_API_KEY".into(), key.reveal().into()));
        environment.push(("RBEE_NONCE".into(), order.nonce.reveal().into()));
        let args = launch::arguments(command, &order.desired, &order.model, order.port, &hive);
        Program { exe: command.exe.clone(), args, environment, log }
    }

    async fn shut_down(&self, url: &str, key: &WorkerKey) -> Result<(), String> {
        let url = format!("{}/v1/shutdown", url.trim_end_matches('/'));
        let request = self.http.post(url).bearer_auth(key.reveal()).timeout(self.settings.timing.probe_timeout);
        let answer = request.send().await.map_err(|e| e.without_url().to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("HTTP {}", answer.status().as_u16())) }
    }
}

#[async_trait]
impl Effects for Machine {
    fn now(&self) -> Tick {
        self.begun.elapsed()
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn nonce(&self) -> Nonce {
        Nonce::new(hex::encode(rand::random::<[u8; 32]>()))
    }

    async fn save(&self, saved: Saved) {
        let path = self.settings.state.clone();
        let written = tokio::task::spawn_blocking(move || state_file::write(&path, &saved)).await;
        if let Err(e) = written.map_err(std::io::Error::other).and_then(|w| w) {
            tracing::error!(path = %self.settings.state.display(), "cannot keep the table of processes: {e}");
        }
    }

    async fn start(&self, order: StartOrder) -> Result<ProcessId, NotStarted> {
        let key = self.cluster.worker_key(&order.desired.key).await.map_err(NotStarted::NotYet)?;
        if order.mark.is_some() && Mark::of(std::slice::from_ref(&order.model)) != order.mark {
            return Err(NotStarted::NotYet(format!("{} has just changed", order.model.display())));
        }
        let path = logs::path(&self.settings.logs, &order.desired.key);
        let (log, log_begin) = logs::open(&path)
            .map_err(|e| NotStarted::Failed(format!("cannot open the log {}: {e}", path.display())))?;
        let out_of_memory_kills = process::out_of_memory_kills();
        let exe = &self.settings.command.exe;
        let (child, process) = process::spawn(self.program(&order, &key, log))
            .map_err(|e| NotStarted::Failed(format!("cannot run the worker executable {}: {e}", exe.display())))?;
        tracing::info!(assignment = order.desired.key.name, pid = process.pid, "worker started");
        self.remember(&order.desired.key.uid, key);
        let started = Started { child, log_begin, out_of_memory_kills };
        self.children.lock().unwrap_or_else(PoisonError::into_inner).insert(process, started);
        Ok(process)
    }

    async fn ended(&self, key: &Key, process: ProcessId) -> Ended {
        let started = self.children.lock().unwrap_or_else(PoisonError::into_inner).remove(&process);
        let log = logs::path(&self.settings.logs, key);
        let (exit, begin, before) = match started {
            Some(started) => {
                let exit = process::wait_child(started.child, process).await;
                (exit, started.log_begin, started.out_of_memory_kills)
            }
            None => {
                process::wait_other(process).await;
                (Exit::Unknown, 0, None)
            }
        };
        let out_of_memory = before.zip(process::out_of_memory_kills()).is_some_and(|(before, after)| after > before);
        // A log that cannot be read has no last lines to show.
        let log_end = logs::end(&log, begin).unwrap_or_default();
        let (log_tail, said) = (failure::tail(&log_end), failure::said(&log_end));
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&key.uid);
        tracing::info!(assignment = key.name, pid = process.pid, ?exit, "worker ended");
        Ended { exit, out_of_memory, log_tail, said }
    }

    async fn health(&self, url: &str, process: ProcessId) -> Result<Health, Silence> {
        let at = format!("{}/health", url.trim_end_matches('/'));
        let asked = async {
            let answer = self.http.get(at).timeout(self.settings.timing.probe_timeout).send().await?;
            answer.error_for_status()?.json::<Health>().await
        };
        asked.await.map_err(|e: reqwest::Error| {
            let error = if e.is_timeout() { "timed out".to_owned() } else { e.without_url().to_string() };
            Silence { error, frozen: process::is_frozen(process) }
        })
    }

    async fn ask_to_stop(&self, order: StopOrder) {
        // Its Secret may be gone together with its Worker; then a signal says the same.
        let key = match self.remembered(&order.key.uid) {
            Some(key) => Some(key),
            None if order.url.is_some() => self.cluster.worker_key(&order.key).await.ok(),
            None => None,
        };
        if let (Some(url), Some(key)) = (&order.url, key) {
            match self.shut_down(url, &key).await {
                Ok(()) => return,
                Err(e) => tracing::info!(assignment = order.key.name, "shutdown request failed ({e}); sending SIGTERM"),
            }
        }
        process::terminate(order.process);
    }

    fn kill(&self, process: ProcessId) {
        process::kill(process);
    }

    async fn end_stray(&self, pid: u32) {
        let Some(start_time) = process::start_time(pid).filter(|_| process::leads_group(pid)) else { return };
        let process = ProcessId { pid, start_time };
        process::terminate(process);
        tokio::select! {
            () = process::wait_other(process) => {}
            () = tokio::time::sleep(self.settings.timing.stop_limit) => process::kill(process),
        }
    }

    async fn release(&self, key: &Key) -> Result<(), String> {
        self.cluster.release(key).await
    }
}
