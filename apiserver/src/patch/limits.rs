//! How large patches and what comes of them may get.

use serde_json::Value;

/// Operations in one JSON patch.
pub const MAX_OPERATIONS: usize = 10_000;

/// Bytes of the object that a patch makes (Kubernetes' request limit).
pub const MAX_RESULT_BYTES: usize = 3 * 1024 * 1024;

/// Bytes that copies of one JSON patch may add.
pub const MAX_COPY_BYTES: usize = 3 * 1024 * 1024;

/// The size of a value as JSON, in bytes, at least; counting stops beyond `limit`.
pub fn size_up_to(value: &Value, limit: usize) -> usize {
    fn add(value: &Value, total: &mut usize, limit: usize) {
        if *total > limit {
            return;
        }
        match value {
            Value::String(s) => *total += s.len() + 2,
            Value::Array(items) => {
                *total += 2 + items.len();
                items.iter().for_each(|v| add(v, total, limit));
            }
            Value::Object(map) => {
                *total += 2;
                for (k, v) in map {
                    *total += k.len() + 4;
                    add(v, total, limit);
                }
            }
            Value::Number(_) => *total += 1,
            Value::Null | Value::Bool(_) => *total += 4,
        }
    }
    let mut total = 0;
    add(value, &mut total, limit);
    total
}
