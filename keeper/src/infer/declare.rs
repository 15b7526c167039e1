//! What shall answer: a replica that is Ready already, or a Model and a Worker that are declared for it.

use std::time::Duration;

use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use rbee_crds::{Assignment, ConditionStatus, Hive, Model, Worker, condition, names::LABEL_CREATED_BY, worker};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    args::{Choice, ModelArgs},
    progress::{Wish, least_busy, refusal},
};
use crate::{error::Error, verbs::apply::MANAGER};

/// Where to look for what answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    pub model: String,
    pub worker: String,
    /// Why the Model could not be had before this.
    pub refused: Option<String>,
    /// What was not there before: it goes again if nothing comes of it.
    pub made: Made,
}

/// Objects that were made for this answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    pub model: bool,
    pub worker: bool,
}

/// What was found or declared.
#[derive(Clone, Debug, PartialEq)]
pub enum Answerer {
    /// Contract: a Ready replica of that model is used as it is.
    Ready(Box<Assignment>),
    Coming(Source),
}

/// Finds or declares it.
///
/// # Errors
/// A Worker or Model that is not there, a server that refuses or does not answer.
pub async fn answerer(
    client: &Client,
    namespace: &str,
    choice: &Choice,
    args: &ModelArgs,
    wish: &Wish,
) -> Result<Answerer, Error> {
    let workers: Api<Worker> = Api::namespaced(client.clone(), namespace);
    if let Choice::Worker(name) = choice {
        let found = workers.get_opt(name).await?;
        let worker = found.ok_or_else(|| not_found("worker", name, namespace))?;
        return Ok(Answerer::Coming(Source {
            model: worker.spec.model_ref.name,
            worker: name.clone(),
            refused: None,
            made: Made::default(),
        }));
    }
    let assignments: Api<Assignment> = Api::namespaced(client.clone(), namespace);
    let replicas = assignments.list(&ListParams::default()).await?.items;
    if let Some(replica) = least_busy(replicas.iter().filter(|a| serves(a, choice, args)), wish) {
        return Ok(Answerer::Ready(Box::new(replica.clone())));
    }
    let models: Api<Model> = Api::namespaced(client.clone(), namespace);
    let mut made = Made::default();
    let (model, refused) = match choice {
        Choice::Model(name) => {
            let found = models.get_opt(name).await?.ok_or_else(|| not_found("model", name, namespace))?;
            (name.clone(), refusal(&found))
        }
        Choice::Reference(reference) => {
            let name = reference.object_name();
            let before = models.get_opt(&name).await?;
            apply(&models, &name, &model_object(&name, &reference.to_string())).await?;
            made.model = before.is_none();
            (name, before.as_ref().and_then(refusal))
        }
        Choice::Worker(_) => (String::new(), None),
    };
    let there = workers.list(&ListParams::default()).await?.items;
    if let Some(worker) = coming(&there, &model, args, wish) {
        return Ok(Answerer::Coming(Source { model, worker, refused, made }));
    }
    let name = worker_name(&model, args, wish);
    made.worker = !there.iter().any(|w| w.metadata.name.as_deref() == Some(name.as_str()));
    apply(&workers, &name, &worker_object(&name, &model, args, wish)).await?;
    Ok(Answerer::Coming(Source { model, worker: name, refused, made }))
}

/// Takes away what was made for an answer that will not come. What cannot be deleted idles out.
pub async fn undo(client: &Client, namespace: &str, source: &Source) {
    let params = DeleteParams::default();
    if source.made.worker {
        let workers: Api<Worker> = Api::namespaced(client.clone(), namespace);
        let _ = workers.delete(&source.worker, &params).await;
    }
    if source.made.model {
        let models: Api<Model> = Api::namespaced(client.clone(), namespace);
        let _ = models.delete(&source.model, &params).await;
    }
}

fn not_found(kind: &str, name: &str, namespace: &str) -> Error {
    Error::failed(format!(
        "{kind} {name:?} not found in namespace {namespace:?}; `rbee get {kind}s` lists those there are"
    ))
}

/// Whether a replica is one of the model that is asked for, computed as asked.
fn serves(replica: &Assignment, choice: &Choice, args: &ModelArgs) -> bool {
    let spec = &replica.spec;
    let model = match choice {
        Choice::Worker(name) => spec.worker_name == *name,
        Choice::Model(name) => spec.model.name == *name,
        Choice::Reference(reference) => spec.model.uri == reference.to_string(),
    };
    model && args.backend.is_none_or(|b| b == spec.backend) && args.device.is_none_or(|d| d == spec.device)
}

/// A Worker that people declared for that Model and that has or may get a place, where nothing special is asked for.
fn coming(workers: &[Worker], model: &str, args: &ModelArgs, wish: &Wish) -> Option<String> {
    if is_special(args, wish) {
        return None;
    }
    let will_do = |w: &&Worker| {
        let conditions = w.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
        let scheduled = condition::find(conditions, worker::SCHEDULED);
        w.spec.model_ref.name == model
            && w.metadata.deletion_timestamp.is_none()
            && w.spec.wanted_replicas() > 0
            && !w.metadata.labels.as_ref().is_some_and(|l| l.contains_key(LABEL_CREATED_BY))
            && scheduled.is_none_or(|c| c.status != ConditionStatus::False)
    };
    workers.iter().find(will_do).and_then(|w| w.metadata.name.clone())
}

fn is_special(args: &ModelArgs, wish: &Wish) -> bool {
    args.backend.is_some() || args.device.is_some() || wish.hive.is_some()
}

/// The Model's name; with a place of its own, the Worker has a name of its own too.
fn worker_name(model: &str, args: &ModelArgs, wish: &Wish) -> String {
    if !is_special(args, wish) {
        return model.to_owned();
    }
    let place = format!("{:?} {:?} {:?}", args.backend, args.device, wish.hive);
    let digest = hex::encode(Sha256::digest(place));
    format!("{}-{}", model.get(..54).unwrap_or(model).trim_end_matches('-'), &digest[..8])
}

fn model_object(name: &str, uri: &str) -> Value {
    json!({
        "apiVersion": "rbee.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name, "labels": {LABEL_CREATED_BY: "infer"}},
        "spec": {"uri": uri},
    })
}

fn worker_object(name: &str, model: &str, args: &ModelArgs, wish: &Wish) -> Value {
    let mut spec = json!({"modelRef": {"name": model}, "replicas": 1});
    if args.backend.is_some() || args.device.is_some() {
        spec["backend"] = args.backend.map_or_else(|| "cpu".to_owned(), |b| b.to_string()).into();
    }
    if let Some(device) = args.device {
        spec["device"] = device.into();
    }
    if let Some(hive) = &wish.hive {
        spec["hiveName"] = hive.clone().into();
    }
    json!({
        "apiVersion": "rbee.dev/v1alpha1",
        "kind": "Worker",
        "metadata": {"name": name, "labels": {LABEL_CREATED_BY: "infer"}},
        "spec": spec,
    })
}

async fn apply<K>(api: &Api<K>, name: &str, object: &Value) -> Result<(), Error>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let params = PatchParams { force: true, ..PatchParams::apply(MANAGER) };
    api.patch(name, &params, &Patch::Apply(object)).await?;
    Ok(())
}

/// The Hive that `--node` means: its name, else its host name. Where no hive has joined yet, it gets some seconds.
///
/// # Errors
/// No such hive.
pub async fn hive_named(client: &Client, node: &str) -> Result<String, Error> {
    let hives: Api<Hive> = Api::all(client.clone());
    for _ in 0..50 {
        let found = hives.list(&ListParams::default()).await?.items;
        if found.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let name = |h: &Hive| h.metadata.name.clone().unwrap_or_default();
        let by_name = found.iter().find(|h| name(h) == node);
        let by_host = || found.iter().find(|h| h.status.as_ref().and_then(|s| s.hostname.as_deref()) == Some(node));
        let names: Vec<String> = found.iter().map(name).collect();
        return by_name
            .or_else(by_host)
            .map(name)
            .ok_or_else(|| Error::failed(format!("--node: there is no hive {node:?}; there is {}", names.join(", "))));
    }
    Err(Error::failed(format!("--node: there is no hive {node:?}; none has joined")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbee_crds::Backend;

    fn args(backend: Option<Backend>, device: Option<i32>) -> ModelArgs {
        ModelArgs {
            model: None,
            worker: None,
            node: None,
            backend,
            device,
            timeout: Duration::from_secs(1),
            retry: 0,
            via_gateway: false,
        }
    }

    #[test]
    fn a_worker_with_a_place_of_its_own_has_its_own_name() {
        let plain = worker_name("bee-1", &args(None, None), &Wish::default());
        let cuda = worker_name("bee-1", &args(Some(Backend::Cuda), Some(1)), &Wish::default());
        let other = worker_name("bee-1", &args(Some(Backend::Cuda), Some(0)), &Wish::default());
        assert_eq!(plain, "bee-1");
        assert!(cuda.starts_with("bee-1-") && cuda != other && cuda.len() <= 63, "{cuda}");
    }

    #[test]
    fn only_what_people_declared_and_may_run_is_joined() {
        let worker = |name: &str, label: Option<&str>, scheduled: &str| -> Worker {
            let mut object = worker_object(name, "bee", &args(None, None), &Wish::default());
            object["metadata"]["labels"] = label.map_or(json!({}), |l| json!({LABEL_CREATED_BY: l}));
            object["status"] = json!({"conditions": [{"type": "Scheduled", "status": scheduled, "reason": "R", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
            serde_json::from_value(object).unwrap()
        };
        let all =
            [worker("bee-cuda", Some("infer"), "True"), worker("stuck", None, "False"), worker("good", None, "True")];
        let joined = |workers: &[Worker], args: &ModelArgs| coming(workers, "bee", args, &Wish::default());
        assert_eq!(joined(&all, &args(None, None)).as_deref(), Some("good"));
        assert_eq!(joined(&all[..2], &args(None, None)), None);
        assert_eq!(joined(&all, &args(Some(Backend::Cpu), None)), None, "it may be of another backend");
    }

    #[test]
    fn the_objects_are_of_their_kinds() {
        let wish = Wish { hive: Some("h".into()) };
        let worker: Worker =
            serde_json::from_value(worker_object("w", "m", &args(Some(Backend::Cuda), Some(1)), &wish)).unwrap();
        assert_eq!((worker.spec.hive_name.as_deref(), worker.spec.device), (Some("h"), Some(1)));
        assert_eq!(worker.metadata.labels.unwrap()[LABEL_CREATED_BY], "infer");
        let model: Model = serde_json::from_value(model_object("m", "builtin:tinybee")).unwrap();
        assert_eq!(model.spec.uri, "builtin:tinybee");
    }
}
