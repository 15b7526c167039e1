//! Who is owned by whom: an index over owner references, fed with objects. Pure.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::db::{Event, EventKind, Key, Object};
use crate::http::meta;

/// Finalizer of an owner that waits for its dependents to go.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner that leaves its dependents behind.
pub const ORPHAN: &str = "orphan";

/// Dependents by their owners' uids.
#[derive(Debug, Default)]
pub struct Graph {
    dependents: HashMap<String, BTreeSet<Key>>,
    owners: HashMap<Key, Vec<String>>,
}

/// An owner reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// `apiVersion`
    pub api_version: String,
    /// `kind`
    pub kind: String,
    /// `name`
    pub name: String,
    /// `uid`
    pub uid: String,
    /// `blockOwnerDeletion`
    pub blocks: bool,
}

/// The owner references of an object.
pub fn owners(object: &Value) -> Vec<Owner> {
    let text = |owner: &Value, key: &str| owner[key].as_str().unwrap_or_default().to_string();
    meta::owners(object)
        .iter()
        .map(|o| Owner {
            api_version: text(o, "apiVersion"),
            kind: text(o, "kind"),
            name: text(o, "name"),
            uid: text(o, "uid"),
            blocks: o["blockOwnerDeletion"].as_bool().unwrap_or(false),
        })
        .collect()
}

/// The object waits for the collector: deleted, with a finalizer that is the collector's.
pub fn waits(object: &Value) -> bool {
    meta::deleting(object) && meta::finalizers(object).iter().any(|f| matches!(*f, FOREGROUND | ORPHAN))
}

impl Graph {
    /// The dependents of an owner.
    pub fn dependents(&self, uid: &str) -> impl Iterator<Item = &Key> {
        self.dependents.get(uid).into_iter().flatten()
    }

    fn set_owners(&mut self, key: &Key, uids: Vec<String>) -> bool {
        let before = self.owners.get(key).map_or(&[][..], Vec::as_slice);
        if before == uids {
            return false;
        }
        for uid in self.owners.remove(key).unwrap_or_default() {
            if let Some(set) = self.dependents.get_mut(&uid) {
                set.remove(key);
                if set.is_empty() {
                    self.dependents.remove(&uid);
                }
            }
        }
        for uid in &uids {
            self.dependents.entry(uid.clone()).or_default().insert(key.clone());
        }
        if !uids.is_empty() {
            self.owners.insert(key.clone(), uids);
        }
        true
    }

    /// Takes in an object that is there; answers what has to be looked at.
    pub fn seen(&mut self, object: &Arc<Object>) -> Vec<Key> {
        let value = object.value();
        let uids: Vec<String> = owners(value).into_iter().map(|o| o.uid).collect();
        let owned = !uids.is_empty();
        let changed = self.set_owners(object.key(), uids);
        let mut work = Vec::new();
        if waits(value) {
            work.push(object.key().clone());
            work.extend(self.dependents(meta::uid(value)).cloned());
        } else if owned && changed {
            work.push(object.key().clone());
        }
        work
    }

    /// Takes in an event; answers what has to be looked at. `locate` finds an owner's key.
    pub fn event(&mut self, event: &Event, locate: &dyn Fn(&Owner, &str) -> Option<Key>) -> Vec<Key> {
        if event.kind != EventKind::Deleted {
            return self.seen(&event.object);
        }
        let value = event.object.value();
        let key = event.object.key();
        let mut work: Vec<Key> = self.dependents(meta::uid(value)).cloned().collect();
        work.extend(owners(value).iter().filter_map(|o| locate(o, key.namespace())));
        self.set_owners(key, Vec::new());
        work
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(name: &str, owner: &[&str], more: &Value) -> Arc<Object> {
        let owners: Vec<Value> =
            owner.iter().map(|u| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": u, "uid": u})).collect();
        let mut value = json!({"metadata": {"name": name, "uid": name, "ownerReferences": owners}});
        for (k, v) in more.as_object().into_iter().flatten() {
            value["metadata"][k] = v.clone();
        }
        Arc::new(Object::at(Key::new("configmaps", "x", name), 1, value))
    }

    fn names(keys: &[Key]) -> Vec<&str> {
        keys.iter().map(Key::name).collect()
    }

    #[test]
    fn an_owner_that_goes_makes_work_of_its_dependents() {
        let mut graph = Graph::default();
        assert!(graph.seen(&object("owner", &[], &json!({}))).is_empty());
        assert_eq!(names(&graph.seen(&object("kid", &["owner"], &json!({})))), ["kid"]);
        assert!(graph.seen(&object("kid", &["owner"], &json!({}))).is_empty(), "nothing changed");
        let gone =
            Event { kind: EventKind::Deleted, revision: 2, object: object("owner", &[], &json!({})), previous: None };
        assert_eq!(names(&graph.event(&gone, &|_, _| None)), ["kid"]);
    }

    #[test]
    fn a_dependent_that_goes_lets_its_owner_be_looked_at() {
        let mut graph = Graph::default();
        graph.seen(&object("kid", &["owner"], &json!({})));
        let gone = Event {
            kind: EventKind::Deleted,
            revision: 2,
            object: object("kid", &["owner"], &json!({})),
            previous: None,
        };
        let work = graph.event(&gone, &|o, namespace| Some(Key::new("configmaps", namespace, o.name.as_str())));
        assert_eq!(names(&work), ["owner"]);
        assert_eq!(graph.dependents("owner").count(), 0);
    }

    #[test]
    fn an_owner_that_waits_is_work_with_its_dependents() {
        let mut graph = Graph::default();
        graph.seen(&object("kid", &["owner"], &json!({})));
        let waiting = json!({"deletionTimestamp": "2001-02-03T04:05:06Z", "finalizers": [FOREGROUND]});
        assert_eq!(names(&graph.seen(&object("owner", &[], &waiting))), ["owner", "kid"]);
    }
}
