//! A hive's HTTP API: health, workers, backends, spawn.

use serde::{Deserialize, Serialize};

/// `GET /v1/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HiveHealth {
    /// Always `ok`.
    pub status: String,
    /// MAJOR.MINOR.PATCH of the executable.
    pub version: String,
    /// `rbee_wire::API_VERSION` of the hive.
    pub api_version: String,
}

/// How a worker looks to people who look for a free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerActivity {
    Loading,
    /// Ready with nothing in flight.
    Idle,
    Busy,
    Draining,
}

/// One worker of `GET /v1/workers/list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerEntry {
    pub id: String,
    pub url: Option<String>,
    pub model_ref: String,
    pub backend: String,
    pub device: u32,
    pub state: WorkerActivity,
    /// RFC 3339; null before the first request.
    pub last_activity: Option<String>,
    pub slots_total: u32,
    pub slots_available: u32,
}

/// `GET /v1/workers/list`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WorkersList {
    pub workers: Vec<WorkerEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceEntry {
    pub index: u32,
    pub name: String,
    pub memory_bytes: u64,
    pub memory_free_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendEntry {
    /// `cpu`, `cuda` or `metal`.
    pub name: String,
    pub devices: Vec<DeviceEntry>,
}

/// `GET /v1/backends/list`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BackendsList {
    pub backends: Vec<BackendEntry>,
}

/// `POST /v1/workers/spawn`: declares a Worker pinned to this hive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpawnRequest {
    /// A model reference, or the name of a Model.
    pub model_ref: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u32>,
}

/// Answer to `POST /v1/workers/spawn`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnResponse {
    pub id: String,
    /// Known once the worker listens.
    pub url: Option<String>,
    pub state: WorkerActivity,
}
