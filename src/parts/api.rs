//! The Kubernetes API that the parts of this process share: the embedded server, or one that a kubeconfig names.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context, Result};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use rbee_apiserver::{ApiServer, Identity, pki::Names};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::net::TcpListener;

use super::{Part, bind};

/// The embedded server, serving in this process and, unless it was opened in memory, over TLS.
pub struct Embedded {
    server: Arc<ApiServer>,
    listening: Option<(Part, SocketAddr)>,
}

impl Embedded {
    /// A server whose objects end with the process; nothing listens.
    pub async fn in_memory() -> Result<Self> {
        let server =
            ApiServer::open(server_config(None, Vec::new())).await.context("cannot open the API server in memory")?;
        Ok(Self { server: Arc::new(server), listening: None })
    }

    /// A server over the store in `folder`, answering TLS at `address`.
    pub async fn on_disk(folder: PathBuf, address: SocketAddr) -> Result<Self> {
        let listener = bind(address, "--api-listen").await?;
        let address = listener.local_addr()?;
        let server = ApiServer::open(server_config(Some(folder), vec![address.ip()]))
            .await
            .context("cannot open the API server")?;
        if let Some(notice) = server.notice() {
            eprintln!("api server: {notice}");
        }
        let server = Arc::new(server);
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

    /// How others reach it, without credentials; none when nothing listens.
    pub fn remote(&self) -> Result<Option<Config>> {
        let Some(url) = self.url() else { return Ok(None) };
        let mut config = Config::new(url.parse().context("the API server's address is no URL")?);
        let ca = CertificateDer::from_pem_slice(self.server.ca_pem().as_bytes())
            .context("the CA's certificate is no PEM")?;
        config.root_cert = Some(vec![ca.as_ref().to_vec()]);
        Ok(Some(config))
    }

    /// Resolves when it can serve no more.
    pub async fn ended(&mut self) -> anyhow::Error {
        let broken = |reason: Arc<str>| {
            anyhow::anyhow!("the store failed, and what is on disk is not known until it is opened again: {reason}")
        };
        match &mut self.listening {
            None => broken(self.server.fatal().await),
            Some((part, _)) => tokio::select! {
                reason = self.server.fatal() => broken(reason),
                error = part.ended() => error,
            },
        }
    }

    /// Ends the answers and closes the store.
    pub async fn stop(self) -> Result<()> {
        if let Some((part, _)) = self.listening {
            part.stop().await?;
        }
        self.server.close().await;
        Ok(())
    }
}

fn server_config(data_dir: Option<PathBuf>, addresses: Vec<IpAddr>) -> rbee_apiserver::Config {
    let names = Names { addresses, host_name: super::queen::host_name().ok() };
    rbee_apiserver::Config { data_dir, crds: rbee_crds::all(), names, version: env!("CARGO_PKG_VERSION").into() }
}

fn serve(server: &Arc<ApiServer>, listener: TcpListener) -> Part {
    let server = server.clone();
    Part::start("API server", move |stop| async move { Ok(server.serve(listener, stop).await?) })
}

/// What a kubeconfig file says of its cluster and user.
pub async fn kubeconfig(file: &std::path::Path, context: Option<String>) -> Result<Config> {
    let read = Kubeconfig::read_from(file).with_context(|| format!("cannot read the kubeconfig {}", file.display()))?;
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(read, &options)
        .await
        .with_context(|| format!("the kubeconfig {} cannot be used", file.display()))
}
