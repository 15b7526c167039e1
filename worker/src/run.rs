//! A worker's life: bind, load, serve, drain.

use crate::config::{Config, HiveLink, PORT_TRIES};
use crate::http::{App, KeyDigest, Phase, Served, serve};
use crate::liveness;
use crate::model::{self, Model, ModelError};
use crate::scheduler::{Scheduler, Stats};
use rbee_engine::{Engine, Progress};
use rbee_wire::ErrorCode;
use rbee_wire::worker::{Hello, LoadingProgress, LoadingStage, ReadyCallback};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Running requests have so long to end once the worker drains.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// Without a hive for so long the worker drains; 60 s after its hive it has to be gone.
const HIVE_PATIENCE: Duration = Duration::from_secs(50);
/// A request without a computed token for so long is ended.
const STALL: Duration = Duration::from_secs(60);

/// Why a worker ended badly.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen on {addr} or the {PORT_TRIES} ports after it: {source}; choose another --port")]
    Bind { addr: SocketAddr, source: io::Error },
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("the engine crashed; see the lines above")]
    EngineCrashed,
}

impl RunError {
    /// What a hive is told by the last line on stderr, where that says more than that the worker failed.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Model(error) => Some(error.kind.code()),
            Self::Bind { .. } | Self::Thread(_) | Self::EngineCrashed => None,
        }
    }
}

/// Serves one model until `shutdown`, a shutdown request or the loss of the hive; then drains and comes back.
///
/// # Errors
/// When the port, the model or the engine fails. Every error means exit code 1.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    let (listener, addr) = bind(config.listen).await?;
    eprintln!("listening on http://{addr}");
    run_on(listener, addr, config, shutdown).await
}

async fn run_on(
    listener: TcpListener,
    addr: SocketAddr,
    config: Config,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let url = format!("http://{addr}");
    let drain = shutdown.child_token();
    let stop = CancellationToken::new();
    let (phase, phase_seen) = watch::channel(Phase::Loading);
    let (progress, progress_seen) = watch::channel(nothing_loaded());
    let app = Arc::new(App {
        model_ref: config.model_ref.clone(),
        url: url.clone(),
        started: jiff::Timestamp::now().as_second(),
        slots: config.slots as u32,
        key: config.api_key.as_ref().map(|k| KeyDigest::new(k.reveal())),
        phase: phase_seen,
        progress: progress_seen,
        stats: Arc::new(Stats::default()),
        requests: TaskTracker::new(),
        drain: drain.clone(),
        stall: STALL,
    });
    let server = tokio::spawn(serve(listener, app.clone(), stop.clone()));
    let link = tokio::spawn(hold_hive(config.hive.clone(), config.worker_id.clone(), url.clone(), drain.clone()));
    let result = work(&config, &app, &url, phase, progress).await;
    link.abort();
    stop.cancel();
    let _ = server.await;
    result
}

/// From loading to the end of draining.
async fn work(
    config: &Config,
    app: &App,
    url: &str,
    phase: watch::Sender<Phase>,
    progress: watch::Sender<LoadingProgress>,
) -> Result<(), RunError> {
    let loading = start_loading(config, progress)?;
    let loaded = tokio::select! {
        loaded = loading => loaded,
        () = app.drain.cancelled() => return Ok(()),
    };
    let (engine, model) = match loaded {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(error)) => {
            phase.send_replace(Phase::Failed);
            return Err(error.into());
        }
        Err(_) => return Err(RunError::EngineCrashed),
    };
    let memory_bytes = model.memory_bytes;
    let crashed = CancellationToken::new();
    let alarm = crashed.clone();
    let scheduler = Scheduler::start(engine, model.tokenizer.clone(), app.stats.clone(), move || alarm.cancel());
    let served = Arc::new(Served { model, scheduler: scheduler.map_err(RunError::Thread)? });
    phase.send_replace(Phase::Ready(served.clone()));
    tracing::info!(model = %config.model_ref, slots = config.slots, "ready");
    let callback = config.hive.callback_url.clone().map(|to| {
        let callback = ReadyCallback {
            worker_id: config.worker_id.clone(),
            url: url.to_owned(),
            model_ref: config.model_ref.clone(),
            backend: config.backend.clone(),
            device: config.device,
            memory_bytes,
        };
        let nonce = config.hive.nonce.clone();
        tokio::spawn(async move { liveness::report_ready(&to, nonce.as_ref(), &callback).await })
    });
    let ended = tokio::select! {
        () = crashed.cancelled() => Err(RunError::EngineCrashed),
        () = app.drain.cancelled() => Ok(()),
    };
    if let Some(task) = callback {
        task.abort();
    }
    if ended.is_err() {
        phase.send_replace(Phase::Failed);
        return ended;
    }
    drain(app, &phase, served, DRAIN_TIME).await;
    Ok(())
}

/// Refuses new requests and waits for the running ones.
pub(crate) async fn drain(app: &App, phase: &watch::Sender<Phase>, served: Arc<Served>, time: Duration) {
    phase.send_replace(Phase::Draining(served));
    app.requests.close();
    tracing::info!(in_flight = app.requests.len(), "draining");
    if tokio::time::timeout(time, app.requests.wait()).await.is_err() {
        tracing::warn!(in_flight = app.requests.len(), "requests did not end in time and are cut off");
    }
}

type Loaded = Result<(Box<dyn Engine>, Model), ModelError>;

/// Loads on a thread of its own, which an early end of the process does not wait for.
fn start_loading(
    config: &Config,
    progress: watch::Sender<LoadingProgress>,
) -> Result<oneshot::Receiver<Loaded>, RunError> {
    let (sender, receiver) = oneshot::channel();
    let config = config.clone();
    let load = move || {
        let loaded = model::load(&config, &mut |p: Progress| {
            progress.send_replace(LoadingProgress {
                stage: LoadingStage::LoadingWeights,
                layers_loaded: p.layers_loaded as u32,
                layers_total: p.layers_total as u32,
                bytes: p.bytes,
                bytes_total: p.bytes_total,
            });
        });
        let stage = if loaded.is_ok() { LoadingStage::Ready } else { LoadingStage::Failed };
        progress.send_modify(|p| p.stage = stage);
        let _ = sender.send(loaded);
    };
    std::thread::Builder::new().name("load".into()).spawn(load).map_err(RunError::Thread)?;
    Ok(receiver)
}

fn nothing_loaded() -> LoadingProgress {
    LoadingProgress { stage: LoadingStage::Header, layers_loaded: 0, layers_total: 0, bytes: 0, bytes_total: 0 }
}

async fn hold_hive(hive: HiveLink, worker_id: String, url: String, drain: CancellationToken) {
    let Some(socket) = hive.socket else { return };
    let nonce = hive.nonce.map(|n| n.reveal().to_owned()).unwrap_or_default();
    let hello = Hello { nonce, worker_id, pid: std::process::id(), url };
    liveness::hold(&socket, &hello, HIVE_PATIENCE).await;
    drain.cancel();
}

/// The wanted port, or the next one that is free.
async fn bind(wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), RunError> {
    let last = if wanted.port() == 0 { 0 } else { wanted.port().saturating_add(PORT_TRIES) };
    for port in wanted.port()..=last {
        let addr = SocketAddr::new(wanted.ip(), port);
        match TcpListener::bind(addr).await {
            Ok(listener) => {
                let addr = listener.local_addr().map_err(|source| RunError::Bind { addr, source })?;
                return Ok((listener, addr));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && port < last => {}
            Err(source) => return Err(RunError::Bind { addr: wanted, source }),
        }
    }
    Err(RunError::Bind { addr: wanted, source: io::ErrorKind::AddrInUse.into() })
}

#[cfg(test)]
mod tests;
