//! Composition: which parts run in this process and how they find each other.

pub mod api;
pub mod hive;
pub mod keeper;
pub mod local;
pub mod queen;
pub mod up;
pub mod worker;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Binds, or says which flag takes another address.
pub async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: give another address with {flag}"))
}

/// A part that runs in this process, and the token that ends it.
pub struct Part {
    name: &'static str,
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Part {
    /// Starts `run` with a token of its own.
    pub fn start<F>(name: &'static str, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        Self { name, task: tokio::spawn(run(stop.clone())), stop }
    }

    /// Asks the part to end and waits for it.
    pub async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.task
            .await
            .with_context(|| format!("the {} broke", self.name))?
            .with_context(|| format!("the {} failed", self.name))
    }

    /// Resolves when the part ends by itself, with what it said.
    pub async fn ended(&mut self) -> anyhow::Error {
        match (&mut self.task).await {
            Ok(Ok(())) => anyhow::anyhow!("the {} ended unasked", self.name),
            Ok(Err(error)) => error.context(format!("the {} failed", self.name)),
            Err(error) => anyhow::Error::new(error).context(format!("the {} broke", self.name)),
        }
    }
}
