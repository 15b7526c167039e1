//! The choices that all replicas of one spec share, and why they cannot be made yet.

use rbee_crds::{
    Backend, Model, Worker,
    assignment::AssignedModel,
    condition,
    model::{Gguf, RESOLVED},
    names, reason,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{MAX_NAME, Obstacle};

/// What a replica is started with. A change of anything that is hashed needs a new process.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    pub model: AssignedModel,
    pub gguf: Option<Gguf>,
    pub backend: Backend,
    /// The device that the spec asks for.
    pub device: Option<i32>,
    pub slots: i32,
    pub context_length: Option<i32>,
    /// 8 hex digits.
    pub hash: String,
}

/// What has to come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// There is no such Model.
    Model { name: String, namespace: String },
    /// The Model was not resolved.
    Resolution { name: String, message: String },
    /// The Worker's name fits into no label.
    ShorterName,
    /// The Worker is being deleted.
    Deleted,
}

impl Waiting {
    /// How that is told in conditions.
    pub fn obstacle(&self) -> Option<Obstacle> {
        let is = |reason: &str, message| Some(Obstacle { reason: reason.to_owned(), message });
        match self {
            Self::Model { name, namespace } => {
                is(reason::MODEL_NOT_FOUND, format!("Model \"{name}\" does not exist in namespace \"{namespace}\""))
            }
            Self::Resolution { name, message } => is(reason::MODEL_NOT_READY, format!("Model \"{name}\": {message}")),
            Self::ShorterName => is(
                reason::INVALID_REQUEST,
                format!("metadata.name is longer than {MAX_NAME} characters, which no label can hold"),
            ),
            Self::Deleted => None,
        }
    }
}

#[derive(Serialize)]
struct Hashed<'a> {
    model: &'a AssignedModel,
    backend: Backend,
    device: Option<i32>,
    slots: i32,
    context_length: Option<i32>,
}

/// Makes the choices that need no hive.
pub fn choose(worker: &Worker, model: Option<&Model>) -> Result<Template, Waiting> {
    let namespace = worker.metadata.namespace.as_deref().unwrap_or(names::DEFAULT_NAMESPACE);
    let name = &worker.spec.model_ref.name;
    if worker.metadata.name.as_ref().is_some_and(|n| n.len() > MAX_NAME) {
        return Err(Waiting::ShorterName);
    }
    let model = model
        .filter(|m| m.metadata.deletion_timestamp.is_none())
        .ok_or_else(|| Waiting::Model { name: name.clone(), namespace: namespace.to_owned() })?;
    let status = model.status.as_ref().filter(|s| s.observed_generation == model.metadata.generation);
    let waits = |message: &str| Waiting::Resolution { name: name.clone(), message: message.to_owned() };
    let status = status.ok_or_else(|| waits("it is being resolved"))?;
    if !condition::is_true(&status.conditions, RESOLVED) {
        let why = condition::find(&status.conditions, RESOLVED).map_or("it is being resolved", |c| &c.message);
        return Err(waits(why));
    }
    let spec = &worker.spec;
    let model = AssignedModel {
        name: name.clone(),
        id: names::openai_id(namespace, name),
        uri: model.spec.uri.clone(),
        revision: status.resolved_revision.clone(),
        files: status.files.clone(),
    };
    let (backend, device, slots, context_length) = (spec.backend(), spec.device, spec.slots(), spec.context_length);
    let hash = hash(&Hashed { model: &model, backend, device, slots, context_length });
    Ok(Template { model, gguf: status.gguf.clone(), backend, device, slots, context_length, hash })
}

fn hash(choices: &Hashed<'_>) -> String {
    // Plain structs of strings and numbers always serialize.
    let text = serde_json::to_vec(choices).unwrap_or_default();
    hex::encode(&Sha256::digest(text)[..4])
}
