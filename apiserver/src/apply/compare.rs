//! Compares two objects by type: which fields were added, modified, removed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map as JsonMap, Value};

use super::path::{Path, PathElement, same_value};
use super::set::Set;
use super::typed::{List, Map, Scalar, TypeRef};
use super::walk::{Errors, Handled, INVALID_ATOM, handled, scalar_errors};

/// The fields in which two objects differ.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub removed: Set,
    pub modified: Set,
    pub added: Set,
}

impl Comparison {
    /// Without the fields that a write of this resource never changes.
    pub fn without(mut self, ignored: &Set) -> Self {
        self.removed = self.removed.recursive_difference(ignored);
        self.modified = self.modified.recursive_difference(ignored);
        self.added = self.added.recursive_difference(ignored);
        self
    }
}

/// What changed from `old` to `new`.
pub(super) fn compare(old: &Value, new: &Value, schema: TypeRef<'_>) -> Result<Comparison, Errors> {
    let mut walk = Walk { out: Comparison::default(), path: Vec::new(), errors: Vec::new() };
    walk.node(Some(old), Some(new), schema);
    if walk.errors.is_empty() { Ok(walk.out) } else { Err(walk.errors) }
}

struct Walk {
    out: Comparison,
    path: Path,
    errors: Errors,
}

impl Walk {
    fn node(&mut self, lhs: Option<&Value>, rhs: Option<&Value>, schema: TypeRef<'_>) {
        let atom = schema.atom();
        let (left, right) = (atom.deduce(lhs), atom.deduce(rhs));
        let is_leaf = if rhs.is_none() {
            self.part(handled(left), lhs, rhs)
        } else {
            if lhs.is_some() && !left.same_parts(&right) {
                self.part(handled(left), lhs, rhs);
            }
            self.part(handled(right), lhs, rhs)
        };
        if !is_leaf {
            match (lhs, rhs) {
                (None, _) => self.out.added.insert(&self.path),
                (_, None) => self.out.removed.insert(&self.path),
                _ => {}
            }
        }
    }

    fn part(&mut self, part: Handled<'_>, lhs: Option<&Value>, rhs: Option<&Value>) -> bool {
        match part {
            Handled::Scalar(scalar) => self.scalar(scalar, lhs, rhs),
            Handled::Map(map) => self.maps(map, lhs, rhs),
            Handled::List(list) => self.lists(list, lhs, rhs),
            Handled::Nothing => {
                self.fail(INVALID_ATOM.into());
                true
            }
        }
    }

    fn fail(&mut self, words: String) {
        self.errors.push((super::path::path_text(&self.path), words));
    }

    fn leaf(&mut self, lhs: Option<&Value>, rhs: Option<&Value>) -> bool {
        match (lhs, rhs) {
            (None, _) => self.out.added.insert(&self.path),
            (_, None) => self.out.removed.insert(&self.path),
            (Some(l), Some(r)) if !same_value(l, r) => self.out.modified.insert(&self.path),
            _ => {}
        }
        true
    }

    fn scalar(&mut self, scalar: Scalar, lhs: Option<&Value>, rhs: Option<&Value>) -> bool {
        let left = scalar_errors(scalar, lhs, "lhs: ");
        let right = scalar_errors(scalar, rhs, "rhs: ");
        if !left.is_empty() && !right.is_empty() {
            left.into_iter().chain(right).for_each(|(_, words)| self.fail(words));
            return true;
        }
        self.leaf(lhs, rhs)
    }

    fn maps(&mut self, map: Map<'_>, lhs: Option<&Value>, rhs: Option<&Value>) -> bool {
        let left = lhs.and_then(Value::as_object);
        let right = rhs.and_then(Value::as_object);
        let empty = left.is_none_or(JsonMap::is_empty) && right.is_none_or(JsonMap::is_empty);
        if map.atomic || empty {
            return self.leaf(lhs, rhs);
        }
        let names: BTreeSet<&String> = left.into_iter().chain(right).flat_map(JsonMap::keys).collect();
        for name in names {
            self.path.push(PathElement::Field(name.clone()));
            self.node(left.and_then(|m| m.get(name)), right.and_then(|m| m.get(name)), map.field(name));
            self.path.pop();
        }
        false
    }

    fn lists(&mut self, list: List<'_>, lhs: Option<&Value>, rhs: Option<&Value>) -> bool {
        let left = lhs.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let right = rhs.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if list.atomic || (left.is_empty() && right.is_empty()) {
            return self.leaf(lhs, rhs);
        }
        let (left, right) = (self.index(list, left), self.index(list, right));
        let elements: BTreeSet<&PathElement> = left.keys().chain(right.keys()).collect();
        for element in elements {
            let none = Vec::new();
            let l = left.get(element).unwrap_or(&none);
            let r = right.get(element).unwrap_or(&none);
            self.path.push(element.clone());
            self.elements(list, l, r);
            self.path.pop();
        }
        false
    }

    /// One element of a list; it may occur several times on either side.
    fn elements(&mut self, list: List<'_>, left: &[&Value], right: &[&Value]) {
        match (left.len() > 1, right.len() > 1) {
            (false, false) => self.node(left.first().copied(), right.first().copied(), list.element),
            (true, true) => {
                let same = left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same_value(l, r));
                if !same {
                    self.out.modified.insert(&self.path);
                }
            }
            (true, false) => {
                if let Some(only) = right.first() {
                    self.node(None, Some(only), list.element);
                }
                self.out.removed.insert(&self.path);
            }
            (false, true) => {
                if let Some(only) = left.first() {
                    self.node(Some(only), None, list.element);
                }
                self.out.added.insert(&self.path);
            }
        }
    }

    fn index<'v>(&mut self, list: List<'_>, items: &'v [Value]) -> BTreeMap<PathElement, Vec<&'v Value>> {
        let mut out: BTreeMap<PathElement, Vec<&Value>> = BTreeMap::new();
        for (i, item) in items.iter().enumerate() {
            match list.path_element(item) {
                Ok(element) => out.entry(element).or_default().push(item),
                Err(words) => self.fail(format!("element {i}: {words}")),
            }
        }
        out
    }
}
