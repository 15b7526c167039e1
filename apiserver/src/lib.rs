//! A Kubernetes-style API server over a store (memory, sled). Kinds are data: CustomResourceDefinitions.
//!
//! ```text
//! http  ── resolve, authenticate, authorize, decode, admit, write, encode ──▶ db ──▶ store
//!   ▲ kinds: registry (built-in rows and definitions)        gc: owners, namespaces, definitions
//! ```

pub mod apply;
pub mod auth;
pub mod db;
mod gc;
pub mod http;
pub mod openapi;
pub mod patch;
pub mod pki;
pub mod registry;
pub mod schema;
mod server;
pub mod store;
pub mod table;

pub use auth::{Identity, Role};
pub use server::{ApiServer, Config, OpenError};
