//! Kubernetes' protobuf bodies, read into the JSON that the same client would have sent. Go clients send them for built-in kinds
//! and CustomResourceDefinitions; answers are JSON.

mod builtin;
mod decode;
mod definition;
mod field;
#[cfg(test)]
mod tests;
mod wire;

use serde_json::Value;

use field::{Field, Type, nonzero};
use wire::Wire;

/// What precedes every body.
const MAGIC: &[u8] = b"k8s\0";
/// Objects and arrays in each other at most: as many as in JSON, or what is stored could not be read again.
const LEVELS: usize = 127;

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The first bytes are others.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Prefix,
    /// The bytes end too early or make no sense.
    #[error("proto: illegal wireType or unexpected EOF")]
    Wire,
    /// A field of JSON holds none.
    #[error("proto: a field that has to be JSON is not")]
    Json,
    /// More than [`LEVELS`].
    #[error("proto: exceeded the greatest depth of {LEVELS}")]
    Deep,
    /// A kind that is not known here.
    #[error("the kind of the message is not known here; send JSON")]
    Kind,
}

type Result<T> = std::result::Result<T, ProtobufError>;

const TYPE_META: &[Field] = &[nonzero(1, "apiVersion", Type::Text), nonzero(2, "kind", Type::Text)];

fn message(api_version: &str, kind: &str) -> Option<&'static [Field]> {
    match (api_version, kind) {
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => Some(definition::DEFINITION),
        _ => builtin::message(api_version, kind),
    }
}

/// Reads a body. Like JSON's, its keys are in alphabetical order.
pub fn parse(body: &[u8]) -> Result<Value> {
    let mut envelope = body.strip_prefix(MAGIC).ok_or(ProtobufError::Prefix)?;
    let (mut types, mut raw): (&[u8], &[u8]) = (&[], &[]);
    while !envelope.is_empty() {
        match wire::next(&mut envelope)? {
            (1, Wire::Slice(bytes)) => types = bytes,
            (2, Wire::Slice(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let types = decode::message(types, TYPE_META, LEVELS)?;
    let text = |key: &str| types.get(key).and_then(Value::as_str).unwrap_or_default();
    let fields = message(text("apiVersion"), text("kind")).ok_or(ProtobufError::Kind)?;
    let mut object = decode::message(raw, fields, LEVELS)?;
    object.extend(types);
    let mut object = Value::Object(object);
    object.sort_all_objects();
    Ok(object)
}
