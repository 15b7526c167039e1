//! Sound headers are read; every kind of broken one is refused, without panic and without large allocations.

use proptest::prelude::*;

use super::*;
use crate::testing::{GgufFile, ModelSpec};

mod kept;

fn llama() -> GgufFile {
    ModelSpec::default().file()
}

fn refused(file: &GgufFile) -> GgufError {
    refused_bytes(&file.bytes())
}

fn refused_bytes(bytes: &[u8]) -> GgufError {
    let error = Header::from_bytes(bytes).map(drop).expect_err("the file must be refused");
    assert!(error.to_string().contains("GGUF"), "{error}");
    error
}

/// A header of that many tensors and keys, then `rest`.
fn counted(tensors: u64, keys: u64, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(keys.to_le_bytes());
    bytes.extend(rest);
    bytes
}

#[test]
fn tinybee_is_summarized() {
    let tinybee = crate::builtin::get("tinybee").unwrap();
    let header = Header::from_bytes(tinybee.bytes).expect("tinybee is sound");
    let summary = header.summary();
    let stated = (summary.architecture.as_str(), summary.quantization.as_str(), summary.context_length);
    assert_eq!(stated, ("llama", "Q8_0", 256));
    assert_eq!((summary.layer_count, summary.embedding_length, summary.head_count), (4, 256, 8));
    assert_eq!((summary.head_count_kv, summary.feed_forward_length, summary.vocab_size), (4, 512, 1280));
    assert_eq!((summary.key_length, summary.value_length), (32, 32));
    assert!((2_600_000..2_800_000).contains(&summary.parameter_count), "{summary:?}");
    assert_eq!(summary.file_bytes, tinybee.bytes.len() as u64);
    assert_eq!(header.strings("tokenizer.ggml.tokens").unwrap().get(0), Some("<|endoftext|>"));
    assert!(crate::format::check(&header).is_ok());
    let json = serde_json::to_value(&summary).unwrap();
    assert_eq!((json["contextLength"].as_u64(), json["layerCount"].as_u64()), (Some(256), Some(4)));
}

#[test]
fn a_header_is_enough_where_the_rest_of_a_large_file_is_elsewhere() {
    let tinybee = crate::builtin::get("tinybee").unwrap().bytes;
    let whole = Header::from_bytes(tinybee).unwrap();
    let prefix = &tinybee[..whole.data_offset() as usize];
    assert_eq!(Header::read(prefix, tinybee.len() as u64).unwrap(), whole);
    let short = Header::read(&prefix[..1000], tinybee.len() as u64).unwrap_err();
    assert!(matches!(short, GgufError::Truncated { at, .. } if at < 1001), "{short}");
}

#[test]
fn every_cut_of_a_small_file_is_refused() {
    let bytes = llama().bytes();
    assert!(Header::from_bytes(&bytes).is_ok());
    for length in 0..bytes.len() {
        refused_bytes(&bytes[..length]);
    }
}

#[test]
fn every_cut_of_the_header_of_tinybee_is_refused() {
    let bytes = crate::builtin::get("tinybee").unwrap().bytes;
    let data = Header::from_bytes(bytes).unwrap().data_offset() as usize;
    for length in (0..=data).chain((data..bytes.len()).step_by(9973)) {
        refused_bytes(&bytes[..length]);
    }
}

#[test]
fn files_of_other_kinds_and_versions() {
    assert!(matches!(refused_bytes(b"not a model at all\n"), GgufError::Magic(_)));
    assert!(matches!(refused_bytes(b""), GgufError::Truncated { at: 0, .. }));
    assert!(matches!(refused(&llama().version(0)), GgufError::Version(0)));
    assert!(matches!(refused(&llama().version(1)), GgufError::Version(1)));
    assert!(matches!(refused(&llama().version(99)), GgufError::Version(99)));
    assert!(matches!(refused(&llama().version(3u32.swap_bytes())), GgufError::BigEndian));
    assert!(Header::from_bytes(&llama().version(2).bytes()).is_ok());
}

#[test]
fn counts_that_no_file_can_hold() {
    for count in [u64::MAX, 1 << 30, 1 << 62, 1 << 17] {
        assert!(matches!(refused_bytes(&counted(count, 0, &[0; 33])), GgufError::TooMany { .. }), "{count}");
        assert!(matches!(refused_bytes(&counted(0, count, &[0; 33])), GgufError::TooMany { .. }), "{count}");
    }
    assert!(matches!(refused_bytes(&counted(1000, 0, &[0; 33])), GgufError::DoesNotFit { .. }));
    assert!(matches!(refused_bytes(&counted(0, 1000, &[0; 33])), GgufError::DoesNotFit { .. }));
}

/// One key "k" of that type, then the bytes of its value.
fn one_value(value_type: ValueType, rest: &[&[u8]]) -> Vec<u8> {
    let mut bytes = 1u64.to_le_bytes().to_vec();
    bytes.push(b'k');
    bytes.extend(value_type.code().to_le_bytes());
    rest.iter().for_each(|part| bytes.extend(*part));
    bytes.resize(bytes.len() + 64, 0);
    counted(0, 1, &bytes)
}

#[test]
fn strings_and_arrays_that_promise_too_much() {
    let length = |n: u64| n.to_le_bytes();
    assert!(matches!(refused_bytes(&one_value(ValueType::String, &[&length(1 << 62)])), GgufError::TooMany { .. }));
    assert!(matches!(refused_bytes(&one_value(ValueType::String, &[&length(1 << 20)])), GgufError::DoesNotFit { .. }));
    let array = |element: ValueType, n: u64| one_value(ValueType::Array, &[&element.code().to_le_bytes(), &length(n)]);
    assert!(matches!(refused_bytes(&array(ValueType::U32, 1 << 40)), GgufError::TooMany { .. }));
    assert!(matches!(refused_bytes(&array(ValueType::U8, 1 << 29)), GgufError::TooMany { .. }));
    assert!(matches!(refused_bytes(&array(ValueType::String, 1 << 20)), GgufError::DoesNotFit { .. }));
    assert!(matches!(refused_bytes(&array(ValueType::Array, 1 << 20)), GgufError::DoesNotFit { .. }));
    let deep = [&ValueType::Array.code().to_le_bytes()[..], &length(1)].concat().repeat(10_000);
    assert!(matches!(refused_bytes(&one_value(ValueType::Array, &[&deep])), GgufError::Nesting(_)));
    let unknown = [&99u32.to_le_bytes()[..], &length(1)].concat();
    assert!(matches!(refused_bytes(&one_value(ValueType::Array, &[&unknown])), GgufError::ValueType { code: 99, .. }));
    assert!(matches!(refused_bytes(&one_value(ValueType::Bool, &[&[7]])), GgufError::Bool { value: 7, .. }));
    assert!(matches!(
        refused_bytes(&one_value(ValueType::String, &[&length(2), &[0xc3, 0x28]])),
        GgufError::Utf8 { .. }
    ));
    let key = [&length(2)[..], &[0xff, 0xfe], &[0; 64]].concat();
    assert!(matches!(refused_bytes(&counted(0, 1, &key)), GgufError::Utf8 { .. }));
    assert!(matches!(refused_bytes(&counted(0, 1, &[0; 64])), GgufError::EmptyKey(24)));
    let twice = llama().with_again("general.architecture", Value::String("llama".into()));
    assert!(matches!(refused(&twice), GgufError::DuplicateKey(_)));
}

#[test]
fn alignments_that_are_none() {
    for value in [0, 3, 4, 48, 1 << 31] {
        let error = refused(&llama().with("general.alignment", Value::U32(value)));
        assert!(matches!(error, GgufError::OutOfRange { .. }), "{value}: {error}");
    }
    for value in [Value::I32(-32), Value::String("32".into()), Value::U64(32)] {
        assert!(matches!(refused(&llama().with("general.alignment", value)), GgufError::WrongType { .. }));
    }
}

#[test]
fn tensors_that_cannot_be() {
    let odd = |dims: &[u64], offset: Option<u64>| llama().raw_tensor("odd", 0, dims, offset, vec![0; 32]);
    assert!(matches!(refused(&odd(&[], None)), GgufError::Dimensions { dims: 0, .. }));
    assert!(matches!(refused(&odd(&[1; 5], None)), GgufError::Dimensions { dims: 5, .. }));
    assert!(matches!(refused(&odd(&[1 << 40, 1 << 40], None)), GgufError::Shape { .. }));
    assert!(matches!(refused(&odd(&[1 << 62], None)), GgufError::Shape { .. }));
    assert!(matches!(refused(&odd(&[8, 0], None)), GgufError::Shape { .. }));
    assert!(matches!(refused(&odd(&[8], Some(1 << 40))), GgufError::OutsideFile { .. }));
    assert!(matches!(refused(&odd(&[8], Some(u64::MAX - 31))), GgufError::OutsideFile { .. }));
    assert!(matches!(refused(&odd(&[8], Some(7))), GgufError::Misaligned { .. }));
    assert!(matches!(refused(&odd(&[8], Some(32))), GgufError::Overlap { .. }));
    assert!(matches!(
        refused(&llama().raw_tensor("odd", 4, &[32], None, vec![0; 32])),
        GgufError::DType { code: 4, .. }
    ));
    assert!(matches!(refused(&llama().raw_tensor("odd", 8, &[31], None, vec![0; 34])), GgufError::Shape { .. }));
    let twice = llama().tensor("output_norm.weight", DType::F32, &[16], vec![0; 64]);
    assert!(matches!(refused(&twice), GgufError::DuplicateTensor(_)));
    let long = llama().tensor(&"n".repeat(65), DType::F32, &[8], vec![0; 32]);
    assert!(matches!(refused(&long), GgufError::TooMany { .. }));
}

#[test]
fn metadata_that_contradicts_the_tensors_or_itself() {
    let u32s = [
        ("llama.attention.head_count", 0),
        ("llama.attention.head_count", 3),
        ("llama.attention.head_count", 8),
        ("llama.attention.head_count_kv", 0),
        ("llama.attention.head_count_kv", 3),
        ("llama.attention.head_count_kv", 4),
        ("llama.block_count", 0),
        ("llama.block_count", 1),
        ("llama.block_count", 3),
        ("llama.block_count", u32::MAX),
        ("llama.embedding_length", 0),
        ("llama.embedding_length", 32),
        ("llama.embedding_length", u32::MAX),
        ("llama.feed_forward_length", 16),
        ("llama.context_length", 0),
        ("llama.context_length", u32::MAX),
        ("llama.rope.dimension_count", 3),
        ("llama.rope.dimension_count", 64),
        ("llama.attention.key_length", 8),
        ("llama.vocab_size", 256),
        ("tokenizer.ggml.eos_token_id", 257),
        ("tokenizer.ggml.bos_token_id", 1 << 31),
    ];
    for (key, value) in u32s {
        let error = refused(&llama().with(key, Value::U32(value)));
        assert!(is_contradiction(&error), "{key} {value}: {error}");
    }
    for (suffix, _) in crate::format::RANGES {
        for value in [-1.0, 1e-38, 1e38, f32::NAN, f32::INFINITY] {
            let key = format!("llama.{suffix}");
            let error = refused(&llama().with(&key, Value::F32(value)));
            assert!(matches!(error, GgufError::OutOfRange { .. }) && error.to_string().contains(&key), "{error}");
        }
    }
    for (key, value) in [("rope.freq_base", 1.0), ("rope.freq_base_swa", 1.0), ("rope.scaling.factor", 0.5)] {
        let file = llama().with(&format!("llama.{key}"), Value::F32(value));
        assert!(matches!(refused(&file), GgufError::OutOfRange { .. }), "{key}");
    }
    assert!(matches!(
        refused(&llama().with("llama.block_count", Value::String("2".into()))),
        GgufError::WrongType { .. }
    ));
    assert!(matches!(refused(&llama().with("llama.block_count", Value::I32(-2))), GgufError::OutOfRange { .. }));
    let tokens = Value::Array(Array::String(["a", "b"].into_iter().collect()));
    assert!(matches!(refused(&llama().with("tokenizer.ggml.tokens", tokens)), GgufError::Contradiction(_)));
    for key in ["general.architecture", "llama.block_count", "llama.context_length", "llama.attention.head_count"] {
        assert!(matches!(refused(&llama().without(key)), GgufError::MissingKey(_)), "{key}");
    }
    for tensor in ["token_embd.weight", "output_norm.weight", "blk.1.attn_output.weight"] {
        assert!(matches!(refused(&llama().without_tensor(tensor)), GgufError::MissingTensor(_)), "{tensor}");
    }
}

/// Whether a number in the metadata was found to be impossible, or not to fit the tensors.
fn is_contradiction(error: &GgufError) -> bool {
    use GgufError::*;
    matches!(error, OutOfRange { .. } | Contradiction(_) | ShapeMismatch { .. } | MissingTensor(_))
}

#[test]
fn an_architecture_without_a_name_is_told_as_that() {
    let named = |name: &str| refused(&llama().with("general.architecture", Value::String(name.into()))).to_string();
    let expected =
        |found: &str| format!("GGUF metadata general.architecture is {found}; it must be a string of 1 to 64 bytes");
    assert_eq!(named(""), expected("\"\""));
    assert_eq!(named(&"x".repeat(65)), expected("a string of 65 bytes"));
    let number = refused(&llama().with("general.architecture", Value::U8(1))).to_string();
    assert!(number.ends_with("is of type uint8; it must be a string"), "{number}");
}

#[test]
fn metadata_of_candle_transformers_models_that_contradicts_their_tensors() {
    for architecture in crate::format::FALLBACKS {
        let file = || ModelSpec::of(architecture).unwrap().file();
        let key = |suffix: &str| format!("{architecture}.{suffix}");
        assert!(Header::from_bytes(&file().bytes()).is_ok());
        for (suffix, value) in [
            ("vocab_size", 5),
            ("attention.head_count", 2),
            ("attention.head_count", 0),
            ("attention.value_length", 32),
            ("embedding_length", 128),
            ("feed_forward_length", 256),
            ("block_count", 2),
            ("block_count", 4),
            ("rope.dimension_count", 33),
        ] {
            let error = refused(&file().with(&key(suffix), Value::U32(value)));
            assert!(is_contradiction(&error), "{architecture} {suffix} {value}: {error}");
        }
        for tensor in ["token_embd.weight", "output_norm.weight", "blk.1.ffn_down.weight"] {
            assert!(matches!(refused(&file().without_tensor(tensor)), GgufError::MissingTensor(_)), "{tensor}");
        }
    }
    let without = ModelSpec::of("phi2").unwrap().file().without_tensor("blk.2.attn_output.bias");
    assert!(matches!(refused(&without), GgufError::MissingTensor(_)));
}

#[test]
fn quantization_falls_back_to_the_data_type_of_most_bytes() {
    let header = Header::from_bytes(&llama().without("general.file_type").bytes()).unwrap();
    assert_eq!(header.summary().quantization, "F32");
    let header = Header::from_bytes(&llama().with("general.file_type", Value::U32(15)).bytes()).unwrap();
    assert_eq!(header.summary().quantization, "Q4_K_M");
}

#[test]
fn other_architectures_are_read_without_a_claim_about_their_tensors() {
    let file = GgufFile::new()
        .with("general.architecture", Value::String("odd".into()))
        .with("odd.block_count", Value::U32(7))
        .with("odd.attention.head_count_kv", Value::Array(Array::I32(vec![1, 4, 2])));
    let summary = Header::from_bytes(&file.bytes()).unwrap().summary();
    assert_eq!((summary.layer_count, summary.head_count_kv), (7, 4));
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i16>().prop_map(Value::I16),
        any::<u64>().prop_map(Value::U64),
        (-1e30f32..1e30).prop_map(Value::F32),
        any::<bool>().prop_map(Value::Bool),
        ".{0,12}".prop_map(Value::String),
        prop::collection::vec(".{0,5}", 0..5).prop_map(|s| Value::Array(Array::String(s.into_iter().collect()))),
        prop::collection::vec(any::<i32>(), 0..5).prop_map(|v| Value::Array(Array::I32(v))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_was_written_is_read(values in prop::collection::btree_map("x\\.[a-z]{1,8}", any_value(), 0..8)) {
        let file = values.iter().fold(llama(), |file, (key, value)| file.with(key, value.clone()));
        let header = Header::from_bytes(&file.bytes()).unwrap();
        for (key, value) in &values {
            prop_assert_eq!(header.get(key), Some(value));
        }
        prop_assert_eq!(header.data_offset() as usize, file.data_offset());
    }

    #[test]
    fn flipped_bytes_never_panic(at in prop::collection::vec((0usize..8000, any::<u8>()), 1..6)) {
        let mut bytes = llama().bytes();
        for (position, byte) in at {
            let length = bytes.len();
            bytes[position % length] = byte;
        }
        if let Ok(header) = Header::from_bytes(&bytes) {
            header.summary();
            let _ = crate::format::check(&header);
        }
    }

    #[test]
    fn random_bytes_after_the_magic_never_panic(rest in prop::collection::vec(any::<u8>(), 0..300), version in 2u32..4) {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(rest);
        prop_assert!(Header::from_bytes(&bytes).is_err() || bytes.len() >= 24);
    }
}
