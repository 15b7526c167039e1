//! Schemas of kinds as OpenAPI components: a CRD's schema with ObjectMeta and type meta, and its list.

use serde_json::{Map, Value, json};

use super::Resource;
use crate::schema::builtin;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const API_VERSION_WORDS: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND_WORDS: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA_WORDS: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// Component names of a kind.
pub(super) struct Names {
    pub object: String,
    pub list: String,
}

impl Names {
    pub fn of(group: &str, version: &str, resource: &Resource) -> Self {
        if let (true, Some(name)) = (resource.builtin, builtin::definition_name(group, &resource.kind)) {
            return Self { object: name.to_string(), list: format!("{name}List") };
        }
        let reversed: Vec<&str> = group.split('.').rev().collect();
        let name = |kind: &str| format!("{}.{version}.{kind}", reversed.join("."));
        Self { object: name(&resource.kind), list: name(&resource.list_kind) }
    }
}

/// `#/components/schemas/NAME`.
pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

pub(super) fn meta(name: &str) -> String {
    format!("{META}.{name}")
}

fn text(words: &str) -> Value {
    json!({"description": words, "type": "string"})
}

fn described(words: &str, name: &str) -> Value {
    json!({"description": words, "allOf": [reference(&meta(name))]})
}

fn kind_of(group: &str, version: &str, kind: &str) -> Value {
    json!([{"group": group, "kind": kind, "version": version}])
}

fn selectable(resource: &Resource) -> Option<Value> {
    let fields = resource.selectable_fields.iter().map(|f| json!({"fieldPath": f.trim_start_matches('.')}));
    (!resource.selectable_fields.is_empty()).then(|| fields.collect())
}

/// The schema of a custom resource.
pub(super) fn object(group: &str, version: &str, resource: &Resource) -> Value {
    let mut out = match &resource.schema {
        None => json!({"type": "object"}),
        Some(schema) => {
            let mut out = converted(schema);
            if !out["properties"].is_object() {
                out["properties"] = json!({});
            }
            out["properties"]["apiVersion"] = text(API_VERSION_WORDS);
            out["properties"]["kind"] = text(KIND_WORDS);
            out["properties"]["metadata"] = described(METADATA_WORDS, "ObjectMeta");
            out
        }
    };
    out["x-kubernetes-group-version-kind"] = kind_of(group, version, &resource.kind);
    if let Some(fields) = selectable(resource) {
        out["x-kubernetes-selectable-fields"] = fields;
    }
    out
}

/// The schema of its list.
pub(super) fn list(group: &str, version: &str, resource: &Resource, names: &Names) -> Value {
    let words = format!(
        "List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md",
        resource.plural
    );
    let metadata = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
    let mut out = json!({
        "description": format!("{} is a list of {}", resource.list_kind, resource.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": text(API_VERSION_WORDS),
            "items": {"description": words, "type": "array", "items": reference(&names.object)},
            "kind": text(KIND_WORDS),
            "metadata": described(metadata, "ListMeta"),
        },
        "x-kubernetes-group-version-kind": kind_of(group, version, &resource.list_kind),
    });
    if let Some(fields) = selectable(resource) {
        out["x-kubernetes-selectable-fields"] = fields;
    }
    out
}

/// A CRD's schema as it is published: without what structural schemas do not carry, with the meaning of
/// `x-kubernetes-int-or-string` and `x-kubernetes-embedded-resource` written out.
fn converted(schema: &Value) -> Value {
    let Some(map) = schema.as_object() else { return schema.clone() };
    let mut out = Map::new();
    for (key, value) in map {
        let value = match (key.as_str(), value) {
            ("$schema" | "$ref" | "id" | "externalDocs" | "example" | "uniqueItems", _) => continue,
            (_, Value::Null | Value::Bool(false)) if key != "default" => continue,
            ("properties", Value::Object(properties)) => {
                Value::Object(properties.iter().map(|(k, v)| (k.clone(), converted(v))).collect())
            }
            ("items" | "additionalProperties" | "not", Value::Object(_)) => converted(value),
            ("allOf" | "anyOf" | "oneOf", Value::Array(items)) => items.iter().map(converted).collect(),
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    if out.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        int_or_string(&mut out);
    }
    if out.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true)) {
        embedded(&mut out);
    }
    Value::Object(out)
}

fn int_or_string(schema: &mut Map<String, Value>) {
    let pattern = json!([{"type": "integer"}, {"type": "string"}]);
    let in_all_of = schema.get("allOf").and_then(|a| a.get(0)).and_then(|a| a.get("anyOf")) == Some(&pattern);
    match schema.get("anyOf") {
        Some(any_of) if *any_of == pattern => {}
        _ if in_all_of => {}
        None => {
            schema.insert("anyOf".into(), pattern);
        }
        Some(_) => {
            let mut all = schema.get("allOf").and_then(Value::as_array).cloned().unwrap_or_default();
            all.insert(0, json!({"anyOf": pattern}));
            schema.insert("allOf".into(), all.into());
        }
    }
}

fn embedded(schema: &mut Map<String, Value>) {
    let lower = |words: &str| format!("{}{}", words[..1].to_lowercase(), &words[1..]);
    let kind = "kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
    let version = lower(
        "ApiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
    );
    let properties = schema.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        properties.insert("apiVersion".into(), text(&version));
        properties.insert("kind".into(), text(kind));
        properties.insert("metadata".into(), described(METADATA_WORDS, "ObjectMeta"));
    }
    let mut required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    for key in ["kind", "apiVersion"] {
        if !required.iter().any(|r| r == key) {
            required.push(key.into());
        }
    }
    schema.insert("required".into(), required.into());
}
