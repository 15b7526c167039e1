//! The API server as the verbs see it: any kind that it serves, objects as JSON.

pub mod catalog;
pub mod discover;
pub mod path;
pub mod request;
pub mod watch;

pub use catalog::{Catalog, Resource};
pub use request::{Answer, Server};
