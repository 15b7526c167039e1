//! Publishes what happened as Events, for as long as the API takes them; the log has them all.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    report::cluster::Cluster,
    retry::Retry,
    supervise::{observe::Notice, state::Uid},
};

/// Tries per notice; an Event is a courtesy, and newer ones wait behind it.
const TRIES: u32 = 6;

/// Kinds of notices that are remembered; beyond that all are forgotten, and told as new.
const REMEMBERED: usize = 256;

/// The recorders of what was said last: the same words again are counted in one Event, other words get an Event of their
/// own, so that the newest is always there to be read.
struct Said<R> {
    by: BTreeMap<(Uid, String), (String, R)>,
}

impl<R: Clone> Said<R> {
    fn recorder(&mut self, notice: &Notice, new: impl FnOnce() -> R) -> R {
        let kind = (notice.key.uid.clone(), notice.reason.clone());
        if let Some((message, recorder)) = self.by.get(&kind)
            && *message == notice.message
        {
            return recorder.clone();
        }
        if self.by.len() >= REMEMBERED {
            self.by.clear();
        }
        let recorder = new();
        self.by.insert(kind, (notice.message.clone(), recorder.clone()));
        recorder
    }
}

/// Publishes until `done`, and then what has queued up, without waiting for an API that does not answer.
pub async fn run(cluster: Cluster, mut notices: mpsc::Receiver<Notice>, done: CancellationToken) {
    let mut said = Said { by: BTreeMap::new() };
    loop {
        let notice = tokio::select! {
            biased;
            notice = notices.recv() => notice,
            () = done.cancelled() => None,
        };
        let Some(notice) = notice else { return };
        let recorder = said.recorder(&notice, || cluster.recorder());
        let mut retry = Retry::default();
        for attempt in 1..=TRIES {
            let Err(e) = cluster.publish(&recorder, &notice).await else { break };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::state::Key;

    #[test]
    fn only_the_same_words_are_counted_together() {
        let key = Key {
            uid: "u".into(),
            namespace: "default".into(),
            name: "story-1".into(),
            worker_name: "story".into(),
            worker_uid: None,
        };
        let mut said = Said { by: BTreeMap::new() };
        let mut made = 0;
        let mut recorder = |message: &str| {
            let notice =
                Notice { key: key.clone(), warning: true, reason: "WorkerCrashed".into(), message: message.into() };
            said.recorder(&notice, || {
                made += 1;
                made
            })
        };
        let recorders = ["pid 1", "pid 1", "pid 2", "pid 2", "pid 1"].map(&mut recorder);
        assert_eq!(recorders, [1, 1, 2, 2, 3]);
        for n in 0..1000 {
            recorder(&format!("pid {n}"));
        }
        assert!(said.by.len() <= REMEMBERED);
    }
}
