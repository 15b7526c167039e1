//! From the bytes of a message to JSON, by the message's table. `left` are the levels that JSON may still nest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::field::{Count, Field, Type, one};
use super::wire::{self, Wire};
use super::{ProtobufError, Result};
use crate::http::json;

/// The zero time of Go, in seconds.
const NEVER: i64 = -62_135_596_800;

const TIMESTAMP: &[Field] = &[one(1, "seconds", Type::Int), one(2, "nanos", Type::Int)];

/// An object of the fields that are there. Fields that the table does not have are passed over, as Go does.
pub fn message(input: &[u8], fields: &[Field], left: usize) -> Result<Map<String, Value>> {
    members(input, fields, down(left)?)
}

fn down(left: usize) -> Result<usize> {
    left.checked_sub(1).ok_or(ProtobufError::Deep)
}

fn members(mut input: &[u8], fields: &[Field], left: usize) -> Result<Map<String, Value>> {
    let mut object = Map::new();
    while !input.is_empty() {
        let (number, wire) = wire::next(&mut input)?;
        if let Some(field) = fields.iter().find(|f| f.number == number) {
            member(&mut object, field, wire, left)?;
        }
    }
    Ok(object)
}

fn member(object: &mut Map<String, Value>, field: &Field, wire: Wire<'_>, left: usize) -> Result<()> {
    match (field.kind, field.count) {
        (Type::Map(of), _) => {
            let (key, value) = entry(slice(wire)?, *of, down(left)?)?;
            if let Value::Object(map) = object.entry(field.name).or_insert_with(|| json!({})) {
                map.insert(key, value);
            }
        }
        (kind, Count::Many) => {
            let value = value(wire, kind, down(left)?)?;
            if let Value::Array(items) = object.entry(field.name).or_insert_with(|| json!([])) {
                items.push(value);
            }
        }
        (kind, count) => {
            let value = value(wire, kind, left)?;
            // The last one counts, so it takes an earlier one away even where it says nothing.
            if value.is_null() || count == Count::Nonzero && is_zero(&value) {
                object.remove(field.name);
            } else {
                object.insert(field.name.into(), value);
            }
        }
    }
    Ok(())
}

fn is_zero(value: &Value) -> bool {
    *value == "" || *value == 0 || *value == false
}

fn entry(mut input: &[u8], of: Type, left: usize) -> Result<(String, Value)> {
    let (mut key, mut found) = (String::new(), None);
    while !input.is_empty() {
        match wire::next(&mut input)? {
            (1, wire) => key = text(wire)?.into(),
            (2, wire) => found = Some(value(wire, of, left)?),
            _ => {}
        }
    }
    // A value that was not written is an empty one.
    let value = match found {
        Some(found) => found,
        None => value(Wire::Slice(&[]), of, left)?,
    };
    Ok((key, value))
}

fn slice(wire: Wire<'_>) -> Result<&[u8]> {
    match wire {
        Wire::Slice(bytes) => Ok(bytes),
        _ => Err(ProtobufError::Wire),
    }
}

fn text(wire: Wire<'_>) -> Result<&str> {
    std::str::from_utf8(slice(wire)?).map_err(|_| ProtobufError::Wire)
}

fn value(wire: Wire<'_>, kind: Type, left: usize) -> Result<Value> {
    Ok(match (kind, wire) {
        #[expect(clippy::cast_possible_wrap, reason = "negative integers are written as their two's complement")]
        (Type::Int, Wire::Varint(n)) => (n as i64).into(),
        (Type::Bool, Wire::Varint(n)) => (n != 0).into(),
        (Type::Float, Wire::Double(n)) if n.is_finite() => json::float(n),
        (Type::Text, wire) => text(wire)?.into(),
        (Type::Bytes, Wire::Slice(bytes)) => STANDARD.encode(bytes).into(),
        (Type::Json, Wire::Slice(bytes)) => embedded(bytes, left)?,
        (Type::Time | Type::MicroTime, Wire::Slice([])) => Value::Null,
        (Type::Time | Type::MicroTime, Wire::Slice(bytes)) => time(bytes, matches!(kind, Type::MicroTime))?,
        (Type::Message(fields), Wire::Slice(bytes)) => Value::Object(message(bytes, fields, left)?),
        (Type::First(fields, otherwise), Wire::Slice(bytes)) => {
            let mut object = members(bytes, fields, left)?;
            let first = fields.iter().find_map(|f| object.remove(f.name));
            first.unwrap_or_else(|| otherwise.map_or(Value::Null, Value::Bool))
        }
        _ => return Err(ProtobufError::Wire),
    })
}

/// JSON in a message's only field; null where there is none.
fn embedded(mut input: &[u8], left: usize) -> Result<Value> {
    let mut raw: &[u8] = &[];
    while !input.is_empty() {
        if let (1, wire) = wire::next(&mut input)? {
            raw = slice(wire)?;
        }
    }
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    let value = json::parse(raw).map_err(|_| ProtobufError::Json)?.value;
    check_depth(&value, left)?;
    Ok(value)
}

/// The parser of JSON has bounded the value's own depth; here it is added to that of the messages around it.
fn check_depth(value: &Value, left: usize) -> Result<()> {
    match value {
        Value::Array(items) => {
            let left = down(left)?;
            items.iter().try_for_each(|item| check_depth(item, left))
        }
        Value::Object(map) => {
            let left = down(left)?;
            map.values().try_for_each(|item| check_depth(item, left))
        }
        _ => Ok(()),
    }
}

fn time(bytes: &[u8], micros: bool) -> Result<Value> {
    let parts = message(bytes, TIMESTAMP, 1)?;
    let part = |name: &str| parts.get(name).and_then(Value::as_i64).unwrap_or(0);
    let seconds = part("seconds");
    let nanos = if micros { i32::try_from(part("nanos")).map_err(|_| ProtobufError::Wire)? } else { 0 };
    if (seconds, nanos) == (NEVER, 0) {
        return Ok(Value::Null);
    }
    let time = jiff::Timestamp::new(seconds, nanos).map_err(|_| ProtobufError::Wire)?;
    let layout = if micros { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(time.strftime(layout).to_string().into())
}
