//! Follows the API: one task watches Models, Workers and Assignments, reads the Workers' keys, and publishes a table whenever
//! it differs. While the API does not answer the last table stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::runtime::reflector::{self, Lookup, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use rbee_crds::{Assignment, Model, Worker, names};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::keys::WorkerKey;
use crate::table::{self, KeyState, Objects, Table, WorkerId};

/// How long after a key could not be read it is tried again.
const KEY_RETRY: Duration = Duration::from_secs(1);

/// The API as the gateway sees it.
pub struct Follower {
    client: Client,
    gateway: String,
    models: Store<Model>,
    workers: Store<Worker>,
    assignments: Store<Assignment>,
    events: BoxStream<'static, ()>,
    keys: BTreeMap<WorkerId, KeyState>,
    /// Keys that are being read.
    reading: BTreeSet<WorkerId>,
}

/// A Worker's key as the API has it, or that it could not be read.
type KeyRead = (WorkerId, Option<KeyState>);

impl Follower {
    pub fn new(client: Client, gateway: &str) -> Self {
        let (models, a) = follow::<Model>(&client);
        let (workers, b) = follow::<Worker>(&client);
        let (assignments, c) = follow::<Assignment>(&client);
        Self {
            client,
            gateway: gateway.to_owned(),
            models,
            workers,
            assignments,
            events: futures::stream::select_all([a, b, c]).boxed(),
            keys: BTreeMap::new(),
            reading: BTreeSet::new(),
        }
    }

    /// Publishes until shutdown. `wrong_keys` names Workers whose key was refused by a replica and is read again.
    pub async fn run(
        mut self,
        tables: watch::Sender<Arc<Table>>,
        synced: watch::Sender<bool>,
        mut wrong_keys: mpsc::Receiver<WorkerId>,
        shutdown: CancellationToken,
    ) {
        let (key_sender, mut key_reads) = mpsc::channel::<KeyRead>(64);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                event = self.events.next() => match event {
                    // Many events at once make one table.
                    Some(()) => while let Some(Some(())) = self.events.next().now_or_never() {},
                    None => return,
                },
                Some((worker, key)) = key_reads.recv() => {
                    self.reading.remove(&worker);
                    if let Some(key) = key {
                        self.keys.insert(worker, key);
                    }
                }
                Some(worker) = wrong_keys.recv() => {
                    self.keys.remove(&worker);
                }
            }
            self.read_missing_keys(&key_sender);
            let is_synced = self.models.wait_until_ready().now_or_never().is_some()
                && self.workers.wait_until_ready().now_or_never().is_some()
                && self.assignments.wait_until_ready().now_or_never().is_some();
            if !is_synced {
                continue;
            }
            let next = self.table();
            tables.send_if_modified(|current| {
                let differs = **current != next;
                if differs {
                    *current = Arc::new(next);
                }
                differs
            });
            synced.send_if_modified(|current| !std::mem::replace(current, true));
        }
    }

    fn table(&self) -> Table {
        table::build(Objects {
            models: &self.models.state(),
            workers: &self.workers.state(),
            assignments: &self.assignments.state(),
            keys: &self.keys,
            gateway: &self.gateway,
        })
    }

    fn read_missing_keys(&mut self, results: &mpsc::Sender<KeyRead>) {
        let assignments = self.assignments.state();
        let wanted: BTreeSet<WorkerId> = table::workers_with_replicas(&assignments).collect();
        self.keys.retain(|worker, _| wanted.contains(worker));
        for worker in wanted {
            if self.keys.contains_key(&worker) || !self.reading.insert(worker.clone()) {
                continue;
            }
            let (api, results) = (Api::<Secret>::namespaced(self.client.clone(), &worker.namespace), results.clone());
            tokio::spawn(async move {
                let key = read_key(&api, &worker.name).await;
                if key.is_none() {
                    tokio::time::sleep(KEY_RETRY).await;
                }
                let _ = results.send((worker, key)).await;
            });
        }
    }
}

async fn read_key(api: &Api<Secret>, worker: &str) -> Option<KeyState> {
    let name = names::worker_key_secret(worker);
    match api.get_opt(&name).await {
        Ok(None) => Some(KeyState::None),
        Ok(Some(secret)) => {
            let data = secret.data.unwrap_or_default();
            let key = data.get(names::WORKER_KEY_FIELD).and_then(|bytes| std::str::from_utf8(&bytes.0).ok());
            if key.is_none() {
                tracing::warn!(secret = name, "the Secret has no field `{}` with text", names::WORKER_KEY_FIELD);
            }
            key.map(|key| KeyState::Known(WorkerKey::new(key)))
        }
        Err(error) => {
            tracing::warn!(secret = name, %error, "cannot read the key of a Worker; trying again");
            None
        }
    }
}

/// A store that follows all objects of a kind, and a stream that yields whenever something in it may have changed.
fn follow<K>(client: &Client) -> (Store<K>, BoxStream<'static, ()>)
where
    K: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let events = watcher(Api::<K>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear());
    (store, tell(reflector::reflector(writer, events)).boxed())
}

fn tell<K, E: std::fmt::Display>(events: impl Stream<Item = Result<watcher::Event<K>, E>>) -> impl Stream<Item = ()> {
    events.filter_map(|event| {
        let told = match event {
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => None,
            Ok(_) => Some(()),
            Err(error) => {
                tracing::warn!(%error, "watching the API failed; trying again, serving from the last table");
                None
            }
        };
        std::future::ready(told)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assignment, model, ready, worker, worker_id};
    use axum::http::{Request, Response, StatusCode};
    use serde_json::{Value, json};
    use std::convert::Infallible;
    use std::sync::Mutex;

    /// An API server with these lists and whatever key is in `key`, whose watches never say anything.
    fn api(key: Arc<Mutex<Option<&'static str>>>) -> Client {
        let list = |kind: &str, items: Value| json!({"apiVersion": "rbee.dev/v1alpha1", "kind": format!("{kind}List"), "metadata": {"resourceVersion": "1"}, "items": items});
        let models = list("Model", json!([model("bee")]));
        let workers = list("Worker", json!([worker("w", "bee", 1)]));
        let assignments = list("Assignment", json!([ready(assignment("w-0", "w", "bee"), "http://h:1")]));
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let path = request.uri().path().to_owned();
            let is_watch = request.uri().query().unwrap_or_default().contains("watch=true");
            let answer = match path.rsplit('/').next().unwrap_or_default() {
                "models" => Some(models.clone()),
                "workers" => Some(workers.clone()),
                "assignments" => Some(assignments.clone()),
                "worker-w-key" => key.lock().unwrap().map(|key| {
                    let data = k8s_openapi::ByteString(key.as_bytes().to_vec());
                    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "worker-w-key"}, "data": {"key": data}})
                }),
                _ => None,
            };
            async move {
                if is_watch {
                    return Ok::<_, Infallible>(Response::new(axum::body::Body::from_stream(
                        futures::stream::pending::<Result<bytes::Bytes, Infallible>>(),
                    )));
                }
                let (status, body) = match answer {
                    Some(body) => (StatusCode::OK, body),
                    None => (
                        StatusCode::NOT_FOUND,
                        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": "not found"}),
                    ),
                };
                Ok(Response::builder()
                    .status(status)
                    .header("content-type", "application/json")
                    .body(axum::body::Body::from(body.to_string()))
                    .unwrap())
            }
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn the_table_follows_the_api_and_keys_are_read_and_read_again() {
        let key = Arc::new(Mutex::new(Some("one")));
        let (tables, mut table) = watch::channel(Arc::new(Table::default()));
        let (synced_sender, mut synced) = watch::channel(false);
        let (wrong_keys, reports) = mpsc::channel(4);
        let shutdown = CancellationToken::new();
        let follower = Follower::new(api(key.clone()), "g");
        let task = tokio::spawn(follower.run(tables, synced_sender, reports, shutdown.clone()));
        let patience = Duration::from_secs(20);
        let has_key = |wanted: &'static str| {
            move |table: &Arc<Table>| {
                let replica = table.models.get("bee").and_then(|m| m.replicas().next().cloned());
                replica.is_some_and(|r| r.url == "http://h:1" && r.key.as_ref().is_some_and(|k| k.reveal() == wanted))
            }
        };
        tokio::time::timeout(patience, table.wait_for(has_key("one"))).await.expect("a replica with its key").unwrap();
        assert!(*synced.wait_for(|s| *s).await.unwrap());
        *key.lock().unwrap() = Some("two");
        wrong_keys.send(worker_id("w")).await.unwrap();
        tokio::time::timeout(patience, table.wait_for(has_key("two")))
            .await
            .expect("the key that was changed")
            .unwrap();
        shutdown.cancel();
        task.await.unwrap();
    }
}
