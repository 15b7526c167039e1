//! Strategic merge patch for the built-in kinds: lists merge by key or as sets, directives steer the merge.
//!
//! Strategies and merge keys come from the OpenAPI definitions (`x-kubernetes-patch-strategy`, `-merge-key`).

use serde_json::{Map, Value};

use super::{PatchError, bounded, go_kind};
use crate::schema::builtin;
use crate::schema::error::go_json;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_PREFIX: &str = "$deleteFromPrimitiveList/";
const ORDER_PREFIX: &str = "$setElementOrder/";

/// Applies a strategic merge patch to an object of a built-in kind.
pub fn strategic(group: &str, kind: &str, document: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Some(definition) = builtin::definition_name(group, kind).and_then(builtin::definition) else {
        return Err(PatchError::Unsupported(format!("strategic merge patch is not supported for {kind}")));
    };
    let Value::Object(fields) = patch else {
        return Err(PatchError::BadRequest(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            go_kind(patch)
        )));
    };
    let original = document.as_object().cloned().unwrap_or_default();
    let merged = merge_map(original, fields.clone(), definition)?;
    bounded(Value::Object(merged))
}

fn bad(words: impl Into<String>) -> PatchError {
    PatchError::BadRequest(words.into())
}

/// How a field merges.
struct Strategy<'a> {
    merge: bool,
    replace: bool,
    key: Option<&'a str>,
    schema: &'a Value,
}

fn strategy<'a>(schema: &'a Value, field: &str) -> Strategy<'a> {
    let property = schema.get("properties").and_then(|p| p.get(field)).or_else(|| schema.get("additionalProperties"));
    let Some(property) = property else {
        return Strategy { merge: false, replace: false, key: None, schema: &Value::Null };
    };
    let strategies = property.get("x-kubernetes-patch-strategy").and_then(Value::as_str).unwrap_or_default();
    let inner = builtin::dereference(property);
    let element = inner.get("items").map_or(inner, builtin::dereference);
    Strategy {
        merge: strategies.split(',').any(|s| s == "merge"),
        replace: strategies.split(',').any(|s| s == "replace"),
        key: property.get("x-kubernetes-patch-merge-key").and_then(Value::as_str),
        schema: element,
    }
}

type Fields = Map<String, Value>;

fn merge_map(mut original: Fields, mut patch: Fields, schema: &Value) -> Result<Fields, PatchError> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Fields::new()),
            _ => Err(bad(format!(
                "unknown patch type: {} in map: {}",
                go_json(&directive),
                go_json(&Value::Object(patch))
            ))),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    ordered_lists(&mut original, &mut patch, schema)?;
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix(DELETE_PREFIX) {
            delete_primitives(&mut original, field, &value)?;
            continue;
        }
        if value.is_null() {
            original.remove(&key);
            continue;
        }
        let merged = match (original.remove(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                let strategy = strategy(schema, &key);
                Some(Value::Object(if strategy.replace { new } else { merge_map(old, new, strategy.schema)? }))
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                let strategy = strategy(schema, &key);
                Some(Value::Array(if strategy.merge { merge_list(old, new, &strategy)? } else { new }))
            }
            (_, new) => without_directives(new),
        };
        if let Some(merged) = merged {
            original.insert(key, merged);
        }
    }
    Ok(original)
}

fn retain_keys(original: &mut Fields, patch: &mut Fields) -> Result<(), PatchError> {
    let Some(retained) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let wrong = || bad("invalid patch format of retainKeys");
    let keys: Vec<&str> = retained.as_array().ok_or_else(wrong)?.iter().filter_map(Value::as_str).collect();
    let foreign = patch.iter().any(|(k, v)| !v.is_null() && !k.starts_with('$') && !keys.contains(&k.as_str()));
    if foreign {
        return Err(wrong());
    }
    original.retain(|key, _| keys.contains(&key.as_str()));
    Ok(())
}

/// Lists with a `$setElementOrder` directive.
fn ordered_lists(original: &mut Fields, patch: &mut Fields, schema: &Value) -> Result<(), PatchError> {
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(ORDER_PREFIX)).cloned().collect();
    for directive in directives {
        let field = directive[ORDER_PREFIX.len()..].to_string();
        let order = match patch.remove(&directive) {
            Some(Value::Array(order)) => order,
            _ => return Err(bad("invalid patch format of setElementOrder list")),
        };
        let list = |value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(bad(format!("expected a []interface {{}}, but received a {}", go_kind(&other)))),
        };
        let strategy = strategy(schema, &field);
        let old = list(original.get(&field).cloned())?;
        let merged = match (old.clone(), list(patch.remove(&field))?) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => match without_directives(Value::Array(new)) {
                Some(Value::Array(new)) => new,
                _ => continue,
            },
            (Some(old), Some(new)) if strategy.merge => merge_list(old, new, &strategy)?,
            (Some(_), Some(new)) => new,
        };
        let merged = in_order(merged, &order, &old.unwrap_or_default(), strategy.key);
        original.insert(field, Value::Array(merged));
    }
    Ok(())
}

fn delete_primitives(original: &mut Fields, field: &str, gone: &Value) -> Result<(), PatchError> {
    let gone = gone.as_array().ok_or_else(|| bad("invalid patch format of primitive list"))?;
    if let Some(Value::Array(items)) = original.get_mut(field) {
        items.retain(|item| !gone.contains(item));
    }
    Ok(())
}

fn merge_list(mut old: Vec<Value>, new: Vec<Value>, strategy: &Strategy<'_>) -> Result<Vec<Value>, PatchError> {
    if old.iter().chain(&new).any(Value::is_array) {
        return Err(PatchError::Unsupported("lists of lists are not supported".into()));
    }
    if !old.iter().chain(&new).any(Value::is_object) {
        let before = old.clone();
        for item in &new {
            if !old.contains(item) {
                old.push(item.clone());
            }
        }
        return Ok(in_order(old, &new, &before, None));
    }
    let Some(key) = strategy.key else {
        return Err(PatchError::Unsupported("cannot merge lists without merge key".into()));
    };
    let before = old.clone();
    let mut replace = false;
    let mut plain = Vec::new();
    for item in new {
        let directive = item.get(DIRECTIVE).and_then(Value::as_str).map(str::to_string);
        match directive.as_deref() {
            None => plain.push(item),
            Some("delete") => {
                let value = item.get(key).ok_or_else(|| no_key(&item, key))?;
                old.retain(|o| o.get(key) != Some(value));
            }
            Some("replace") => replace = true,
            Some(other) => return Err(bad(format!("unknown patch type: {other} in map: {}", go_json(&item)))),
        }
    }
    if replace {
        return Ok(plain);
    }
    for item in &plain {
        let value = item.get(key).ok_or_else(|| no_key(item, key))?;
        let Value::Object(fields) = item else { return Err(no_key(item, key)) };
        match old.iter_mut().find(|o| o.get(key) == Some(value)) {
            Some(found) => {
                let mine = found.as_object().cloned().unwrap_or_default();
                *found = Value::Object(merge_map(mine, fields.clone(), strategy.schema)?);
            }
            None => old.extend(without_directives(item.clone())),
        }
    }
    Ok(in_order(old, &plain, &before, Some(key)))
}

fn no_key(item: &Value, key: &str) -> PatchError {
    bad(format!("map: {} does not contain declared merge key: {key}", go_json(item)))
}

/// Elements named by `order` come in that order; the others keep their places relative to them as in `before`.
fn in_order(items: Vec<Value>, order: &[Value], before: &[Value], key: Option<&str>) -> Vec<Value> {
    let same = |a: &Value, b: &Value| match key {
        Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
        None => a == b,
    };
    let position = |list: &[Value], item: &Value| list.iter().position(|other| same(other, item));
    let (mut ours, mut others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| position(order, item).is_some());
    ours.sort_by_key(|item| position(order, item));
    others.sort_by_key(|item| position(before, item).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(ours.len() + others.len());
    let (mut ours, mut others) = (ours.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let other_first = match (others.peek(), ours.peek()) {
            (None, None) => return out,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(other), Some(our)) => match (position(before, other), position(before, our)) {
                (Some(a), Some(b)) => a < b,
                _ => false,
            },
        };
        out.extend(if other_first { others.next() } else { ours.next() });
    }
}

/// A new value without directives; none when it is nothing but one.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) if fields.contains_key(DIRECTIVE) => None,
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(k, v)| !v.is_null() && !k.starts_with("$setElementOrder/"));
            Some(Value::Object(kept.filter_map(|(k, v)| Some((k, without_directives(v)?))).collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}
