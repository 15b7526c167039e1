//! Assignment: one replica on one hive, every choice made. The queen writes the spec, that hive the status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition::Condition,
    hive::Download,
    model::ModelFile,
    worker::{Backend, Failure},
};

/// The replica that shall run.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "rbee.dev",
    version = "v1alpha1",
    kind = "Assignment",
    namespaced,
    shortname = "asg",
    category = "rbee",
    doc = "One replica of a Worker on one Hive. Written by the queen; people read it.",
    status = "AssignmentStatus",
    derive = "PartialEq",
    selectable = ".spec.hiveName",
    selectable = ".spec.workerName",
    printcolumn(name = "WORKER", type_ = "string", json_path = ".spec.workerName"),
    printcolumn(name = "HIVE", type_ = "string", json_path = ".spec.hiveName"),
    printcolumn(name = "STATE", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "RESTARTS", type_ = "integer", json_path = ".status.restarts"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url", priority = 1),
    printcolumn(name = "PID", type_ = "integer", json_path = ".status.pid", priority = 1),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("self.epoch >= oldSelf.epoch").message("epoch is older than the one stored: the writer is no longer the leader"),
    validation = Rule::new("self.hiveName == oldSelf.hiveName").message("hiveName is immutable: an Assignment does not move"),
    validation = Rule::new("self.workerName == oldSelf.workerName").message("workerName is immutable")
)]
#[serde(rename_all = "camelCase")]
pub struct AssignmentSpec {
    /// The Worker that this is a replica of.
    #[schemars(length(min = 1, max = 253))]
    pub worker_name: String,
    /// Generation of the Worker's spec that the choices were made from.
    pub worker_generation: i64,
    /// Hash of the choices that need a new process when they change.
    pub template_hash: String,
    /// The Hive that runs it.
    #[schemars(length(min = 1, max = 253))]
    pub hive_name: String,
    pub model: AssignedModel,
    pub backend: Backend,
    #[schemars(range(min = 0, max = 1023))]
    pub device: i32,
    #[schemars(range(min = 1, max = 64))]
    pub slots: i32,
    /// Tokens per slot; the model's own when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16_777_216))]
    pub context_length: Option<i32>,
    /// Memory set aside for it on the device, bytes.
    #[schemars(range(min = 0))]
    pub memory_bytes: i64,
    /// The leader's term; never goes back.
    #[schemars(range(min = 0))]
    pub epoch: i64,
}

/// The model with every reference resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignedModel {
    /// Name of the Model object, in the same namespace.
    pub name: String,
    /// Its id in the OpenAI API.
    pub id: String,
    pub uri: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ModelFile>,
}

/// Where a replica is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AssignmentState {
    /// The hive has not taken it up, or waits before a new try.
    #[default]
    Pending,
    /// The hive fetches the model.
    Downloading,
    /// The process was started and has not said where it listens.
    Starting,
    /// It listens and reads the weights.
    Loading,
    /// It answers requests.
    Ready,
    /// It ends what it began and takes nothing on.
    Draining,
    /// Its process is gone, as wanted.
    Stopped,
    /// It cannot run until something is changed.
    Failed,
}

/// What the hive sees of the replica.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignmentStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<AssignmentState>,
    /// Where it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i64>,
    /// Counts the processes started for this Assignment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<Slots>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadProgress>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download: Option<Download>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub last_request_time: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// Requests at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Slots {
    pub total: i32,
    pub free: i32,
}

/// How far the weights are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadProgress {
    pub layers_loaded: i32,
    pub layers_total: i32,
}
