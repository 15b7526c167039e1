//! Puts the hive together and takes it apart in the right order.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::Context;
use kube::{Api, runtime::watcher};
use rbee_crds::{Assignment, Hive, Model, hive::HiveBackend};
use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

use crate::{
    adopt::{
        socket,
        state_file::{self, Found, Saved},
    },
    config::Config,
    device, http, join,
    paths::{self, DataDir},
    plan::FileState,
    puller::Puller,
    report::{
        self,
        cluster::Cluster,
        hive::{CacheReport, Reporter as HiveReporter},
        lease::{self, LeaseError},
    },
    supervise::{
        self, Supervisor, launch, logs,
        machine::{self, Machine},
        process,
        state::{Nonce, ProcessId, Tick},
    },
    sync::{Mirror, mirror},
};

/// Events that may wait to be published.
const NOTICES: usize = 256;
/// How long the last words at the API may take when the hive ends.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Runs a hive until `shutdown`; then its workers are drained and stopped, at most 35 s, unless the configuration leaves
/// them to the next hive.
///
/// # Errors
/// The data folder is another hive's or cannot be used; the queen refuses this hive; another living hive has its name.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    // The first caller wins; in one process with other parts it was somebody else, with the same provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Ground { data, models_dir, saved, socket, socket_path } = Ground::open(&config)?;
    let Config { name, client, listener, timing, stop_workers, .. } = config;
    let access = match join::access(client, &name, &data, &shutdown).await {
        Err(_) if shutdown.is_cancelled() => return Ok(()),
        other => other?,
    };
    let cluster = Cluster::new(access.client.clone(), &name, &data.id()?);
    let granted = CancellationToken::new();
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        renewed = lease::renew(&cluster, jiff::Timestamp::now()) => match renewed {
            Ok(()) => granted.cancel(),
            Err(LeaseError::Taken(taken)) => return Err(taken.into()),
            Err(LeaseError::Cluster(e)) => tracing::warn!("the hive's lease cannot be taken yet: {e}"),
        }
    }
    let own = reachable(listener.local_addr().context("the hive's listener has no address")?);
    let address = format!("http://{own}");

    let mut lives = Lives::default();
    let watches = lives.watch_api(&access.client, &name, &granted);
    let backends = lives.watch_machine(data.logs(), timing.inventory);
    let (files, cache) = lives.look_after_models(models_dir, &watches, timing.model_check);
    if let Some(renewal) = access.renewal {
        lives.inner.spawn(renewal.run(lives.working.clone()));
    }
    let settings = machine::Settings {
        command: config.worker,
        environment: launch::environment(&config.environment),
        logs: data.logs(),
        state: data.state(),
        socket: socket_path.clone(),
        callback_url: format!("{address}/v1/workers/ready"),
        ip: own.ip(),
        timing,
    };
    let effects = Arc::new(Machine::new(settings, cluster.clone()).context("cannot make an HTTP client")?);
    let world = state_file::restore(saved, Tick::ZERO, look);
    tracing::info!(hive = name, address, adopted = state_file::adopted(&world).len(), "hive started");
    let (views_in, views) = watch::channel(Arc::new(Vec::new()));
    let (notices_in, notices) = mpsc::channel(NOTICES);
    let ports = supervise::Ports {
        assignments: watches.assignments.clone(),
        files,
        backends: backends.clone(),
        views: views_in,
        notices: notices_in,
    };
    let (supervisor, handle) =
        Supervisor::new(effects, world, timing, config.first_worker_port, Some(socket_path), ports);

    lives.inner.spawn(socket::serve(socket, handle.clone(), lives.working.clone()));
    let api = http::Api {
        hive: name.clone(),
        guard: http::auth::Guard::new(access.client, &name, &address),
        supervisor: handle,
        views: views.clone(),
        backends: backends.clone(),
        spawner: http::Spawner {
            hive: name.clone(),
            callers: access.callers,
            views: views.clone(),
            backends: backends.clone(),
        },
    };
    lives.inner.spawn(http::serve(listener, http::router(api), lives.working.clone()));
    let hive = HiveReporter {
        cluster: cluster.clone(),
        labels: config.labels,
        address,
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        backends,
        cache,
        own: watches.own,
        interval: timing.report,
    };
    let known = lives.working.child_token();
    lives.inner.spawn(once(granted.clone(), known.clone(), hive.run(known.clone())));
    let reporter = report::assignments::Reporter {
        cluster: cluster.clone(),
        views,
        assignments: watches.assignments,
        interval: timing.report,
    };
    lives.outer.spawn(reporter.run(lives.talking.clone()));
    lives.outer.spawn(report::events::run(cluster.clone(), notices, lives.talking.clone()));
    let (lost_in, lost) = oneshot::channel();
    lives.outer.spawn(lease::run(cluster, timing.heartbeat, granted, lost_in, lives.talking.clone()));

    let stop = shutdown.child_token();
    let mut supervising = Box::pin(supervisor.run(stop.clone(), stop_workers));
    let taken = tokio::select! {
        () = &mut supervising => None,
        Ok(taken) = lost => {
            tracing::error!(hive = name, "{taken}; this hive stops its workers and ends");
            // The objects are the other hive's: nothing more is said about them.
            lives.outer.abort_all();
            known.cancel();
            stop.cancel();
            supervising.await;
            Some(taken)
        }
    };
    lives.end().await;
    if let Some(taken) = taken {
        return Err(taken.into());
    }
    tracing::info!(hive = name, "hive stopped");
    drop(data);
    Ok(())
}

/// What a hive stands on, all of it on this machine: there before anybody is asked anything.
struct Ground {
    data: DataDir,
    models_dir: PathBuf,
    saved: Saved,
    socket: UnixListener,
    socket_path: PathBuf,
}

impl Ground {
    fn open(config: &Config) -> anyhow::Result<Self> {
        let data = DataDir::open(&config.data_dir)?;
        let models_dir = config.models_dir.clone().unwrap_or_else(|| data.models());
        paths::private_dir(&models_dir)?;
        let saved = match state_file::read(&data.state()) {
            Err(e @ state_file::StateError::Damaged { .. }) => {
                tracing::error!("{e}; workers of the earlier hive are ended when they say hello");
                Saved::default()
            }
            other => other?,
        };
        let socket_path = data.socket(saved.socket.as_deref())?;
        let socket = socket::bind(&socket_path).with_context(|| format!("cannot bind {}", socket_path.display()))?;
        Ok(Self { data, models_dir, saved, socket, socket_path })
    }
}

/// The API as it is watched.
struct Watches {
    assignments: watch::Receiver<Mirror<Assignment>>,
    models: watch::Receiver<Mirror<Model>>,
    own: watch::Receiver<Mirror<Hive>>,
}

/// The tasks around the supervisor, in two lives: inputs and the face to the outside, and what tells the API of the
/// workers' end, which lasts longer. Dropped with the hive's future, they end with it.
#[derive(Default)]
struct Lives {
    inner: JoinSet<()>,
    working: CancellationToken,
    outer: JoinSet<()>,
    talking: CancellationToken,
}

impl Lives {
    /// What concerns this hive alone is looked at when the name is `granted`.
    fn watch_api(&mut self, client: &kube::Client, hive: &str, granted: &CancellationToken) -> Watches {
        let (assignments_in, assignments) = watch::channel(Mirror::default());
        let (models_in, models) = watch::channel(Mirror::default());
        let (own_in, own) = watch::channel(Mirror::default());
        let every = watcher::Config::default;
        let (mine, myself) =
            (every().fields(&format!("spec.hiveName={hive}")), every().fields(&format!("metadata.name={hive}")));
        let assignments_watch = mirror(Api::all(client.clone()), mine, assignments_in, self.talking.clone());
        self.inner.spawn(once(granted.clone(), self.talking.clone(), assignments_watch));
        self.inner.spawn(mirror(Api::all(client.clone()), every(), models_in, self.working.clone()));
        self.inner.spawn(mirror(Api::all(client.clone()), myself, own_in, self.working.clone()));
        Watches { assignments, models, own }
    }

    fn watch_machine(&mut self, logs: PathBuf, interval: Duration) -> watch::Receiver<Vec<HiveBackend>> {
        let inventories: Arc<[_]> = device::all().into();
        let (sender, backends) = watch::channel(device::read(&inventories));
        self.inner.spawn(read_devices(inventories, sender, interval, self.working.clone()));
        self.inner.spawn(keep_logs(logs, self.working.clone()));
        backends
    }

    fn look_after_models(
        &mut self,
        folder: PathBuf,
        watches: &Watches,
        interval: Duration,
    ) -> (watch::Receiver<Arc<BTreeMap<String, FileState>>>, watch::Receiver<CacheReport>) {
        let (files_in, files) = watch::channel(Arc::new(BTreeMap::new()));
        let (report, cache) = watch::channel(CacheReport::default());
        let (models, assignments) = (watches.models.clone(), watches.assignments.clone());
        let puller = Puller { folder, models, assignments, files: files_in, report, interval };
        self.inner.spawn(puller.run(self.working.clone()));
        (files, cache)
    }

    async fn end(self) {
        self.talking.cancel();
        if tokio::time::timeout(LAST_WORDS, ended(self.outer)).await.is_err() {
            tracing::info!("the API did not take the hive's last words");
        }
        self.working.cancel();
        // Nothing of value is left to any of them.
        let _ = tokio::time::timeout(LAST_WORDS, ended(self.inner)).await;
    }
}

/// Does the task once `granted` is set off, unless `end` comes before.
async fn once(granted: CancellationToken, end: CancellationToken, task: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = granted.cancelled() => task.await,
        () = end.cancelled() => {}
    }
}

/// Waits for all of them; a panic of one is told.
async fn ended(mut tasks: JoinSet<()>) {
    while let Some(result) = tasks.join_next().await {
        if let Some(e) = result.err().filter(|e| e.is_panic()) {
            tracing::error!("a part of the hive failed: {e}");
        }
    }
}

/// What became of a process that an earlier hive recorded.
fn look(recorded: Option<ProcessId>, nonce: &Nonce) -> Found {
    let alive = match recorded {
        Some(process) => process::is_alive(process).then_some(process),
        None => process::find_by_nonce(nonce.reveal()),
    };
    alive.map_or(Found::Gone, Found::Alive)
}

/// A listener on all addresses is called by loopback: its workers are on the same machine, and are reached from there only.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    address
}

async fn read_devices(
    inventories: Arc<[Box<dyn device::Inventory>]>,
    backends: watch::Sender<Vec<HiveBackend>>,
    interval: Duration,
    shutdown: CancellationToken,
) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        let read = device::read(&inventories);
        backends.send_if_modified(|old| {
            let changed = *old != read;
            *old = read;
            changed
        });
    }
}

async fn keep_logs(folder: PathBuf, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(30)) => {}
        }
        let folder = folder.clone();
        let tidied = tokio::task::spawn_blocking(move || logs::tidy(&folder)).await;
        if let Err(e) = tidied.map_err(std::io::Error::other).and_then(|t| t) {
            tracing::warn!("cannot look after the logs: {e}");
        }
    }
}
