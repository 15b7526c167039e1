//! Headers that are sound, and each way in which one is not.

use super::*;
use proptest::prelude::*;

fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn read(header: &str, data: usize) -> Result<Header, SafetensorsError> {
    let bytes = file(header, data);
    Header::read(&bytes[..], bytes.len() as u64)
}

const SOUND: &str = r#"{"__metadata__":{"format":"pt"},
    "b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},
    "a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},
    "none":{"dtype":"F32","shape":[0,7],"data_offsets":[16,16]}}   "#;

#[test]
fn a_sound_header_is_read_with_its_tensors_in_the_order_of_their_data() {
    let header = read(SOUND, 16).expect("a sound header");
    let names: Vec<&str> = header.tensors().iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "none"]);
    let b = header.tensor("b").expect("it is there");
    assert_eq!((b.element_type, &b.shape[..], b.offset, b.bytes), (ElementType::BF16, &[2, 3][..], 4, 12));
    assert_eq!(header.data_offset(), 8 + SOUND.len() as u64);
}

#[test]
fn a_length_beyond_the_file_or_the_limit_is_refused_before_it_is_reserved() {
    let mut bytes = u64::MAX.to_le_bytes().to_vec();
    bytes.extend(b"{}");
    assert!(matches!(Header::read(&bytes[..], 10), Err(SafetensorsError::TooMany { .. })));
    bytes[..8].copy_from_slice(&3u64.to_le_bytes());
    assert!(matches!(Header::read(&bytes[..], 10), Err(SafetensorsError::HeaderLength { length: 3, file_bytes: 10 })));
    // A file that says it is large, and a reader that ends.
    bytes[..8].copy_from_slice(&8_000_000u64.to_le_bytes());
    assert_eq!(Header::read(&bytes[..], 1 << 40), Err(SafetensorsError::Truncated { at: 10 }));
    assert_eq!(Header::read(&bytes[..8], 1 << 40), Err(SafetensorsError::Truncated { at: 8 }));
    bytes[8..].copy_from_slice(b"{\"");
    assert_eq!(Header::read(&bytes[..], 1 << 40), Err(SafetensorsError::Truncated { at: 10 }));
    assert_eq!(Header::read(&bytes[..3], 3), Err(SafetensorsError::Truncated { at: 3 }));
}

#[test]
fn holes_overlaps_and_wrong_lengths_are_refused() {
    let two = |a: [u64; 2], b: [u64; 2], data: usize| {
        let entry = |o: [u64; 2]| format!(r#"{{"dtype":"U8","shape":[4],"data_offsets":[{},{}]}}"#, o[0], o[1]);
        read(&format!(r#"{{"a":{},"b":{}}}"#, entry(a), entry(b)), data).map(|_| ())
    };
    assert_eq!(two([0, 4], [4, 8], 8), Ok(()));
    assert_eq!(two([0, 4], [5, 9], 9), Err(SafetensorsError::Hole { start: 4, end: 5 }));
    assert_eq!(two([1, 5], [5, 9], 9), Err(SafetensorsError::Hole { start: 0, end: 1 }));
    assert_eq!(two([0, 4], [4, 8], 9), Err(SafetensorsError::Hole { start: 8, end: 9 }));
    assert!(matches!(two([0, 4], [3, 7], 7), Err(SafetensorsError::Overlap { .. })));
    assert!(matches!(two([0, 4], [0, 4], 4), Err(SafetensorsError::Overlap { .. })));
    assert!(matches!(two([0, 4], [4, 8], 7), Err(SafetensorsError::OutsideFile { end: 8, data_bytes: 7, .. })));
    assert!(matches!(two([0, 4], [4, 9], 9), Err(SafetensorsError::Length { .. })));
    assert!(matches!(two([0, 4], [8, 4], 8), Err(SafetensorsError::Length { .. })));
    let far = u64::MAX - 4;
    assert!(matches!(two([0, 4], [far, u64::MAX], 8), Err(SafetensorsError::OutsideFile { .. })));
}

#[test]
fn what_is_not_as_the_format_says_is_refused() {
    let refused = |header: &str, part: &str| {
        let text = read(header, 4).expect_err(header).to_string();
        assert!(text.contains(part), "{header}: {text}");
    };
    let entry = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    refused(&format!(r#"{{"a":{entry},"a":{entry}}}"#), "\"a\" is there twice");
    refused(&format!(r#"{{"__metadata__":{{"x":"1","x":"2"}},"a":{entry}}}"#), "\"x\" is there twice");
    refused(&format!(r#"{{"__metadata__":{{}},"__metadata__":{{}},"a":{entry}}}"#), "__metadata__ is there twice");
    refused(r#"{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, "duplicate field");
    refused(r#"{"a":{"dtype":"Q4","shape":[1],"data_offsets":[0,4]}}"#, "\"Q4\"");
    refused(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, "sound JSON");
    refused(r#"{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}"#, "dimensions");
    refused(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#, "counted");
    refused(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"extra":1}}"#, "extra");
    refused(&format!(r#" {{"a":{entry}}}"#), "does not begin with {");
    refused(&format!(r#"{{"a":{entry}}} x"#), "sound JSON");
    refused(&format!(r#"{{"":{entry}}}"#), "a name has 0 bytes");
    refused(&format!(r#"{{"{}":{entry}}}"#, "n".repeat(257)), "a name has 257 bytes; 1 to 256 are possible");
    refused(&format!(r#"{{"__metadata__":{{"x":1}},"a":{entry}}}"#), "a string");
    refused(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"\u001b[31m":1}}"#, "\\u{1b}[31m");
    refused(
        &format!(r#"{{"a":{{"dtype":"\n{}","shape":[1],"data_offsets":[0,4]}}}}"#, "x".repeat(999)),
        "(1000 bytes)",
    );
}

#[test]
fn an_index_names_only_plain_files_and_agrees_with_them() {
    let index = |map: &str| Index::read(format!(r#"{{"metadata":{{"total_size":4}},"weight_map":{map}}}"#).as_bytes());
    for name in [
        "\u{1b}[31m.safetensors",
        "../x.safetensors",
        "/x.safetensors",
        "a\\b.safetensors",
        ".x.safetensors",
        "x.bin",
        "",
    ] {
        let map = serde_json::json!({ "a": name }).to_string();
        assert!(index(&map).unwrap_err().to_string().starts_with("safetensors index"), "{name}");
    }
    assert!(matches!(index(r#"{"a":"x.safetensors","a":"x.safetensors"}"#), Err(SafetensorsError::IndexJson(_))));
    let header = read(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 4).expect("a sound header");
    let sound = index(r#"{"a":"x.safetensors"}"#).expect("a sound index");
    assert_eq!(sound.files(), ["x.safetensors"]);
    let check = |index: Index, file: &str| index.check(file, &header).and_then(|()| index.check_all(&[&header]));
    assert_eq!(check(sound.clone(), "x.safetensors"), Ok(()));
    let said = |index: Index, file: &str| check(index, file).unwrap_err().to_string();
    assert!(said(sound, "y.safetensors").contains("it is in y.safetensors, not in x.safetensors"));
    let more = index(r#"{"a":"x.safetensors","b":"x.safetensors"}"#).expect("a sound index");
    assert!(said(more, "x.safetensors").contains("\"b\""));
    let other = index(r#"{"b":"x.safetensors"}"#).expect("a sound index");
    assert!(said(other, "x.safetensors").contains("not in the index"));
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(at in 0usize..400, byte in any::<u8>(), cut in 0usize..400) {
        let mut bytes = file(SOUND, 16);
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(length.min(8 + cut));
        let _ = Header::read(&bytes[..], bytes.len() as u64);
        let _ = Index::read(&bytes[8.min(bytes.len())..]);
    }
}
