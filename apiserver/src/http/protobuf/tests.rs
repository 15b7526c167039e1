//! Bodies as Go clients write them, and bodies that nobody should write.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::http::json;

/// A line each: what Kubernetes' own code writes for an object, and what it reads in that (`apiserver/tests/recorder`).
const RECORDED: &str = include_str!("testdata/bodies.jsonl");

const DEFINITION: (&str, &str) = ("apiextensions.k8s.io/v1", "CustomResourceDefinition");
/// Tags of JSONSchemaProps.
const DEFAULT: u64 = 8;
const MAXIMUM: u64 = 9;
const ENUM: u64 = 20;
const ITEMS: u64 = 24;
const NOT: u64 = 28;
const PROPERTIES: u64 = 29;
const ADDITIONAL: u64 = 30;
const NULLABLE: u64 = 37;

fn recorded() -> Vec<(Vec<u8>, Value)> {
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if line["read"]["apiVersion"].as_str().unwrap().starts_with("auth")
            && let Some(review) = line["read"].as_object_mut()
        {
            // The answer is the server's; what a client sends for it is not looked at.
            review.remove("status");
        }
        (STANDARD.decode(line["body"].as_str().unwrap()).unwrap(), line["read"].take())
    };
    RECORDED.lines().map(line).collect()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    out
}

fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn integer(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn double(number: u64, value: f64) -> Vec<u8> {
    [varint(number << 3 | 1), value.to_le_bytes().to_vec()].concat()
}

fn body((api_version, kind): (&str, &str), raw: &[u8]) -> Vec<u8> {
    let types = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &types), field(2, raw)].concat()
}

/// A definition with one version of this schema.
fn of_schema(schema: &[u8]) -> Vec<u8> {
    body(DEFINITION, &field(2, &field(7, &field(4, &field(1, schema)))))
}

/// The schema that is read in these bytes.
fn schema(bytes: &[u8]) -> Result<Value> {
    parse(&of_schema(bytes)).map(|mut d| d["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take())
}

#[test]
fn what_kubernetes_writes_is_read_as_kubernetes_reads_it() {
    let recorded = recorded();
    assert!(recorded.len() > 10);
    for (body, read) in recorded {
        let kind = read["kind"].as_str().unwrap();
        assert_eq!(
            parse(&body).unwrap_or_else(|e| panic!("{kind}: {e}")),
            json::parse(read.to_string().as_bytes()).unwrap().value
        );
    }
}

#[test]
fn every_number_of_a_table_is_there_once() {
    fn check(fields: &'static [Field], seen: &mut Vec<*const Field>) {
        if seen.contains(&fields.as_ptr()) {
            return;
        }
        seen.push(fields.as_ptr());
        for (i, field) in fields.iter().enumerate() {
            let twice = fields[..i].iter().any(|f| f.number == field.number || f.name == field.name);
            assert!(!twice, "{} {}", field.number, field.name);
            let mut kind = field.kind;
            if let Type::Map(of) = kind {
                kind = *of;
            }
            if let Type::Message(fields) | Type::First(fields, _) = kind {
                check(fields, seen);
            }
        }
    }
    for (_, read) in recorded() {
        let text = |key: &str| read[key].as_str().unwrap();
        check(message(text("apiVersion"), text("kind")).unwrap(), &mut Vec::new());
    }
}

#[test]
fn a_schema_or_something_else() {
    let string = field(5, b"string");
    assert_eq!(schema(&field(ADDITIONAL, &[])), Ok(json!({"additionalProperties": false})), "a bool that was left out");
    assert_eq!(schema(&field(ADDITIONAL, &integer(1, 1))), Ok(json!({"additionalProperties": true})));
    let both = [integer(1, 0), field(2, &string)].concat();
    assert_eq!(schema(&field(ADDITIONAL, &both)), Ok(json!({"additionalProperties": {"type": "string"}})));
    assert_eq!(schema(&field(ITEMS, &[])), Ok(json!({})));
    let both = [field(1, &[]), field(2, &string)].concat();
    assert_eq!(schema(&field(ITEMS, &both)), Ok(json!({"items": [{"type": "string"}]})));
    assert_eq!(schema(&field(PROPERTIES, &field(1, b"a"))), Ok(json!({"properties": {"a": {}}})), "a value left out");
}

#[test]
fn the_last_of_a_field_counts() {
    assert_eq!(schema(&[field(5, b"object"), field(5, b"string")].concat()), Ok(json!({"type": "string"})));
    assert_eq!(schema(&[integer(NULLABLE, 1), integer(NULLABLE, 0)].concat()), Ok(json!({})));
    assert_eq!(schema(&field(99, b"a field of tomorrow")), Ok(json!({})));
}

#[test]
fn json_in_a_field() {
    let json = |raw: &[u8]| field(1, raw);
    assert_eq!(schema(&field(DEFAULT, &json(b" {\"a\": 4.0} "))), Ok(json!({"default": {"a": 4}})));
    assert_eq!(schema(&field(DEFAULT, &[])), Ok(json!({})), "as null in JSON");
    assert_eq!(schema(&field(ENUM, &[])), Ok(json!({"enum": [null]})));
    for bad in [&b"{"[..], b"nul", b"1 2", b"\xff", b"1e400"] {
        assert_eq!(schema(&field(DEFAULT, &json(bad))), Err(ProtobufError::Json));
    }
}

#[test]
fn numbers_that_json_does_not_have() {
    assert_eq!(schema(&double(MAXIMUM, 5.0)).unwrap().to_string(), r#"{"maximum":5}"#);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(schema(&double(MAXIMUM, bad)), Err(ProtobufError::Wire));
    }
    let deleted_at = |seconds: u64| body(("v1", "ConfigMap"), &field(1, &field(9, &integer(1, seconds))));
    assert_eq!(parse(&deleted_at(u64::MAX / 2)), Err(ProtobufError::Wire));
}

/// Schemas in each other; `levels` of objects, the five around the outermost included.
fn nested(levels: usize) -> Vec<u8> {
    let mut schema = field(5, b"object");
    for _ in 0..levels - 6 {
        schema = field(NOT, &schema);
    }
    of_schema(&schema)
}

#[test]
fn as_deep_as_json_and_no_deeper() {
    let deepest = parse(&nested(LEVELS)).unwrap();
    assert!(json::parse(deepest.to_string().as_bytes()).is_ok(), "what is stored can be read again");
    for levels in [LEVELS + 1, LEVELS + 2, 20_000] {
        assert_eq!(parse(&nested(levels)), Err(ProtobufError::Deep));
    }
    // Maps and lists count, and so does what JSON in a field holds.
    let mut maps = Vec::new();
    for _ in 0..LEVELS / 2 {
        maps = field(PROPERTIES, &[field(1, b"a"), field(2, &maps)].concat());
    }
    assert_eq!(schema(&maps), Err(ProtobufError::Deep));
    let lists = |levels: usize| field(1, format!("{}{}", "[".repeat(levels), "]".repeat(levels)).as_bytes());
    let levels = LEVELS - 6;
    let read = schema(&field(DEFAULT, &lists(levels))).unwrap();
    assert!(read["default"].is_array());
    assert_eq!(schema(&field(DEFAULT, &lists(levels + 1))), Err(ProtobufError::Deep));
    assert_eq!(schema(&field(DEFAULT, &lists(100_000))), Err(ProtobufError::Json));
}

#[test]
fn bodies_that_make_no_sense() {
    let config_map = |raw: &[u8]| parse(&body(("v1", "ConfigMap"), raw));
    assert!(config_map(&field(1, &field(1, b"c"))).is_ok());
    assert_eq!(parse(b"{}"), Err(ProtobufError::Prefix));
    assert_eq!(parse(MAGIC), Err(ProtobufError::Kind));
    assert_eq!(parse(&body(("v1", "Pod"), b"")), Err(ProtobufError::Kind));
    for raw in [
        integer(1, 1),                      // no message
        field(4, b"true"),                  // no bool
        field(1, &field(1, b"\xff")),       // no UTF-8
        field(0, b""),                      // no number of a field
        vec![0x0b, 0x0c],                   // a group
        vec![0x0a, 0xff, 0xff, 0xff, 0x0f], // longer than the body
        vec![0xff; 20],                     // an endless number
        vec![1 << 3 | 5, 0, 0, 0, 0],       // four bytes
    ] {
        assert_eq!(config_map(&raw), Err(ProtobufError::Wire), "{raw:?}");
    }
}

#[test]
fn a_body_that_was_cut() {
    for (body, _) in recorded() {
        for cut in 0..body.len() {
            let _ = parse(&body[..cut]);
        }
    }
}

proptest! {
    /// Any byte may be any other: an object or an error, and an object's JSON can be read again.
    #[test]
    fn bytes_that_were_changed(which in any::<prop::sample::Index>(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let recorded = recorded();
        let (mut body, _) = which.get(&recorded).clone();
        for (at, byte) in changes {
            *at.get_mut(&mut body) = byte;
        }
        if let Ok(object) = parse(&body) {
            prop_assert!(json::parse(object.to_string().as_bytes()).is_ok());
        }
    }
}
