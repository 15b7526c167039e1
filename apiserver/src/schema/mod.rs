//! Structural schemas of custom resources: compile once, then prune, default and validate objects in Kubernetes' words.

pub mod builtin;
pub mod error;
pub mod metadata;
pub mod structural;

pub use error::{BadValue, ErrorKind, FieldError, cause_list, join_messages};
pub use structural::Structural;
