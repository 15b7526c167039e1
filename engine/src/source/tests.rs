//! Sources from files that are sound, odd and broken.

use super::*;
use rbee_model::gguf::{Header, Value};
use rbee_model::testing::{GgufFile, ModelSpec};

fn source(file: GgufFile) -> Result<Source, LoadError> {
    let bytes = file.bytes();
    let header = Header::from_bytes(&bytes).expect("a sound header");
    Source::gguf(&header, &Bytes::from(bytes))
}

#[test]
fn taking_every_tensor_leaves_nothing_and_counts_all_bytes() {
    let mut source = source(ModelSpec::default().file()).unwrap();
    assert_eq!(source.architecture(), "llama");
    assert_eq!(source.shape("blk.0.ffn_gate.weight"), Some(&[32, 16][..]));
    let shapes: Vec<(String, Vec<usize>)> = source.tensors.iter().map(|(n, t)| (n.clone(), t.shape.clone())).collect();
    for (name, shape) in shapes {
        source.take(&name, &shape).unwrap();
    }
    assert_eq!(source.bytes_taken(), source.bytes_total());
    assert!(source.finish().is_ok());
}

#[test]
fn what_is_missing_left_over_or_of_another_shape_is_named() {
    let mut llama = source(ModelSpec::default().file()).unwrap();
    assert!(matches!(llama.take("nothing", &[1]), Err(LoadError::MissingTensor(name)) if name == "nothing"));
    let text = llama.take("output_norm.weight", &[17]).unwrap_err().to_string();
    assert!(text.contains("output_norm.weight") && text.contains("[16]") && text.contains("[17]"), "{text}");
    assert!(matches!(llama.finish(), Err(LoadError::UnknownTensor(_))));
}

#[test]
fn vectors_are_floats_of_any_width_and_finite() {
    let halves = [1.5f32, -2.0].iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
    let nan = [1.0f32, f32::NAN].iter().flat_map(|v| v.to_le_bytes()).collect();
    let file = GgufFile::new()
        .with("general.architecture", Value::String("other".into()))
        .tensor("half", DType::F16, &[2], halves)
        .tensor("nan", DType::F32, &[2], nan)
        .tensor("blocks", DType::Q8_0, &[32], vec![0; 34]);
    let mut source = source(file).unwrap();
    assert_eq!(source.take_vector("half", 2).unwrap(), [1.5, -2.0]);
    assert!(matches!(source.take_vector("nan", 2), Err(LoadError::NotFinite(_))));
    assert!(matches!(source.take_vector("blocks", 32), Err(LoadError::DType { .. })));
    assert!(matches!(source.take_optional_vector("blocks", 32), Ok(None)));
}

#[test]
fn a_file_that_was_cut_after_its_header_was_read_is_an_error() {
    let bytes = ModelSpec::default().file().bytes();
    let header = Header::from_bytes(&bytes).unwrap();
    let cut = Bytes::from(bytes).slice(..header.data_offset() as usize + 100);
    assert!(matches!(Source::gguf(&header, &cut), Err(LoadError::Read { .. })));
}

#[test]
fn settings_are_found_without_the_architecture_and_refused_with_it() {
    let file = ModelSpec::default().file().with("llama.odd", Value::F32(f32::NAN));
    let source = source(file).unwrap();
    let settings = source.settings();
    assert_eq!(settings.size("attention.head_count").unwrap(), 4);
    assert_eq!(settings.number("nothing").unwrap(), None);
    assert!(settings.float("odd").unwrap_err().to_string().contains("\"llama.odd\" is NaN"));
    assert!(settings.size("nothing").unwrap_err().to_string().contains("llama.nothing"));
    assert_eq!(settings.get("tokenizer.ggml.eos_token_id"), Some(&Value::U32(256)));
}
