//! Another replica in the place of one that went before its first token.

use std::time::Duration;

use kube::{Api, api::ListParams};
use rbee_crds::{Assignment, names::LABEL_WORKER};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Access, Located,
    declare::{Made, Source},
    progress::{Progress, least_busy},
    watch,
};
use crate::context::Context;

/// How long the API may still call a replica Ready that does not answer: its hive sees a process end at once.
const SETTLE: Duration = Duration::from_secs(10);
/// Between two looks meanwhile.
const LOOK: Duration = Duration::from_millis(250);

/// A Ready replica of the same Worker other than `lost`, as it comes within `limit`. None where there is none, or where
/// `lost` stays Ready: then it is not the process that is missing.
pub async fn successor(
    access: &Access,
    located: &Located,
    lost: &Assignment,
    limit: Duration,
    context: &Context,
) -> Option<Assignment> {
    let end = Instant::now() + limit;
    let settled = Instant::now() + SETTLE.min(limit);
    let (worker, wish) = (&lost.spec.worker_name, &located.wish);
    let replicas: Api<Assignment> = Api::namespaced(access.client.clone(), &located.namespace);
    let of_worker = ListParams::default().labels(&format!("{LABEL_WORKER}={worker}"));
    loop {
        // An API that does not answer just now is asked again.
        if let Ok(list) = replicas.list(&of_worker).await {
            if let Some(other) = least_busy(list.items.iter().filter(|a| !is_same(a, lost)), wish) {
                return Some(other.clone());
            }
            if least_busy(list.items.iter(), wish).is_none() {
                break;
            }
        }
        if Instant::now() >= settled {
            return None;
        }
        sleep(LOOK).await;
    }
    context.err.note(&format!("worker {worker}: its replica is gone; waiting for another one"));
    let source =
        Source { model: lost.spec.model.name.clone(), worker: worker.clone(), refused: None, made: Made::default() };
    let mut progress = Progress::default();
    let watching = watch::ready_replica(&access.client, &located.namespace, &source, wish, &mut progress, context);
    match timeout_at(end, watching).await {
        Ok(Ok(replica)) => Some(replica),
        Ok(Err(error)) => {
            context.err.note(&error.to_string());
            None
        }
        Err(_) => None,
    }
}

/// Whether it is the same process of the same replica.
fn is_same(a: &Assignment, b: &Assignment) -> bool {
    let process = |a: &Assignment| a.status.clone().map(|s| (s.url, s.pid, s.incarnation));
    a.metadata.uid == b.metadata.uid && process(a) == process(b)
}
