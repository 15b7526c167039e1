//! Kubernetes' protobuf bodies of the built-in kinds, read into JSON. kubectl sends them for creates and reviews; answers
//! are JSON.

use base64::Engine as _;
use serde_json::{Map, Value, json};

/// What precedes every body.
const MAGIC: &[u8] = b"k8s\0";
/// Messages in messages at most.
const DEPTH: u32 = 16;

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The first bytes are others.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Prefix,
    /// The bytes end too early or make no sense.
    #[error("proto: illegal wireType or unexpected EOF")]
    Wire,
    /// A kind that is not known here.
    #[error("the kind of the message is not known here; send JSON")]
    Kind,
}

type Result<T> = std::result::Result<T, ProtobufError>;

#[derive(Clone, Copy)]
enum Type {
    Text,
    Bytes,
    Int,
    Bool,
    /// Seconds and nanoseconds.
    Time,
    /// FieldsV1: JSON in bytes.
    Raw,
    Message(&'static [Field]),
    TextMap,
    BytesMap,
    /// A map to lists of texts.
    ListMap,
}

struct Field {
    number: u64,
    name: &'static str,
    kind: Type,
    repeated: bool,
}

const fn one(number: u64, name: &'static str, kind: Type) -> Field {
    Field { number, name, kind, repeated: false }
}

const fn many(number: u64, name: &'static str, kind: Type) -> Field {
    Field { number, name, kind, repeated: true }
}

use Type::{Bool, Bytes, BytesMap, Int, ListMap, Message, Raw, Text, TextMap, Time};

const META: &[Field] = &[
    one(1, "name", Text),
    one(2, "generateName", Text),
    one(3, "namespace", Text),
    one(5, "uid", Text),
    one(6, "resourceVersion", Text),
    one(7, "generation", Int),
    one(8, "creationTimestamp", Time),
    one(9, "deletionTimestamp", Time),
    one(10, "deletionGracePeriodSeconds", Int),
    one(11, "labels", TextMap),
    one(12, "annotations", TextMap),
    many(
        13,
        "ownerReferences",
        Message(&[
            one(1, "kind", Text),
            one(3, "name", Text),
            one(4, "uid", Text),
            one(5, "apiVersion", Text),
            one(6, "controller", Bool),
            one(7, "blockOwnerDeletion", Bool),
        ]),
    ),
    many(14, "finalizers", Text),
    many(
        17,
        "managedFields",
        Message(&[
            one(1, "manager", Text),
            one(2, "operation", Text),
            one(3, "apiVersion", Text),
            one(4, "time", Time),
            one(6, "fieldsType", Text),
            one(7, "fieldsV1", Raw),
            one(8, "subresource", Text),
        ]),
    ),
];

const REFERENCE: &[Field] = &[
    one(1, "kind", Text),
    one(2, "namespace", Text),
    one(3, "name", Text),
    one(4, "uid", Text),
    one(5, "apiVersion", Text),
    one(6, "resourceVersion", Text),
    one(7, "fieldPath", Text),
];
const SOURCE: &[Field] = &[one(1, "component", Text), one(2, "host", Text)];
const SERIES: &[Field] = &[one(1, "count", Int), one(2, "lastObservedTime", Time)];
const ATTRIBUTES: &[Field] = &[
    one(1, "namespace", Text),
    one(2, "verb", Text),
    one(3, "group", Text),
    one(4, "version", Text),
    one(5, "resource", Text),
    one(6, "subresource", Text),
    one(7, "name", Text),
];
const PATH: &[Field] = &[one(1, "path", Text), one(2, "verb", Text)];
const ACCESS: &[Field] = &[
    one(1, "resourceAttributes", Message(ATTRIBUTES)),
    one(2, "nonResourceAttributes", Message(PATH)),
    one(3, "user", Text),
    many(4, "groups", Text),
    one(5, "extra", ListMap),
    one(6, "uid", Text),
];

const META_ONLY: &[Field] = &[one(1, "metadata", Message(META))];
const NAMESPACE: &[Field] = &[
    one(1, "metadata", Message(META)),
    one(2, "spec", Message(&[many(1, "finalizers", Text)])),
    one(3, "status", Message(&[one(1, "phase", Text)])),
];
const SECRET: &[Field] = &[
    one(1, "metadata", Message(META)),
    one(2, "data", BytesMap),
    one(3, "type", Text),
    one(4, "stringData", TextMap),
    one(5, "immutable", Bool),
];
const CONFIG_MAP: &[Field] = &[
    one(1, "metadata", Message(META)),
    one(2, "data", TextMap),
    one(3, "binaryData", BytesMap),
    one(4, "immutable", Bool),
];
const SERVICE_ACCOUNT: &[Field] = &[
    one(1, "metadata", Message(META)),
    many(2, "secrets", Message(REFERENCE)),
    many(3, "imagePullSecrets", Message(&[one(1, "name", Text)])),
    one(4, "automountServiceAccountToken", Bool),
];
const EVENT: &[Field] = &[
    one(1, "metadata", Message(META)),
    one(2, "involvedObject", Message(REFERENCE)),
    one(3, "reason", Text),
    one(4, "message", Text),
    one(5, "source", Message(SOURCE)),
    one(6, "firstTimestamp", Time),
    one(7, "lastTimestamp", Time),
    one(8, "count", Int),
    one(9, "type", Text),
    one(10, "eventTime", Time),
    one(11, "series", Message(SERIES)),
    one(12, "action", Text),
    one(13, "related", Message(REFERENCE)),
    one(14, "reportingComponent", Text),
    one(15, "reportingInstance", Text),
];
const EVENT_V1: &[Field] = &[
    one(1, "metadata", Message(META)),
    one(2, "eventTime", Time),
    one(3, "series", Message(SERIES)),
    one(4, "reportingController", Text),
    one(5, "reportingInstance", Text),
    one(6, "action", Text),
    one(7, "reason", Text),
    one(8, "regarding", Message(REFERENCE)),
    one(9, "related", Message(REFERENCE)),
    one(10, "note", Text),
    one(11, "type", Text),
    one(12, "deprecatedSource", Message(SOURCE)),
    one(13, "deprecatedFirstTimestamp", Time),
    one(14, "deprecatedLastTimestamp", Time),
    one(15, "deprecatedCount", Int),
];
const LEASE: &[Field] = &[
    one(1, "metadata", Message(META)),
    one(
        2,
        "spec",
        Message(&[
            one(1, "holderIdentity", Text),
            one(2, "leaseDurationSeconds", Int),
            one(3, "acquireTime", Time),
            one(4, "renewTime", Time),
            one(5, "leaseTransitions", Int),
            one(6, "strategy", Text),
            one(7, "preferredHolder", Text),
        ]),
    ),
];
const TOKEN_REVIEW: &[Field] =
    &[one(1, "metadata", Message(META)), one(2, "spec", Message(&[one(1, "token", Text), many(2, "audiences", Text)]))];
const TOKEN_REQUEST: &[Field] = &[
    one(1, "metadata", Message(META)),
    one(2, "spec", Message(&[many(1, "audiences", Text), one(4, "expirationSeconds", Int)])),
];
const ACCESS_REVIEW: &[Field] = &[one(1, "metadata", Message(META)), one(2, "spec", Message(ACCESS))];
const RULES_REVIEW: &[Field] =
    &[one(1, "metadata", Message(META)), one(2, "spec", Message(&[one(1, "namespace", Text)]))];
const DELETE_OPTIONS: &[Field] = &[
    one(1, "gracePeriodSeconds", Int),
    one(2, "preconditions", Message(&[one(1, "uid", Text), one(2, "resourceVersion", Text)])),
    one(3, "orphanDependents", Bool),
    one(4, "propagationPolicy", Text),
    many(5, "dryRun", Text),
];
const SCALE: &[Field] = &[one(1, "metadata", Message(META)), one(2, "spec", Message(&[one(1, "replicas", Int)]))];

fn message(api_version: &str, kind: &str) -> Option<&'static [Field]> {
    Some(match (api_version, kind) {
        ("v1", "Namespace") => NAMESPACE,
        ("v1", "Secret") => SECRET,
        ("v1", "ConfigMap") => CONFIG_MAP,
        ("v1", "ServiceAccount") => SERVICE_ACCOUNT,
        ("v1", "Event") => EVENT,
        ("events.k8s.io/v1", "Event") => EVENT_V1,
        ("coordination.k8s.io/v1", "Lease") => LEASE,
        ("authentication.k8s.io/v1", "TokenReview") => TOKEN_REVIEW,
        ("authentication.k8s.io/v1", "TokenRequest") => TOKEN_REQUEST,
        ("authentication.k8s.io/v1", "SelfSubjectReview") => META_ONLY,
        ("authorization.k8s.io/v1", "SelfSubjectRulesReview") => RULES_REVIEW,
        ("authorization.k8s.io/v1", "SubjectAccessReview" | "SelfSubjectAccessReview" | "LocalSubjectAccessReview") => {
            ACCESS_REVIEW
        }
        (_, "DeleteOptions") => DELETE_OPTIONS,
        ("autoscaling/v1", "Scale") => SCALE,
        _ => return None,
    })
}

/// Reads a body.
pub fn parse(body: &[u8]) -> Result<Value> {
    let envelope = decode(body.strip_prefix(MAGIC).ok_or(ProtobufError::Prefix)?, ENVELOPE, 0)?;
    let text = |pointer: &str| envelope.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_string();
    let (api_version, kind) = (text("/typeMeta/apiVersion"), text("/typeMeta/kind"));
    let fields = message(&api_version, &kind).ok_or(ProtobufError::Kind)?;
    let raw = base64::engine::general_purpose::STANDARD.decode(text("/raw")).map_err(|_| ProtobufError::Wire)?;
    let mut object = decode(&raw, fields, 0)?;
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    Ok(object)
}

const ITEMS: &[Field] = &[many(1, "items", Text)];

const ENVELOPE: &[Field] =
    &[one(1, "typeMeta", Message(&[one(1, "apiVersion", Text), one(2, "kind", Text)])), one(2, "raw", Bytes)];

/// A value on the wire.
enum Wire<'a> {
    Varint(u64),
    Slice(&'a [u8]),
}

fn varint(input: &mut &[u8]) -> Result<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first().ok_or(ProtobufError::Wire)?;
        *input = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).ok_or(ProtobufError::Wire)?;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(ProtobufError::Wire)
}

fn take<'a>(input: &mut &'a [u8], length: u64) -> Result<&'a [u8]> {
    let length = usize::try_from(length).map_err(|_| ProtobufError::Wire)?;
    let (taken, rest) = input.split_at_checked(length).ok_or(ProtobufError::Wire)?;
    *input = rest;
    Ok(taken)
}

fn next<'a>(input: &mut &'a [u8]) -> Result<(u64, Wire<'a>)> {
    let tag = varint(input)?;
    let wire = match tag & 7 {
        0 => Wire::Varint(varint(input)?),
        1 => Wire::Slice(take(input, 8)?),
        2 => {
            let length = varint(input)?;
            Wire::Slice(take(input, length)?)
        }
        5 => Wire::Slice(take(input, 4)?),
        _ => return Err(ProtobufError::Wire),
    };
    Ok((tag >> 3, wire))
}

fn decode(mut input: &[u8], fields: &[Field], depth: u32) -> Result<Value> {
    if depth > DEPTH {
        return Err(ProtobufError::Wire);
    }
    let mut object = Map::new();
    while !input.is_empty() {
        let (number, wire) = next(&mut input)?;
        let Some(field) = fields.iter().find(|f| f.number == number) else { continue };
        let slot = object.entry(field.name);
        match field.kind {
            TextMap | BytesMap | ListMap => {
                let Wire::Slice(entry) = wire else { return Err(ProtobufError::Wire) };
                let (key, value) = map_entry(entry, field.kind, depth)?;
                if let Value::Object(map) = slot.or_insert_with(|| json!({})) {
                    map.insert(key, value);
                }
            }
            kind if field.repeated => {
                let value = scalar(&wire, kind, depth)?;
                if let Value::Array(items) = slot.or_insert_with(|| json!([])) {
                    items.push(value);
                }
            }
            kind => {
                let value = scalar(&wire, kind, depth)?;
                // Go writes empty texts of fields that are not set.
                let unset = value.is_null() || matches!(kind, Text) && value == "";
                if !unset {
                    object.insert(field.name.into(), value);
                }
            }
        }
    }
    Ok(Value::Object(object))
}

fn map_entry(mut entry: &[u8], kind: Type, depth: u32) -> Result<(String, Value)> {
    let (mut key, mut value) = (String::new(), None);
    while !entry.is_empty() {
        match next(&mut entry)? {
            (1, Wire::Slice(text)) => key = String::from_utf8(text.to_vec()).map_err(|_| ProtobufError::Wire)?,
            (2, wire) => {
                value = Some(match kind {
                    BytesMap => scalar(&wire, Bytes, depth)?,
                    ListMap => scalar(&wire, Message(ITEMS), depth)?["items"].clone(),
                    _ => scalar(&wire, Text, depth)?,
                });
            }
            _ => {}
        }
    }
    Ok((key, value.unwrap_or_else(|| "".into())))
}

fn scalar(wire: &Wire<'_>, kind: Type, depth: u32) -> Result<Value> {
    Ok(match (kind, wire) {
        #[expect(clippy::cast_possible_wrap, reason = "negative integers are written as their two's complement")]
        (Int, Wire::Varint(n)) => (*n as i64).into(),
        (Bool, Wire::Varint(n)) => (*n != 0).into(),
        (Text, Wire::Slice(text)) => std::str::from_utf8(text).map_err(|_| ProtobufError::Wire)?.into(),
        (Bytes, Wire::Slice(bytes)) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
        (Raw, Wire::Slice(bytes)) => {
            let inner = decode(bytes, &[one(1, "Raw", Bytes)], depth + 1)?;
            let text = inner["Raw"].as_str().unwrap_or_default();
            let raw = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
            serde_json::from_slice(&raw).map_err(|_| ProtobufError::Wire)?
        }
        (Time, Wire::Slice(bytes)) => {
            let inner = decode(bytes, &[one(1, "s", Int), one(2, "n", Int)], depth + 1)?;
            let nanos = i32::try_from(inner["n"].as_i64().unwrap_or(0)).map_err(|_| ProtobufError::Wire)?;
            match (inner["s"].as_i64(), nanos) {
                (None | Some(0), 0) => Value::Null,
                // The zero time of Go.
                (Some(-62_135_596_800), 0) => Value::Null,
                (seconds, nanos) => {
                    let time = jiff::Timestamp::new(seconds.unwrap_or(0), nanos).map_err(|_| ProtobufError::Wire)?;
                    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string().into()
                }
            }
        }
        (Message(fields), Wire::Slice(bytes)) => decode(bytes, fields, depth + 1)?,
        _ => return Err(ProtobufError::Wire),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend_from_slice(bytes);
        out
    }

    fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
    }

    #[test]
    fn a_secret() {
        let entry = [field(1, b"k"), field(2, b"value")].concat();
        let raw = [field(1, &field(1, b"s")), field(2, &entry), field(3, b"Opaque")].concat();
        let secret = parse(&body("v1", "Secret", &raw)).unwrap();
        assert_eq!(
            secret,
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "dmFsdWU="}, "type": "Opaque"})
        );
    }

    #[test]
    fn broken_bodies_are_refused() {
        let good = body("v1", "ConfigMap", &field(1, &field(1, b"c")));
        assert!(parse(&good).is_ok());
        assert_eq!(parse(b"{}"), Err(ProtobufError::Prefix));
        assert_eq!(parse(&body("v1", "Pod", b"")), Err(ProtobufError::Kind));
        for cut in MAGIC.len() + 1..good.len() {
            let _ = parse(&good[..cut]);
        }
        assert_eq!(parse(&[MAGIC, &[0xff; 20]].concat()), Err(ProtobufError::Wire));
        assert_eq!(parse(&[MAGIC, &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat()), Err(ProtobufError::Wire));
    }
}
