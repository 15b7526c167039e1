//! The Kubernetes API that the parts of this process share: the embedded server, or one that a kubeconfig names.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Context, Result};
use kube::{Client, Config, config::{KubeConfigOptions, Kubeconfig}};
use rbee_apiserver::{ApiServer, Identity};
use tokio::net::TcpListener;

use super::{Part, bind};

/// The embedded server, serving in this process and, unless it was opened in memory, over TLS.
pub struct Embedded {
    server: ApiServer,
    listening: Option<(Part, SocketAddr)>,
}

impl Embedded {
    /// A server whose objects end with the process; nothing listens.
    pub async fn in_memory() -> Result<Self> {
        let server = ApiServer::open(server_config(None, Vec::new())).await.context("cannot open the API server in memory")?;
        Ok(Self { server, listening: None })
    }

    /// A server over the store in `folder`, answering TLS at `address`.
    pub async fn on_disk(folder: PathBuf, address: SocketAddr) -> Result<Self> {
        let listener = bind(address, "--api-listen").await?;
        let address = listener.local_addr()?;
        let server = ApiServer::open(server_config(Some(folder), vec![address.ip()])).await.context("cannot open the API server")?;
        let part = serve(&server, listener);
        Ok(Self { server, listening: Some((part, address)) })
    }

    /// A client that acts as this identity, without a socket.
    pub fn client(&self, identity: Identity) -> Client {
        Client::new(self.server.router_for(identity), rbee_crds::names::DEFAULT_NAMESPACE)
    }

    /// Where it answers over TLS.
    pub fn url(&self) -> Option<String> {
        self.listening.as_ref().map(|(_, address)| format!("https://{address}"))
    }

    pub fn server(&self) -> &ApiServer {
        &self.server
    }

    /// Resolves when it can serve no more.
    pub async fn ended(&mut self) -> anyhow::Error {
        let fatal = self.server.fatal();
        match &mut self.listening {
            None => anyhow::Error::msg(fatal.await),
            Some((part, _)) => tokio::select! {
                error = fatal => anyhow::Error::msg(error),
                error = part.ended() => error,
            },
        }
    }

    /// Ends the answers and closes the store.
    pub async fn stop(self) -> Result<()> {
        if let Some((part, _)) = self.listening {
            part.stop().await?;
        }
        self.server.close().await.context("the store did not close well")
    }
}

fn server_config(data_dir: Option<PathBuf>, addresses: Vec<IpAddr>) -> rbee_apiserver::Config {
    rbee_apiserver::Config { data_dir, crds: rbee_crds::all(), addresses, version: env!("CARGO_PKG_VERSION").into() }
}

fn serve(server: &ApiServer, listener: TcpListener) -> Part {
    let server = server.clone();
    Part::start("API server", move |stop| async move { server.serve(listener, stop).await.map_err(anyhow::Error::new) })
}

/// What a kubeconfig file says of its cluster and user.
pub async fn kubeconfig(file: &std::path::Path, context: Option<String>) -> Result<Config> {
    let read = Kubeconfig::read_from(file).with_context(|| format!("cannot read the kubeconfig {}", file.display()))?;
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(read, &options).await.with_context(|| format!("the kubeconfig {} cannot be used", file.display()))
}
