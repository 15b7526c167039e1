//! The durable log behind the database: a trait, in memory and in sled, and exports of the whole content.
//!
//! A store keeps records, one per revision. The object at a key is its newest record; watch events are the same records,
//! so that object, revision and event are written together or not at all.

pub mod export;
pub mod memory;
pub mod sled;

use std::path::PathBuf;

use bytes::Bytes;

use crate::db::Key;

/// What one revision did to one object.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Globally unique, increasing by one.
    pub revision: u64,
    /// The object.
    pub key: Key,
    /// Revision of the record that this one replaces; none when the object did not exist.
    pub previous: Option<u64>,
    /// The object as JSON with its resourceVersion; none when this revision deleted it.
    pub json: Option<Bytes>,
}

/// Shows no content: it may be a Secret.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.json.is_some() { "put" } else { "delete" };
        write!(f, "Record(@{} {what} {} previous {:?})", self.revision, self.key, self.previous)
    }
}

/// Everything that becomes durable together.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// In order of revision, without a gap after what was committed before.
    pub records: &'a [Record],
    /// Revisions whose records nobody needs any more.
    pub forget: &'a [u64],
    /// Watches can be resumed from this revision on.
    pub floor: u64,
    /// Number of objects after this batch.
    pub objects: u64,
}

/// What a store held when it was opened.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The newest revision ever committed.
    pub revision: u64,
    /// Watches can be resumed from this revision on.
    pub floor: u64,
    /// In order of revision: all after `floor`, and older ones that are still an object's newest or the `previous` of one after
    /// `floor`.
    pub records: Vec<Record>,
    /// Something a person should read, such as "restored from an export".
    pub notice: Option<String>,
}

/// A durable log. Blocking: called from one thread of its own.
pub trait Store: Send + 'static {
    /// Everything the store holds. Called once, before the first commit.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Durable (power loss included) when it returns Ok. After an error the store is not to be used again.
    fn commit(&mut self, batch: Batch<'_>) -> Result<(), StoreError>;

    /// Where exports of the content go, if the store keeps any.
    fn exports(&self) -> Option<export::Exports> {
        None
    }
}

/// What may go wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store {} is in use by another process; stop that one first, or give this one a data dir of its own", path.display())]
    Locked {
        /// The store's folder.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// sled said no.
    #[error("the store {} failed", path.display())]
    Sled {
        /// The store's folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: ::sled::Error,
    },
    /// What was read makes no sense.
    #[error("the store {} is damaged: {reason}", path.display())]
    Damaged {
        /// The store's folder or the file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It does not open and there is nothing to restore it from.
    #[error(
        "the store {} does not open ({reason}) and there is no export in {} to restore it from; move the store away to start empty",
        path.display(), exports.display()
    )]
    Lost {
        /// The store's folder.
        path: PathBuf,
        /// Where exports were looked for.
        exports: PathBuf,
        /// What is wrong with the store.
        reason: String,
    },
}

/// The text of an error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
