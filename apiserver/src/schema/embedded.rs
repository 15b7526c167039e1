//! Embedded resources (`x-kubernetes-embedded-resource`): objects inside objects, with apiVersion, kind and metadata.

use serde_json::{Map, Value};

use super::structural::{Structural, join};
use super::{FieldError, metadata, names};

/// What is wrong with the embedded resources of an object.
pub(super) fn validate(schema: &Structural, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(schema, object, "", &mut errors);
    errors
}

fn walk(schema: &Structural, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            if schema.embedded_resource {
                resource(map, path, errors);
            }
            for (key, value) in map {
                if let Some(property) = schema.properties.get(key) {
                    walk(property, value, &join(path, key), errors);
                } else if let Some(inner) = schema.child(key) {
                    walk(inner, value, &format!("{path}[{key}]"), errors);
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = schema.items.as_deref() {
                for (i, item) in items.iter().enumerate() {
                    walk(inner, item, &format!("{path}[{i}]"), errors);
                }
            }
        }
        _ => {}
    }
}

fn resource(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    for key in ["apiVersion", "kind"] {
        let at = join(path, key);
        match map.get(key) {
            None => errors.push(FieldError::required(at, "")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(FieldError::invalid(at, "", "must not be empty"));
            }
            Some(Value::String(text)) if key == "kind" => {
                let wrong = names::dns1035_label(&text.to_lowercase());
                if !wrong.is_empty() {
                    let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
                    errors.push(FieldError::invalid(at, text.as_str(), detail));
                }
            }
            Some(Value::String(text)) if text.matches('/').count() > 1 => {
                let detail = format!("unexpected GroupVersion string: {text}");
                errors.push(FieldError::invalid(at, text.as_str(), detail));
            }
            Some(Value::String(_)) => {}
            Some(other) => errors.push(FieldError::invalid(at, other.clone(), "must be a string")),
        }
    }
    if let Some(meta) = map.get("metadata") {
        let at = join(path, "metadata");
        let mut copy = meta.clone();
        match metadata::decode(&mut copy) {
            Err(words) => errors.push(FieldError::invalid(at, meta.clone(), words)),
            Ok(_) => errors.extend(metadata::validate_embedded(&copy, &at)),
        }
    }
}
