//! JSON as Kubernetes reads it: duplicate keys are noticed, floats that are whole become integers, depth is bounded.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A document, its keys in alphabetical order, and the keys that occurred twice in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document {
    /// The value; of a key that occurs twice the last one counts.
    pub value: Value,
    /// What strict decoding says of keys that occurred more than once.
    pub duplicates: Vec<String>,
}

/// Reads one document, with nothing but white space after it. Nesting beyond 127 levels is an error.
pub fn parse(bytes: &[u8]) -> Result<Document, serde_json::Error> {
    let mut duplicates = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut value = Seed { path: String::new(), duplicates: &mut duplicates }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    value.sort_all_objects();
    duplicates.dedup();
    Ok(Document { value, duplicates: duplicates.iter().map(|path| format!("duplicate field {path:?}")).collect() })
}

struct Seed<'a> {
    path: String,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        #[expect(clippy::cast_precision_loss, reason = "Go keeps integers beyond int64 as float64")]
        Ok(if i64::try_from(v).is_ok() { Value::Number(v.into()) } else { float(v as f64) })
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        if v.is_finite() { Ok(float(v)) } else { Err(E::custom("number out of range")) }
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, items.len());
            match seq.next_element_seed(Seed { path, duplicates: self.duplicates })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            if object.contains_key(&key) {
                self.duplicates.push(path.clone());
            }
            if path.len() > 1 << 16 {
                return Err(A::Error::custom("keys are too long"));
            }
            let value = map.next_value_seed(Seed { path, duplicates: self.duplicates })?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// A float as Go writes it back: whole numbers below 1e21 without a point or exponent.
pub fn float(v: f64) -> Value {
    let whole = v.fract() == 0.0;
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    if whole && v.abs() < 9_007_199_254_740_992.0 {
        return Value::Number((v as i64).into());
    }
    if whole && v.abs() < 2e19 {
        // The shortest digits that read back as this float, then zeros.
        if let Some(number) = shortest(v) {
            return Value::Number(number);
        }
    }
    Number::from_f64(v).map_or(Value::Null, Value::Number)
}

fn shortest(v: f64) -> Option<Number> {
    let text = format!("{v:e}");
    let (digits, exponent) = text.split_once('e')?;
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |d| ("-", d));
    let exponent: usize = exponent.parse().ok()?;
    let mantissa: String = digits.chars().filter(char::is_ascii_digit).collect();
    let zeros = (exponent + 1).checked_sub(mantissa.len())?;
    let text = format!("{sign}{mantissa}{}", "0".repeat(zeros));
    text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn duplicates_are_named() {
        let document = parse(br#"{"spec":{"a":1,"a":2,"l":[{"b":1,"b":2}]}}"#).unwrap();
        assert_eq!(document.value, json!({"spec": {"a": 2, "l": [{"b": 2}]}}));
        assert_eq!(document.duplicates, [r#"duplicate field "spec.a""#, r#"duplicate field "spec.l[0].b""#]);
    }

    #[test]
    fn numbers_as_in_go() {
        let text = |s: &str| parse(s.as_bytes()).unwrap().value.to_string();
        for (from, to) in [
            ("4.0", "4"),
            ("1e2", "100"),
            ("1.5", "1.5"),
            ("9007199254740993", "9007199254740993"),
            ("12345678901234567890", "12345678901234567000"),
            ("-0.5", "-0.5"),
            ("1e300", "1e+300"),
        ] {
            assert_eq!(text(from), to);
        }
        assert!(parse(b"1e400").is_err());
    }

    #[test]
    fn what_is_no_document() {
        for bad in ["", "{", "{} x", "[1,]", "nul", "\u{feff}{}"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(b"\"\xff\"").is_err());
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        assert!(parse(format!("{}{}", "[".repeat(120), "]".repeat(120)).as_bytes()).is_ok());
    }
}
