//! `metadata` of an object that is JSON: reading it, and the fields that only the server writes.

use serde_json::{Map, Value, json};

use super::status::{ApiError, ApiResult};

/// The metadata of an object.
pub fn of(object: &Value) -> &Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    object.get("metadata").and_then(Value::as_object).unwrap_or(&EMPTY)
}

/// The metadata of an object, made when it is absent.
pub fn of_mut(object: &mut Value) -> &mut Map<String, Value> {
    static_object(object, "metadata")
}

fn static_object<'a>(object: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let slot = &mut object[key];
    if !slot.is_object() {
        *slot = json!({});
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("it was made an object"),
    }
}

/// A text of the metadata, empty when absent.
pub fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    of(object).get(key).and_then(Value::as_str).unwrap_or_default()
}

/// `metadata.name`
pub fn name(object: &Value) -> &str {
    text(object, "name")
}

/// `metadata.namespace`
pub fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

/// `metadata.uid`
pub fn uid(object: &Value) -> &str {
    text(object, "uid")
}

/// `metadata.labels`
pub fn labels(object: &Value) -> Option<&Map<String, Value>> {
    of(object).get("labels").and_then(Value::as_object)
}

/// `metadata.finalizers`
pub fn finalizers(object: &Value) -> Vec<&str> {
    of(object).get("finalizers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Writes `metadata.finalizers`; none removes the field.
pub fn set_finalizers(object: &mut Value, finalizers: &[String]) {
    let metadata = of_mut(object);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), json!(finalizers));
    }
}

/// The object is going away.
pub fn deleting(object: &Value) -> bool {
    of(object).get("deletionTimestamp").is_some_and(|v| !v.is_null())
}

/// `metadata.generation`
pub fn generation(object: &Value) -> i64 {
    of(object).get("generation").and_then(Value::as_i64).unwrap_or(0)
}

/// Marks an object as going away: its generation counts that, its finalizers hold it.
pub fn mark_deleting(object: &mut Value, now: &str) {
    let (deleting, generation) = (deleting(object), generation(object));
    let metadata = of_mut(object);
    if !deleting {
        metadata.insert("deletionTimestamp".into(), now.into());
        if generation > 0 {
            metadata.insert("generation".into(), (generation + 1).into());
        }
    }
    metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
}

/// The owner references.
pub fn owners(object: &Value) -> &[Value] {
    of(object).get("ownerReferences").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Removes what only the server writes, from an object that a client wants created.
pub fn wipe_system_fields(object: &mut Value) {
    let metadata = of_mut(object);
    for key in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        metadata.remove(key);
    }
}

#[derive(Clone, Copy)]
enum Shape {
    Text,
    Time,
    Integer,
    Texts,
    TextMap,
    Objects(&'static [(&'static str, Shape)]),
    Bool,
    Any,
}

const OWNER: &[(&str, Shape)] = &[
    ("apiVersion", Shape::Text),
    ("kind", Shape::Text),
    ("name", Shape::Text),
    ("uid", Shape::Text),
    ("controller", Shape::Bool),
    ("blockOwnerDeletion", Shape::Bool),
];

const MANAGED: &[(&str, Shape)] = &[
    ("manager", Shape::Text),
    ("operation", Shape::Text),
    ("apiVersion", Shape::Text),
    ("time", Shape::Time),
    ("fieldsType", Shape::Text),
    ("fieldsV1", Shape::Any),
    ("subresource", Shape::Text),
];

const FIELDS: &[(&str, Shape)] = &[
    ("name", Shape::Text),
    ("generateName", Shape::Text),
    ("namespace", Shape::Text),
    ("selfLink", Shape::Text),
    ("uid", Shape::Text),
    ("resourceVersion", Shape::Text),
    ("generation", Shape::Integer),
    ("creationTimestamp", Shape::Time),
    ("deletionTimestamp", Shape::Time),
    ("deletionGracePeriodSeconds", Shape::Integer),
    ("labels", Shape::TextMap),
    ("annotations", Shape::TextMap),
    ("ownerReferences", Shape::Objects(OWNER)),
    ("finalizers", Shape::Texts),
    ("managedFields", Shape::Objects(MANAGED)),
];

/// Brings `metadata` into ObjectMeta's form: nulls and empty values go, unknown fields go and are answered as paths,
/// wrong types are 400.
pub fn coerce(object: &mut Value) -> ApiResult<Vec<String>> {
    match object.get("metadata") {
        None | Some(Value::Null) => {
            of_mut(object);
            return Ok(Vec::new());
        }
        Some(Value::Object(_)) => {}
        Some(other) => return Err(mistyped("metadata", other, "v1.ObjectMeta")),
    }
    let mut unknown = Vec::new();
    coerce_fields(of_mut(object), FIELDS, "metadata", &mut unknown)?;
    Ok(unknown)
}

fn coerce_fields(
    map: &mut Map<String, Value>,
    fields: &[(&str, Shape)],
    at: &str,
    unknown: &mut Vec<String>,
) -> ApiResult<()> {
    let keys: Vec<String> = map.keys().cloned().collect();
    for key in keys {
        let path = format!("{at}.{key}");
        let Some((_, shape)) = fields.iter().find(|(name, _)| *name == key) else {
            map.remove(&key);
            unknown.push(path);
            continue;
        };
        let value = &mut map[&key];
        coerce_value(value, *shape, &path, unknown)?;
        let empty = match value {
            Value::Null => true,
            Value::String(s) => s.is_empty() && at == "metadata",
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty() && !matches!(shape, Shape::Any),
            Value::Bool(_) | Value::Number(_) => false,
        };
        if empty {
            map.remove(&key);
        }
    }
    Ok(())
}

fn coerce_value(value: &mut Value, shape: Shape, at: &str, unknown: &mut Vec<String>) -> ApiResult<()> {
    if value.is_null() {
        return Ok(());
    }
    let fits = match (shape, &*value) {
        (Shape::Text, Value::String(_)) | (Shape::Bool, Value::Bool(_)) | (Shape::Any, _) => true,
        (Shape::Time, Value::String(s)) => s.parse::<jiff::Timestamp>().is_ok(),
        (Shape::Integer, Value::Number(n)) => n.as_i64().is_some(),
        (Shape::Texts, Value::Array(items)) => items.iter().all(Value::is_string),
        (Shape::TextMap, Value::Object(map)) => map.values().all(Value::is_string),
        (Shape::Objects(_), Value::Array(items)) => items.iter().all(Value::is_object),
        _ => false,
    };
    if !fits {
        return Err(mistyped(at, value, shape_name(shape)));
    }
    if let (Shape::Objects(fields), Value::Array(items)) = (shape, value) {
        for (i, map) in items.iter_mut().filter_map(Value::as_object_mut).enumerate() {
            coerce_fields(map, fields, &format!("{at}[{i}]"), unknown)?;
        }
    }
    Ok(())
}

fn shape_name(shape: Shape) -> &'static str {
    match shape {
        Shape::Text => "string",
        Shape::Time => "v1.Time",
        Shape::Integer => "int64",
        Shape::Texts => "[]string",
        Shape::TextMap => "map[string]string",
        Shape::Objects(_) => "[]object",
        Shape::Bool => "bool",
        Shape::Any => "FieldsV1",
    }
}

fn mistyped(at: &str, value: &Value, wanted: &str) -> ApiError {
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    ApiError::bad_request(format!("json: cannot unmarshal {is} into Go struct field {at} of type {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_go_and_are_named() {
        let mut object = json!({"metadata": {"name": "a", "odd": 1, "labels": {}, "finalizers": null,
            "ownerReferences": [{"name": "x", "more": true}]}});
        assert_eq!(coerce(&mut object).unwrap(), ["metadata.odd", "metadata.ownerReferences[0].more"]);
        assert_eq!(object, json!({"metadata": {"name": "a", "ownerReferences": [{"name": "x"}]}}));
    }

    #[test]
    fn wrong_types_are_refused() {
        for metadata in [json!(5), json!({"labels": {"a": 1}}), json!({"name": 5}), json!({"creationTimestamp": "today"})] {
            assert!(coerce(&mut json!({"metadata": metadata})).is_err(), "{metadata}");
        }
        let mut absent = json!({"kind": "X"});
        coerce(&mut absent).unwrap();
        assert_eq!(absent["metadata"], json!({}));
    }

    #[test]
    fn deletion_counts_as_a_change_once() {
        let mut object = json!({"metadata": {"generation": 3}});
        mark_deleting(&mut object, "2001-02-03T04:05:06Z");
        mark_deleting(&mut object, "2002-02-03T04:05:06Z");
        assert_eq!(object["metadata"]["generation"], 4);
        assert_eq!(object["metadata"]["deletionTimestamp"], "2001-02-03T04:05:06Z");
    }
}
