//! `POST /v1/workers/spawn`: a thin coat over declared objects. A Model and a Worker pinned to this hive are written in the
//! caller's own name; what comes of them is waited for.

use std::{fmt::Debug, sync::Arc, time::Duration};

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
    core::NamespaceResourceScope,
};
use rbee_crds::{
    AssignmentState, Backend, Model, ModelSpec, Worker, WorkerSpec,
    condition::{self, ConditionStatus},
    hive::HiveBackend,
    model::RESOLVED,
    names, reason,
    worker::{ModelRef as NamedModel, SCHEDULED},
};
use rbee_model::ModelRef;
use rbee_wire::{
    ApiError, ErrorCode,
    hive::{SpawnRequest, SpawnResponse, WorkerActivity},
};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, time::Instant};

use crate::{causes::words, config::CallerClients, plan::preflight, supervise::view::ReplicaView};

/// How long the answer waits for the worker to be ready.
const WAIT: Duration = Duration::from_secs(300);
/// Between two looks at the Worker's conditions.
const LOOK: Duration = Duration::from_millis(250);

/// Declares and waits.
pub struct Spawner {
    pub hive: String,
    pub callers: CallerClients,
    pub views: watch::Receiver<Arc<Vec<ReplicaView>>>,
    pub backends: watch::Receiver<Vec<HiveBackend>>,
}

/// What was not there before: it goes again when nothing comes of it.
#[derive(Default)]
struct Made {
    model: Option<Model>,
    worker: Option<Worker>,
}

impl Made {
    async fn undo(self, client: &Client) {
        if let Some(worker) = &self.worker {
            delete(client, worker).await;
        }
        if let Some(model) = &self.model {
            delete(client, model).await;
        }
    }
}

/// Deletes the object, if it is still that one. One that stays is told in the log.
async fn delete<K>(client: &Client, object: &K)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), names::DEFAULT_NAMESPACE);
    let preconditions = Preconditions { resource_version: None, uid: object.meta().uid.clone() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let name = object.name_any();
    if let Err(e) = api.delete(&name, &params).await {
        tracing::warn!(name, kind = %K::kind(&()), "declared for a spawn that failed, and not deleted: {}", words(&e));
    }
}

impl Spawner {
    /// Declares what was asked for and waits until it is ready or cannot be; then what was made for it is deleted again.
    ///
    /// # Errors
    /// What the API refuses, with its words; what keeps the worker from running, with its code.
    pub async fn spawn(&self, bearer: &str, request: SpawnRequest) -> Result<SpawnResponse, ApiError> {
        let client = (self.callers)(bearer).map_err(|e| ApiError::new(ErrorCode::Internal, format!("{e:#}")))?;
        let backend = request.backend.as_deref().map(backend).transpose()?;
        available(backend, request.device, &self.backends.borrow())?;
        let mut made = Made::default();
        let result = self.declare(&client, &request, backend, &mut made).await;
        if result.is_err() {
            made.undo(&client).await;
        }
        result
    }

    async fn declare(
        &self,
        client: &Client,
        request: &SpawnRequest,
        backend: Option<Backend>,
        made: &mut Made,
    ) -> Result<SpawnResponse, ApiError> {
        let model = declare_model(client, &request.model_ref, made).await?;
        let name = match &request.worker_id {
            Some(id) => id.clone(),
            None => format!(
                "{}-{}",
                model.chars().take(48).collect::<String>().trim_end_matches(['-', '.']),
                &uuid::Uuid::new_v4().simple().to_string()[..8]
            ),
        };
        let spec = WorkerSpec { backend, ..self.spec(model, request)? };
        let api: Api<Worker> = Api::namespaced(client.clone(), names::DEFAULT_NAMESPACE);
        let worker = api.create(&PostParams::default(), &Worker::new(&name, spec)).await.map_err(refused)?;
        let uid = worker.metadata.uid.clone();
        made.worker = Some(worker);
        self.wait(client, &name, uid.as_deref()).await
    }

    fn spec(&self, model: String, request: &SpawnRequest) -> Result<WorkerSpec, ApiError> {
        let int = |field: &str, value: Option<u32>| {
            value.map(|v| i32::try_from(v).map_err(|_| ApiError::invalid(field, "is too large"))).transpose()
        };
        Ok(WorkerSpec {
            model_ref: NamedModel { name: model },
            replicas: Some(1),
            autoscaling: None,
            backend: None,
            device: int("device", request.device)?,
            hive_selector: None,
            hive_name: Some(self.hive.clone()),
            slots: int("slots", request.slots)?,
            context_length: int("context_length", request.context_length)?,
            idle_timeout: None,
            resources: None,
            rollout_strategy: None,
            on_hive_lost: None,
            hive_lost_timeout: None,
            suspend: None,
        })
    }

    async fn wait(&self, client: &Client, name: &str, uid: Option<&str>) -> Result<SpawnResponse, ApiError> {
        let mut views = self.views.clone();
        let end = Instant::now() + WAIT;
        loop {
            let mine = {
                let views = views.borrow_and_update();
                views.iter().find(|v| v.key.worker_uid.as_deref() == uid && v.key.worker_name == name).cloned()
            };
            let over = Instant::now() >= end;
            if let Some(answer) = mine.as_ref().and_then(|view| answer(view, over)) {
                return answer;
            }
            if mine.is_none() {
                unplaced(client, name).await?;
                if over {
                    let message = format!("nothing has become of worker {name} within {} s", WAIT.as_secs());
                    return Err(ApiError::new(ErrorCode::WorkerStartFailed, message));
                }
            }
            // A change of the views wakes at once; the Worker's conditions are only looked at.
            let _ = tokio::time::timeout(LOOK, views.changed()).await;
        }
    }
}

/// What to answer for a replica as it stands; None while it may still become ready.
fn answer(view: &ReplicaView, over: bool) -> Option<Result<SpawnResponse, ApiError>> {
    let report = view.report.as_ref()?;
    let failed = report.state == AssignmentState::Failed || (report.last_failure.is_some() && report.pid.is_none());
    if let Some(failure) = report.last_failure.as_ref().filter(|_| failed) {
        let code = ErrorCode::parse(&failure.reason).unwrap_or(ErrorCode::WorkerStartFailed);
        return Some(Err(ApiError::new(code, failure.message.clone()).with_detail("id", view.key.name.clone())));
    }
    let ready = report.state == AssignmentState::Ready;
    (ready || over).then(|| {
        let state = report.activity().unwrap_or(WorkerActivity::Loading);
        Ok(SpawnResponse { id: view.key.name.clone(), url: report.url.clone(), state })
    })
}

/// Refuses when the queen says that the Worker has no place, or that its Model cannot be had.
async fn unplaced(client: &Client, name: &str) -> Result<(), ApiError> {
    let api: Api<Worker> = Api::namespaced(client.clone(), names::DEFAULT_NAMESPACE);
    let worker = api.get(name).await.map_err(refused)?;
    let conditions = worker.status.map(|s| s.conditions).unwrap_or_default();
    let Some(scheduled) = condition::find(&conditions, SCHEDULED).filter(|c| c.status == ConditionStatus::False) else {
        return Ok(());
    };
    let mut why = scheduled.clone();
    if scheduled.reason == reason::MODEL_NOT_READY {
        let api: Api<Model> = Api::namespaced(client.clone(), names::DEFAULT_NAMESPACE);
        let model = api.get_opt(&worker.spec.model_ref.name).await.map_err(refused)?;
        let conditions = model.and_then(|m| m.status).map(|s| s.conditions).unwrap_or_default();
        match condition::find(&conditions, RESOLVED).filter(|c| c.status == ConditionStatus::False) {
            Some(resolved) => why = resolved.clone(),
            None => return Ok(()),
        }
    }
    match refusal(&why.reason) {
        Some(code) => Err(ApiError::new(code, why.message).with_detail("worker", name)),
        None => Ok(()),
    }
}

/// The code of a reason that will not pass by itself; None where waiting may help.
fn refusal(reason: &str) -> Option<ErrorCode> {
    match reason {
        "ModelNotOnHive" => Some(ErrorCode::ModelNotFound),
        "Unschedulable" => Some(ErrorCode::Unavailable),
        _ => ErrorCode::parse(reason),
    }
}

/// The Model's name: the one given, or one made from a reference.
async fn declare_model(client: &Client, reference: &str, made: &mut Made) -> Result<String, ApiError> {
    let api: Api<Model> = Api::namespaced(client.clone(), names::DEFAULT_NAMESPACE);
    if !reference.contains(':') {
        if !names::is_object_name(reference) {
            return Err(ApiError::invalid("model_ref", "is neither a model reference nor the name of a Model"));
        }
        return match api.get_opt(reference).await.map_err(refused)? {
            Some(_) => Ok(reference.to_owned()),
            None => Err(ApiError::model_not_found(reference)),
        };
    }
    let parsed: ModelRef = reference.parse().map_err(|e| ApiError::invalid("model_ref", e))?;
    let name = parsed.object_name();
    let spec = ModelSpec {
        uri: reference.to_owned(),
        revision: None,
        filename: None,
        sha256: None,
        token_secret_ref: None,
        chat_template: None,
        prefetch: None,
    };
    match api.create(&PostParams::default(), &Model::new(&name, spec)).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(name),
        Err(e) => Err(refused(e)),
        Ok(model) => {
            made.model = Some(model);
            Ok(name)
        }
    }
}

/// Refuses what this hive does not have. Without a backend any that has the device will do.
fn available(backend: Option<Backend>, device: Option<u32>, backends: &[HiveBackend]) -> Result<(), ApiError> {
    let device = device.map(|d| i32::try_from(d).unwrap_or(i32::MAX));
    let missing = match backend {
        Some(backend) => preflight::missing(backend, device, backends),
        None => {
            let each: Option<Vec<_>> = backends.iter().map(|b| preflight::missing(b.name, device, backends)).collect();
            each.and_then(|missing| missing.into_iter().next())
        }
    };
    match missing {
        Some((reason, message)) => {
            Err(ApiError::new(ErrorCode::parse(reason).unwrap_or(ErrorCode::InvalidRequest), message))
        }
        None => Ok(()),
    }
}

fn backend(text: &str) -> Result<Backend, ApiError> {
    match text {
        "cpu" => Ok(Backend::Cpu),
        "cuda" => Ok(Backend::Cuda),
        "metal" => Ok(Backend::Metal),
        _ => Err(ApiError::invalid("backend", "must be cpu, cuda or metal")),
    }
}

/// The API's refusal in this API's shape.
fn refused(error: kube::Error) -> ApiError {
    let kube::Error::Api(status) = error else {
        let why = words(&error);
        return ApiError::new(ErrorCode::Unavailable, format!("the API server cannot be reached: {why}"));
    };
    let code = match status.code {
        401 => ErrorCode::InvalidApiKey,
        403 => ErrorCode::Forbidden,
        404 => ErrorCode::NotFound,
        400..=499 => ErrorCode::InvalidRequest,
        _ => ErrorCode::Unavailable,
    };
    ApiError::new(code, status.message.clone()).with_status(status.code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbee_crds::hive::Device;

    #[test]
    fn what_the_hive_has_not_is_refused() {
        let device = Device { index: 0, name: "cpu".into(), memory_bytes: 1, memory_free_bytes: None };
        let backends = [HiveBackend { name: Backend::Cpu, devices: vec![device] }];
        let code = |backend, device| available(backend, device, &backends).err().map(|e| e.code);
        assert_eq!([code(None, None), code(Some(Backend::Cpu), None), code(None, Some(0))], [None, None, None]);
        assert_eq!(code(Some(Backend::Cuda), None), Some(ErrorCode::BackendNotAvailable));
        assert_eq!(code(Some(Backend::Cpu), Some(1)), Some(ErrorCode::DeviceNotAvailable));
        assert_eq!(code(None, Some(u32::MAX)), Some(ErrorCode::DeviceNotAvailable));
    }
}
