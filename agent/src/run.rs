//! Puts the hive together and takes it apart in the right order.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use anyhow::Context;
use kube::{Api, runtime::watcher};
use rbee_crds::{Assignment, Hive, Model, hive::HiveBackend};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

use crate::{
    adopt::{
        socket,
        state_file::{self, Found},
    },
    config::Config,
    device, http, join,
    paths::{self, DataDir},
    puller::Puller,
    report::{
        self,
        cluster::Cluster,
        hive::{CacheReport, Reporter as HiveReporter},
    },
    supervise::{
        self, Supervisor, launch,
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
/// The data folder is another hive's or cannot be used; the queen refuses this hive.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Config {
        name,
        data_dir,
        models_dir,
        labels,
        client,
        listener,
        worker,
        environment,
        stop_workers,
        first_worker_port,
        timing,
    } = config;
    // The first caller wins; in one process with other parts it was somebody else, with the same provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let data = DataDir::open(&data_dir)?;
    let models_dir = models_dir.unwrap_or_else(|| data.models());
    paths::private_dir(&models_dir)?;
    let address = url_of(listener.local_addr().context("the hive's listener has no address")?);
    let saved = state_file::read(&data.state()).or_else(|e| match e {
        state_file::StateError::Damaged { .. } => {
            tracing::error!("{e}; workers of the earlier hive are ended when they say hello");
            Ok(state_file::Saved::default())
        }
        other => Err(other),
    })?;
    let socket_path = data.socket(saved.socket.as_deref())?;
    let socket = socket::bind(&socket_path).with_context(|| format!("cannot bind {}", socket_path.display()))?;
    let access = match join::access(client, &name, &data, &shutdown).await {
        Err(_) if shutdown.is_cancelled() => return Ok(()),
        other => other?,
    };
    let cluster = Cluster::new(access.client.clone(), &name);

    let inventories: Arc<[_]> = device::all().into();
    let (backends_in, backends) = watch::channel(device::read(&inventories));
    let (assignments_in, assignments) = watch::channel(Mirror::<Assignment>::default());
    let (models_in, models) = watch::channel(Mirror::<Model>::default());
    let (own_in, own) = watch::channel(Mirror::<Hive>::default());
    let (files_in, files) = watch::channel(Arc::new(BTreeMap::new()));
    let (cache_in, cache) = watch::channel(CacheReport::default());
    let (views_in, views) = watch::channel(Arc::new(Vec::new()));
    let (notices_in, notices) = mpsc::channel(NOTICES);

    let settings = machine::Settings {
        command: worker,
        environment: launch::environment(&environment),
        logs: data.logs(),
        state: data.state(),
        socket: socket_path.clone(),
        callback_url: format!("{address}/v1/workers/ready"),
        timing,
    };
    let effects = Arc::new(Machine::new(settings, cluster.clone()).context("cannot make an HTTP client")?);
    let world = state_file::restore(saved, Tick::ZERO, look);
    tracing::info!(hive = name, address, adopted = state_file::adopted(&world).len(), "hive started");
    let ports = supervise::Ports {
        assignments: assignments.clone(),
        files,
        backends: backends.clone(),
        views: views_in,
        notices: notices_in,
    };
    let (supervisor, handle) = Supervisor::new(effects, world, timing, first_worker_port, Some(socket_path), ports);

    // Two lives: inputs and the outer face end first, what is said about the end of the workers last.
    let (working, talking) = (CancellationToken::new(), CancellationToken::new());
    // Dropped with this future, they end with it.
    let (mut workers, mut talkers) = (JoinSet::new(), JoinSet::new());
    let client = access.client;
    let mine = watcher::Config::default().fields(&format!("spec.hiveName={name}"));
    let myself = watcher::Config::default().fields(&format!("metadata.name={name}"));
    workers.spawn(mirror(Api::all(client.clone()), mine, assignments_in, talking.clone()));
    workers.spawn(mirror(Api::all(client.clone()), watcher::Config::default(), models_in, working.clone()));
    workers.spawn(mirror(Api::all(client.clone()), myself, own_in, working.clone()));
    if let Some(renewal) = access.renewal {
        workers.spawn(renewal.run(working.clone()));
    }
    workers.spawn(read_devices(inventories, backends_in, timing.inventory, working.clone()));
    workers.spawn(keep_logs(data.logs(), working.clone()));
    let puller = Puller {
        folder: models_dir,
        models,
        assignments: assignments.clone(),
        files: files_in,
        report: cache_in,
        interval: timing.model_check,
    };
    workers.spawn(puller.run(working.clone()));
    workers.spawn(socket::serve(socket, handle.clone(), working.clone()));
    let api = http::Api {
        hive: name.clone(),
        guard: http::auth::Guard::new(client, &name, &address),
        supervisor: handle,
        views: views.clone(),
        backends: backends.clone(),
        spawner: http::Spawner { hive: name.clone(), callers: access.callers, views: views.clone() },
    };
    workers.spawn(http::serve(listener, http::router(api), working.clone()));
    let hive = HiveReporter {
        cluster: cluster.clone(),
        labels,
        address,
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        backends,
        cache,
        own,
        interval: timing.report,
    };
    workers.spawn(hive.run(working.clone()));
    talkers.spawn(report::lease::run(cluster.clone(), timing.heartbeat, talking.clone()));
    talkers.spawn(report::events::run(cluster.clone(), notices, talking.clone()));
    let reporter = report::assignments::Reporter { cluster, views, assignments, interval: timing.report };
    talkers.spawn(reporter.run(talking.clone()));

    supervisor.run(shutdown, stop_workers).await;

    let begun = Instant::now();
    talking.cancel();
    if tokio::time::timeout(LAST_WORDS, ended(talkers)).await.is_err() {
        tracing::info!("the API did not take the hive's last words");
    }
    working.cancel();
    // Nothing of value is left to any of them.
    let _ = tokio::time::timeout(LAST_WORDS, ended(workers)).await;
    tracing::info!(hive = name, seconds = begun.elapsed().as_secs_f32(), "hive stopped");
    drop(data);
    Ok(())
}

/// Waits for all of them; a panic of one is told.
async fn ended(mut tasks: JoinSet<()>) {
    while let Some(result) = tasks.join_next().await {
        if let Err(e) = result {
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

/// A listener on all addresses is called by loopback: its workers are on the same machine.
fn url_of(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    format!("http://{address}")
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

async fn keep_logs(folder: std::path::PathBuf, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(30)) => {}
        }
        let folder = folder.clone();
        if let Err(e) = tokio::task::spawn_blocking(move || machine::rotate_logs(&folder)).await {
            tracing::warn!("looking after the logs failed: {e}");
        }
    }
}
