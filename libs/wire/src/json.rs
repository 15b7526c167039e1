//! Strict reading of a JSON object: duplicate keys, wrong types and unknown fields are errors that name the field.

use crate::error::{ApiError, ErrorCode};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;
use std::ops::RangeInclusive;

/// What a body's values may cost together. A value of cost 1 takes up to about a hundred bytes of memory, whatever its text
/// takes; prompts as token ids, which cost 1 each, are the longest lists that are sent.
const MAX_COST: usize = 500_000;
/// Costs of values that hold others: what they take even if they are almost empty.
const ARRAY_COST: usize = 5;
const OBJECT_COST: usize = 10;

/// Reads a `Value` whose objects have no key twice, and that does not cost more than is left.
struct Strict<'a>(&'a mut usize);

impl Strict<'_> {
    fn pay<E: serde::de::Error>(&mut self, cost: usize) -> Result<(), E> {
        let too_many = || E::custom("too many values; send a smaller request");
        *self.0 = self.0.checked_sub(cost).ok_or_else(too_many)?;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Value, D::Error> {
        self.pay(1)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        self.pay(ARRAY_COST)?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Strict(self.0))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        self.pay(OBJECT_COST)?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value_seed(Strict(self.0))?;
            if map.contains_key(&key) {
                return Err(serde::de::Error::custom(format!("duplicate key {:?}", shorten(&key))));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

fn read(body: &[u8]) -> serde_json::Result<Value> {
    let mut left = MAX_COST;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Strict(&mut left).deserialize(&mut deserializer)?;
    deserializer.end().map(|()| value)
}

/// The first characters of foreign text, without control characters, for use in a message.
pub(crate) fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// The fields of one JSON object, taken out one by one; `finish` refuses what nobody took.
pub(crate) struct Fields {
    map: Map<String, Value>,
    prefix: String,
}

impl Fields {
    /// Reads a request's body.
    pub fn from_body(body: &[u8]) -> Result<Self, ApiError> {
        if body.len() > crate::MAX_BODY_BYTES {
            let text = format!("the body has {} bytes, allowed are {}", body.len(), crate::MAX_BODY_BYTES);
            return Err(ApiError::new(ErrorCode::InvalidRequest, text).with_status(413));
        }
        let value = read(body).map_err(|e| {
            let what = if e.is_data() { "the body cannot be taken" } else { "the body is not valid JSON: parse error" };
            ApiError::new(ErrorCode::InvalidRequest, format!("{what}, {e}"))
        })?;
        match value {
            Value::Object(map) => Ok(Self { map, prefix: String::new() }),
            other => {
                let text = format!("the body must be a JSON object, not {}", kind(&other));
                Err(ApiError::new(ErrorCode::InvalidRequest, text))
            }
        }
    }

    /// The fields of a nested object; `path` is its place in the body.
    pub fn nested(path: &str, value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Object(map) => Ok(Self { map, prefix: format!("{path}.") }),
            other => Err(wrong(path, "an object", &other)),
        }
    }

    pub fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Takes a field; an explicit null is the same as no field.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|v| !v.is_null())
    }

    pub fn missing(&self, key: &str) -> ApiError {
        ApiError::invalid(self.path(key), "is required").with_openai_code("missing_required_parameter")
    }

    pub fn string(&mut self, key: &str) -> Result<Option<String>, ApiError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(&self.path(key), "a string", &other)),
        }
    }

    pub fn boolean(&mut self, key: &str) -> Result<Option<bool>, ApiError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(v)) => Ok(Some(v)),
            Some(other) => Err(wrong(&self.path(key), "true or false", &other)),
        }
    }

    /// An integer within `range`.
    pub fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let allowed = format!("an integer from {} to {}", range.start(), range.end());
        match value.as_i64() {
            Some(v) if range.contains(&v) => Ok(Some(v)),
            _ => Err(wrong(&self.path(key), &allowed, &value)),
        }
    }

    /// A finite number within `range`.
    pub fn number(&mut self, key: &str, range: RangeInclusive<f64>) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let allowed = format!("a number from {} to {}", range.start(), range.end());
        match value.as_f64() {
            Some(v) if v.is_finite() && range.contains(&v) => Ok(Some(v as f32)),
            _ => Err(wrong(&self.path(key), &allowed, &value)),
        }
    }

    /// Takes a field that is known but only allowed with a value that changes nothing.
    pub fn only(&mut self, key: &str, harmless: impl Fn(&Value) -> bool, why: &str) -> Result<(), ApiError> {
        match self.take(key) {
            Some(value) if !harmless(&value) => {
                Err(ApiError::invalid(self.path(key), why).with_openai_code("unsupported_parameter"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses every field that was not taken and is not in `ignored`.
    pub fn finish(self, ignored: &[&str]) -> Result<(), ApiError> {
        match self.map.keys().find(|k| !ignored.contains(&k.as_str())) {
            None => Ok(()),
            Some(key) => Err(ApiError::invalid(format!("{}{}", self.prefix, shorten(key)), "is not a known parameter")
                .with_openai_code("unknown_parameter")),
        }
    }
}

/// "must be WANTED, not VALUE"
pub(crate) fn wrong(path: &str, wanted: &str, got: &Value) -> ApiError {
    let shown = match got {
        Value::Number(n) => n.to_string(),
        Value::String(s) => format!("the string {:?}", shorten(s)),
        other => kind(other).to_owned(),
    };
    ApiError::invalid(path, format!("must be {wanted}, not {shown}"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_body_that_becomes_a_huge_tree_is_refused() {
        let many = |item: &str, count: usize| format!("{{\"metadata\":[{}]}}", vec![item; count].join(","));
        for (item, most) in [("7", 499_000), ("[]", 83_000), ("{\"\":0}", 41_000)] {
            assert!(Fields::from_body(many(item, most).as_bytes()).is_ok(), "{item}");
            let refused = Fields::from_body(many(item, most + 2_000).as_bytes()).map(|_| ()).unwrap_err();
            assert_eq!(refused.status, 400);
            assert!(refused.message.contains("too many values"), "{refused}");
        }
    }

    #[test]
    fn what_follows_the_object_is_refused() {
        assert!(Fields::from_body(b"{} ").is_ok());
        assert!(Fields::from_body(b"{} x").is_err());
    }
}
