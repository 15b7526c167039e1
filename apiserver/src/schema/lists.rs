//! Map lists and sets must not hold an element twice.

use serde_json::{Map, Value, json};

use super::FieldError;
use super::structural::{Additional, ListType, Structural, join};

/// Duplicates in the map lists and sets of an object.
pub(crate) fn validate(schema: &Structural, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(schema, object, "", &mut errors);
    errors
}

fn walk(schema: &Structural, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let Some(property) = schema.properties.get(key) {
                    walk(property, value, &join(path, key), errors);
                } else if let Some(Additional::Schema(inner)) = &schema.additional {
                    walk(inner, value, &format!("{path}[{key}]"), errors);
                }
            }
        }
        Value::Array(items) => {
            match schema.list_type {
                ListType::Set => {
                    for i in repeated(items) {
                        errors.push(FieldError::duplicate(format!("{path}[{i}]"), items[i].clone()));
                    }
                }
                ListType::Map => map_list(schema, items, path, errors),
                ListType::Atomic => {}
            }
            if let Some(inner) = schema.items.as_deref() {
                for (i, item) in items.iter().enumerate() {
                    walk(inner, item, &format!("{path}[{i}]"), errors);
                }
            }
        }
        _ => {}
    }
}

fn map_list(schema: &Structural, items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    if let Some(i) = items.iter().position(|item| !item.is_object() && !item.is_null()) {
        let detail = "must be an object for an array of list-type map";
        errors.push(FieldError::invalid(format!("{path}[{i}]"), items[i].clone(), detail));
        return;
    }
    let keys: Vec<Value> = items
        .iter()
        .map(|item| {
            let found = schema.list_keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
            Value::Object(found.collect::<Map<_, _>>())
        })
        .collect();
    for i in repeated(&keys) {
        let shown = if keys[i].as_object().is_some_and(Map::is_empty) { json!({}) } else { keys[i].clone() };
        errors.push(FieldError::duplicate(format!("{path}[{i}]"), shown));
    }
}

/// The index of each value's second occurrence.
fn repeated(values: &[Value]) -> Vec<usize> {
    let mut times = std::collections::HashMap::with_capacity(values.len());
    let mut found = Vec::new();
    for (i, value) in values.iter().enumerate() {
        let count = times.entry(super::error::go_value(value)).or_insert(0usize);
        *count += 1;
        if *count == 2 {
            found.push(i);
        }
    }
    found
}
