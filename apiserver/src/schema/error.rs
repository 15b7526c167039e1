//! Field errors in the words of Kubernetes' `field.Error`.

use std::fmt;

use serde_json::{Value, json};

/// What is wrong, as in `field.ErrorType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Not found.
    NotFound,
    /// Required value.
    Required,
    /// Duplicate value.
    Duplicate,
    /// Invalid value.
    Invalid,
    /// Invalid value, of the wrong type.
    TypeInvalid,
    /// Unsupported value.
    NotSupported,
    /// Forbidden.
    Forbidden,
    /// Too long.
    TooLong,
    /// Too many.
    TooMany,
    /// Internal error.
    Internal,
}

impl ErrorKind {
    /// The `reason` of a cause in a Status.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// The value that an error shows.
#[derive(Debug, Clone, PartialEq)]
pub enum BadValue {
    /// Not shown (`Required`, `Forbidden`, `TooLong` never show it).
    Omitted,
    /// Shown as JSON, strings quoted.
    Json(Value),
    /// Shown as it is.
    Text(String),
}

/// One thing that is wrong with one field.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// Path, e.g. `spec.parts[0].name`, `metadata.labels`.
    pub field: String,
    /// What is wrong.
    pub kind: ErrorKind,
    /// The value.
    pub bad_value: BadValue,
    /// Why, and what is allowed; may be empty.
    pub detail: String,
}

impl FieldError {
    fn new(kind: ErrorKind, field: impl Into<String>, bad_value: BadValue, detail: impl Into<String>) -> Self {
        Self { field: field.into(), kind, bad_value, detail: detail.into() }
    }

    /// `FIELD: Invalid value: VALUE: DETAIL`.
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, field, BadValue::Json(value.into()), detail)
    }

    /// Like `invalid`, of a value whose type is wrong.
    pub fn type_invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::TypeInvalid, field, BadValue::Json(value.into()), detail)
    }

    /// `FIELD: Required value[: DETAIL]`.
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Required, field, BadValue::Omitted, detail)
    }

    /// `FIELD: Forbidden[: DETAIL]`.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, field, BadValue::Omitted, detail)
    }

    /// `FIELD: Duplicate value: VALUE`.
    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(ErrorKind::Duplicate, field, BadValue::Json(value.into()), "")
    }

    /// `FIELD: Not found: VALUE`.
    pub fn not_found(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(ErrorKind::NotFound, field, BadValue::Json(value.into()), "")
    }

    /// `FIELD: Unsupported value: VALUE: supported values: "a", "b"`.
    pub fn not_supported<S: AsRef<str>>(field: impl Into<String>, value: impl Into<Value>, supported: &[S]) -> Self {
        let names: Vec<String> = supported.iter().map(|s| go_quote(s.as_ref())).collect();
        let detail = if names.is_empty() { String::new() } else { format!("supported values: {}", names.join(", ")) };
        Self::new(ErrorKind::NotSupported, field, BadValue::Json(value.into()), detail)
    }

    /// `FIELD: Too long: may not be more than N bytes`.
    pub fn too_long(field: impl Into<String>, max: usize) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::new(ErrorKind::TooLong, field, BadValue::Omitted, format!("may not be more than {max} {unit}"))
    }

    /// `FIELD: Too many: ACTUAL: must have at most N items`.
    pub fn too_many(field: impl Into<String>, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {unit}");
        Self::new(ErrorKind::TooMany, field, BadValue::Json(actual.into()), detail)
    }

    /// The same error below `prefix`.
    pub fn under(mut self, prefix: &str) -> Self {
        if !prefix.is_empty() {
            let joint = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
            self.field = format!("{prefix}{joint}{}", self.field);
        }
        self
    }

    /// The words without the field: `Invalid value: -1: …`; the `message` of a cause in a Status.
    pub fn body(&self) -> String {
        let mut text = self.kind.words().to_string();
        let hidden =
            matches!(self.kind, ErrorKind::Required | ErrorKind::Forbidden | ErrorKind::TooLong | ErrorKind::Internal);
        let shown = match &self.bad_value {
            BadValue::Json(value) if !hidden => Some(go_value(value)),
            BadValue::Text(value) if !hidden => Some(value.clone()),
            _ => None,
        };
        if let Some(shown) = shown {
            text.push_str(": ");
            text.push_str(&shown);
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }

    /// `{"reason", "message", "field"}`, as in `details.causes` of a Status.
    pub fn cause(&self) -> Value {
        json!({"reason": self.kind.reason(), "message": self.body(), "field": self.field})
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for FieldError {}

/// The causes of a Status.
pub fn cause_list(errors: &[FieldError]) -> Vec<Value> {
    errors.iter().map(FieldError::cause).collect()
}

/// What stands after `"NAME" is invalid: `: the error itself, or several (each once) in brackets.
pub fn join_messages(errors: &[FieldError]) -> String {
    let mut seen = Vec::new();
    for text in errors.iter().map(ToString::to_string) {
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    match seen.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// A value as Go prints it in field errors: `%v` of numbers and booleans, `%q` of strings, JSON of the rest.
pub fn go_value(value: &Value) -> String {
    match value {
        Value::String(s) => go_quote(s),
        Value::Number(n) => go_number(n),
        other => go_json(other),
    }
}

/// A number as Go's `%v` prints it.
pub(crate) fn go_number(n: &serde_json::Number) -> String {
    match n.as_f64() {
        Some(f) if n.is_f64() => go_float(f, 21),
        _ => n.to_string(),
    }
}

/// Go's shortest float form: exponents below -4 or from `large` on are written as `1e+21`.
pub(crate) fn go_float(f: f64, large: i32) -> String {
    if f == 0.0 {
        return "0".into();
    }
    let shortest = format!("{f:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= large {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{f}")
}

/// JSON as Go's `json.Marshal` writes it: keys sorted, `<`, `>` and `&` escaped.
pub(crate) fn go_json(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let inner: Vec<String> = keys.iter().map(|k| format!("{}:{}", json_string(k), go_json(&map[*k]))).collect();
            format!("{{{}}}", inner.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(go_json).collect::<Vec<_>>().join(",")),
        Value::String(s) => json_string(s),
        Value::Number(n) if n.is_f64() => n.as_f64().map_or_else(|| n.to_string(), go_json_float),
        other => other.to_string(),
    }
}

fn go_json_float(f: f64) -> String {
    if f != 0.0 && (f.abs() < 1e-6 || f.abs() >= 1e21) {
        let shortest = format!("{f:e}");
        return match shortest.split_once('e') {
            Some((d, e)) if !e.starts_with('-') => format!("{d}e+{e}"),
            _ => shortest,
        };
    }
    format!("{f}")
}

fn json_string(s: &str) -> String {
    let quoted = Value::String(s.to_string()).to_string();
    quoted
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// A string as Go's `%q` prints it.
pub fn go_quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
