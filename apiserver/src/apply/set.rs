//! Sets of field paths, and their form as `fieldsV1`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::path::{BadFields, Path, PathElement};
use super::typed::TypeRef;
use crate::schema::error::go_json;

/// A set of paths, kept as a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set {
    members: BTreeSet<PathElement>,
    children: BTreeMap<PathElement, Set>,
}

impl Set {
    /// A set of plain field paths.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let path: Path = path.iter().map(|name| PathElement::Field((*name).to_string())).collect();
            set.insert(&path);
        }
        set
    }

    /// Adds a path; nobody owns the root itself.
    pub fn insert(&mut self, path: &[PathElement]) {
        match path {
            [] => {}
            [last] => {
                self.members.insert(last.clone());
            }
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    /// Whether exactly this path is in the set.
    pub fn has(&self, path: &[PathElement]) -> bool {
        match path {
            [] => false,
            [last] => self.members.contains(last),
            [first, rest @ ..] => self.children.get(first).is_some_and(|c| c.has(rest)),
        }
    }

    /// Whether the element itself is in the set.
    pub(super) fn has_member(&self, element: &PathElement) -> bool {
        self.members.contains(element)
    }

    /// What is in the set below an element.
    pub(super) fn below(&self, element: &PathElement) -> Option<&Set> {
        self.children.get(element).filter(|c| !c.is_empty())
    }

    /// Holds no path.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(Set::is_empty)
    }

    /// Paths of either.
    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.members.extend(other.members.iter().cloned());
        for (element, set) in &other.children {
            let merged = match out.children.get(element) {
                Some(mine) => mine.union(set),
                None => set.clone(),
            };
            out.children.insert(element.clone(), merged);
        }
        out
    }

    /// Paths of both.
    pub fn intersection(&self, other: &Self) -> Self {
        let members = self.members.intersection(&other.members).cloned().collect();
        let shared = self.children.iter().filter_map(|(e, set)| Some((e, set.intersection(other.children.get(e)?))));
        Self { members, children: shared.filter(|(_, s)| !s.is_empty()).map(|(e, s)| (e.clone(), s)).collect() }
    }

    /// Paths that the other lacks.
    pub fn difference(&self, other: &Self) -> Self {
        let members = self.members.difference(&other.members).cloned().collect();
        let mut children = BTreeMap::new();
        for (element, set) in &self.children {
            match other.children.get(element) {
                None => {
                    children.insert(element.clone(), set.clone());
                }
                Some(theirs) => {
                    let left = set.difference(theirs);
                    if !left.is_empty() {
                        children.insert(element.clone(), left);
                    }
                }
            }
        }
        Self { members, children }
    }

    /// Paths that are neither in the other nor below one of its.
    pub fn recursive_difference(&self, other: &Self) -> Self {
        let members = self.members.difference(&other.members).cloned().collect();
        let mut children = BTreeMap::new();
        for (element, set) in self.children.iter().filter(|(e, _)| !other.members.contains(e)) {
            let left = other.children.get(element).map_or_else(|| set.clone(), |t| set.recursive_difference(t));
            if !left.is_empty() {
                children.insert(element.clone(), left);
            }
        }
        Self { members, children }
    }

    /// The set with every declared field that has something below it.
    pub(super) fn with_named_fields(&self, schema: TypeRef<'_>) -> Self {
        let atom = schema.atom();
        let mut out = Self { members: self.members.clone(), children: BTreeMap::new() };
        for (element, set) in &self.children {
            let inner = match (element, &atom.map, &atom.list) {
                (PathElement::Field(name), Some(map), _) => {
                    if map.declares(name) {
                        out.members.insert(element.clone());
                    }
                    map.field(name)
                }
                (PathElement::Key(_), _, Some(list)) => list.element,
                _ => TypeRef::Missing,
            };
            out.children.insert(element.clone(), set.with_named_fields(inner));
        }
        out
    }

    /// All paths: at each level the members, then what is below.
    pub fn paths(&self) -> Vec<Path> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, prefix: &mut Path, out: &mut Vec<Path>) {
        for member in &self.members {
            let mut path = prefix.clone();
            path.push(member.clone());
            out.push(path);
        }
        for (element, set) in &self.children {
            prefix.push(element.clone());
            set.collect(prefix, out);
            prefix.pop();
        }
    }

    /// The set as the value of `fieldsV1`.
    pub fn to_fields(&self) -> Value {
        Value::Object(self.entries(false).into_iter().map(|(k, s)| (k, s.map_or_else(empty, Self::nested))).collect())
    }

    fn nested((set, is_member): (&Set, bool)) -> Value {
        let entries = set.entries(is_member);
        Value::Object(entries.into_iter().map(|(k, s)| (k, s.map_or_else(empty, Self::nested))).collect())
    }

    /// Names and what is below them, in Kubernetes' order.
    #[allow(clippy::type_complexity)]
    fn entries(&self, is_member: bool) -> Vec<(String, Option<(&Set, bool)>)> {
        let mut out = Vec::new();
        if is_member && !(self.members.is_empty() && self.children.is_empty()) {
            out.push((".".to_string(), None));
        }
        let elements: BTreeSet<&PathElement> = self.members.iter().chain(self.children.keys()).collect();
        for element in elements {
            let below = self.children.get(element).map(|set| (set, self.members.contains(element)));
            out.push((element.to_key(), below));
        }
        out
    }

    /// The set as Kubernetes prints it.
    pub fn to_json(&self) -> String {
        self.json(false)
    }

    fn json(&self, is_member: bool) -> String {
        let entries: Vec<String> = self
            .entries(is_member)
            .into_iter()
            .map(|(key, below)| {
                let inner = below.map_or_else(|| "{}".to_string(), |(set, member)| set.json(member));
                format!("{}:{inner}", go_json(&Value::from(key)))
            })
            .collect();
        format!("{{{}}}", entries.join(","))
    }

    /// Reads the value of `fieldsV1`.
    pub fn from_fields(fields: &Value) -> Result<Self, BadFields> {
        Ok(read(fields, 0)?.0)
    }
}

fn empty() -> Value {
    Value::Object(Map::new())
}

/// Deeper fieldsV1 is refused.
const MAX_DEPTH: usize = 256;

/// The set below a node, and whether the node itself is a member.
fn read(fields: &Value, depth: usize) -> Result<(Set, bool), BadFields> {
    let map = fields.as_object().ok_or_else(|| BadFields("fieldsV1 must be an object".into()))?;
    if depth > MAX_DEPTH {
        return Err(BadFields(format!("fieldsV1 is nested deeper than {MAX_DEPTH}")));
    }
    let mut set = Set::default();
    let mut is_member = false;
    for (key, value) in map {
        if key == "." {
            is_member = true;
            continue;
        }
        let Some(element) = PathElement::from_key(key)? else { continue };
        let (below, member) = read(value, depth + 1)?;
        if member {
            set.members.insert(element.clone());
        }
        if !below.is_empty() {
            set.children.insert(element, below);
        }
    }
    is_member |= set.is_empty();
    Ok((set, is_member))
}
