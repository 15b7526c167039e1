//! What a hive is told at its start; every default of the hive lives here.

use std::{collections::BTreeMap, ffi::OsString, fmt, path::PathBuf, sync::Arc, time::Duration};

use rbee_wire::token::Token;
use tokio::net::TcpListener;

/// Everything that a hive needs. Arguments and environment were read by the caller.
pub struct Config {
    /// The Hive object's name: a DNS-1123 subdomain.
    pub name: String,
    /// Its folder; made with mode 0700 if it is not there. One hive per folder.
    pub data_dir: PathBuf,
    /// Where models are kept that are not files of the machine; `models` in the data folder when not given. Hives and
    /// one-shot commands may share it.
    pub models_dir: Option<PathBuf>,
    /// Labels of the Hive object.
    pub labels: BTreeMap<String, String>,
    pub client: ClientSource,
    /// Where its HTTP API answers.
    pub listener: TcpListener,
    pub worker: WorkerCommand,
    /// The caller's own environment; workers get an allow-list of it.
    pub environment: Vec<(OsString, OsString)>,
    /// Whether a stop of the hive drains and stops its workers. False leaves them to the next hive.
    pub stop_workers: bool,
    /// The first port that a worker is given; each next worker gets the next free one.
    pub first_worker_port: u16,
    pub timing: Timing,
}

impl Config {
    /// The first port of workers when nothing else is said.
    pub const FIRST_WORKER_PORT: u16 = 8001;
}

/// The executable that becomes a worker, and what stands before the hive's own arguments.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    pub exe: PathBuf,
    pub args: Vec<OsString>,
}

impl WorkerCommand {
    /// `EXE worker …`
    pub fn subcommand_of(exe: PathBuf) -> Self {
        Self { exe, args: vec!["worker".into()] }
    }
}

/// Makes a client that acts with the bearer token of somebody who called this hive.
pub type CallerClients = Arc<dyn Fn(&str) -> anyhow::Result<kube::Client> + Send + Sync>;

/// How the hive reaches the API.
pub enum ClientSource {
    /// A client that is there already: the API server of the same process.
    Given {
        client: kube::Client,
        /// For `POST /v1/workers/spawn`.
        callers: CallerClients,
    },
    /// A kubeconfig's cluster and user.
    Kubernetes(Box<kube::Config>),
    /// A queen elsewhere: the token is traded for an identity of this hive at first use. Without a token the identity
    /// of an earlier start must be in the data folder.
    Remote { queen_url: String, token: Option<Token> },
}

impl fmt::Debug for ClientSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given { .. } => "Given",
            Self::Kubernetes(_) => "Kubernetes",
            Self::Remote { .. } => "Remote",
        })
    }
}

/// How often and how long. The defaults are the behaviour contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two renewals of the hive's Lease.
    pub heartbeat: Duration,
    /// At least so long between two writes of slots, progress and last request of one Assignment.
    pub report: Duration,
    /// Between two looks at the files of `file:` models.
    pub model_check: Duration,
    /// Between two readings of free memory.
    pub inventory: Duration,
    /// Between two health probes of a worker with requests in flight.
    pub probe_busy: Duration,
    /// Between two health probes of a worker without.
    pub probe_idle: Duration,
    /// Between two health probes of a worker that loads, and after one that failed.
    pub probe_fast: Duration,
    /// How long one probe may take.
    pub probe_timeout: Duration,
    /// A worker without requests that answered nothing for so long is killed.
    pub silence_idle: Duration,
    /// A worker whose requests made no token for so long is killed. Its own limit is 60 s: it ends them before.
    pub stall: Duration,
    /// From the start of a process to the moment when it says where it listens.
    pub start_limit: Duration,
    /// From the start of a process to Ready.
    pub load_limit: Duration,
    /// An adopted process that does not answer within so long is killed.
    pub adopt_limit: Duration,
    /// From the request to stop to SIGKILL; 30 s of it are the worker's to drain.
    pub stop_limit: Duration,
    /// Wait before the first new start after a failure; doubles with each failure.
    pub backoff_first: Duration,
    pub backoff_max: Duration,
    /// Ready for so long, and earlier failures are forgotten.
    pub healthy_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            heartbeat: secs(10),
            report: secs(10),
            model_check: secs(10),
            inventory: secs(5),
            probe_busy: secs(5),
            probe_idle: secs(10),
            probe_fast: secs(1),
            probe_timeout: secs(4),
            silence_idle: secs(60),
            stall: secs(75),
            start_limit: secs(30),
            load_limit: secs(300),
            adopt_limit: secs(15),
            stop_limit: secs(35),
            backoff_first: secs(1),
            backoff_max: secs(300),
            healthy_after: secs(600),
        }
    }
}
