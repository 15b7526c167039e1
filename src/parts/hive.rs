//! `rbee hive`: the node agent; without a queen to join it is `rbee up`.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context, Result, bail};
use rbee_agent::{CallerClients, ClientSource, Timing, WorkerCommand};
use rbee_apiserver::Identity;
use rbee_wire::token::Token;

use tokio::net::TcpListener;

use super::{
    Part,
    api::{self, Embedded},
    bind,
    queen::host_name,
    up,
};
use crate::{
    cli::{self, HiveCommon},
    home::{self, Home},
    signals,
};

/// Runs until it is asked to end or fails.
pub async fn run(args: cli::Hive, home: &Home) -> Result<ExitCode> {
    let folder = args.data_dir.unwrap_or_else(|| home.hive());
    let token = match (args.token, args.token_file) {
        (Some(token), _) => Some(token),
        (None, Some(file)) => Some(read_token(&file)?),
        (None, None) => None,
    };
    let client = match (args.queen, args.cluster.kubeconfig) {
        (Some(queen_url), _) => ClientSource::Remote { queen_url, token },
        (None, Some(file)) => ClientSource::Kubernetes(Box::new(api::kubeconfig(&file, args.cluster.context).await?)),
        (None, None) => return up::run_with(args.listen, args.hive, folder, home).await,
    };
    let shutdown = signals::shutdown()?;
    home::private_dir(&folder)?;
    let mut hive = start(&args.hive, folder, client).await?;
    tokio::select! {
        () = shutdown.cancelled() => hive.stop().await?,
        error = hive.ended() => return Err(error),
    }
    Ok(ExitCode::SUCCESS)
}

/// The hive of this process, listening.
pub async fn start(args: &HiveCommon, folder: PathBuf, client: ClientSource) -> Result<Part> {
    let listener = bind(args.hive_listen, "--hive-listen").await?;
    let address = listener.local_addr()?;
    let config = rbee_agent::Config { labels: labels(&args.labels)?, ..config(name(args)?, folder, client, listener)? };
    let part = Part::start("hive", |stop| rbee_agent::run(config, stop));
    eprintln!("hive: listening on http://{address}");
    Ok(part)
}

/// A hive whose workers are this executable.
pub fn config(
    name: String,
    data_dir: PathBuf,
    client: ClientSource,
    listener: TcpListener,
) -> Result<rbee_agent::Config> {
    let exe = std::env::current_exe().context("this executable has no path: workers cannot be started")?;
    Ok(rbee_agent::Config {
        name,
        data_dir,
        models_dir: None,
        labels: BTreeMap::new(),
        client,
        listener,
        worker: WorkerCommand::subcommand_of(exe),
        environment: std::env::vars_os().collect(),
        stop_workers: true,
        first_worker_port: rbee_agent::Config::FIRST_WORKER_PORT,
        timing: Timing::default(),
    })
}

/// How a hive in the queen's own process reaches the API: over the router, as itself; for its callers over TLS.
pub fn in_process(api: &Embedded, name: &str) -> Result<ClientSource> {
    let client = api.client(Identity::hive(name));
    let callers: CallerClients = match api.remote()? {
        Some(config) => rbee_agent::join::callers_of(&config)?,
        None => Arc::new(|_: &str| bail!("this API server listens nowhere: it takes no requests of others")),
    };
    Ok(ClientSource::Given { client, callers })
}

fn read_token(file: &std::path::Path) -> Result<Token> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read the token in {}", file.display()))?;
    Token::parse(&text).with_context(|| format!("{} holds no token", file.display()))
}

/// The name that was given, else the host's.
pub fn name(args: &HiveCommon) -> Result<String> {
    args.name.clone().map_or_else(host_name, Ok)
}

fn labels(pairs: &[String]) -> Result<BTreeMap<String, String>> {
    let split = |pair: &String| {
        let (key, value) = pair.split_once('=').with_context(|| format!("--label {pair}: expected KEY=VALUE"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    pairs.iter().filter(|p| !p.is_empty()).map(split).collect()
}
