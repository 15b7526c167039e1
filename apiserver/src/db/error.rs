//! What may go wrong with the database.

use std::sync::Arc;

use super::Object;

/// Why a write was refused. Nothing of a refused write is visible to anybody.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// [`Expect::Absent`](super::Expect::Absent), and the object exists.
    #[error("the object exists already")]
    AlreadyExists,
    /// There is no such object.
    #[error("the object does not exist")]
    NotFound,
    /// The object is at another revision than expected.
    #[error("the object was changed: it is at revision {}", current.revision())]
    Conflict {
        /// The object as it is.
        current: Arc<Object>,
    },
    /// The store failed, so that no further write is taken. The process has to stop.
    #[error("the store takes no writes: {0}")]
    Storage(Arc<str>),
}

/// The revision asked for is older than the history kept. Clients list again (HTTP 410).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: the oldest that can be continued from is {oldest}")]
pub struct Gone {
    /// The oldest revision from which a watch or list could go on.
    pub oldest: u64,
}

/// Why a list cannot start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Too old.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// From the future.
    #[error("too large resource version: the current one is {current}")]
    Future {
        /// The newest revision there is.
        current: u64,
    },
}

/// Why a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// The watcher read too slowly: events it has not seen are no longer kept (HTTP 410).
    #[error(transparent)]
    Gone(#[from] Gone),
    /// The database was closed.
    #[error("the server is stopping")]
    Closed,
}

/// Why the database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store said no.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// A thread could not be started.
    #[error("cannot start the thread that writes the store")]
    Thread(#[source] std::io::Error),
}
