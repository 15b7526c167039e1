//! The OpenAI front door: load table, route, admit, hold, proxy.
//!
//! [`run`] follows the API, keeps a routing table of Ready replicas, and answers OpenAI's endpoints by sending each request to
//! the least loaded replica of its model. It decides nothing about replicas; it tells how many requests run and wait.

mod dispatch;
mod http;
mod keys;
mod load;
mod proxy;
pub mod route;
mod status;
mod stream;
pub mod table;
#[cfg(test)]
mod testing;
mod upstream;
mod watch;

pub use keys::{Keys, WorkerKey};
pub use load::MAX_WAITING;

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How often recorded values are summed up.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// Upper bounds of the buckets of response times, in seconds.
const RESPONSE_SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// Everything that a gateway needs.
pub struct Config {
    /// Bound already; the gateway says nothing about where.
    pub listener: TcpListener,
    pub client: kube::Client,
    /// The name of this gateway's entry in `Worker.status.gateways[]`.
    pub name: String,
    /// How long a request is kept while no replica of its model is Ready and one may become so.
    pub hold: Duration,
    /// What `/version` says.
    pub version: String,
    /// Keys that clients must show. Off loopback there must be one.
    pub keys: Keys,
    /// What `/metrics` shows; None: a recorder of its own is installed, if the process has none.
    pub metrics: Option<PrometheusHandle>,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the gateway would listen on {0}, which others can reach, without keys; give it keys (--gateway-keys-file) or a loopback address"
    )]
    KeysRequired(std::net::SocketAddr),
    #[error("the gateway's listener has no address: {0}")]
    Listener(#[from] std::io::Error),
    #[error("the gateway cannot make an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Answers until shutdown, then drains for at most 30 s.
///
/// # Errors
/// [`Error`], before anything is answered.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let Config { listener, client, name, hold, version, keys, metrics } = config;
    let address = listener.local_addr()?;
    let loopback = address.ip().is_loopback();
    if !loopback && keys.is_empty() {
        return Err(Error::KeysRequired(address));
    }
    let upstream = upstream::Upstream::new()?;
    let metrics = metrics.or_else(install_recorder);
    describe_metrics();

    let (tables, table) = tokio::sync::watch::channel(Arc::new(table::Table::default()));
    let (synced_sender, synced) = tokio::sync::watch::channel(false);
    let (wrong_keys, wrong_key_reports) = tokio::sync::mpsc::channel(16);
    let dispatcher = dispatch::Dispatcher::new(table, load::Loads::default(), hold, shutdown.clone());
    let proxy = proxy::Proxy::new(dispatcher.clone(), upstream, wrong_keys);
    let app = http::App { proxy, keys, loopback, address, version, synced, draining: shutdown.clone(), metrics };

    // The table is followed until the last request has its answer.
    let drained = CancellationToken::new();
    let follower = watch::Follower::new(client.clone(), &name);
    let following = tokio::spawn(follower.run(tables, synced_sender, wrong_key_reports, drained.clone()));
    let telling = tokio::spawn(status::run(client, name, dispatcher, drained.clone()));
    http::serve(listener, Arc::new(app), shutdown).await;
    drained.cancel();
    let _ = tokio::join!(following, telling);
    Ok(())
}

fn install_recorder() -> Option<PrometheusHandle> {
    let name = metrics_exporter_prometheus::Matcher::Full("rbee_gateway_response_seconds".to_owned());
    let builder = metrics_exporter_prometheus::PrometheusBuilder::new();
    match builder.set_buckets_for_metric(name, RESPONSE_SECONDS).and_then(|b| b.install_recorder()) {
        Ok(handle) => {
            // Without it the histograms of a process that nobody scrapes would only grow.
            let upkeep = handle.clone();
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(METRICS_UPKEEP).await;
                    upkeep.run_upkeep();
                }
            });
            Some(handle)
        }
        Err(error) => {
            tracing::debug!(%error, "metrics are recorded elsewhere");
            None
        }
    }
}

fn describe_metrics() {
    metrics::describe_counter!("rbee_gateway_requests_total", "Requests answered, by model and HTTP status.");
    metrics::describe_counter!("rbee_gateway_retries_total", "Requests that were sent to a second replica.");
    metrics::describe_histogram!("rbee_gateway_response_seconds", "Time to the head of the answer, in seconds.");
    metrics::describe_gauge!("rbee_gateway_in_flight", "Requests at replicas.");
    metrics::describe_gauge!("rbee_gateway_waiting", "Requests that wait for a replica or a slot.");
    metrics::describe_gauge!("rbee_gateway_replicas_ready", "Replicas that answer requests.");
    metrics::describe_gauge!("rbee_gateway_models", "Models in the table.");
}

#[cfg(test)]
mod tests;
