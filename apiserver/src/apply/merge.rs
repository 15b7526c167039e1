//! Merges an applied configuration into a live object, by type.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map as JsonMap, Value};

use super::path::PathElement;
use super::typed::{List, Map, Scalar, TypeRef};
use super::walk::{Errors, Handled, INVALID_ATOM, handled, scalar_errors};

type Merged = Result<Option<Value>, Errors>;

/// The live value with the configuration laid over it.
pub(super) fn merge(live: &Value, config: &Value, schema: TypeRef<'_>) -> Merged {
    node(Some(live), Some(config), schema)
}

fn node(lhs: Option<&Value>, rhs: Option<&Value>, schema: TypeRef<'_>) -> Merged {
    let atom = schema.atom();
    let (left, right) = (atom.deduce(lhs), atom.deduce(rhs));
    if rhs.is_none() {
        return part(handled(left), lhs, rhs);
    }
    if lhs.is_some() && !left.same_parts(&right) {
        part(handled(left), lhs, rhs)?;
    }
    part(handled(right), lhs, rhs)
}

fn part(part: Handled<'_>, lhs: Option<&Value>, rhs: Option<&Value>) -> Merged {
    match part {
        Handled::Scalar(scalar) => scalar_leaf(scalar, lhs, rhs),
        Handled::Map(map) => maps(map, lhs, rhs),
        Handled::List(list) => lists(list, lhs, rhs),
        Handled::Nothing => Err(vec![(String::new(), INVALID_ATOM.into())]),
    }
}

/// A leaf is taken from the configuration where it has one.
fn leaf(lhs: Option<&Value>, rhs: Option<&Value>) -> Merged {
    Ok(rhs.or(lhs).cloned())
}

fn scalar_leaf(scalar: Scalar, lhs: Option<&Value>, rhs: Option<&Value>) -> Merged {
    let mut errors = scalar_errors(scalar, lhs, "lhs: ");
    let right = scalar_errors(scalar, rhs, "rhs: ");
    if !errors.is_empty() && !right.is_empty() {
        errors.extend(right);
        return Err(errors);
    }
    leaf(lhs, rhs)
}

fn maps(map: Map<'_>, lhs: Option<&Value>, rhs: Option<&Value>) -> Merged {
    let left = lhs.and_then(Value::as_object);
    let right = rhs.and_then(Value::as_object);
    let empty = left.is_none_or(JsonMap::is_empty) && right.is_none_or(JsonMap::is_empty);
    if map.atomic || empty {
        return leaf(lhs, rhs);
    }
    let names: BTreeSet<&String> = left.into_iter().chain(right).flat_map(JsonMap::keys).collect();
    let mut out = JsonMap::new();
    let mut errors = Errors::new();
    for name in names {
        match node(left.and_then(|m| m.get(name)), right.and_then(|m| m.get(name)), map.field(name)) {
            Ok(Some(value)) => {
                out.insert(name.clone(), value);
            }
            Ok(None) => {}
            Err(inner) => errors.extend(inner.into_iter().map(|(p, w)| (format!(".{name}{p}"), w))),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

/// The elements of a list: their paths in order, and the value of each that occurs once (null when it occurs twice).
struct Indexed<'a> {
    order: Vec<PathElement>,
    values: BTreeMap<PathElement, Option<&'a Value>>,
}

fn index<'a>(list: List<'_>, items: &'a [Value], duplicates: bool) -> Result<Indexed<'a>, Errors> {
    let mut out = Indexed { order: Vec::with_capacity(items.len()), values: BTreeMap::new() };
    let mut errors = Errors::new();
    for (i, item) in items.iter().enumerate() {
        let element = match list.path_element(item) {
            Ok(element) => element,
            Err(words) => {
                errors.push((String::new(), format!("element {i}: {words}")));
                continue;
            }
        };
        if out.values.contains_key(&element) {
            if !duplicates {
                errors.push((String::new(), format!("duplicate entries for key {element}")));
                continue;
            }
            out.values.insert(element.clone(), None);
        } else {
            out.values.insert(element.clone(), Some(item));
        }
        out.order.push(element);
    }
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}

fn lists(list: List<'_>, lhs: Option<&Value>, rhs: Option<&Value>) -> Merged {
    let left = lhs.and_then(Value::as_array).map(Vec::as_slice);
    let right = rhs.and_then(Value::as_array).map(Vec::as_slice);
    let empty = left.is_none_or(<[Value]>::is_empty) && right.is_none_or(<[Value]>::is_empty);
    if list.atomic || empty {
        return leaf(lhs, rhs);
    }
    let live = left.unwrap_or_default();
    let right = index(list, right.unwrap_or_default(), false)?;
    let left = index(list, live, true)?;
    interleave(list, live, &left, &right)
}

/// Keeps the order of both lists as far as they agree: live elements keep their place, applied ones follow the
/// configuration's order.
fn interleave(list: List<'_>, live: &[Value], left: &Indexed<'_>, right: &Indexed<'_>) -> Merged {
    let mut shared: VecDeque<&PathElement> = right.order.iter().filter(|e| left.values.contains_key(*e)).collect();
    let mut next = shared.pop_front();
    let mut out = Vec::new();
    let mut errors = Errors::new();
    let mut done = BTreeSet::new();
    let mut merge = |element: &PathElement, l: Option<&Value>, r: Option<&Value>| match node(l, r, list.element) {
        Ok(value) => out.extend(value),
        Err(inner) => errors.extend(inner.into_iter().map(|(p, w)| (format!("{element}{p}"), w))),
    };
    let value =
        |side: &Indexed<'_>, element: &PathElement| side.values.get(element).map(|v| v.cloned().unwrap_or(Value::Null));
    let (mut l, mut r) = (0, 0);
    while l < left.order.len() || r < right.order.len() {
        if let (Some(mine), Some(theirs)) = (left.order.get(l), right.order.get(r)) {
            if mine == theirs {
                done.insert(mine.clone());
                merge(mine, value(left, mine).as_ref(), value(right, mine).as_ref());
                l += 1;
                r += 1;
                next = shared.pop_front();
                continue;
            }
            if right.values.contains_key(mine) && next.is_some_and(|n| n != mine) {
                l += 1;
                continue;
            }
        }
        if let Some(mine) = left.order.get(l) {
            if !right.values.contains_key(mine) {
                merge(mine, live.get(l), None);
                l += 1;
                continue;
            }
            if done.contains(mine) {
                l += 1;
            }
        }
        if let Some(theirs) = right.order.get(r) {
            done.insert(theirs.clone());
            merge(theirs, value(left, theirs).as_ref(), value(right, theirs).as_ref());
            r += 1;
            if next == Some(theirs) {
                next = shared.pop_front();
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok((!out.is_empty()).then_some(Value::Array(out)))
}
