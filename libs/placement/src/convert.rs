//! Views of the objects in the API.

use rbee_crds::hive::{CacheState, HiveBackend, READY};
use rbee_crds::{Assignment, AssignmentState, Hive, condition};

use crate::{BackendView, DeviceView, FileState, HiveView, Placed};

impl From<&Hive> for HiveView {
    fn from(hive: &Hive) -> Self {
        let status = hive.status.clone().unwrap_or_default();
        let models = status.cache.map(|c| c.models).unwrap_or_default();
        let state = |state, sha256| match state {
            CacheState::Available => FileState::Available { sha256 },
            CacheState::Downloading | CacheState::Missing | CacheState::Invalid | CacheState::Failed => {
                FileState::NotAvailable
            }
        };
        Self {
            name: hive.metadata.name.clone().unwrap_or_default(),
            ready: condition::is_true(&status.conditions, READY) && hive.metadata.deletion_timestamp.is_none(),
            unschedulable: hive.spec.unschedulable.unwrap_or(false),
            labels: hive.metadata.labels.clone().unwrap_or_default(),
            backends: status.backends.iter().map(BackendView::from).collect(),
            files: models.into_iter().map(|m| (m.uri, state(m.state, m.sha256))).collect(),
        }
    }
}

impl From<&HiveBackend> for BackendView {
    fn from(backend: &HiveBackend) -> Self {
        let bytes = |n: i64| u64::try_from(n).unwrap_or(0);
        let devices = backend.devices.iter().filter_map(|d| {
            Some(DeviceView {
                index: u32::try_from(d.index).ok()?,
                memory_bytes: bytes(d.memory_bytes),
                free_bytes: d.memory_free_bytes.map(bytes),
            })
        });
        Self { name: backend.name, devices: devices.collect() }
    }
}

impl From<&Assignment> for Placed {
    /// Every Assignment that exists holds its memory, until its process is known to be gone.
    fn from(assignment: &Assignment) -> Self {
        let spec = &assignment.spec;
        let state = assignment.status.as_ref().and_then(|s| s.state).unwrap_or_default();
        let ended = matches!(state, AssignmentState::Stopped);
        let namespace = assignment.metadata.namespace.as_deref().unwrap_or(rbee_crds::names::DEFAULT_NAMESPACE);
        Self {
            worker: format!("{namespace}/{}", spec.worker_name),
            hive: spec.hive_name.clone(),
            backend: spec.backend,
            device: u32::try_from(spec.device).unwrap_or(0),
            memory_bytes: if ended { 0 } else { u64::try_from(spec.memory_bytes).unwrap_or(0) },
            loaded: matches!(state, AssignmentState::Ready | AssignmentState::Draining),
        }
    }
}
