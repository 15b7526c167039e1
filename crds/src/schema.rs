//! From Rust types to CustomResourceDefinitions: shared field schemas, and the clean-up that makes them structural.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::{Assignment, Hive, Model, Worker, condition::Condition, hive::HiveBackend, worker::GatewayLoad};

/// The four definitions, ready to be applied to any Kubernetes API server.
///
/// # Panics
/// Only if the derived schemas are no JSON objects, which a test rules out.
pub fn all() -> Vec<CustomResourceDefinition> {
    to_json().into_iter().map(|crd| serde_json::from_value(crd).expect("a definition that was derived")).collect()
}

/// The four definitions as JSON, in alphabetical order of their names.
pub fn to_json() -> Vec<Value> {
    [Assignment::crd(), Hive::crd(), Model::crd(), Worker::crd()].into_iter().map(clean).collect()
}

fn clean(crd: CustomResourceDefinition) -> Value {
    let mut value = serde_json::to_value(crd).expect("a definition is JSON");
    if let Some(versions) = value.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for schema in versions.iter_mut().filter_map(|v| v.pointer_mut("/schema/openAPIV3Schema")) {
            structural(schema);
        }
    }
    value
}

/// Removes what the Rust types imply and the API must not: `nullable` and formats that Kubernetes does not know.
fn structural(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    if matches!(map.get("nullable"), Some(Value::Bool(_))) {
        map.remove("nullable");
    }
    if map.get("format").and_then(Value::as_str).is_some_and(|f| f.starts_with("uint")) {
        map.remove("format");
    }
    if let Some(Value::Array(values)) = map.get_mut("enum") {
        values.retain(|v| !v.is_null());
    }
    one_variant(map);
    if let Some(Value::Object(fields)) = map.get_mut("properties") {
        fields.values_mut().for_each(structural);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key) {
            structural(inner);
        }
    }
}

/// `anyOf: [T, null]` is an optional T: the field may be left out, and that is all.
fn one_variant(map: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = map.get("anyOf") else { return };
    let real: Vec<&Value> = variants.iter().filter(|v| v.get("enum") != Some(&json!([null]))).collect();
    if let [Value::Object(only)] = real.as_slice() {
        let only = only.clone();
        map.remove("anyOf");
        for (key, value) in only {
            map.entry(key).or_insert(value);
        }
    }
}

pub(crate) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// A model reference; the rule is the grammar of the parser in rbee-model.
pub(crate) fn model_uri(_: &mut SchemaGenerator) -> Schema {
    let message = format!("a model reference is {}, and holds no '..'", rbee_model::reference::URI_FORMS);
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": rbee_model::reference::MAX_URI_CHARS,
        "x-kubernetes-validations": [{"rule": rbee_model::reference::URI_CEL, "message": message}],
    })
}

fn list_map<T: JsonSchema>(generator: &mut SchemaGenerator, key: &str) -> Schema {
    let mut schema = Schema::default();
    schema.insert("type".into(), json!("array"));
    schema.insert("items".into(), generator.subschema_for::<T>().into());
    schema.insert("x-kubernetes-list-type".into(), json!("map"));
    schema.insert("x-kubernetes-list-map-keys".into(), json!([key]));
    schema
}

pub(crate) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    list_map::<Condition>(generator, "type")
}

pub(crate) fn gateways(generator: &mut SchemaGenerator) -> Schema {
    list_map::<GatewayLoad>(generator, "name")
}

pub(crate) fn backends(generator: &mut SchemaGenerator) -> Schema {
    list_map::<HiveBackend>(generator, "name")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(value: &Value, see: &mut impl FnMut(&Map<String, Value>)) {
        match value {
            Value::Object(map) => {
                see(map);
                map.values().for_each(|v| walk(v, see));
            }
            Value::Array(items) => items.iter().for_each(|v| walk(v, see)),
            _ => {}
        }
    }

    #[test]
    fn schemas_are_structural_and_know_no_null() {
        for crd in to_json() {
            walk(&crd, &mut |map| {
                for word in ["nullable", "anyOf", "oneOf", "$ref"] {
                    assert!(!map.contains_key(word), "{word} in {map:?}");
                }
                let null_in_enum = map.get("enum").and_then(Value::as_array).is_some_and(|v| v.contains(&Value::Null));
                assert!(!null_in_enum, "null in {map:?}");
            });
            let kind = &crd["spec"]["names"]["kind"];
            assert!(
                crd["spec"]["versions"][0]["subresources"]["status"].is_object(),
                "{kind} has no status subresource"
            );
        }
    }

    #[test]
    fn there_are_four_kinds_with_short_names() {
        let names: Vec<_> = to_json()
            .iter()
            .map(|c| c["spec"]["names"]["shortNames"][0].as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(names, ["asg", "hv", "mdl", "wkr"]);
    }
}
