//! The whole control plane in one process: the API server in memory, the real controllers and simulated hives, in virtual time.
//!
//! Time is tokio's paused clock. It goes on only when every task waits for a timer and no request is under way (see `link`), so
//! minutes of heartbeats and timeouts take milliseconds and nothing depends on how fast this machine is.

mod hive;
mod link;
mod machine;
mod random;
mod scenarios;
mod view;
mod witness;
mod world;
