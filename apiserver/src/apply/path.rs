//! Elements of field paths, in the order and the notation of structured-merge-diff.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

use crate::schema::error::{go_json, go_number, go_quote};

/// One step of a path.
#[derive(Debug, Clone)]
pub enum PathElement {
    /// A field of a map: `f:name`, `.name`.
    Field(String),
    /// An element of a map list, by its keys sorted by name: `k:{"name":"x"}`, `[name="x"]`.
    Key(Vec<(String, Value)>),
    /// An element of a set: `v:"x"`, `[="x"]`.
    Value(Value),
    /// An element by its index: `i:0`, `[0]`.
    Index(i64),
}

/// A path from the root of an object.
pub type Path = Vec<PathElement>;

/// Total order of values: numbers, strings, booleans, lists, maps, null.
pub(super) fn compare_values(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => x.cmp(&y),
            _ => x.as_f64().partial_cmp(&y.as_f64()).unwrap_or(Ordering::Equal),
        },
        (Value::String(x), Value::String(y)) => x.as_bytes().cmp(y.as_bytes()),
        (Value::Bool(x), Value::Bool(y)) => x.cmp(y),
        (Value::Array(x), Value::Array(y)) => {
            let first = x.iter().zip(y).map(|(x, y)| compare_values(x, y)).find(|o| o.is_ne());
            first.unwrap_or_else(|| x.len().cmp(&y.len()))
        }
        (Value::Object(x), Value::Object(y)) => {
            let sorted = |m: &serde_json::Map<String, Value>| {
                let mut entries: Vec<(String, Value)> = m.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                entries
            };
            compare_keys(&sorted(x), &sorted(y))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

/// Equality in which 1 and 1.0 are the same.
pub(super) fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same_value(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| same_value(v, w)))
        }
        _ => compare_values(a, b).is_eq(),
    }
}

fn compare_keys(a: &[(String, Value)], b: &[(String, Value)]) -> Ordering {
    for ((name, value), (other, against)) in a.iter().zip(b) {
        let order = name.as_bytes().cmp(other.as_bytes()).then_with(|| compare_values(value, against));
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

impl Ord for PathElement {
    fn cmp(&self, other: &Self) -> Ordering {
        let kind = |e: &Self| match e {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        };
        match (self, other) {
            (Self::Field(a), Self::Field(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Self::Key(a), Self::Key(b)) => compare_keys(a, b),
            (Self::Value(a), Self::Value(b)) => compare_values(a, b),
            (Self::Index(a), Self::Index(b)) => a.cmp(b),
            (a, b) => kind(a).cmp(&kind(b)),
        }
    }
}

impl PartialOrd for PathElement {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for PathElement {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for PathElement {}

impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={}", words(v))).collect();
                write!(f, "[{}]", keys.join(","))
            }
            Self::Value(value) => write!(f, "[={}]", words(value)),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A path as conflicts name it: `.spec.parts[name="p"].color`.
pub fn path_text(path: &[PathElement]) -> String {
    path.iter().map(ToString::to_string).collect()
}

fn words(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => go_number(n),
        Value::String(s) => go_quote(s),
        Value::Array(items) => format!("[{}]", items.iter().map(words).collect::<Vec<_>>().join(",")),
        Value::Object(map) => map.iter().map(|(k, v)| format!("{k}={}", words(v))).collect(),
    }
}

/// A name in fieldsV1 that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadFields(pub String);

impl PathElement {
    /// The element's name in fieldsV1.
    pub fn to_key(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => {
                let inner: Vec<String> =
                    keys.iter().map(|(k, v)| format!("{}:{}", go_json(&Value::from(k.as_str())), go_json(v))).collect();
                format!("k:{{{}}}", inner.join(","))
            }
            Self::Value(value) => format!("v:{}", go_json(value)),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    /// Reads a name of fieldsV1; none for kinds of elements that are not known, which are skipped.
    pub fn from_key(key: &str) -> Result<Option<Self>, BadFields> {
        let bytes = key.as_bytes();
        if bytes.len() < 2 {
            return Err(BadFields("key must be 2 characters long:".into()));
        }
        if bytes[1] != b':' {
            return Err(BadFields(format!("missing colon: {key}")));
        }
        let rest = &key[2..];
        let parse = || serde_json::from_str::<Value>(rest).map_err(|e| BadFields(format!("{key}: {e}")));
        Ok(Some(match bytes[0] {
            b'f' => Self::Field(rest.to_string()),
            b'v' => Self::Value(parse()?),
            b'k' => match parse()? {
                Value::Object(map) => {
                    let mut keys: Vec<(String, Value)> = map.into_iter().collect();
                    keys.sort_by(|a, b| a.0.cmp(&b.0));
                    Self::Key(keys)
                }
                _ => return Err(BadFields(format!("{key}: keys must be an object"))),
            },
            b'i' => Self::Index(rest.parse().map_err(|_| BadFields(format!("{key}: not an index")))?),
            _ => return Ok(None),
        }))
    }
}
