//! JSON as CEL values, with the types that a schema gives: timestamps, durations, bytes, doubles, escaped names.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use kube::core::cel::cel::Value as CelValue;
use kube::core::cel::cel::objects::{Key, Map, OptionalValue};
use serde_json::Value;

use super::structural::{Additional, Structural, Type};

/// Converts a value. The root of a resource shows `apiVersion`, `kind`, `metadata.name` and `metadata.generateName`.
pub(super) fn convert(value: &Value, schema: &Structural, root: bool) -> CelValue {
    match value {
        Value::String(text) => string(text, schema),
        Value::Number(number) if schema.kind == Some(Type::Number) => {
            CelValue::Float(number.as_f64().unwrap_or(f64::NAN))
        }
        Value::Number(number) if schema.kind == Some(Type::Integer) && number.is_f64() => {
            CelValue::Int(number.as_f64().unwrap_or_default() as i64)
        }
        Value::Array(items) => {
            let inner = schema.items.as_deref();
            CelValue::List(Arc::new(items.iter().map(|i| child(i, inner)).collect()))
        }
        Value::Object(map) => {
            let mut out = HashMap::with_capacity(map.len());
            for (name, value) in map {
                let property = schema.properties.get(name);
                let (key, value) = match (property, &schema.additional) {
                    (Some(property), _) => (escape(name), convert(value, property, property.embedded_resource)),
                    (None, Some(Additional::Schema(inner))) => (name.clone(), child(value, Some(inner))),
                    (None, Some(Additional::Any)) => (name.clone(), plain(value)),
                    (None, None) if root && name == "metadata" => (name.clone(), metadata(value)),
                    (None, None) => (escape(name), plain(value)),
                };
                out.insert(Key::String(Arc::new(key)), value);
            }
            CelValue::Map(Map { map: Arc::new(out) })
        }
        other => plain(other),
    }
}

fn child(value: &Value, schema: Option<&Structural>) -> CelValue {
    schema.map_or_else(|| plain(value), |s| convert(value, s, s.embedded_resource))
}

fn metadata(value: &Value) -> CelValue {
    let shown = ["name", "generateName"].into_iter().filter_map(|k| Some((k.to_string(), value.get(k)?.clone())));
    plain(&Value::Object(shown.collect()))
}

fn plain(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(b) => CelValue::Bool(*b),
        Value::Number(n) => match n.as_i64() {
            Some(i) => CelValue::Int(i),
            None => CelValue::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(s) => CelValue::String(Arc::new(s.clone())),
        Value::Array(items) => CelValue::List(Arc::new(items.iter().map(plain).collect())),
        Value::Object(map) => {
            let out = map.iter().map(|(k, v)| (Key::String(Arc::new(k.clone())), plain(v)));
            CelValue::Map(Map { map: Arc::new(out.collect()) })
        }
    }
}

fn string(text: &str, schema: &Structural) -> CelValue {
    let plain = || CelValue::String(Arc::new(text.to_string()));
    if schema.int_or_string {
        return plain();
    }
    match schema.value.format.as_deref() {
        Some("date-time" | "datetime") => {
            chrono::DateTime::parse_from_rfc3339(text).map_or_else(|_| plain(), CelValue::Timestamp)
        }
        Some("date") => chrono::DateTime::parse_from_rfc3339(&format!("{text}T00:00:00Z"))
            .map_or_else(|_| plain(), CelValue::Timestamp),
        Some("duration") => duration(text).map_or_else(plain, CelValue::Duration),
        Some("byte") => base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_or_else(|_| plain(), |bytes| CelValue::Bytes(Arc::new(bytes))),
        _ => plain(),
    }
}

/// Go's `time.ParseDuration`.
fn duration(text: &str) -> Option<chrono::Duration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(chrono::Duration::zero());
    }
    let mut nanos = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let units = [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
        let (unit, size) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        nanos += number * size;
    }
    let nanos = if negative { -nanos } else { nanos };
    (text.len() > 1 && nanos.abs() < i64::MAX as f64).then(|| chrono::Duration::nanoseconds(nanos as i64))
}

/// The value of `oldSelf` under `optionalOldSelf`.
pub(super) fn optional(value: Option<CelValue>) -> CelValue {
    CelValue::Opaque(match value {
        Some(value) => Arc::new(OptionalValue::of(value)),
        None => Arc::new(OptionalValue::none()),
    })
}

/// A property's name as an identifier (`a-b` is `a__dash__b`, `namespace` is `__namespace__`).
pub(super) fn escape(name: &str) -> String {
    const RESERVED: [&str; 21] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__").replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__")
}
