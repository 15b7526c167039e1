//! The OpenAPI v3 documents of a registry, built once.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::Value;

use super::{Registry, kind::Resource};
use crate::openapi;

/// Index and documents, serialized.
#[derive(Debug, Default)]
pub struct Documents(OnceLock<Built>);

#[derive(Debug)]
struct Built {
    index: Value,
    by_path: BTreeMap<String, (Bytes, String)>,
}

impl Documents {
    pub(super) fn fill(&self, registry: &Registry) -> &Self {
        self.0.get_or_init(|| build(registry));
        self
    }

    /// The index at `/openapi/v3`.
    pub fn index(&self) -> &Value {
        self.0.get().map_or(&Value::Null, |b| &b.index)
    }

    /// A document and its hash, by path (`apis/rbee.dev/v1alpha1`).
    pub fn document(&self, path: &str) -> Option<(&Bytes, &str)> {
        self.0.get()?.by_path.get(path).map(|(body, hash)| (body, hash.as_str()))
    }
}

fn build(registry: &Registry) -> Built {
    let mut versions: BTreeMap<(&str, &str), Vec<openapi::Resource>> = BTreeMap::new();
    for resource in registry.resources() {
        versions.entry((&resource.group, &resource.version)).or_default().push(describe(resource));
    }
    let mut by_path = BTreeMap::new();
    for ((group, version), resources) in versions {
        let mut document = openapi::document(group, version, &resources);
        // The hash must not depend on the order in which definitions came.
        document.sort_all_objects();
        let hash = openapi::hash(&document);
        let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        by_path.insert(path, (Bytes::from(document.to_string()), hash));
    }
    let hashes: Vec<(String, String)> = by_path.iter().map(|(path, (_, hash))| (path.clone(), hash.clone())).collect();
    Built { index: openapi::index(&hashes), by_path }
}

fn describe(resource: &Resource) -> openapi::Resource {
    openapi::Resource {
        kind: resource.kind.clone(),
        list_kind: resource.list_kind.clone(),
        plural: resource.plural.clone(),
        namespaced: resource.namespaced,
        schema: resource.raw_schema.clone(),
        status: resource.status,
        scale: resource.scale.is_some(),
        builtin: !resource.is_custom(),
        selectable_fields: resource.selectable.iter().map(|(name, _)| name.clone()).collect(),
    }
}
