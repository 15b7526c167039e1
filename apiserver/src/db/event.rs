//! What watchers see.

use std::sync::Arc;

use super::Object;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It did not exist before.
    Added,
    /// It was replaced.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change, the work of one revision.
#[derive(Debug, Clone)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// Equals `object.revision()`.
    pub revision: u64,
    /// The object after the change; of a deletion the last content, with the deletion's resourceVersion.
    pub object: Arc<Object>,
    /// The object before the change; none when it was added.
    pub previous: Option<Arc<Object>>,
}
