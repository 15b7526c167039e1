//! The invariants of structural schemas, checked when a CRD is written, in the words of apiextensions-apiserver.

use serde_json::{Map, Value};

use super::FieldError;
use super::structural::join;

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What makes a schema not structural. Paths are relative to it.
pub(super) fn structural(schema: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Value::Object(map) = schema {
        invariants(map, Level::Root, "", &mut errors);
    }
    errors
}

fn on(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key) == Some(&Value::Bool(true))
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn invariants(map: &Map<String, Value>, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let kind = text(map, "type");
    if kind == "array" && !map.contains_key("items") {
        errors.push(FieldError::required(join(path, "items"), "must be specified"));
    }
    children(map, level, path, errors);
    extensions(map, path, errors);
    let embedded = on(map, "x-kubernetes-embedded-resource");
    if embedded && kind != "object" {
        let words = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match kind {
            "" => FieldError::required(join(path, "type"), words),
            kind => FieldError::invalid(join(path, "type"), kind, words),
        });
    } else if kind.is_empty()
        && !on(map, "x-kubernetes-int-or-string")
        && !on(map, "x-kubernetes-preserve-unknown-fields")
    {
        let words = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(join(path, "type"), words));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(join(path, "type"), kind, "must be object at the root"));
    }
    lists(map, path, errors);
    junctors(map, path, errors);
    metadata(map, level, embedded, path, errors);
}

fn children(map: &Map<String, Value>, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(Value::Object(items)) = map.get("items") {
        invariants(items, Level::Item, &join(path, "items"), errors);
    }
    let properties = map.get("properties").and_then(Value::as_object);
    for (name, schema) in properties.into_iter().flatten() {
        if let Value::Object(schema) = schema {
            invariants(schema, Level::Field, &format!("{}[{name}]", join(path, "properties")), errors);
        }
    }
    let at = join(path, "additionalProperties");
    let Some(additional) = map.get("additionalProperties") else { return };
    if level == Level::Root {
        errors.push(FieldError::forbidden(&at, "must not be used at the root"));
    }
    if let Value::Object(schema) = additional {
        invariants(schema, Level::Field, &at, errors);
    }
    if properties.is_some_and(|p| !p.is_empty()) && *additional != Value::Bool(false) {
        errors.push(FieldError::forbidden(at, "additionalProperties and properties are mutual exclusive"));
    }
}

fn extensions(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    for key in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if on(map, "x-kubernetes-int-or-string") && on(map, key) {
            let words = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(join(path, key), true, words));
        }
    }
    if map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let at = join(path, "x-kubernetes-preserve-unknown-fields");
        errors.push(FieldError::invalid(at, false, "must be true or undefined"));
    }
    if on(map, "uniqueItems") {
        let words = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(join(path, "uniqueItems"), words));
    }
    for key in ["$ref", "id", "definitions", "dependencies", "patternProperties", "additionalItems"] {
        if map.contains_key(key) {
            errors.push(FieldError::forbidden(join(path, key), format!("{key} is not supported")));
        }
    }
    if let Some(map_type) = map.get("x-kubernetes-map-type").and_then(Value::as_str) {
        let at = join(path, "x-kubernetes-map-type");
        if !matches!(map_type, "granular" | "atomic") {
            errors.push(FieldError::not_supported(&at, map_type, &["atomic", "granular"]));
        }
        if text(map, "type") != "object" {
            let words = "must be object if x-kubernetes-map-type is specified";
            errors.push(FieldError::invalid(join(path, "type"), text(map, "type"), words));
        }
    }
}

fn lists(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    let at = join(path, "x-kubernetes-list-type");
    let list_type = map.get("x-kubernetes-list-type").and_then(Value::as_str);
    let keys: Vec<&str> = map
        .get("x-kubernetes-list-map-keys")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if let Some(list_type) = list_type {
        if text(map, "type") != "array" {
            let words = "must be array if x-kubernetes-list-type is specified";
            errors.push(FieldError::invalid(join(path, "type"), text(map, "type"), words));
        }
        if !matches!(list_type, "atomic" | "set" | "map") {
            errors.push(FieldError::not_supported(&at, list_type, &["atomic", "set", "map"]));
        }
    }
    let keys_at = join(path, "x-kubernetes-list-map-keys");
    if !keys.is_empty() && list_type != Some("map") {
        let words = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(match list_type {
            Some(other) => FieldError::invalid(&at, other, words),
            None => FieldError::required(&at, words),
        });
    }
    if list_type == Some("set") {
        set_items(map, path, errors);
    }
    if list_type != Some("map") {
        return;
    }
    if keys.is_empty() {
        errors.push(FieldError::required(&keys_at, "must not be empty if x-kubernetes-list-type is map"));
    }
    let items = map.get("items").and_then(Value::as_object);
    if let Some(items) = items.filter(|i| text(i, "type") != "object") {
        let words = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(join(path, "items.type"), text(items, "type"), words));
    }
    list_keys(items, &keys, path, &keys_at, errors);
}

/// Elements of sets are scalars, or atomic as a whole.
fn set_items(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    let Some(items) = map.get("items").and_then(Value::as_object) else { return };
    let key = match text(items, "type") {
        "object" => "x-kubernetes-map-type",
        "array" => "x-kubernetes-list-type",
        _ => return,
    };
    let given = items.get(key).cloned().unwrap_or_default();
    if given != "atomic" && !(key == "x-kubernetes-list-type" && given.is_null()) {
        let words = "must be atomic as item of a list with x-kubernetes-list-type=set";
        errors.push(FieldError::invalid(join(path, &format!("items.{key}")), given, words));
    }
}

fn list_keys(items: Option<&Map<String, Value>>, keys: &[&str], path: &str, at: &str, errors: &mut Vec<FieldError>) {
    let properties = items.and_then(|i| i.get("properties")).and_then(Value::as_object);
    let required = items.and_then(|i| i.get("required")).and_then(Value::as_array);
    if keys.iter().any(|key| properties.is_none_or(|p| !p.contains_key(*key))) {
        if properties.is_some() {
            let words = "entries must all be names of item properties";
            errors.push(FieldError::invalid(at, keys.iter().map(|k| Value::from(*k)).collect::<Vec<_>>(), words));
        }
        return;
    }
    for key in keys {
        let Some(property) = properties.and_then(|p| p.get(*key)).and_then(Value::as_object) else { continue };
        if matches!(text(property, "type"), "array" | "object") {
            let field = format!("{}[{key}].type", join(path, "items.properties"));
            let words = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::invalid(field, text(property, "type"), words));
        }
        let is_required = required.is_some_and(|r| r.iter().any(|v| v == key));
        if !is_required && !property.contains_key("default") {
            let field = format!("{}[{key}].default", join(path, "items.properties"));
            let words =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(field, words));
        }
    }
}

/// `anyOf` of integer and string, which `x-kubernetes-int-or-string` allows.
fn is_int_or_string(any_of: Option<&Value>) -> bool {
    let types: Vec<&Value> =
        any_of.and_then(Value::as_array).into_iter().flatten().filter_map(|s| s.get("type")).collect();
    types.len() == 2 && types[0] == "integer" && types[1] == "string"
}

fn junctors(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    let allowed = on(map, "x-kubernetes-int-or-string");
    for key in ["allOf", "anyOf", "oneOf"] {
        for (i, schema) in map.get(key).and_then(Value::as_array).into_iter().flatten().enumerate() {
            let Value::Object(schema) = schema else { continue };
            let skip_type = key == "anyOf" && allowed && is_int_or_string(map.get("anyOf"));
            let skip_any_of = key == "allOf" && i == 0 && allowed && is_int_or_string(schema.get("anyOf"));
            nested(schema, skip_type, skip_any_of, &format!("{}[{i}]", join(path, key)), errors);
        }
    }
    if let Some(Value::Object(schema)) = map.get("not") {
        nested(schema, false, false, &join(path, "not"), errors);
    }
}

/// Inside a junctor there are only constraints on values.
fn nested(map: &Map<String, Value>, skip_type: bool, skip_any_of: bool, path: &str, errors: &mut Vec<FieldError>) {
    let rules = [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ];
    for (key, words) in rules {
        let present = map.get(key).is_some_and(|v| !v.is_null() && *v != Value::Bool(false) && *v != "");
        if present && !(key == "type" && skip_type) {
            errors.push(FieldError::forbidden(join(path, key), words));
        }
    }
    if !skip_any_of {
        junctors(map, path, errors);
    }
    if let Some(Value::Object(items)) = map.get("items") {
        nested(items, false, false, &join(path, "items"), errors);
    }
    for (name, schema) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let at = format!("{}[{name}]", join(path, "properties"));
        if name == "metadata" {
            errors.push(FieldError::forbidden(&at, "must not be specified in a nested context"));
        }
        if let Value::Object(schema) = schema {
            nested(schema, false, false, &at, errors);
        }
    }
}

fn metadata(map: &Map<String, Value>, level: Level, embedded: bool, path: &str, errors: &mut Vec<FieldError>) {
    let properties = map.get("properties").and_then(Value::as_object);
    let at = |name: &str| format!("{}[{name}]", join(path, "properties"));
    if level == Level::Root || embedded {
        for name in ["apiVersion", "kind"] {
            let kind =
                properties.and_then(|p| p.get(name)).map(|s| s.get("type").and_then(Value::as_str).unwrap_or(""));
            if let Some(kind) = kind.filter(|k| *k != "string") {
                errors.push(FieldError::invalid(format!("{}.type", at(name)), kind, "must be string"));
            }
        }
    }
    if embedded && !on(map, "x-kubernetes-preserve-unknown-fields") && properties.is_none_or(Map::is_empty) {
        let words =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(join(path, "properties"), words));
    }
    let Some(Value::Object(schema)) = properties.and_then(|p| p.get("metadata")) else { return };
    if (level == Level::Root || embedded) && text(schema, "type") != "object" {
        errors.push(FieldError::invalid(format!("{}.type", at("metadata")), text(schema, "type"), "must be object"));
    }
    if level == Level::Root {
        let more = schema.keys().any(|k| !matches!(k.as_str(), "type" | "properties" | "default" | "description"));
        let others = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        if more || others.into_iter().any(|(k, _)| !matches!(k.as_str(), "name" | "generateName")) {
            let words =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.push(FieldError::forbidden(at("metadata"), words));
        }
    }
}
