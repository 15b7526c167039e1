//! The queen: controllers that observe, plan and execute.
//!
//! Every reconcile takes the same three steps. [`observe`] reads a snapshot from the watch caches, [`plan`] decides, without
//! I/O, clock or chance of its own, and [`execute`] carries the plan out without choices. [`shell`] is what keeps that going:
//! watches, wake-ups, the leader lease. No part of rbee is told anything by the queen; she writes what she wants to be true.

pub mod config;
pub mod execute;
pub mod observe;
pub mod plan;
mod shell;

pub use config::{Clock, Config, Periods};
pub use shell::run;
