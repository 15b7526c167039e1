//! A Kubernetes-style API server over a Store (memory, sled).

pub mod apply;
pub mod openapi;
pub mod patch;
pub mod schema;
pub mod table;
