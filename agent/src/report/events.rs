//! Publishes what happened as Events, for as long as the API takes them; the log has them all.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{report::cluster::Cluster, retry::Retry, supervise::observe::Notice};

/// Tries per notice; an Event is a courtesy, and newer ones wait behind it.
const TRIES: u32 = 6;

/// Publishes until `done`, and then what has queued up, without waiting for an API that does not answer.
pub async fn run(cluster: Cluster, mut notices: mpsc::Receiver<Notice>, done: CancellationToken) {
    loop {
        let notice = tokio::select! {
            biased;
            notice = notices.recv() => notice,
            () = done.cancelled() => None,
        };
        let Some(notice) = notice else { return };
        let mut retry = Retry::default();
        for attempt in 1..=TRIES {
            let Err(e) = cluster.publish(&notice).await else { break };
            if attempt == TRIES || done.is_cancelled() {
                tracing::warn!(reason = notice.reason, "the event could not be published: {e}");
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(retry.after_failure(rand::random())) => {}
                () = done.cancelled() => {}
            }
        }
    }
}
