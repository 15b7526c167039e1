//! Watches: a copy of the API's objects that goes on after every interruption, and says how often it was listed anew.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{Api, Resource, runtime::watcher};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{causes::innermost, retry::Retry};

/// The objects of one kind, as far as the watch has told.
#[derive(Debug)]
pub struct Mirror<K> {
    /// Whole lists that were received; 0: nothing is known yet.
    pub lists: u64,
    /// By uid.
    pub objects: Arc<BTreeMap<String, Arc<K>>>,
}

impl<K> Clone for Mirror<K> {
    fn clone(&self) -> Self {
        Self { lists: self.lists, objects: self.objects.clone() }
    }
}

impl<K> Default for Mirror<K> {
    fn default() -> Self {
        Self { lists: 0, objects: Arc::default() }
    }
}

/// Builds mirrors from a watch's events.
#[derive(Debug)]
pub struct Builder<K> {
    mirror: Mirror<K>,
    /// The list that is being received.
    listing: Option<BTreeMap<String, Arc<K>>>,
}

impl<K> Default for Builder<K> {
    fn default() -> Self {
        Self { mirror: Mirror::default(), listing: None }
    }
}

impl<K: Resource> Builder<K> {
    /// Takes one event; the answer is the mirror, if it changed.
    pub fn take(&mut self, event: watcher::Event<K>) -> Option<Mirror<K>> {
        match event {
            watcher::Event::Init => {
                self.listing = Some(BTreeMap::new());
                return None;
            }
            watcher::Event::InitApply(object) => {
                if let (Some(uid), Some(listing)) = (object.meta().uid.clone(), &mut self.listing) {
                    listing.insert(uid, Arc::new(object));
                }
                return None;
            }
            watcher::Event::InitDone => {
                self.mirror.objects = Arc::new(self.listing.take().unwrap_or_default());
                self.mirror.lists += 1;
            }
            watcher::Event::Apply(object) => {
                let uid = object.meta().uid.clone()?;
                self.objects().insert(uid, Arc::new(object));
            }
            watcher::Event::Delete(object) => {
                let uid = object.meta().uid.clone()?;
                self.objects().remove(&uid)?;
            }
        }
        Some(self.mirror.clone())
    }

    fn objects(&mut self) -> &mut BTreeMap<String, Arc<K>> {
        Arc::make_mut(&mut self.mirror.objects)
    }
}

/// At least so long between two whole lists that the server was asked for, however often it breaks the watch off.
const BETWEEN_LISTS: Duration = Duration::from_secs(5);

/// Keeps `sender` as the API is, until `shutdown`. Interruptions are waited out with growing pauses and jitter.
pub async fn mirror<K>(
    api: Api<K>,
    config: watcher::Config,
    sender: watch::Sender<Mirror<K>>,
    shutdown: CancellationToken,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let mut events = watcher(api, config).boxed();
    let mut builder = Builder::default();
    let mut retry = Retry::default();
    let mut listed: Option<Instant> = None;
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return,
            event = events.next() => event,
        };
        let error = match event {
            None => return,
            Some(Ok(event)) => {
                // The beginning of a list is only an attempt.
                match &event {
                    watcher::Event::Init => listed = Some(Instant::now()),
                    _ if retry.is_first() => {}
                    _ => {
                        tracing::info!("the watch goes on");
                        retry.reset();
                    }
                }
                if let Some(mirror) = builder.take(event) {
                    sender.send_replace(mirror);
                }
                continue;
            }
            Some(Err(e)) => e,
        };
        if retry.is_first() {
            tracing::warn!("a watch was interrupted and is tried again: {}", innermost(&error));
        }
        let backoff = retry.after_failure(rand::random());
        let wait = pause(backoff, is_answer(&error), listed.map(|at| at.elapsed()));
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// How long to wait after an interruption; `answered`: by the server's own word, `listed`: so long ago it was asked for all.
fn pause(backoff: Duration, answered: bool, listed: Option<Duration>) -> Duration {
    match listed {
        Some(ago) if answered => backoff.max(BETWEEN_LISTS.saturating_sub(ago)),
        _ => backoff,
    }
}

/// Whether the server itself said no, as it does when it is overloaded or has forgotten a version.
fn is_answer(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
    match error {
        WatchError(_) | NoResourceVersion => true,
        InitialListFailed(e) | WatchStartFailed(e) | WatchFailed(e) => matches!(e, kube::Error::Api(_)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn object(uid: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.uid = Some(uid.into());
        object
    }

    #[test]
    fn a_server_that_breaks_off_is_not_asked_for_all_at_once_again() {
        let secs = Duration::from_secs;
        assert_eq!(pause(secs(1), true, Some(secs(2))), secs(3));
        assert_eq!(pause(secs(1), true, Some(secs(60))), secs(1));
        assert_eq!(pause(secs(1), false, Some(secs(2))), secs(1));
        assert_eq!(pause(secs(8), true, Some(secs(2))), secs(8));
        assert_eq!(pause(secs(1), true, None), secs(1));
    }

    #[test]
    fn a_new_list_replaces_the_old_one_whole() {
        let mut builder = Builder::default();
        let uids = |m: &Mirror<ConfigMap>| m.objects.keys().cloned().collect::<Vec<_>>();
        for event in
            [watcher::Event::Init, watcher::Event::InitApply(object("a")), watcher::Event::InitApply(object("b"))]
        {
            assert!(builder.take(event).is_none());
        }
        let first = builder.take(watcher::Event::InitDone).unwrap();
        assert_eq!((first.lists, uids(&first)), (1, vec!["a".into(), "b".into()]));
        let second = builder.take(watcher::Event::Apply(object("c"))).unwrap();
        let third = builder.take(watcher::Event::Delete(object("a"))).unwrap();
        assert_eq!((uids(&second).len(), uids(&third)), (3, vec!["b".into(), "c".into()]));
        builder.take(watcher::Event::Init);
        builder.take(watcher::Event::InitApply(object("c")));
        let fourth = builder.take(watcher::Event::InitDone).unwrap();
        assert_eq!((fourth.lists, uids(&fourth)), (2, vec!["c".into()]));
    }
}
