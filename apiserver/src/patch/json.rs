//! RFC 6902 JSON patch with the reading and the words of Kubernetes' library (evanphx/json-patch).

use serde_json::Value;

use super::limits::{MAX_COPY_BYTES, MAX_OPERATIONS, MAX_RESULT_BYTES, size_up_to};
use super::{PatchError, bounded, go_kind};

/// Applies an RFC 6902 patch: at most [`MAX_OPERATIONS`] operations, whose copies add at most 3 MiB.
pub fn json(document: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations = match patch {
        Value::Array(operations) => operations.as_slice(),
        Value::Null => &[],
        other => return Err(bad_type(other, "[]handlers.jsonPatchOp")),
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    if let Some(other) = operations.iter().find(|o| !o.is_object() && !o.is_null()) {
        return Err(bad_type(other, "handlers.jsonPatchOp"));
    }
    let mut run = Run { document: document.clone(), copied: 0 };
    for operation in operations {
        run.operate(operation)?;
    }
    bounded(run.document)
}

fn bad_type(value: &Value, name: &str) -> PatchError {
    PatchError::BadRequest(format!("json: cannot unmarshal {} into Go value of type {name}", go_kind(value)))
}

const MISSING: &str = "missing value";

fn invalid(words: impl Into<String>) -> PatchError {
    PatchError::Invalid(words.into())
}

struct Run {
    document: Value,
    copied: usize,
}

/// The container that a path ends in, and the key in it.
struct Place<'a> {
    container: &'a mut Value,
    key: String,
}

/// `-1` is the last element.
fn index(key: &str, length: usize) -> Result<usize, String> {
    let index: i64 = key.parse().map_err(|_| format!("strconv.Atoi: parsing \"{key}\": invalid syntax"))?;
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let at = if index < 0 { index + length } else { index };
    usize::try_from(at)
        .ok()
        .filter(|_| at < length)
        .ok_or_else(|| format!("Unable to access invalid index: {index}: invalid index referenced"))
}

impl Place<'_> {
    fn get(&self) -> Result<Option<&Value>, String> {
        match &*self.container {
            Value::Array(items) => index(&self.key, items.len()).map(|i| items.get(i)),
            other => Ok(other.get(&self.key)),
        }
    }

    fn add(&mut self, value: Value) -> Result<(), String> {
        match &mut *self.container {
            Value::Array(items) if self.key == "-" => items.push(value),
            Value::Array(items) => {
                let at = index(&self.key, items.len() + 1).map_err(|words| {
                    if words.starts_with("strconv") {
                        format!("value was not a proper array index: '{}': {words}", self.key)
                    } else {
                        words
                    }
                })?;
                items.insert(at, value);
            }
            Value::Object(map) => {
                map.insert(self.key.clone(), value);
            }
            _ => {}
        }
        Ok(())
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        match &mut *self.container {
            Value::Array(items) => {
                let at = index(&self.key, items.len())?;
                items[at] = value;
            }
            Value::Object(map) => {
                map.insert(self.key.clone(), value);
            }
            _ => {}
        }
        Ok(())
    }

    fn remove(&mut self) -> Result<(), String> {
        match &mut *self.container {
            Value::Array(items) => {
                let at = index(&self.key, items.len())?;
                items.remove(at);
            }
            Value::Object(map) => {
                let gone = map.remove(&self.key).map(|_| ());
                return gone.ok_or_else(|| format!("Unable to remove nonexistent key: {}: {MISSING}", self.key));
            }
            _ => {}
        }
        Ok(())
    }
}

fn decode(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

impl Run {
    fn place(&mut self, path: &str) -> Option<Place<'_>> {
        let mut parts = path.split('/').skip(1).peekable();
        parts.peek()?;
        let mut container = &mut self.document;
        while let Some(part) = parts.next() {
            let key = decode(part);
            if parts.peek().is_none() {
                let holds = matches!(container, Value::Array(_) | Value::Object(_));
                return holds.then_some(Place { container, key });
            }
            container = match container {
                Value::Array(items) => {
                    let at = index(&key, items.len()).ok()?;
                    items.get_mut(at)?
                }
                Value::Object(map) => map.get_mut(&key)?,
                _ => return None,
            };
        }
        None
    }

    fn operate(&mut self, operation: &Value) -> Result<(), PatchError> {
        let text = |key: &str| operation.get(key).and_then(Value::as_str);
        let kind = text("op").unwrap_or("unknown");
        let missing = || invalid(format!("{kind} operation failed to decode path: {MISSING}"));
        let value = || operation.get("value").cloned().unwrap_or(Value::Null);
        match kind {
            "add" => {
                let path = text("path").ok_or_else(missing)?;
                let mut place = self.place(path).ok_or_else(|| no_place(kind, &format!("\"{path}\"")))?;
                place.add(value()).map_err(|e| invalid(format!("error in add for path: '{path}': {e}")))
            }
            "remove" => {
                let path = text("path").ok_or_else(missing)?;
                let mut place = self.place(path).ok_or_else(|| no_place(kind, &format!("\"{path}\"")))?;
                place.remove().map_err(|e| invalid(format!("error in remove for path: '{path}': {e}")))
            }
            "replace" => self.replace(text("path").ok_or_else(missing)?, value()),
            "test" => self.test(text("path").ok_or_else(missing)?, &value()),
            "move" | "copy" => {
                let from = text("from").ok_or_else(|| {
                    let words = "operation, missing from field: missing value";
                    invalid(format!("{kind} operation failed to decode from: {words}"))
                })?;
                self.transfer(kind, from, text("path"))
            }
            other => Err(invalid(format!("Unexpected kind: {other}"))),
        }
    }

    fn replace(&mut self, path: &str, value: Value) -> Result<(), PatchError> {
        if path.is_empty() {
            if !matches!(value, Value::Object(_) | Value::Array(_)) {
                return Err(invalid("replace operation value must be object or array"));
            }
            self.document = value;
            return Ok(());
        }
        let mut place = self.place(path).ok_or_else(|| no_place("replace", path))?;
        if place.get().is_err() {
            return Err(invalid(format!("replace operation does not apply: doc is missing key: {path}: {MISSING}")));
        }
        place.set(value).map_err(|e| invalid(format!("error in remove for path: '{path}': {e}")))
    }

    fn test(&mut self, path: &str, value: &Value) -> Result<(), PatchError> {
        let failed = || invalid(format!("testing value {path} failed: test failed"));
        if path.is_empty() {
            return if self.document == *value { Ok(()) } else { Err(failed()) };
        }
        let place = self
            .place(path)
            .ok_or_else(|| invalid(format!("test operation does not apply: is missing path: {path}: {MISSING}")))?;
        let found = place.get().map_err(|e| invalid(format!("error in test for path: '{path}': {e}")))?;
        if found.unwrap_or(&Value::Null) == value { Ok(()) } else { Err(failed()) }
    }

    fn transfer(&mut self, kind: &str, from: &str, path: Option<&str>) -> Result<(), PatchError> {
        let no_from =
            || invalid(format!("{kind} operation does not apply: doc is missing from path: {from}: {MISSING}"));
        let mut place = self.place(from).ok_or_else(no_from)?;
        let in_key = |key: &str, e: String| {
            let at = if kind == "move" { format!("path: '{key}'") } else { format!("from: '{from}'") };
            invalid(format!("error in {kind} for {at}: {e}"))
        };
        let key = place.key.clone();
        let value = place.get().map_err(|e| in_key(&key, e))?.cloned().unwrap_or(Value::Null);
        if kind == "move" {
            place.remove().map_err(|e| in_key(&key, e))?;
        } else {
            self.copied += size_up_to(&value, MAX_RESULT_BYTES);
            if self.copied > MAX_COPY_BYTES {
                return Err(PatchError::TooLarge(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {}, exceeding the limit {MAX_COPY_BYTES}",
                    self.copied
                )));
            }
        }
        let path = path.ok_or_else(|| invalid(format!("{kind} operation failed to decode path: {MISSING}")))?;
        let no_path =
            || invalid(format!("{kind} operation does not apply: doc is missing destination path: {path}: {MISSING}"));
        let mut place = self.place(path).ok_or_else(no_path)?;
        place.add(value).map_err(|e| {
            invalid(if kind == "move" {
                format!("error in move for path: '{path}': {e}")
            } else {
                format!("error while adding value during copy: {e}")
            })
        })
    }
}

fn no_place(kind: &str, path: &str) -> PatchError {
    invalid(format!("{kind} operation does not apply: doc is missing path: {path}: {MISSING}"))
}
