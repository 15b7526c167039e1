//! The kinds of `rbee.dev/v1alpha1`: what people declare, what controllers decide, what hives observe.
//!
//! Everything here is data. States are enums, strings appear only at the serde edge; validation lives in the generated
//! CustomResourceDefinitions ([`all`]), so that every API server refuses the same things with the same words.

#![allow(clippy::duplicated_attributes, reason = "each printer column and rule is an attribute of its own")]

pub mod assignment;
pub mod condition;
pub mod duration;
pub mod hive;
pub mod model;
pub mod names;
pub mod reason;
mod schema;
pub mod worker;

pub use assignment::{Assignment, AssignmentSpec, AssignmentState, AssignmentStatus};
pub use condition::{Condition, ConditionStatus};
pub use duration::Duration;
pub use hive::{Hive, HiveSpec, HiveStatus};
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
pub use model::{Model, ModelSpec, ModelStatus};
pub use schema::{all, to_json};
pub use worker::{Backend, Worker, WorkerSpec, WorkerStatus};

/// The API group of every kind.
pub const GROUP: &str = "rbee.dev";
/// The served and stored version.
pub const VERSION: &str = "v1alpha1";
