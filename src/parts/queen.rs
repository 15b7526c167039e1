//! `rbee queen`: controllers and gateway, over the embedded API server or a cluster's.

use std::{
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    process::ExitCode,
};

use anyhow::{Context, Result};
use rbee_apiserver::Identity;
use serde_json::json;

use super::{
    Part,
    api::{self, Embedded},
    bind,
};
use crate::{
    cli::{Queen, QueenListen},
    home::{self, Home, Lock},
    signals,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs until it is asked to end or a part of it fails.
pub async fn run(args: Queen, home: &Home) -> Result<ExitCode> {
    let shutdown = signals::shutdown()?;
    let folder = args.data_dir.unwrap_or_else(|| home.queen());
    let mut queen = match args.cluster.kubeconfig {
        Some(file) => QueenParts::on_cluster(api::kubeconfig(&file, args.cluster.context).await?, &args.listen).await?,
        None => QueenParts::standalone(home, folder, &args.listen).await?,
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        error = queen.ended() => {
            queen.abandon();
            return Err(error);
        }
    }
    queen.stop().await?;
    Ok(ExitCode::SUCCESS)
}

/// The queen's parts in this process.
pub struct QueenParts {
    pub api: Option<Standalone>,
    controllers: Part,
    gateway: Part,
}

/// What only a queen with an API server of her own has.
pub struct Standalone {
    pub embedded: Embedded,
    state_file: std::path::PathBuf,
    _lock: Lock,
}

impl QueenParts {
    /// With the embedded API server over the store in `folder`.
    pub async fn standalone(home: &Home, folder: std::path::PathBuf, listen: &QueenListen) -> Result<Self> {
        home::private_dir(home.path())?;
        home::private_dir(&folder)?;
        let lock = home::lock(&folder.join("queen.lock"), "a queen")?;
        let gateway = bind(listen.gateway_listen, "--gateway-listen").await?;
        let gateway_address = gateway.local_addr()?;
        let embedded = Embedded::on_disk(folder.clone(), listen.api_listen).await?;
        let api_url = embedded.url().unwrap_or_default();
        eprintln!("api server: listening on {api_url}");

        let controllers = controllers(embedded.client(Identity::system("rbee:queen")), host_name()?);
        let gateway = gateway_part(embedded.client(Identity::system("rbee:gateway")), gateway, listen)?;
        let state_file = folder.join("queen.json");
        let state = json!({"pid": std::process::id(), "apiUrl": api_url, "gatewayUrl": url(gateway_address), "version": VERSION});
        home::write_private(&state_file, state.to_string().as_bytes())?;
        Ok(Self { api: Some(Standalone { embedded, state_file, _lock: lock }), controllers, gateway })
    }

    /// With the API server of a cluster.
    pub async fn on_cluster(config: kube::Config, listen: &QueenListen) -> Result<Self> {
        let client = kube::Client::try_from(config).context("the kubeconfig's cluster cannot be used")?;
        let gateway = bind(listen.gateway_listen, "--gateway-listen").await?;
        // Others may lead the same cluster: only a name of its own keeps a queen from taking their lease for hers.
        let unique = RandomState::new().hash_one(std::process::id());
        let controllers = controllers(client.clone(), format!("{}-{unique:016x}", host_name()?));
        let gateway = gateway_part(client, gateway, listen)?;
        Ok(Self { api: None, controllers, gateway })
    }

    /// Resolves when a part ends by itself, with what it said.
    pub async fn ended(&mut self) -> anyhow::Error {
        let api = async {
            match &mut self.api {
                Some(standalone) => standalone.embedded.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            error = api => error,
            error = self.controllers.ended() => error,
            error = self.gateway.ended() => error,
        }
    }

    /// Ends the front door, then the controllers, then the API server that they speak to.
    pub async fn stop(self) -> Result<()> {
        let gateway = self.gateway.stop().await;
        let controllers = self.controllers.stop().await;
        let api = match self.api {
            Some(standalone) => {
                let _ = std::fs::remove_file(&standalone.state_file);
                standalone.embedded.stop().await
            }
            None => Ok(()),
        };
        gateway.and(controllers).and(api)
    }

    /// After a failure: says no longer where the queen is.
    pub fn abandon(&self) {
        if let Some(standalone) = &self.api {
            let _ = std::fs::remove_file(&standalone.state_file);
        }
    }
}

/// The controllers, acting with this client.
pub fn controllers(client: kube::Client, identity: String) -> Part {
    Part::start("controllers", |stop| {
        rbee_controller::run(rbee_controller::Config::new(client, identity, VERSION), stop)
    })
}

fn gateway_part(client: kube::Client, listener: tokio::net::TcpListener, listen: &QueenListen) -> Result<Part> {
    let address = listener.local_addr()?;
    let keys = match &listen.gateway_keys_file {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the gateway's keys in {}", file.display()))?,
        None => String::new(),
    };
    let config = rbee_gateway::Config {
        listener,
        client,
        name: format!("{}-{}", host_name()?, address.port()),
        hold: listen.hold.get(),
        version: VERSION.into(),
        keys: rbee_gateway::Keys::from_lines(&keys),
        metrics: None,
    };
    let part = Part::start("gateway", |stop| async move { Ok(rbee_gateway::run(config, stop).await?) });
    eprintln!("gateway: listening on {}", url(address));
    Ok(part)
}

/// `http://HOST:PORT`
pub fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// This machine's name as an object's name: lower case, letters, digits, `-` and `.`.
pub fn host_name() -> Result<String> {
    let uname = rustix::system::uname();
    let name: String = uname
        .nodename()
        .to_string_lossy()
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    let name = name.trim_matches(['-', '.']).to_owned();
    anyhow::ensure!(!name.is_empty(), "this machine has no host name: give one with --name");
    Ok(name)
}
