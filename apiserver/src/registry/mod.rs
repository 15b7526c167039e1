//! Which kinds are served: built-in ones and those of CustomResourceDefinitions, as one immutable snapshot.

pub mod builtin;
pub mod definition;
pub mod discovery;
mod documents;
pub mod kind;
pub mod selector;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::db::Object;
pub use documents::Documents;
pub use kind::{Builtin, Resource, Review, ScalePaths};

/// Everything that is served at one moment.
#[derive(Debug, Default)]
pub struct Registry {
    /// By group, version and plural.
    resources: BTreeMap<(String, String, String), Arc<Resource>>,
    /// The definitions it was made of, each with its resources.
    definitions: Vec<Definition>,
    /// Database revision that it is as new as.
    revision: u64,
    documents: Documents,
}

#[derive(Debug, Clone)]
struct Definition {
    object: Arc<Object>,
    resources: Vec<Arc<Resource>>,
}

impl Registry {
    /// The built-in kinds and those of `definitions`, which are as of `revision`. What did not change since `before` is
    /// not compiled again.
    pub fn new(definitions: Vec<Arc<Object>>, revision: u64, before: &Self) -> Self {
        let known = |object: &Arc<Object>| {
            let same = |d: &&Definition| d.object.key() == object.key() && d.object.revision() == object.revision();
            before.definitions.iter().find(same).cloned()
        };
        let definitions: Vec<Definition> = definitions
            .into_iter()
            .map(|object| {
                known(&object).unwrap_or_else(|| {
                    let resources = definition::resources(object.value()).into_iter().map(Arc::new).collect();
                    Definition { object, resources }
                })
            })
            .collect();
        let resources = builtin::resources()
            .into_iter()
            .map(Arc::new)
            .chain(definitions.iter().flat_map(|d| d.resources.iter().cloned()))
            .map(|r| ((r.group.clone(), r.version.clone(), r.plural.clone()), r))
            .collect();
        Self { resources, definitions, revision, documents: Documents::default() }
    }

    /// The built-in kinds alone.
    pub fn builtin() -> Self {
        Self::new(Vec::new(), 0, &Self::default())
    }

    /// Database revision that it is as new as.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The resource of a path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources.get(&(group.to_string(), version.to_string(), plural.to_string()))
    }

    /// The resource of a kind.
    pub fn find_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        let (group, version) = kind::split_api_version(api_version);
        self.resources.values().find(|r| r.group == group && r.version == version && r.kind == kind)
    }

    /// All resources, by group, version and name.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// One resource per kind that is stored, by the name under which it is stored.
    pub fn stored(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let mut seen = std::collections::BTreeSet::new();
        self.resources.values().filter(move |r| r.review().is_none() && seen.insert(r.stored_as.clone()))
    }

    /// The definitions it was made of.
    pub fn definitions(&self) -> impl Iterator<Item = &Value> {
        self.definitions.iter().map(|d| d.object.value())
    }

    /// The OpenAPI documents, built when they are first asked for.
    pub fn documents(&self) -> &Documents {
        self.documents.fill(self)
    }
}

/// The hash by which clients see that two resources share a storage.
fn storage_hash(group: &str, version: &str, kind: &str) -> String {
    let digest = Sha256::digest(format!("{group}/{version}/{kind}"));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_two_views_of_one_store() {
        let registry = Registry::builtin();
        let core = registry.find("", "v1", "events").unwrap();
        let new = registry.find("events.k8s.io", "v1", "events").unwrap();
        assert_eq!(core.stored_as, new.stored_as);
        assert_eq!(registry.stored().filter(|r| r.plural == "events").count(), 1);
        assert!(registry.stored().all(|r| r.review().is_none()));
    }

    #[test]
    fn kinds_are_found_by_their_type() {
        let registry = Registry::builtin();
        assert_eq!(registry.find_kind("coordination.k8s.io/v1", "Lease").unwrap().plural, "leases");
        assert!(registry.find_kind("v1", "Pod").is_none());
    }

    #[test]
    fn storage_hashes_are_those_of_kubernetes() {
        // As `kubectl get --raw /api/v1` shows them on any cluster.
        assert_eq!(storage_hash("", "v1", "ConfigMap"), "qFsyl6wFWjQ=");
        assert_eq!(storage_hash("", "v1", "Secret"), "S6u1pOWzb84=");
    }
}
