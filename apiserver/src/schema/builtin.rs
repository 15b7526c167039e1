//! Schemas of the built-in kinds, from Kubernetes' own OpenAPI definitions (`openapi/definitions.json`).

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::Structural;

/// Definitions by their OpenAPI names (`io.k8s.api.core.v1.Secret`), of Kubernetes 1.36.
static DEFINITIONS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../openapi/definitions.json")).expect("definitions.json of this source")
});

const PREFIX: &str = "#/components/schemas/";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The built-in kinds served here: group, version, kind, definition.
const KINDS: [(&str, &str, &str, &str); 13] = [
    ("", "v1", "ConfigMap", "io.k8s.api.core.v1.ConfigMap"),
    ("", "v1", "Secret", "io.k8s.api.core.v1.Secret"),
    ("", "v1", "Event", "io.k8s.api.core.v1.Event"),
    ("", "v1", "Namespace", "io.k8s.api.core.v1.Namespace"),
    ("", "v1", "ServiceAccount", "io.k8s.api.core.v1.ServiceAccount"),
    ("coordination.k8s.io", "v1", "Lease", "io.k8s.api.coordination.v1.Lease"),
    ("events.k8s.io", "v1", "Event", "io.k8s.api.events.v1.Event"),
    (
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    ),
    ("authentication.k8s.io", "v1", "TokenReview", "io.k8s.api.authentication.v1.TokenReview"),
    ("authentication.k8s.io", "v1", "TokenRequest", "io.k8s.api.authentication.v1.TokenRequest"),
    ("authentication.k8s.io", "v1", "SelfSubjectReview", "io.k8s.api.authentication.v1.SelfSubjectReview"),
    ("authorization.k8s.io", "v1", "SubjectAccessReview", "io.k8s.api.authorization.v1.SubjectAccessReview"),
    ("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "io.k8s.api.authorization.v1.SelfSubjectAccessReview"),
];

static SCHEMAS: LazyLock<HashMap<&str, Structural>> =
    LazyLock::new(|| KINDS.into_iter().map(|(_, _, _, definition)| (definition, compile(definition))).collect());

static OBJECT_META_SCHEMA: LazyLock<Structural> = LazyLock::new(|| compile(OBJECT_META));

/// The schema of a built-in kind served here, or none.
pub fn schema(group: &str, kind: &str) -> Option<&'static Structural> {
    SCHEMAS.get(definition_name(group, kind)?)
}

/// The schema of ObjectMeta.
pub fn object_meta() -> &'static Structural {
    &OBJECT_META_SCHEMA
}

/// The OpenAPI name of a built-in kind.
pub fn definition_name(group: &str, kind: &str) -> Option<&'static str> {
    KINDS.into_iter().find(|(g, _, k, _)| *g == group && *k == kind).map(|(_, _, _, name)| name)
}

/// An OpenAPI definition by its name.
pub fn definition(name: &str) -> Option<&'static Value> {
    DEFINITIONS.get(name)
}

/// The definition a schema refers to (`$ref`, alone or as the only one of `allOf`), else the schema itself.
pub fn dereference(schema: &Value) -> &Value {
    reference(schema).and_then(definition).unwrap_or(schema)
}

/// The name that a schema refers to.
pub fn reference(schema: &Value) -> Option<&str> {
    let direct = schema.get("$ref").or_else(|| schema.get("allOf")?.get(0)?.get("$ref"))?;
    direct.as_str()?.strip_prefix(PREFIX)
}

/// A time that is not set is written as null by Kubernetes, and so it is read.
fn nullable_times(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("format").is_some_and(|f| f == "date-time") {
                map.insert("nullable".into(), true.into());
            }
            map.values_mut().for_each(nullable_times);
        }
        Value::Array(items) => items.iter_mut().for_each(nullable_times),
        _ => {}
    }
}

fn compile(name: &str) -> Structural {
    let mut schema = definition(name).map_or_else(|| json!({"type": "object"}), |d| inline(d, &mut vec![name]));
    nullable_times(&mut schema);
    Structural::trusted(&schema).unwrap_or_else(|e| panic!("{name}: {}", super::join_messages(&e)))
}

/// A definition with its references resolved; where it contains itself, anything goes. Defaults are Go's, not the
/// server's, and are left out.
fn inline<'a>(schema: &'a Value, stack: &mut Vec<&'a str>) -> Value {
    if let Some(name) = reference(schema) {
        if stack.contains(&name) {
            return json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        }
        stack.push(name);
        let mut out = inline(dereference(schema), stack);
        stack.pop();
        for key in ["x-kubernetes-map-type", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"] {
            if let Some(value) = schema.get(key) {
                out[key] = value.clone();
            }
        }
        return out;
    }
    let Some(map) = schema.as_object() else { return schema.clone() };
    let mut out = Map::new();
    for (key, value) in map {
        let value = match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                Value::Object(properties.iter().map(|(k, v)| (k.clone(), inline(v, stack))).collect())
            }
            ("items" | "additionalProperties", Value::Object(_)) => inline(value, stack),
            ("default" | "allOf" | "anyOf" | "oneOf" | "description", _) => continue,
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    let open = matches!(out.get("type").and_then(Value::as_str), None | Some("object"));
    if open && !out.contains_key("properties") && !out.contains_key("additionalProperties") {
        out.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::structural::ListType;

    #[test]
    fn every_built_in_kind_compiles() {
        for (group, _, kind, _) in KINDS {
            assert!(schema(group, kind).is_some(), "{group} {kind}");
        }
        let meta = object_meta();
        assert_eq!(meta.properties["ownerReferences"].list_keys, ["uid"]);
        assert_eq!(meta.properties["finalizers"].list_type, ListType::Set);
    }

    #[test]
    fn unknown_fields_of_built_ins_are_named() {
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "e"}, "dataa": {"a": "1"}, "data": {"b": "c"}});
        assert_eq!(schema("", "ConfigMap").expect("built in").prune(&mut object), ["dataa"]);
        let mut crd = json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object",
            "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string", "default": {"x": 1}}}}}}}}]}});
        let before = crd.clone();
        let kind = schema("apiextensions.k8s.io", "CustomResourceDefinition").expect("built in");
        assert!(kind.prune(&mut crd).is_empty());
        assert_eq!(crd, before);
    }
}
