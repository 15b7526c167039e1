//! The command line: one verb per file.
//!
//! [`Command`] is flattened into the executable's own subcommands and [`run`] runs one verb. Verbs talk to any Kubernetes
//! API server through a `kube::Client`; what they print is made by pure code in `print`. Answers go to stdout,
//! everything else to stderr.

mod bootstrap;
mod command;
pub mod context;
pub mod error;
mod follow;
mod gone;
mod http;
pub mod infer;
mod manifest;
mod names;
pub mod print;
mod server;
mod session;
mod span;
pub mod streams;
pub mod target;
pub mod verbs;

pub use command::{Command, report, run};
pub use context::Context;
pub use error::{Error, Exit};
