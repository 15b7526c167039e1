//! Manifests: files read as objects that remember where they stand, and errors told with file, line and field.

pub mod explain;
pub mod object;
pub mod read;

pub use object::{Item, order_for_apply};
pub use read::{FileArgs, read_all};
