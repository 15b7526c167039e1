//! The worker's bond to its hive: it holds a socket, and reports once that it is ready.

mod callback;
mod socket;

pub use callback::report_ready;
pub use socket::hold;
