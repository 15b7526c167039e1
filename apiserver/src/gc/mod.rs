//! The collector: objects whose owners are gone go too, deleted namespaces and definitions take their content along.
//!
//! One task. It reads the events of every stored kind, keeps an index of owners, and acts through the same functions as
//! clients do. It starts from what is stored, so a restart makes up for what was missed.

mod graph;
mod lifecycle;
mod plan;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll, StreamExt as _};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::db::{Change, Event, Expect, Key, WatchEnd, WatchStream, WriteError};
use crate::http::query::DeleteOptions;
use crate::http::status::ApiError;
use crate::http::{Server, meta, remove};
use crate::registry::{Registry, Resource};
use graph::{Graph, Owner};
use plan::{Action, Standing};

/// How soon something is tried again that could not be done.
const AGAIN: Duration = Duration::from_millis(500);

type Feed = BoxStream<'static, (Arc<str>, Result<Arc<Event>, WatchEnd>)>;

/// Collects until `stop`.
pub async fn run(server: Arc<Server>, stop: CancellationToken) {
    let mut collector = Collector {
        registry: server.registry(),
        server,
        graph: Graph::default(),
        feeds: SelectAll::new(),
        watched: BTreeMap::new(),
        work: VecDeque::new(),
        queued: BTreeSet::new(),
        drains: BTreeSet::new(),
    };
    collector.follow();
    let mut kinds = collector.server.registry_watch();
    loop {
        collector.work().await;
        let pending = !collector.drains.is_empty() || !collector.work.is_empty();
        tokio::select! {
            () = stop.cancelled() => return,
            changed = kinds.changed() => {
                if changed.is_err() {
                    return;
                }
                collector.registry = kinds.borrow_and_update().clone();
                collector.follow();
            }
            Some((resource, event)) = collector.feeds.next() => collector.take(&resource, event),
            () = tokio::time::sleep(AGAIN), if pending => collector.drain().await,
        }
    }
}

struct Collector {
    server: Arc<Server>,
    registry: Arc<Registry>,
    graph: Graph,
    feeds: SelectAll<Feed>,
    /// Kinds whose events are read.
    watched: BTreeMap<Arc<str>, Arc<Resource>>,
    work: VecDeque<Key>,
    queued: BTreeSet<Key>,
    /// Namespaces and definitions that are on their way out.
    drains: BTreeSet<Key>,
}

impl Collector {
    /// Begins to read kinds that are new.
    fn follow(&mut self) {
        let fresh: Vec<Arc<Resource>> =
            self.registry.stored().filter(|r| !self.watched.contains_key(&r.stored_as)).cloned().collect();
        for resource in fresh {
            self.read_anew(&resource.stored_as);
            self.watched.insert(resource.stored_as.clone(), resource);
        }
    }

    /// Takes in everything of a kind, then its events.
    fn read_anew(&mut self, stored_as: &Arc<str>) {
        let snapshot = self.server.db.list(stored_as, None);
        for object in &snapshot.items {
            let work = self.graph.seen(object);
            self.enqueue(work);
            self.note_drain(object.key(), object.value());
        }
        if let Ok(stream) = self.server.db.watch(stored_as, None, Some(snapshot.revision)) {
            self.feeds.push(feed(stored_as.clone(), stream));
        }
    }

    fn take(&mut self, resource: &Arc<str>, event: Result<Arc<Event>, WatchEnd>) {
        match event {
            Ok(event) => {
                let registry = self.registry.clone();
                let work = self.graph.event(&event, &|owner, namespace| locate(&registry, owner, namespace));
                self.enqueue(work);
                self.note_drain(event.object.key(), event.object.value());
            }
            Err(WatchEnd::Gone(_)) => self.read_anew(resource),
            Err(WatchEnd::Closed) => {}
        }
    }

    fn enqueue(&mut self, keys: Vec<Key>) {
        for key in keys {
            if self.queued.insert(key.clone()) {
                self.work.push_back(key);
            }
        }
    }

    fn note_drain(&mut self, key: &Key, value: &Value) {
        if meta::deleting(value) && lifecycle::is_container(key) {
            self.drains.insert(key.clone());
        }
    }

    async fn work(&mut self) {
        let mut later = Vec::new();
        while let Some(key) = self.work.pop_front() {
            self.queued.remove(&key);
            if let Err(error) = self.look_at(&key).await {
                tracing::debug!(%key, message = %error.message, "the collector tries again");
                later.push(key);
            }
        }
        self.enqueue(later);
    }

    /// Empties what is on its way out. Not at once: creates that were under way when it was deleted have arrived by then.
    async fn drain(&mut self) {
        for key in self.drains.clone() {
            match lifecycle::drain(&self.server, &self.registry, &key).await {
                Ok(true) => {
                    self.drains.remove(&key);
                }
                Ok(false) => {}
                Err(error) => tracing::debug!(%key, message = %error.message, "the collector tries again"),
            }
        }
    }

    async fn look_at(&mut self, key: &Key) -> Result<(), ApiError> {
        let Some(resource) = self.watched.get(key.resource()).cloned() else { return Ok(()) };
        let Some(object) = self.server.db.get(key) else { return Ok(()) };
        let value = object.value();
        let uid = meta::uid(value);
        let owners: Vec<(Owner, Standing)> =
            graph::owners(value).into_iter().map(|o| (o.clone(), self.standing(&o, key.namespace()))).collect();
        let dependents: Vec<Key> = self.graph.dependents(uid).cloned().collect();
        let blocked = dependents.iter().any(|d| self.blocks(d, uid));
        match plan::plan(value, &owners, blocked, !dependents.is_empty()) {
            Action::Nothing => Ok(()),
            Action::Delete(propagation) => {
                let options = DeleteOptions {
                    propagation: Some(propagation),
                    uid: Some(uid.to_string()),
                    ..DeleteOptions::default()
                };
                match remove::remove(&self.server, &resource, key.namespace(), key.name(), &options).await {
                    Err(e) if e.code != http::StatusCode::NOT_FOUND => Err(e),
                    _ => Ok(()),
                }
            }
            Action::Disown(uids) => edit(&self.server, key, |object| disown(object, &uids)).await,
            Action::Release(finalizer) => edit(&self.server, key, |object| release(object, finalizer)).await,
            Action::OrphanDependents => {
                let own = [uid.to_string()];
                for dependent in &dependents {
                    edit(&self.server, dependent, |object| disown(object, &own)).await?;
                }
                edit(&self.server, key, |object| release(object, graph::ORPHAN)).await
            }
        }
    }

    fn standing(&self, owner: &Owner, namespace: &str) -> Standing {
        let Some(key) = locate(&self.registry, owner, namespace) else { return Standing::Unknown };
        match self.server.db.get(&key) {
            Some(live) if meta::uid(live.value()) == owner.uid => {
                let waiting =
                    meta::deleting(live.value()) && meta::finalizers(live.value()).contains(&graph::FOREGROUND);
                if waiting { Standing::Waiting } else { Standing::Present }
            }
            _ => Standing::Absent,
        }
    }

    fn blocks(&self, dependent: &Key, owner: &str) -> bool {
        let live = self.server.db.get(dependent);
        live.is_some_and(|o| graph::owners(o.value()).iter().any(|r| r.uid == owner && r.blocks))
    }
}

/// Changes a stored object; takes it away when it is deleted and nothing holds it any more.
pub(crate) async fn edit(server: &Server, key: &Key, change: impl Fn(&mut Value)) -> Result<(), ApiError> {
    for _ in 0..64 {
        let Some(live) = server.db.get(key) else { return Ok(()) };
        let mut value = live.value().clone();
        change(&mut value);
        if value == *live.value() {
            return Ok(());
        }
        let held =
            value["spec"]["finalizers"].as_array().is_some_and(|f| key.resource() == "namespaces" && !f.is_empty());
        let gone = meta::deleting(&value) && meta::finalizers(&value).is_empty() && !held;
        let change = if gone { Change::Delete } else { Change::Put(value) };
        match server.db.write(key.clone(), Expect::Revision(live.revision()), change).await {
            Ok(_) | Err(WriteError::NotFound) => return Ok(()),
            Err(WriteError::Conflict { .. } | WriteError::AlreadyExists) => {}
            Err(e @ WriteError::Storage(_)) => return Err(ApiError::unavailable(e.to_string())),
        }
    }
    Err(ApiError::internal("the object changes too often"))
}

fn disown(object: &mut Value, uids: &[String]) {
    let metadata = meta::of_mut(object);
    let Some(owners) = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut) else { return };
    owners.retain(|o| !uids.iter().any(|u| o["uid"] == *u.as_str()));
    if owners.is_empty() {
        metadata.remove("ownerReferences");
    }
}

fn release(object: &mut Value, finalizer: &str) {
    let left: Vec<String> =
        meta::finalizers(object).into_iter().filter(|f| *f != finalizer).map(ToString::to_string).collect();
    meta::set_finalizers(object, &left);
}

/// Where an owner of an object in `namespace` would be; none when its kind is not served here.
fn locate(registry: &Registry, owner: &Owner, namespace: &str) -> Option<Key> {
    let resource = registry.find_kind(&owner.api_version, &owner.kind)?;
    let namespace = if resource.namespaced { namespace } else { "" };
    Some(Key::new(resource.stored_as.clone(), namespace, owner.name.as_str()))
}

fn feed(resource: Arc<str>, stream: WatchStream) -> Feed {
    futures::stream::unfold(Some((resource, stream)), |state| async move {
        let (resource, mut stream) = state?;
        let event = stream.next().await;
        let next = event.is_ok().then(|| (resource.clone(), stream));
        Some(((resource, event), next))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn owner_references_go_one_by_one() {
        let mut object = json!({"metadata": {"ownerReferences": [{"uid": "a"}, {"uid": "b"}]}});
        disown(&mut object, &["a".into()]);
        assert_eq!(object["metadata"]["ownerReferences"], json!([{"uid": "b"}]));
        disown(&mut object, &["b".into()]);
        assert!(object["metadata"].get("ownerReferences").is_none());
    }
}
