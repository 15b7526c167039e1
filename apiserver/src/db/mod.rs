//! The database: all objects in memory, in revisions, one writer, any number of readers and watchers.
//!
//! Readers see only what the store has made durable. Each write takes the next revision, one number for everything, which
//! never goes back, not over restarts either.

mod error;
mod event;
mod object;
mod page;
mod state;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

pub use error::{Gone, OpenError, ReadError, WatchEnd, WriteError};
pub use event::{Event, EventKind};
pub use object::{Key, Object};
pub use page::{Cursor, ListQuery, Page, Snapshot};
pub use state::Limits;
pub use watch::WatchStream;

use crate::store::Store;
use state::State;
use writer::Command;

/// Writes that may wait for the writer; more callers wait in `write`.
const QUEUED_WRITES: usize = 1024;

/// What a write expects of the object as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// There is none.
    Absent,
    /// It is at this revision.
    Revision(u64),
    /// Nothing.
    Any,
}

/// What a write does.
#[derive(Clone)]
pub enum Change {
    /// Stores this object; `metadata.resourceVersion` is set by the database.
    Put(Value),
    /// Takes the object away.
    Delete,
}

/// What a write did.
#[derive(Debug, Clone)]
pub struct Written {
    /// The revision of this write.
    pub revision: u64,
    /// The object after it; of a deletion the last content, with the deletion's resourceVersion.
    pub object: Arc<Object>,
}

/// A handle. Clones share the database; when the last is dropped the writer ends, [`Db::close`] waits for that.
#[derive(Debug, Clone)]
pub struct Db(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    commands: mpsc::Sender<Command>,
    state: tokio::sync::watch::Receiver<Arc<State>>,
    failed: tokio::sync::watch::Receiver<Option<Arc<str>>>,
    wakers: Arc<watch::Wakers>,
    pins: page::Pins,
    notice: Option<String>,
}

impl Db {
    /// Loads a store and starts its writer thread. Blocking work is done off the async threads.
    pub async fn open(store: impl Store) -> Result<Self, OpenError> {
        Self::open_with(store, Limits::default()).await
    }

    /// The same with another length of history.
    pub async fn open_with(store: impl Store, limits: Limits) -> Result<Self, OpenError> {
        let started = writer::start(Box::new(store), limits, QUEUED_WRITES).await?;
        let writer::Started { commands, state, failed, wakers, notice } = started;
        Ok(Self(Arc::new(Shared { commands, state, failed, wakers, pins: page::Pins::default(), notice })))
    }

    /// What a person should know about how the store was opened, such as "restored from an export".
    pub fn notice(&self) -> Option<&str> {
        self.0.notice.as_deref()
    }

    fn state(&self) -> Arc<State> {
        self.0.state.borrow().clone()
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.0.state.borrow().revision()
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Arc<Object>> {
        self.0.state.borrow().get(key).cloned()
    }

    /// All objects of a resource (in one namespace) at the newest revision.
    pub fn list(&self, resource: &str, namespace: Option<&str>) -> Snapshot {
        let state = self.state();
        Snapshot { revision: state.revision(), items: state.list(resource, namespace, None).cloned().collect() }
    }

    /// The same at an exact revision, as long as it is the newest or that of a list in pages that has not ended.
    pub fn list_at(&self, resource: &str, namespace: Option<&str>, revision: u64) -> Result<Snapshot, ReadError> {
        let state = self.0.pins.find(&self.state(), revision)?;
        Ok(Snapshot { revision, items: state.list(resource, namespace, None).cloned().collect() })
    }

    /// One page of the objects that pass `filter`. All pages of a list show the revision of its first.
    ///
    /// Errors: the cursor's revision is no longer kept (HTTP 410), or is from the future.
    pub fn list_page(&self, query: &ListQuery<'_>, filter: &dyn Fn(&Object) -> bool) -> Result<Page, ReadError> {
        let current = self.state();
        let state = match &query.cursor {
            Some(cursor) => self.0.pins.find(&current, cursor.revision)?,
            None => current.clone(),
        };
        let page = page::page(&state, query, filter);
        if page.next.is_some() {
            self.0.pins.keep(&current, &state);
        }
        Ok(page)
    }

    /// Writes one object. When this returns Ok the write is durable and seen by every reader.
    ///
    /// Not cancel-safe: the write may be carried out although its caller is gone.
    pub async fn write(&self, key: Key, expect: Expect, change: Change) -> Result<Written, WriteError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || WriteError::Storage("the server is stopping".into());
        self.0.commands.send(Command::Write { key, expect, change, reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Follows a resource (in one namespace): every event after `from`, or after the newest revision.
    ///
    /// A `from` of the future leaves out what comes until then. Error: `from` is older than the history kept (HTTP 410).
    pub fn watch(&self, resource: &str, namespace: Option<&str>, from: Option<u64>) -> Result<WatchStream, Gone> {
        let waker = self.0.wakers.subscribe(resource);
        let waker = waker.unwrap_or_else(|| tokio::sync::watch::channel(()).1);
        let state = self.state();
        let from = from.unwrap_or(state.revision());
        let oldest = state.oldest(resource);
        if from < oldest {
            return Err(Gone { oldest });
        }
        Ok(WatchStream::new(resource.into(), namespace.map(Into::into), from, self.0.state.clone(), waker))
    }

    /// Waits until the newest revision is at least this one.
    pub async fn wait_for_revision(&self, revision: u64) {
        let mut state = self.0.state.clone();
        if state.wait_for(|state| state.revision() >= revision).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves with the reason when the store failed. From then on every write is refused: the process has to stop and
    /// start again, because what is on disk is only known after reading it anew.
    pub async fn failed(&self) -> Arc<str> {
        let mut failed = self.0.failed.clone();
        let reason = failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// Carries out the writes that wait, exports the content, closes the store and ends every watch.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.0.commands.send(Command::Close { reply }).await.is_ok() {
            let _ = closed.await;
        }
    }
}
