//! The hive's heartbeat: its Lease, renewed as long as it lives, deleted when it stops in good order.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{report::cluster::Cluster, retry::Retry};

/// Renews every `interval` until `done`.
pub async fn run(cluster: Cluster, interval: Duration, done: CancellationToken) {
    let mut retry = Retry::default();
    loop {
        let wait = match cluster.renew_lease(jiff::Timestamp::now()).await {
            Ok(()) => {
                if !retry.is_first() {
                    tracing::info!("the API answers again");
                }
                retry.reset();
                interval
            }
            Err(e) => {
                if retry.is_first() {
                    tracing::warn!("cannot renew the hive's lease, workers go on meanwhile: {e}");
                }
                retry.after_failure(rand::random()).min(interval)
            }
        };
        tokio::select! {
            () = done.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
    if let Err(e) = cluster.delete_lease().await {
        tracing::info!("the hive's lease stays until it runs out: {e}");
    }
}
