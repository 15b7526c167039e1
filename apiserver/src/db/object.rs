//! Stored objects and their keys.

use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value;

/// Where an object is stored. Ordered by resource, then namespace, then name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    resource: Arc<str>,
    namespace: Arc<str>,
    name: Arc<str>,
}

impl Key {
    /// `resource` is `group/plural`, or `plural` for the core group; `namespace` is empty for cluster-scoped kinds.
    pub fn new(resource: impl Into<Arc<str>>, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { resource: resource.into(), namespace: namespace.into(), name: name.into() }
    }

    /// `group/plural`, or `plural` for the core group.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The namespace, empty for cluster-scoped kinds.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn resource_arc(&self) -> &Arc<str> {
        &self.resource
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        (&*self.resource, &*self.namespace, &*self.name).cmp(&(&*other.resource, &*other.namespace, &*other.name))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace() {
            "" => write!(f, "{} {}", self.resource, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.resource, self.name),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// One object at one revision. `metadata.resourceVersion` equals `revision`.
pub struct Object {
    key: Key,
    revision: u64,
    value: Value,
    json: OnceLock<Bytes>,
}

impl Object {
    /// Sets `metadata.resourceVersion` to `revision`, and brings all keys into alphabetical order: patches leave them in any,
    /// and whoever reads an object reads it as Kubernetes writes it.
    pub(crate) fn at(key: Key, revision: u64, mut value: Value) -> Self {
        set_resource_version(&mut value, revision);
        value.sort_all_objects();
        Self { key, revision, value, json: OnceLock::new() }
    }

    /// Reads an object back; `json` carries its resourceVersion already.
    pub(crate) fn from_json(key: Key, revision: u64, json: Bytes) -> Result<Self, serde_json::Error> {
        let value = serde_json::from_slice(&json)?;
        Ok(Self { key, revision, value, json: OnceLock::from(json) })
    }

    /// Where it is stored.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The revision of its last write (or of its deletion, in a watch event of kind Deleted).
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The whole object, `metadata.resourceVersion` included.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The same as compact JSON, made at the first call and kept.
    pub fn json(&self) -> &Bytes {
        self.json.get_or_init(|| Bytes::from(self.value.to_string()))
    }

    /// The same object as of the revision that deletes it.
    pub(crate) fn deleted_at(&self, revision: u64) -> Self {
        Self::at(self.key.clone(), revision, self.value.clone())
    }
}

/// Shows the key and revision only: the value may be a Secret.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({} @{})", self.key, self.revision)
    }
}

fn set_resource_version(value: &mut Value, revision: u64) {
    if !value.is_object() {
        *value = Value::Object(serde_json::Map::new());
    }
    if !value["metadata"].is_object() {
        value["metadata"] = Value::Object(serde_json::Map::new());
    }
    value["metadata"]["resourceVersion"] = Value::String(revision.to_string());
}
