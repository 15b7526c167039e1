//! `metadata` of an object that is JSON: reading it, and the fields that only the server writes.

use serde_json::{Map, Value, json};

/// The metadata of an object.
pub fn of(object: &Value) -> &Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    object.get("metadata").and_then(Value::as_object).unwrap_or(&EMPTY)
}

/// The metadata of an object, made when it is absent.
pub fn of_mut(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let slot = &mut object["metadata"];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletion_counts_as_a_change_once() {
        let mut object = json!({"metadata": {"generation": 3}});
        mark_deleting(&mut object, "2001-02-03T04:05:06Z");
        mark_deleting(&mut object, "2002-02-03T04:05:06Z");
        assert_eq!(object["metadata"]["generation"], 4);
        assert_eq!(object["metadata"]["deletionTimestamp"], "2001-02-03T04:05:06Z");
    }
}
