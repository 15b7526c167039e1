//! The hive: pulls models, supervises workers, reports.
//!
//! The API is watched (`sync`), what it wants is compared with what runs (`plan`, pure), one task owns the table of
//! processes and carries the plan out (`supervise`), and what came of it is written back (`report`).

pub mod adopt;
mod causes;
mod config;
pub mod device;
mod http;
pub mod join;
mod paths;
pub mod plan;
pub mod puller;
mod report;
mod retry;
mod run;
pub mod supervise;
pub mod sync;

pub use config::{CallerClients, ClientSource, Config, Timing, WorkerCommand};
pub use run::run;
