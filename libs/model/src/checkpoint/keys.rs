//! Typed reading of a JSON object; `null` is the same as a key that is not there.

use super::ConfigError;
use crate::format::range_of;
use serde_json::{Map, Value};

/// An object and where in the file it is.
pub(super) struct Keys<'a> {
    object: &'a Map<String, Value>,
    prefix: String,
}

impl<'a> Keys<'a> {
    pub fn new(object: &'a Map<String, Value>) -> Self {
        Self { object, prefix: String::new() }
    }

    /// A key as messages name it.
    pub fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The value as messages show it.
    pub fn text(&self, key: &str) -> String {
        self.get(key).map_or_else(String::new, show)
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|v| !v.is_null())
    }

    fn wrong(&self, key: &str, value: &Value, expected: &'static str) -> ConfigError {
        ConfigError::Type { key: self.name(key), found: show(value), expected }
    }

    pub fn integer(&self, key: &str, min: u64, max: u64) -> Result<Option<u64>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64() {
            Some(n) if (min..=max).contains(&n) => Ok(Some(n)),
            None if !value.is_number() => Err(self.wrong(key, value, "a whole number")),
            _ => Err(ConfigError::Range {
                key: self.name(key),
                found: show(value),
                expected: format!("a whole number from {min} to {max}"),
            }),
        }
    }

    pub fn required(&self, key: &str, min: u64, max: u64) -> Result<u64, ConfigError> {
        self.integer(key, min, max)?.ok_or_else(|| ConfigError::Missing(self.name(key)))
    }

    /// A number above 0.
    pub fn positive(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64() {
            // As far as F32 goes, because that is what is computed with.
            Some(x) if x > 0.0 && x <= f64::from(f32::MAX) && x as f32 > 0.0 => Ok(Some(x)),
            None => Err(self.wrong(key, value, "a number")),
            Some(_) => Err(ConfigError::Range {
                key: self.name(key),
                found: show(value),
                expected: "a finite number above 0".to_owned(),
            }),
        }
    }

    /// A number that can be meant for what GGUF calls `setting`.
    pub fn within(&self, key: &str, setting: &str) -> Result<Option<f64>, ConfigError> {
        let number = self.positive(key)?;
        match (number, range_of(setting)) {
            (Some(x), Some(range)) if !range.holds(x) => {
                let found = self.text(key);
                Err(ConfigError::Range { key: self.name(key), found, expected: range.to_string() })
            }
            _ => Ok(number),
        }
    }

    pub fn required_positive(&self, key: &str) -> Result<f64, ConfigError> {
        self.positive(key)?.ok_or_else(|| ConfigError::Missing(self.name(key)))
    }

    pub fn boolean(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(key, value, "true or false"))
    }

    pub fn string(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(key, value, "a string"))
    }

    pub fn strings(&self, key: &str) -> Result<Option<Vec<&'a str>>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let strings = value.as_array().and_then(|a| a.iter().map(Value::as_str).collect());
        strings.map(Some).ok_or_else(|| self.wrong(key, value, "an array of strings"))
    }

    /// Numbers above 0.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f32>>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = |value: &Value| value.as_f64().map(|x| x as f32).filter(|x| *x > 0.0 && x.is_finite());
        let numbers = value.as_array().and_then(|all| all.iter().map(number).collect());
        numbers.map(Some).ok_or_else(|| self.wrong(key, value, "an array of finite numbers above 0"))
    }

    /// The first of an array of strings that is not empty.
    pub fn first_string(&self, key: &str) -> Result<&'a str, ConfigError> {
        let strings = self.strings(key)?.ok_or_else(|| ConfigError::Missing(self.name(key)))?;
        strings.first().copied().ok_or_else(|| ConfigError::Missing(self.name(key)))
    }

    pub fn object(&self, key: &str) -> Result<Option<Self>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let object = value.as_object().ok_or_else(|| self.wrong(key, value, "an object"))?;
        Ok(Some(Self { object, prefix: format!("{}.", self.name(key)) }))
    }
}

/// Scalars whole, the rest by its size.
fn show(value: &Value) -> String {
    match value {
        Value::String(s) if s.len() <= 60 => s.clone(),
        Value::String(s) => format!("a string of {} bytes", s.len()),
        Value::Array(a) => format!("an array of {} elements", a.len()),
        Value::Object(o) => format!("an object of {} keys", o.len()),
        scalar => scalar.to_string(),
    }
}
