//! Structural schemas as structured-merge-diff sees them: each type is a scalar, a list, a map, or may be any of them.

use serde_json::{Map as JsonMap, Value};

use super::path::PathElement;
use crate::schema::builtin;
use crate::schema::structural::{Additional, ListType, Structural, Type};

/// The type of a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum TypeRef<'a> {
    /// A whole object: `apiVersion`, `kind` and `metadata` are declared.
    Root(&'a Structural),
    /// A node; `bool`: somewhere above `x-kubernetes-preserve-unknown-fields` is set.
    Node(&'a Structural, bool),
    /// A plain string.
    Text,
    /// Granular maps, atomic lists: what is not described below preserved fields.
    Deduced,
    /// Atomic maps and lists.
    Untyped,
    /// Not declared.
    Missing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Numeric,
    String,
    Boolean,
    Untyped,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct List<'a> {
    pub atomic: bool,
    /// Of a map list; empty for a set.
    pub keys: &'a [String],
    pub element: TypeRef<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Map<'a> {
    pub atomic: bool,
    fields: Fields<'a>,
    element: TypeRef<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Fields<'a> {
    None,
    Of { node: &'a Structural, preserve: bool, resource: bool },
}

/// What a type may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Atom<'a> {
    pub scalar: Option<Scalar>,
    pub list: Option<List<'a>>,
    pub map: Option<Map<'a>>,
}

impl<'a> Atom<'a> {
    /// The part that fits a value; all of it for null and for no value.
    pub fn deduce(self, value: Option<&Value>) -> Self {
        let none = Self { scalar: None, list: None, map: None };
        match value {
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) if self.scalar.is_some() => {
                Self { scalar: self.scalar, ..none }
            }
            Some(Value::Array(_)) if self.list.is_some() => Self { list: self.list, ..none },
            Some(Value::Object(_)) if self.map.is_some() => Self { map: self.map, ..none },
            _ => self,
        }
    }

    /// Whether both, deduced from one type, kept the same parts.
    pub fn same_parts(&self, other: &Self) -> bool {
        self.scalar.is_some() == other.scalar.is_some()
            && self.list.is_some() == other.list.is_some()
            && self.map.is_some() == other.map.is_some()
    }
}

impl<'a> Map<'a> {
    /// Whether the field is declared by name.
    pub fn declares(&self, name: &str) -> bool {
        match self.fields {
            Fields::None => false,
            Fields::Of { node, resource, .. } => {
                node.properties.contains_key(name) || (resource && matches!(name, "apiVersion" | "kind" | "metadata"))
            }
        }
    }

    /// The type of a field.
    pub fn field(&self, name: &str) -> TypeRef<'a> {
        if let Fields::Of { node, preserve, resource } = self.fields {
            match name {
                "metadata" if resource => return TypeRef::Node(builtin::object_meta(), false),
                "apiVersion" | "kind" if resource => return TypeRef::Text,
                _ => {}
            }
            if let Some(property) = node.properties.get(name) {
                return TypeRef::Node(property, preserve);
            }
        }
        self.element
    }
}

impl<'a> TypeRef<'a> {
    pub fn is_missing(self) -> bool {
        matches!(self, Self::Missing)
    }

    pub fn atom(self) -> Atom<'a> {
        match self {
            Self::Root(node) => {
                // A kind without a schema: its fields are what they look like.
                let open = node.preserve_unknown || node.kind.is_none();
                Atom { scalar: None, list: None, map: Some(map_of(node, open, true)) }
            }
            Self::Node(node, preserve) => node_atom(node, preserve || node.preserve_unknown),
            Self::Text => Atom { scalar: Some(Scalar::String), list: None, map: None },
            Self::Deduced => open_atom(false, Self::Deduced),
            Self::Untyped => open_atom(true, Self::Untyped),
            Self::Missing => Atom { scalar: None, list: None, map: None },
        }
    }
}

fn open_atom<'a>(atomic: bool, element: TypeRef<'a>) -> Atom<'a> {
    Atom {
        scalar: Some(Scalar::Untyped),
        list: Some(List { atomic: true, keys: &[], element: TypeRef::Untyped }),
        map: Some(Map { atomic, fields: Fields::None, element }),
    }
}

fn node_atom(node: &Structural, preserve: bool) -> Atom<'_> {
    let scalar = |scalar| Atom { scalar: Some(scalar), list: None, map: None };
    match node.kind {
        None => Atom {
            scalar: Some(Scalar::Untyped),
            list: Some(list_of(node, preserve)),
            map: Some(map_of(node, preserve, node.embedded_resource)),
        },
        Some(Type::Object) => {
            Atom { scalar: None, list: None, map: Some(map_of(node, preserve, node.embedded_resource)) }
        }
        Some(Type::Array) => Atom { scalar: None, list: Some(list_of(node, preserve)), map: None },
        Some(Type::Integer | Type::Number) => scalar(Scalar::Numeric),
        Some(Type::Boolean) => scalar(Scalar::Boolean),
        Some(Type::String) => match node.value.format.as_deref() {
            None | Some("byte") => scalar(Scalar::String),
            Some(_) => scalar(Scalar::Untyped),
        },
    }
}

fn map_of(node: &Structural, preserve: bool, resource: bool) -> Map<'_> {
    let element = match &node.additional {
        None if preserve || (node.properties.is_empty() && !resource) => TypeRef::Deduced,
        None => TypeRef::Missing,
        Some(Additional::Any) => TypeRef::Deduced,
        Some(Additional::Schema(inner)) => TypeRef::Node(inner, preserve),
    };
    Map { atomic: node.atomic_map, fields: Fields::Of { node, preserve, resource }, element }
}

fn list_of(node: &Structural, preserve: bool) -> List<'_> {
    let element = node.items.as_deref().map_or(TypeRef::Untyped, |items| TypeRef::Node(items, preserve));
    let (atomic, keys): (bool, &[String]) = match node.list_type {
        ListType::Atomic => (true, &[]),
        ListType::Set => (false, &[]),
        ListType::Map => (false, &node.list_keys),
    };
    List { atomic, keys, element }
}

impl List<'_> {
    /// The element of a path that stands for a list item.
    pub fn path_element(&self, item: &Value) -> Result<PathElement, String> {
        if self.keys.is_empty() {
            return match item {
                Value::Object(_) => Err("associative list without keys has an element that's a map type".into()),
                Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
                Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
                scalar => Ok(PathElement::Value(scalar.clone())),
            };
        }
        let map = match item {
            Value::Object(map) => map,
            Value::Null => return Err("associative list with keys may not have a null element".into()),
            _ => return Err("associative list with keys may not have non-map elements".into()),
        };
        let mut keys: Vec<(String, Value)> =
            self.keys.iter().filter_map(|key| Some((key.clone(), self.key_value(map, key)?))).collect();
        if keys.is_empty() {
            let names: Vec<String> = self.keys.iter().map(|k| crate::schema::error::go_quote(k)).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                names.join(" ")
            ));
        }
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(PathElement::Key(keys))
    }

    fn key_value(&self, map: &JsonMap<String, Value>, key: &str) -> Option<Value> {
        if let Some(value) = map.get(key) {
            return Some(value.clone());
        }
        match self.element {
            TypeRef::Node(node, _) => node.properties.get(key)?.default.clone(),
            _ => None,
        }
    }
}
