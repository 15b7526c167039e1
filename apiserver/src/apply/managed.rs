//! `metadata.managedFields`: which manager owns which fields, decoded, encoded, capped.

use std::collections::BTreeMap;

use serde_json::{Map as JsonMap, Value};

use super::set::Set;
use crate::schema::error::go_quote;

/// `Update` entries beyond this many are merged, oldest first, into `ancient-changes`.
const MAX_UPDATE_MANAGERS: usize = 10;

/// How an entry came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Entries with the same identity are one; appliers keep theirs over versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    pub manager: String,
    pub operation: Operation,
    /// Empty for `Apply`.
    pub api_version: String,
    pub subresource: String,
}

impl Identity {
    pub fn new(manager: &str, operation: Operation, api_version: &str, subresource: &str) -> Self {
        let api_version = if operation == Operation::Apply { "" } else { api_version };
        let manager = if manager.is_empty() { "unknown" } else { manager };
        Self { manager: manager.into(), operation, api_version: api_version.into(), subresource: subresource.into() }
    }

    /// As conflicts name the manager.
    pub fn text(&self) -> String {
        let mut text = go_quote(&self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {}", go_quote(&self.subresource)));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

/// What one manager owns.
#[derive(Debug, Clone)]
pub(super) struct Owned {
    pub set: Set,
    pub api_version: String,
    /// RFC 3339.
    pub time: Option<String>,
}

/// All owners of an object's fields.
#[derive(Debug, Clone, Default)]
pub(super) struct Managed(pub BTreeMap<Identity, Owned>);

/// Why managedFields cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadManagedFields(String);

pub(super) fn entries_of(object: &Value) -> Option<&Vec<Value>> {
    object.get("metadata")?.get("managedFields")?.as_array()
}

impl Managed {
    /// Reads the managedFields of an object.
    pub fn decode(object: &Value) -> Result<Self, BadManagedFields> {
        let mut managed = Self::default();
        for (i, entry) in entries_of(object).into_iter().flatten().enumerate() {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err(BadManagedFields("operation must be `Apply` or `Update`".into())),
            };
            if text("apiVersion").is_empty() {
                return Err(BadManagedFields("apiVersion must not be empty".into()));
            }
            match text("fieldsType") {
                "FieldsV1" => {}
                "" => return Err(BadManagedFields(format!("missing fieldsType in managed fields entry {i}"))),
                other => {
                    let words = format!("invalid fieldsType {} in managed fields entry {i}", go_quote(other));
                    return Err(BadManagedFields(words));
                }
            }
            let empty = Value::Object(JsonMap::new());
            let set = Set::from_fields(entry.get("fieldsV1").unwrap_or(&empty))
                .map_err(|e| BadManagedFields(format!("error decoding set: {e}")))?;
            let identity = Identity {
                manager: text("manager").to_string(),
                ..Identity::new(text("manager"), operation, text("apiVersion"), text("subresource"))
            };
            let time = entry.get("time").and_then(Value::as_str).map(str::to_string);
            managed.0.insert(identity, Owned { set, api_version: text("apiVersion").into(), time });
        }
        Ok(managed)
    }

    /// Writes the entries into an object, in Kubernetes' order; without entries the field goes.
    pub fn encode(&self, object: &mut Value) {
        let mut order: Vec<(&Identity, &Owned)> = self.0.iter().collect();
        order.sort_by(|(a, x), (b, y)| {
            let key = |i: &Identity, o: &Owned| {
                (
                    i.operation,
                    seconds(o.time.as_deref()),
                    i.manager.clone(),
                    o.api_version.clone(),
                    i.subresource.clone(),
                )
            };
            key(a, x).cmp(&key(b, y))
        });
        let entries: Vec<Value> = order.into_iter().map(|(identity, owned)| entry(identity, owned)).collect();
        set_entries(object, (!entries.is_empty()).then_some(Value::Array(entries)));
    }

    /// Takes the fields of a set away from a manager.
    pub fn take(&mut self, identity: &Identity, fields: &Set) {
        if let Some(owned) = self.0.get_mut(identity) {
            owned.set = owned.set.difference(fields);
            if owned.set.is_empty() {
                self.0.remove(identity);
            }
        }
    }

    /// Merges the oldest `Update` entries into one per version until few enough are left.
    pub fn cap(&mut self) {
        let mut updaters: Vec<Identity> = self.0.keys().filter(|i| i.operation == Operation::Update).cloned().collect();
        let mut left = updaters.len();
        if left <= MAX_UPDATE_MANAGERS {
            return;
        }
        updaters.sort_by_key(|i| (seconds(self.0[i].time.as_deref()), i.clone()));
        let mut first: BTreeMap<String, Identity> = BTreeMap::new();
        for identity in updaters {
            if left <= MAX_UPDATE_MANAGERS {
                break;
            }
            let Some(owned) = self.0.get(&identity).cloned() else { continue };
            let version = owned.api_version.clone();
            let Some(earlier) = first.get(&version).cloned() else {
                first.insert(version, identity);
                continue;
            };
            let bucket = Identity::new("ancient-changes", Operation::Update, &version, "");
            if !self.0.contains_key(&bucket)
                && let Some(moved) = self.0.remove(&earlier)
            {
                self.0.insert(bucket.clone(), moved);
            }
            self.0.remove(&identity);
            left -= 1;
            if let Some(old) = self.0.get_mut(&bucket) {
                old.set = old.set.union(&owned.set);
                old.time = owned.time;
            }
        }
    }
}

pub(super) fn set_entries(object: &mut Value, entries: Option<Value>) {
    let Some(root) = object.as_object_mut() else { return };
    match entries {
        Some(entries) => {
            let meta = root.entry("metadata").or_insert_with(|| Value::Object(JsonMap::new()));
            if let Some(meta) = meta.as_object_mut() {
                meta.insert("managedFields".into(), entries);
            }
        }
        None => {
            if let Some(meta) = root.get_mut("metadata").and_then(Value::as_object_mut) {
                meta.remove("managedFields");
            }
        }
    }
}

fn seconds(time: Option<&str>) -> i64 {
    time.and_then(|t| t.parse::<jiff::Timestamp>().ok()).map_or(0, |t| t.as_second())
}

fn entry(identity: &Identity, owned: &Owned) -> Value {
    let mut out = JsonMap::new();
    let mut put = |key: &str, value: &str| {
        if !value.is_empty() {
            out.insert(key.into(), Value::from(value));
        }
    };
    put("manager", &identity.manager);
    put("operation", identity.operation.name());
    put("apiVersion", &owned.api_version);
    put("time", owned.time.as_deref().unwrap_or_default());
    put("fieldsType", "FieldsV1");
    put("subresource", &identity.subresource);
    out.insert("fieldsV1".into(), owned.set.to_fields());
    Value::Object(out)
}

/// Whether the entries of two objects differ in nothing but their times.
pub(super) fn same_but_times(a: &Value, b: &Value) -> bool {
    let plain = |object: &Value| -> Vec<Value> {
        let mut entries = entries_of(object).cloned().unwrap_or_default();
        for entry in &mut entries {
            if let Some(map) = entry.as_object_mut() {
                map.remove("time");
            }
            // The order below is that of the entries' text.
            entry.sort_all_objects();
        }
        entries.sort_by_key(ToString::to_string);
        entries
    };
    plain(a) == plain(b)
}
