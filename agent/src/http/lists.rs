//! The hive's state in the words of its HTTP API. Pure.

use rbee_crds::hive::HiveBackend;
use rbee_wire::hive::{BackendEntry, BackendsList, DeviceEntry, WorkerEntry, WorkersList};

use crate::supervise::view::ReplicaView;

/// The workers that have a process.
pub fn workers(views: &[ReplicaView]) -> WorkersList {
    WorkersList { workers: views.iter().filter_map(worker).collect() }
}

fn worker(view: &ReplicaView) -> Option<WorkerEntry> {
    let report = view.report.as_ref()?;
    let last = report.last_request_unix_ms.and_then(|ms| i64::try_from(ms).ok());
    let count = |n: i32| u32::try_from(n).unwrap_or(0);
    Some(WorkerEntry {
        id: view.key.name.clone(),
        url: report.url.clone(),
        model_ref: view.model_id.clone(),
        backend: view.backend.to_string(),
        device: count(view.device),
        state: report.activity()?,
        last_activity: last.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).map(|t| t.to_string()),
        slots_total: report.slots.map_or(0, |s| count(s.total)),
        slots_available: report.slots.map_or(0, |s| count(s.free)),
    })
}

/// The backends and their devices.
pub fn backends(backends: &[HiveBackend]) -> BackendsList {
    let bytes = |n: i64| u64::try_from(n).unwrap_or(0);
    let entry = |b: &HiveBackend| BackendEntry {
        name: b.name.to_string(),
        devices: b
            .devices
            .iter()
            .map(|d| DeviceEntry {
                index: u32::try_from(d.index).unwrap_or(0),
                name: d.name.clone(),
                memory_bytes: bytes(d.memory_bytes),
                memory_free_bytes: bytes(d.memory_free_bytes.unwrap_or(d.memory_bytes)),
            })
            .collect(),
    };
    BackendsList { backends: backends.iter().map(entry).collect() }
}
