//! What the hive tells the API: status of Assignments, its own object, its heartbeat, Events.

pub mod assignments;
pub mod cluster;
pub mod events;
pub mod hive;
pub mod lease;
