//! RFC 7386 JSON merge patch.

use serde_json::{Map, Value};

use super::{PatchError, bounded, go_kind};

/// Applies an RFC 7386 merge patch to an object.
pub fn merge(document: &Value, patch: &Value) -> Result<Value, PatchError> {
    match patch {
        Value::Object(_) => {}
        Value::Null => return Err(PatchError::Invalid("Invalid JSON Patch".into())),
        other => {
            return Err(PatchError::BadRequest(format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                go_kind(other)
            )));
        }
    }
    let mut result = document.clone();
    lay_over(&mut result, patch);
    bounded(result)
}

fn lay_over(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else { return };
    for (key, value) in fields {
        if value.is_null() {
            map.remove(key);
        } else {
            lay_over(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
