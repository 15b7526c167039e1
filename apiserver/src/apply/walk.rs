//! Walks over one typed value: check it, list its fields, take fields away.

use serde_json::{Map as JsonMap, Value};

use super::path::{Path, PathElement};
use super::set::Set;
use super::typed::{Atom, List, Map, Scalar, TypeRef};
use crate::schema::error::{go_json, go_quote};

/// What does not fit a type, with its path in front.
pub(super) type Errors = Vec<(String, String)>;

/// Errors as structured-merge-diff prints them.
pub(super) fn errors_text(errors: &Errors) -> String {
    let line = |(path, words): &(String, String)| {
        if path.is_empty() { words.clone() } else { format!("{path}: {words}") }
    };
    match errors.as_slice() {
        [one] => line(one),
        many => format!("errors:\n{}", many.iter().map(|e| format!("  {}", line(e))).collect::<Vec<_>>().join("\n")),
    }
}

fn prefixed(errors: Errors, prefix: &str) -> impl Iterator<Item = (String, String)> {
    errors.into_iter().map(move |(path, words)| (format!("{prefix}{path}"), words))
}

/// The part of a type that a value is handled as.
pub(super) enum Handled<'a> {
    Map(Map<'a>),
    Scalar(Scalar),
    List(List<'a>),
    Nothing,
}

pub(super) fn handled(atom: Atom<'_>) -> Handled<'_> {
    match (atom.map, atom.scalar, atom.list) {
        (Some(map), _, _) => Handled::Map(map),
        (None, Some(scalar), _) => Handled::Scalar(scalar),
        (None, None, Some(list)) => Handled::List(list),
        (None, None, None) => Handled::Nothing,
    }
}

pub(super) const INVALID_ATOM: &str = "schema error: invalid atom: inlined";

/// Whether a value fits its type. `duplicates`: sets and map lists may hold an element twice.
pub(super) fn validate(value: &Value, schema: TypeRef<'_>, duplicates: bool) -> Errors {
    match handled(schema.atom().deduce(Some(value))) {
        Handled::Scalar(scalar) => scalar_errors(scalar, Some(value), ""),
        Handled::List(list) => match value {
            Value::Null => Vec::new(),
            Value::Array(items) => validate_list(items, list, duplicates),
            other => vec![(String::new(), format!("expected list, got {}", go_shown(other)))],
        },
        Handled::Map(map) => match value {
            Value::Null => Vec::new(),
            Value::Object(fields) => validate_map(fields, map, duplicates),
            other => vec![(String::new(), format!("expected map, got {}", go_shown(other)))],
        },
        Handled::Nothing => vec![(String::new(), INVALID_ATOM.into())],
    }
}

fn validate_list(items: &[Value], list: List<'_>, duplicates: bool) -> Errors {
    let mut errors = Errors::new();
    let mut seen = std::collections::BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        let element = if list.atomic {
            PathElement::Index(i64::try_from(i).unwrap_or(i64::MAX))
        } else {
            match list.path_element(item) {
                Ok(element) => element,
                Err(words) => {
                    errors.push((String::new(), format!("element {i}: {words}")));
                    return errors;
                }
            }
        };
        if !seen.insert(element.clone()) && !duplicates {
            errors.push((String::new(), format!("duplicate entries for key {element}")));
        }
        errors.extend(prefixed(validate(item, list.element, duplicates), &element.to_string()));
    }
    errors
}

fn validate_map(fields: &JsonMap<String, Value>, map: Map<'_>, duplicates: bool) -> Errors {
    let mut errors = Errors::new();
    for (name, value) in fields {
        let schema = map.field(name);
        if schema.is_missing() {
            errors.push((format!(".{name}"), "field not declared in schema".into()));
            return errors;
        }
        errors.extend(prefixed(validate(value, schema, duplicates), &format!(".{name}")));
    }
    errors
}

pub(super) fn scalar_errors(scalar: Scalar, value: Option<&Value>, prefix: &str) -> Errors {
    let words = match (scalar, value) {
        (_, None | Some(Value::Null)) => return Vec::new(),
        (Scalar::Numeric, Some(Value::Number(_)))
        | (Scalar::String, Some(Value::String(_)))
        | (Scalar::Boolean, Some(Value::Bool(_)))
        | (Scalar::Untyped, Some(Value::Number(_) | Value::String(_) | Value::Bool(_))) => return Vec::new(),
        (Scalar::Numeric, Some(other)) => format!("expected numeric (int or float), got {}", go_type(other)),
        (Scalar::String, Some(other)) => {
            format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(other))
        }
        (Scalar::Boolean, Some(other)) => format!("expected boolean, got {}", go_shown(other)),
        (Scalar::Untyped, Some(other)) => format!("expected any scalar, got {}", go_shown(other)),
    };
    vec![(String::new(), format!("{prefix}{words}"))]
}

/// `%v` of a value's wrapper in Go.
fn go_shown(value: &Value) -> String {
    fn inner(value: &Value) -> String {
        match value {
            Value::String(s) => s.clone(),
            Value::Array(items) => format!("[{}]", items.iter().map(inner).collect::<Vec<_>>().join(" ")),
            Value::Object(map) => {
                let fields: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", inner(v))).collect();
                format!("map[{}]", fields.join(" "))
            }
            Value::Null => "<nil>".into(),
            other => go_json(other),
        }
    }
    format!("&{{{}}}", inner(value))
}

/// `%#v` of a JSON value in Go.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::String(s) => go_quote(s),
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(go_syntax).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let fields: Vec<String> = map.iter().map(|(k, v)| format!("{}:{}", go_quote(k), go_syntax(v))).collect();
            format!("map[string]interface {{}}{{{}}}", fields.join(", "))
        }
        Value::Null => "interface {}(nil)".into(),
        other => go_json(other),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// The fields that a value sets, as an applier owns them.
pub(super) fn field_set(value: &Value, schema: TypeRef<'_>) -> Set {
    let mut set = Set::default();
    collect(value, schema, &mut Vec::new(), &mut set);
    set
}

fn collect(value: &Value, schema: TypeRef<'_>, path: &mut Path, set: &mut Set) {
    match handled(schema.atom().deduce(Some(value))) {
        Handled::Scalar(_) => set.insert(path),
        Handled::List(list) if list.atomic => set.insert(path),
        Handled::Map(map) if map.atomic => set.insert(path),
        Handled::List(list) => collect_list(value, list, path, set),
        Handled::Map(map) => {
            for (name, value) in value.as_object().into_iter().flatten() {
                path.push(PathElement::Field(name.clone()));
                collect(value, map.field(name), path, set);
                let empty = value.is_null() || value.as_object().is_some_and(JsonMap::is_empty);
                if empty || !map.declares(name) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        Handled::Nothing => {}
    }
}

fn collect_list(value: &Value, list: List<'_>, path: &mut Path, set: &mut Set) {
    let items: Vec<(&Value, PathElement)> =
        value.as_array().into_iter().flatten().filter_map(|item| Some((item, list.path_element(item).ok()?))).collect();
    for (item, element) in &items {
        path.push(element.clone());
        let twice = items.iter().filter(|(_, e)| e == element).count() > 1;
        if !twice {
            collect(item, list.element, path, set);
        }
        set.insert(path);
        path.pop();
    }
}

/// The value without the fields of a set; none when nothing is left.
pub(super) fn remove(value: &Value, gone: &Set, schema: TypeRef<'_>) -> Option<Value> {
    match (handled(schema.atom().deduce(Some(value))), value) {
        (Handled::Scalar(_), value) => Some(value.clone()),
        (Handled::List(list), Value::Array(items)) if !list.atomic => {
            let mut left = Vec::with_capacity(items.len());
            for item in items {
                let Ok(element) = list.path_element(item) else {
                    left.push(item.clone());
                    continue;
                };
                if gone.has_member(&element) {
                    continue;
                }
                left.push(match gone.below(&element) {
                    Some(inner) => remove(item, inner, list.element).unwrap_or(Value::Null),
                    None => item.clone(),
                });
            }
            (!left.is_empty()).then_some(Value::Array(left))
        }
        (Handled::Map(map), Value::Object(fields)) if !map.atomic => {
            let mut left = JsonMap::new();
            for (name, value) in fields {
                let element = PathElement::Field(name.clone());
                if gone.has_member(&element) {
                    continue;
                }
                let kept = match gone.below(&element) {
                    Some(inner) => remove(value, inner, map.field(name)).unwrap_or(Value::Null),
                    None => value.clone(),
                };
                left.insert(name.clone(), kept);
            }
            (!left.is_empty()).then_some(Value::Object(left))
        }
        _ => None,
    }
}
