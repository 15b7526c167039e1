//! One model in one process: Candle engine, scheduler, sampler, HTTP.
//!
//! [`run()`] binds a port, loads the model of a [`Config`] and serves it until it is told to end. Requests go through
//! [`http`] to the [`scheduler`], whose one thread shares the [engine](rbee_engine) between slots.

mod args;
mod config;
pub mod constraint;
pub mod http;
mod liveness;
pub mod model;
mod run;
pub mod sampler;
pub mod scheduler;
pub mod template;
#[cfg(test)]
mod testing;
mod threads;
pub mod tools;

pub use args::{Args, ConfigError, Secrets};
pub use config::{Config, HiveLink, PORT_TRIES, Secret};
pub use run::{RunError, run};
pub use threads::{physical_cores, prepare};
