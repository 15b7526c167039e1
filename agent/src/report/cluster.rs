//! The hive's reads and writes at the API, each with a deadline and a precondition.

use std::{collections::BTreeMap, fmt, time::Duration};

use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use rbee_crds::{Assignment, AssignmentStatus, GROUP, Hive, HiveStatus, VERSION, names};
use serde_json::json;

use crate::{
    causes::words,
    supervise::{observe::Notice, state::Key},
};

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Longest note of an Event, bytes; the API takes no more.
const NOTE_BYTES: usize = 1000;

/// The API as one hive uses it.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    hive: String,
    manager: String,
    holder: String,
    reporter: Reporter,
}

/// The key that a worker's endpoints want.
#[derive(Clone)]
pub struct WorkerKey(String);

impl WorkerKey {
    /// For the worker's environment and the Authorization header.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WorkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkerKey")
    }
}

/// A request that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("{}", words(.0))]
    Api(#[from] kube::Error),
    #[error("the API did not answer within {} s", LIMIT.as_secs())]
    Timeout,
}

impl ClusterError {
    /// The object of the request is not there, or is another one under the same name.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.is_not_found())
    }
}

/// The request, with a deadline.
pub(super) async fn limited<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ClusterError> {
    Ok(tokio::time::timeout(LIMIT, request).await.map_err(|_| ClusterError::Timeout)??)
}

impl Cluster {
    /// `id` tells this hive from another one of its name.
    pub fn new(client: Client, hive: &str, id: &str) -> Self {
        let reporter = Reporter { controller: "rbee-hive".into(), instance: Some(hive.to_owned()) };
        Self {
            client,
            hive: hive.to_owned(),
            manager: names::manager_hive(hive),
            holder: format!("{hive}_{id}"),
            reporter,
        }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn hive(&self) -> &str {
        &self.hive
    }

    /// Who it is as the holder of its Lease.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Server-side apply as the manager of this hive's fields.
    pub(super) fn apply(&self) -> PatchParams {
        PatchParams::apply(&self.manager).force()
    }

    /// The key of a Worker's processes.
    ///
    /// # Errors
    /// A sentence; the queen makes the Secret, so it may come yet.
    pub async fn worker_key(&self, key: &Key) -> Result<WorkerKey, String> {
        let name = names::worker_key_secret(&key.worker_name);
        let at = format!("Secret {}/{name}", key.namespace);
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        let secret = limited(api.get(&name)).await.map_err(|e| format!("{at}: {e}"))?;
        let bytes = secret.data.unwrap_or_default().remove(names::WORKER_KEY_FIELD);
        let text = bytes.and_then(|b| String::from_utf8(b.0).ok()).filter(|t| !t.is_empty() && !t.contains('\0'));
        text.map(WorkerKey).ok_or_else(|| format!("{at} has no text under {:?}", names::WORKER_KEY_FIELD))
    }

    /// Takes the process finalizer off an Assignment, if it is still that one.
    ///
    /// # Errors
    /// A sentence; an Assignment that is gone or has no such finalizer is no error.
    pub async fn release(&self, key: &Key) -> Result<(), String> {
        let api: Api<Assignment> = Api::namespaced(self.client.clone(), &key.namespace);
        let found = limited(api.get_opt(&key.name)).await.map_err(|e| e.to_string())?;
        let Some(found) = found.filter(|a| a.metadata.uid.as_deref() == Some(&key.uid)) else { return Ok(()) };
        let finalizers = found.metadata.finalizers.unwrap_or_default();
        let Some(index) = finalizers.iter().position(|f| f == names::FINALIZER_PROCESS) else { return Ok(()) };
        let path = format!("/metadata/finalizers/{index}");
        let patch = json!([
            {"op": "test", "path": "/metadata/uid", "value": key.uid},
            {"op": "test", "path": path, "value": names::FINALIZER_PROCESS},
            {"op": "remove", "path": path},
        ]);
        let patch = serde_json::from_value(patch).map_err(|e| e.to_string())?;
        match limited(api.patch(&key.name, &PatchParams::default(), &Patch::Json::<()>(patch))).await {
            Err(e) if !e.is_gone() => Err(e.to_string()),
            _ => Ok(()),
        }
    }

    /// Writes the status of an Assignment, if it is still that one; the answer is what the API holds then.
    pub async fn apply_assignment(&self, key: &Key, status: &AssignmentStatus) -> Result<Assignment, ClusterError> {
        let api: Api<Assignment> = Api::namespaced(self.client.clone(), &key.namespace);
        let body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "Assignment",
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": key.uid},
            "status": status,
        });
        limited(api.patch_status(&key.name, &self.apply(), &Patch::Apply(body))).await
    }

    /// Declares the Hive object with these labels; other labels stay.
    pub async fn apply_hive(&self, labels: &BTreeMap<String, String>) -> Result<(), ClusterError> {
        let api: Api<Hive> = Api::all(self.client.clone());
        let body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "Hive",
            "metadata": {"name": self.hive, "labels": labels},
            "spec": {},
        });
        limited(api.patch(&self.hive, &self.apply(), &Patch::Apply(body))).await.map(drop)
    }

    /// Writes the Hive's status.
    pub async fn apply_hive_status(&self, status: &HiveStatus) -> Result<(), ClusterError> {
        let api: Api<Hive> = Api::all(self.client.clone());
        let body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "Hive",
            "metadata": {"name": self.hive},
            "status": status,
        });
        limited(api.patch_status(&self.hive, &self.apply(), &Patch::Apply(body))).await.map(drop)
    }

    /// Publishes Events; what one recorder is given again it counts, with the words of the first time.
    pub fn recorder(&self) -> Recorder {
        Recorder::new(self.client.clone(), self.reporter.clone())
    }

    /// Publishes a notice about its Assignment and about the Worker that it is a replica of.
    pub async fn publish(&self, recorder: &Recorder, notice: &Notice) -> Result<(), ClusterError> {
        let key = &notice.key;
        let reference = |kind: &str, name: &str, uid: Option<String>| ObjectReference {
            api_version: Some(format!("{GROUP}/{VERSION}")),
            kind: Some(kind.into()),
            name: Some(name.into()),
            namespace: Some(key.namespace.clone()),
            uid,
            ..ObjectReference::default()
        };
        let assignment = reference("Assignment", &key.name, Some(key.uid.clone()));
        let worker = reference("Worker", &key.worker_name, key.worker_uid.clone());
        let event = |secondary: &ObjectReference| Event {
            type_: if notice.warning { EventType::Warning } else { EventType::Normal },
            reason: notice.reason.clone(),
            note: Some(cut(&notice.message)),
            action: "Supervise".into(),
            secondary: Some(secondary.clone()),
        };
        limited(recorder.publish(&event(&worker), &assignment)).await?;
        limited(recorder.publish(&event(&assignment), &worker)).await
    }
}

fn cut(note: &str) -> String {
    let mut end = note.len().min(NOTE_BYTES);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = "é".repeat(2000);
        assert_eq!(cut(&long).len(), NOTE_BYTES);
        assert_eq!(cut(&format!("x{long}")).len(), NOTE_BYTES - 1);
    }
}
