//! Watches: readers of the shared history that the writer never waits for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::state::State;
use super::{Event, WatchEnd};

/// Tells the watchers of a resource that there is something to read. Wake-ups carry no data.
#[derive(Debug)]
pub(super) struct Wakers(Mutex<Option<HashMap<Arc<str>, watch::Sender<()>>>>);

impl Default for Wakers {
    fn default() -> Self {
        Self(Mutex::new(Some(HashMap::new())))
    }
}

impl Wakers {
    /// None once closed.
    pub(super) fn subscribe(&self, resource: &str) -> Option<watch::Receiver<()>> {
        let mut wakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(wakers.as_mut()?.entry(resource.into()).or_insert_with(|| watch::channel(()).0).subscribe())
    }

    pub(super) fn wake<'a>(&self, resources: impl Iterator<Item = &'a str>) {
        let mut wakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(wakers) = wakers.as_mut() else { return };
        for resource in resources {
            if wakers.get(resource).is_some_and(|waker| waker.send(()).is_err()) {
                wakers.remove(resource);
            }
        }
    }

    /// Ends every watch.
    pub(super) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The events of one resource, in order, each once, from a revision on.
///
/// It owns no queue: it reads the history that all watches share. One that reads too slowly finds that what it has not
/// seen is no longer kept, and ends with [`WatchEnd::Gone`].
#[derive(Debug)]
pub struct WatchStream {
    resource: Arc<str>,
    namespace: Option<Arc<str>>,
    /// Everything up to this revision was seen.
    cursor: u64,
    state: watch::Receiver<Arc<State>>,
    waker: watch::Receiver<()>,
}

impl WatchStream {
    pub(super) fn new(
        resource: Arc<str>,
        namespace: Option<Arc<str>>,
        cursor: u64,
        state: watch::Receiver<Arc<State>>,
        waker: watch::Receiver<()>,
    ) -> Self {
        Self { resource, namespace, cursor, state, waker }
    }

    /// The next event. Cancel-safe: a dropped call loses nothing.
    pub async fn next(&mut self) -> Result<Arc<Event>, WatchEnd> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            self.waker.changed().await.map_err(|_| WatchEnd::Closed)?;
        }
    }

    /// The next event if it is there already.
    pub fn try_next(&mut self) -> Result<Option<Arc<Event>>, WatchEnd> {
        self.waker.mark_unchanged();
        let state = self.state.borrow().clone();
        let event = state.event_after(&self.resource, self.namespace.as_deref(), self.cursor)?;
        self.cursor = event.as_ref().map_or(state.revision().max(self.cursor), |event| event.revision);
        Ok(event)
    }

    /// The revision for a bookmark: every event up to it was returned by [`Self::next`]. Grows with the whole database,
    /// also when this resource is quiet.
    pub fn progress(&mut self) -> u64 {
        let state = self.state.borrow().clone();
        if let Ok(None) = state.event_after(&self.resource, self.namespace.as_deref(), self.cursor) {
            self.cursor = self.cursor.max(state.revision());
        }
        self.cursor
    }
}
