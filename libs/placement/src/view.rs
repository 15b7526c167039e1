//! What placement looks at: the request, the hives, and what is placed already.

use std::collections::BTreeMap;

use rbee_crds::Backend;

/// One replica that wants a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `namespace/name` of the Worker; replicas of one Worker spread.
    pub worker: String,
    /// The model's reference. `file:` goes only where the file is.
    pub model_uri: String,
    /// Of its file, where another one would not do.
    pub model_sha256: Option<String>,
    /// What is set aside for the replica, in bytes; see [`crate::memory_need`].
    pub memory_bytes: u64,
    pub backend: Backend,
    /// Index of the device, if it matters.
    pub device: Option<u32>,
    /// The one hive that is allowed.
    pub hive_name: Option<String>,
    /// Labels that the hive must carry.
    pub hive_selector: BTreeMap<String, String>,
}

/// One hive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiveView {
    pub name: String,
    /// Its heartbeat is fresh and it can start workers.
    pub ready: bool,
    pub unschedulable: bool,
    pub labels: BTreeMap<String, String>,
    pub backends: Vec<BackendView>,
    /// Models that the hive reports, by their reference.
    pub files: BTreeMap<String, FileState>,
}

/// Whether a hive has a model's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    Available {
        /// If the hive computed it.
        sha256: Option<String>,
    },
    /// It is coming, missing or broken.
    NotAvailable,
}

/// A backend of a hive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendView {
    pub name: Backend,
    pub devices: Vec<DeviceView>,
}

/// A device of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceView {
    pub index: u32,
    /// All memory of the device.
    pub memory_bytes: u64,
    /// What the hive measured as free, if it did.
    pub free_bytes: Option<u64>,
}

/// A replica that has a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// `namespace/name` of the Worker.
    pub worker: String,
    pub hive: String,
    pub backend: Backend,
    pub device: u32,
    /// What is set aside for it.
    pub memory_bytes: u64,
    /// Its memory is taken already and shows in what the device reports as free.
    pub loaded: bool,
}
