//! Objects and tables for tests.

use std::sync::Arc;

use rbee_crds::{Assignment, Model, Worker};
use serde_json::json;

use crate::table::{ModelEntry, Replica, Table, WorkerEntry, WorkerId};

fn object<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("a sound object")
}

fn metadata(name: &str) -> serde_json::Value {
    json!({"name": name, "namespace": "default", "generation": 1, "creationTimestamp": "2026-01-02T03:04:05Z"})
}

pub fn model(name: &str) -> Model {
    object(
        json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Model", "metadata": metadata(name), "spec": {"uri": "builtin:tinybee"}}),
    )
}

pub fn worker(name: &str, model: &str, replicas: i32) -> Worker {
    object(json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Worker", "metadata": metadata(name),
        "spec": {"modelRef": {"name": model}, "replicas": replicas}}))
}

pub fn assignment(name: &str, worker: &str, model: &str) -> Assignment {
    object(json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Assignment", "metadata": metadata(name), "spec": {
        "workerName": worker, "workerGeneration": 1, "templateHash": "0", "hiveName": "h", "backend": "cpu", "device": 0, "slots": 2,
        "memoryBytes": 1, "epoch": 1, "model": {"name": model, "id": model, "uri": "builtin:tinybee"}}}))
}

pub fn ready(mut assignment: Assignment, url: &str) -> Assignment {
    assignment.status = Some(object(json!({"state": "Ready", "url": url, "incarnation": 1})));
    assignment
}

pub fn worker_id(name: &str) -> WorkerId {
    WorkerId { namespace: "default".into(), name: name.into() }
}

pub fn replica(id: &str, worker: &str, url: &str, slots: u32) -> Arc<Replica> {
    Arc::new(Replica { id: id.into(), worker: worker_id(worker), url: url.into(), slots, key: None })
}

pub fn worker_entry(replicas: Vec<Arc<Replica>>) -> WorkerEntry {
    WorkerEntry { can_run: true, stuck: None, replicas, last_request: None, reported: None }
}

/// A table with the model `bee`, served by the Worker `w`.
pub fn bee_table(replicas: Vec<Arc<Replica>>) -> Table {
    let workers = [(worker_id("w"), worker_entry(replicas))].into();
    Table { models: [("bee".to_owned(), ModelEntry { created: 7, broken: None, workers })].into() }
}
