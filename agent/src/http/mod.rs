//! The hive's HTTP API: open health, workers and backends for those whom the API lets, spawn in the caller's own name.

pub mod auth;
mod lists;
mod metrics;
mod routes;
mod serve;
mod spawn;

pub use routes::{Api, router};
pub use serve::serve;
pub use spawn::Spawner;
