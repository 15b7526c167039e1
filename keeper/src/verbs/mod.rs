//! The verbs, one file each.

pub mod api_resources;
pub mod apply;
pub mod completion;
pub mod crds;
pub mod delete;
pub mod describe;
pub mod diff;
pub mod edit;
pub mod events;
pub mod explain;
pub mod get;
pub mod hives;
pub mod kubeconfig;
pub mod label;
pub mod models;
pub mod placement;
pub mod scale;
pub mod token;
pub mod version;
pub mod wait;
pub mod workers;
