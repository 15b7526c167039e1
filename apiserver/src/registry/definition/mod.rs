//! CustomResourceDefinitions as data: defaults, the names they take, and the resources they become.

mod check;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::kind::{Resource, ScalePaths, SchemaRef, api_version, stored_name};
use super::storage_hash;
use crate::schema::Structural;
use crate::schema::metadata::NameRule;
use crate::table::Columns;
pub use check::validate;

/// Finalizer that holds a definition until its objects are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn strings(value: Option<&Value>) -> Vec<String> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(ToString::to_string).collect()
}

fn versions(definition: &Value) -> &[Value] {
    definition.pointer("/spec/versions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn flag(version: &Value, key: &str) -> bool {
    version[key].as_bool().unwrap_or(false)
}

/// Fills in what Kubernetes fills in: singular name, list kind, conversion.
pub fn set_defaults(definition: &mut Value) {
    let kind = text(definition, "/spec/names/kind").to_string();
    if let Some(names) = definition.pointer_mut("/spec/names").and_then(Value::as_object_mut) {
        let absent =
            |names: &Map<String, Value>, key: &str| names.get(key).and_then(Value::as_str).unwrap_or("").is_empty();
        if absent(names, "singular") {
            names.insert("singular".into(), kind.to_lowercase().into());
        }
        if absent(names, "listKind") && !kind.is_empty() {
            names.insert("listKind".into(), format!("{kind}List").into());
        }
    }
    if let Some(spec) = definition.get_mut("spec").and_then(Value::as_object_mut) {
        spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
        if spec.get("preserveUnknownFields") == Some(&Value::Bool(false)) {
            spec.remove("preserveUnknownFields");
        }
    }
}

/// Status of a condition.
pub fn condition<'a>(definition: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = definition.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|c| c["type"] == kind)?["status"].as_str()
}

/// Sets a condition; its time changes only with its status.
pub fn set_condition(definition: &mut Value, kind: &str, status: &str, reason: &str, message: &str, now: &str) {
    let Some(object) = definition.as_object_mut() else { return };
    let slot = object.entry("status").or_insert_with(|| json!({}));
    let Some(slot) = slot.as_object_mut().map(|s| s.entry("conditions").or_insert_with(|| json!([]))) else { return };
    if !slot.is_array() {
        *slot = json!([]);
    }
    let Some(conditions) = slot.as_array_mut() else { return };
    let mut wanted =
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now});
    match conditions.iter_mut().find(|c| c["type"] == kind) {
        Some(condition) => {
            if condition["status"] == status {
                wanted["lastTransitionTime"] = condition["lastTransitionTime"].clone();
            }
            *condition = wanted;
        }
        None => conditions.push(wanted),
    }
}

/// Writes the status that follows from the spec: stored versions, accepted names, conditions. `others` are the other
/// definitions; `now` is RFC 3339.
pub fn settle(definition: &mut Value, others: &[&Value], now: &str) {
    if let Some(object) = definition.as_object_mut() {
        object.entry("status").or_insert_with(|| json!({}));
    }
    let storage = versions(definition).iter().find(|v| flag(v, "storage")).map(|v| v["name"].clone());
    let mut stored = strings(definition.pointer("/status/storedVersions"));
    if let Some(Value::String(storage)) = storage
        && !stored.contains(&storage)
    {
        stored.push(storage);
    }
    definition["status"]["storedVersions"] = json!(stored);
    let problem = accept_names(definition, others);
    match &problem {
        Some((reason, message)) => set_condition(definition, "NamesAccepted", "False", reason, message, now),
        None => set_condition(definition, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now),
    }
    if condition(definition, "Established") != Some("True") {
        match problem {
            Some(_) => {
                set_condition(definition, "Established", "False", "NotAccepted", "not all names are accepted", now);
            }
            None => {
                let message = "the initial names have been accepted";
                set_condition(definition, "Established", "True", "InitialNamesAccepted", message, now);
            }
        }
    }
}

/// Writes `status.acceptedNames`; answers reason and message of the last name that another definition has.
fn accept_names(definition: &mut Value, others: &[&Value]) -> Option<(&'static str, String)> {
    let group = text(definition, "/spec/group").to_string();
    let own = text(definition, "/metadata/name").to_string();
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for other in others.iter().filter(|o| text(o, "/spec/group") == group && text(o, "/metadata/name") != own) {
        let names = other.pointer("/status/acceptedNames").unwrap_or(&Value::Null);
        resources.extend(["plural", "singular"].iter().filter_map(|k| names[*k].as_str()).map(ToString::to_string));
        resources.extend(strings(names.get("shortNames")));
        kinds.extend(["kind", "listKind"].iter().filter_map(|k| names[*k].as_str()).map(ToString::to_string));
    }
    let wanted = definition.pointer("/spec/names").cloned().unwrap_or_default();
    let mut accepted =
        definition.pointer("/status/acceptedNames").cloned().unwrap_or_else(|| json!({"plural": "", "kind": ""}));
    let mut problem = None;
    let mut take = |key: &str, reason: &'static str, used: &BTreeSet<String>| {
        let values = match &wanted[key] {
            Value::Array(_) => strings(wanted.get(key)),
            Value::String(s) => vec![s.clone()],
            _ => return,
        };
        match values.iter().find(|v| used.contains(*v)) {
            Some(value) => problem = Some((reason, format!("{value:?} is already in use"))),
            None => accepted[key] = wanted[key].clone(),
        }
    };
    take("plural", "PluralConflict", &resources);
    take("singular", "SingularConflict", &resources);
    take("shortNames", "ShortNamesConflict", &resources);
    take("kind", "KindConflict", &kinds);
    take("listKind", "ListKindConflict", &kinds);
    if wanted.get("categories").is_some_and(|c| !c.is_null()) {
        accepted["categories"] = wanted["categories"].clone();
    }
    definition["status"]["acceptedNames"] = accepted;
    problem
}

/// The resources that an established definition serves, one per served version. A version whose schema does not compile
/// is left out (it was validated when it was written).
pub fn resources(definition: &Value) -> Vec<Resource> {
    if condition(definition, "Established") != Some("True") {
        return Vec::new();
    }
    versions(definition).iter().filter(|v| flag(v, "served")).filter_map(|v| resource(definition, v)).collect()
}

fn resource(definition: &Value, version: &Value) -> Option<Resource> {
    let names = definition.pointer("/status/acceptedNames")?;
    let name = |key: &str| names[key].as_str().unwrap_or_default().to_string();
    let group = text(definition, "/spec/group").to_string();
    let storage = versions(definition).iter().find(|v| flag(v, "storage"))?["name"].as_str()?.to_string();
    let raw = version.pointer("/schema/openAPIV3Schema").cloned()?;
    let schema = Arc::new(Structural::compile(&raw).ok()?);
    let version_name = version["name"].as_str()?.to_string();
    let kind = name("kind");
    let selectable = version.get("selectableFields").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let deprecation = flag(version, "deprecated").then(|| {
        let own = version["deprecationWarning"].as_str().map(ToString::to_string);
        own.unwrap_or_else(|| deprecation(definition, &group, &version_name, &kind))
    });
    Some(Resource {
        storage_hash: storage_hash(&group, &storage, &kind),
        stored_api_version: api_version(&group, &storage),
        list_kind: name("listKind"),
        plural: name("plural"),
        singular: name("singular"),
        short_names: strings(names.get("shortNames")),
        categories: strings(names.get("categories")),
        namespaced: text(definition, "/spec/scope") == "Namespaced",
        name_rule: NameRule::Subdomain,
        stored_as: stored_name(&group, &name("plural")),
        status: version.pointer("/subresources/status").is_some_and(|s| !s.is_null()),
        scale: version.pointer("/subresources/scale").and_then(scale),
        selectable: selectable
            .iter()
            .filter_map(|f| {
                let path = simple_path(f["jsonPath"].as_str()?)?;
                Some((path.join("."), path))
            })
            .collect(),
        schema: Some(SchemaRef::Definition(schema)),
        raw_schema: Some(raw),
        columns: Columns::from_crd(version.get("additionalPrinterColumns")).ok().map(Arc::new),
        builtin: None,
        generation: true,
        reread: definition.pointer("/metadata/generation").and_then(Value::as_i64) != Some(1),
        deprecation,
        terminating: condition(definition, "Terminating") == Some("True"),
        kind,
        group,
        version: version_name,
    })
}

/// What is said of a deprecated version, with the version to use instead if there is one.
fn deprecation(definition: &Value, group: &str, version: &str, kind: &str) -> String {
    let good = |v: &&Value| flag(v, "served") && !flag(v, "deprecated");
    let mut better: Vec<&str> = versions(definition).iter().filter(good).filter_map(|v| v["name"].as_str()).collect();
    better.sort_by(|a, b| super::discovery::newer_first(a, b));
    match better.first() {
        Some(better) => format!("{group}/{version} {kind} is deprecated; use {group}/{better} {kind}"),
        None => format!("{group}/{version} {kind} is deprecated"),
    }
}

fn scale(value: &Value) -> Option<ScalePaths> {
    Some(ScalePaths {
        spec_replicas: simple_path(value["specReplicasPath"].as_str()?)?,
        status_replicas: simple_path(value["statusReplicasPath"].as_str()?)?,
        selector: value["labelSelectorPath"].as_str().and_then(simple_path),
    })
}

/// The segments of `.spec.replicas`.
fn simple_path(path: &str) -> Option<Vec<String>> {
    let segments: Vec<String> = path.strip_prefix('.')?.split('.').map(ToString::to_string).collect();
    segments.iter().all(|s| !s.is_empty() && !s.contains(['[', ']', '*', '\''])).then_some(segments)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(super) fn things() -> Value {
        let mut definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "things.x.dev", "generation": 1},
            "spec": {"group": "x.dev", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}}}}}}]}});
        set_defaults(&mut definition);
        definition
    }

    #[test]
    fn a_definition_becomes_a_resource() {
        let mut definition = things();
        assert_eq!(validate(&definition, None), []);
        settle(&mut definition, &[], "2001-02-03T04:05:06Z");
        let served = resources(&definition);
        assert_eq!(served.len(), 1);
        assert_eq!((served[0].singular.as_str(), served[0].list_kind.as_str()), ("thing", "ThingList"));
        assert!(served[0].status && served[0].namespaced);
        assert_eq!(served[0].scale.as_ref().unwrap().spec_replicas, ["spec", "n"]);
    }

    #[test]
    fn a_taken_name_is_not_established() {
        let mut first = things();
        settle(&mut first, &[], "2001-02-03T04:05:06Z");
        let mut second = things();
        second["metadata"]["name"] = "stuffs.x.dev".into();
        second["spec"]["names"]["plural"] = "stuffs".into();
        settle(&mut second, &[&first], "2001-02-03T04:05:06Z");
        assert_eq!(condition(&second, "NamesAccepted"), Some("False"));
        assert_eq!(condition(&second, "Established"), Some("False"));
        assert!(resources(&second).is_empty());
    }
}
