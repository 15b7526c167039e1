//! A Kubernetes-style API server over a Store (memory, sled).

pub mod db;
pub mod store;
pub mod apply;
pub mod auth;
pub mod openapi;
pub mod patch;
pub mod pki;
pub mod schema;
pub mod table;
