//! Architectures from headers that are sound and from headers that are not.

use super::*;
use crate::source::{RowOrder, Stored};
use crate::spec::{RopeScaling, RopeStyle};
use bytes::Bytes;
use rbee_model::gguf::{DType, Header};
use rbee_model::testing::{GgufFile, ModelSpec};

fn file(architecture: &str) -> GgufFile {
    ModelSpec::of(architecture).unwrap().file()
}

/// A source whose header need not be one that would pass the header's own checks.
fn source(architecture: &str, change: impl FnOnce(GgufFile) -> GgufFile) -> Source {
    let plain = file(architecture).bytes();
    let header = Header::from_bytes(&plain).unwrap();
    let changed = change(GgufFile::new().with("general.architecture", Value::String("plain".into()))).bytes();
    let changed = Header::from_bytes(&changed).unwrap();
    let mut values: std::collections::BTreeMap<String, Value> = header.metadata().clone();
    values.extend(changed.metadata().clone());
    let bare = |key: String| key.strip_prefix(&format!("{architecture}.")).map(str::to_owned).unwrap_or(key);
    let settings = Settings::new(architecture, values.into_iter().map(|(k, v)| (bare(k), v)));
    let tensors = header.tensors().iter().map(|t| {
        let shape = t.dims.iter().rev().map(|&d| d as usize).collect();
        (t.name.clone(), Stored { dtype: t.dtype, shape, bytes: Bytes::from(vec![0; t.bytes as usize]) })
    });
    Source::new(architecture, RowOrder::Gguf, settings, tensors)
}

fn read(architecture: &str, change: impl FnOnce(GgufFile) -> GgufFile) -> Result<Spec, LoadError> {
    spec(&mut source(architecture, change), 512).map(|found| found.expect("a known architecture"))
}

#[test]
fn gemma_3_has_five_windows_to_one_full_layer_and_two_bases() {
    let spec = read("gemma3", |f| f).unwrap();
    let windows: Vec<bool> = spec.layers.iter().map(|l| l.window == Some(32)).collect();
    assert_eq!(windows, [true, true, true, true, true, false, true]);
    assert_eq!((spec.layers[0].rope.base, spec.layers[5].rope.base), (10_000.0, 1e6));
    assert_eq!(spec.embedding_scale, 16.0);
    let scaled = read("gemma3", |f| {
        f.with("gemma3.rope.scaling.type", Value::String("linear".into()))
            .with("gemma3.rope.scaling.factor", Value::F32(8.0))
    });
    let scaled = scaled.unwrap();
    assert_eq!(scaled.layers[0].rope.scaling, RopeScaling::None);
    assert_eq!(scaled.layers[5].rope.scaling, RopeScaling::Linear { factor: 8.0 });
}

#[test]
fn gemma_2_caps_and_alternates_and_its_largest_scales_by_its_width() {
    let spec = read("gemma2", |f| f).unwrap();
    assert_eq!(spec.layers.iter().map(|l| l.window).collect::<Vec<_>>(), [Some(32), None, Some(32), None]);
    assert_eq!((spec.attention_softcap, spec.final_softcap), (Some(50.0), Some(30.0)));
    assert_eq!(spec.attention_scale, 1.0 / 128f32.sqrt());
    let large = read("gemma2", |f| f.with("gemma2.block_count", Value::U32(46))).unwrap();
    assert_eq!(large.attention_scale, 1.0 / 64f32.sqrt());
}

#[test]
fn a_list_of_windows_is_taken_as_it_is() {
    let list = |n: usize| Value::Array(Array::Bool((0..n).map(|i| i == 1).collect()));
    let spec = read("gemma2", |f| f.with("gemma2.attention.sliding_window_pattern", list(4))).unwrap();
    assert_eq!(spec.layers.iter().map(|l| l.window.is_some()).collect::<Vec<_>>(), [false, true, false, false]);
    assert!(read("gemma2", |f| f.with("gemma2.attention.sliding_window_pattern", list(3))).is_err());
}

#[test]
fn llama_turns_neighbours_in_gguf_and_halves_in_checkpoints() {
    assert_eq!(read("llama", |f| f).unwrap().rope_style, RopeStyle::Interleaved);
    let gguf = source("llama", |f| f);
    let shape = gguf.shape("token_embd.weight").unwrap().to_vec();
    let embedding = Stored { dtype: DType::F32, shape, bytes: Bytes::new() };
    let tensors = [("token_embd.weight".to_owned(), embedding)];
    let mut checkpoint = Source::new("llama", RowOrder::HuggingFace, gguf.settings().clone(), tensors);
    assert_eq!(spec(&mut checkpoint, 512).unwrap().unwrap().rope_style, RopeStyle::Halves);
}

#[test]
fn yarn_magnifies_by_its_factor() {
    let spec = read("qwen2", |f| {
        f.with("qwen2.rope.scaling.type", Value::String("yarn".into()))
            .with("qwen2.rope.scaling.factor", Value::F32(4.0))
            .with("qwen2.rope.scaling.original_context_length", Value::U32(32))
    });
    let rope = &spec.unwrap().layers[0].rope;
    assert!((rope.magnitude - (1.0 + 0.1 * 4f64.ln())).abs() < 1e-12);
    assert!(matches!(rope.scaling, RopeScaling::Yarn { factor: 4.0, original_context: 32.0, .. }));
}

#[test]
fn long_contexts_of_phi_turn_by_their_own_factors() {
    let read = |context: usize| {
        let mut source = source("phi3", |f| f.with("phi3.rope.scaling.original_context_length", Value::U32(256)));
        let floats = |value: f32| {
            let bytes = value.to_le_bytes().repeat(32);
            Stored { dtype: DType::F32, shape: vec![32], bytes: Bytes::from(bytes) }
        };
        source.insert("rope_factors_long.weight", floats(4.0));
        source.insert("rope_factors_short.weight", floats(2.0));
        let spec = spec(&mut source, context).unwrap().unwrap();
        assert!(!source.has("rope_factors_long.weight") && !source.has("rope_factors_short.weight"));
        spec.layers[0].rope.factors.as_ref().unwrap()[0]
    };
    assert_eq!((read(256), read(257)), (2.0, 4.0));
}

#[test]
fn impossible_settings_are_refused_by_name() {
    let refused = |key: &str, value: Value| {
        let error = read("llama", |f| f.with(&format!("llama.{key}"), value)).unwrap_err().to_string();
        assert!(error.contains(&format!("llama.{key}")), "{error}");
    };
    refused("rope.freq_base", Value::F32(0.0));
    refused("rope.freq_base", Value::F32(f32::NAN));
    refused("attention.head_count", Value::U32(0));
    refused("attention.head_count_kv", Value::U32(3));
    refused("attention.head_count", Value::U32(u32::MAX));
    refused("attention.key_length", Value::String("64".into()));
    refused("rope.dimension_count", Value::U32(63));
    refused("rope.dimension_count", Value::U32(66));
    refused("rope.scaling.type", Value::String("sideways".into()));
    refused("rope.scaling.type", Value::String("\u{1b}[31m".into()));
    refused("rope.scaling.type", Value::String("longrope".into()));
    refused("rope.scaling.factor", Value::F32(-1.0));
    refused("rope.scaling.factor", Value::F32(1e-38));
    refused("rope.scale_linear", Value::F32(1e-38));
    refused("attention.layer_norm_rms_epsilon", Value::F32(f32::INFINITY));
    refused("attention.layer_norm_rms_epsilon", Value::F32(1e38));
    refused("attention.causal", Value::Bool(false));
    refused("attention.clamp_kqv", Value::F32(8.0));
    refused("logit_scale", Value::F32(16.0));
    refused("pooling_type", Value::U32(77));
    refused("pooling_type", Value::U32(4));
    refused("vocab_size", Value::U32(5));
    refused("vocab_size", Value::U32(100_000));
    refused("embedding_length", Value::U32(0));
}

#[test]
fn settings_that_only_other_architectures_compute_are_refused() {
    let refused = |architecture: &str, settings: &[(&str, Value)]| {
        let key = |name: &str| format!("{architecture}.{name}");
        let with = |f: GgufFile| settings.iter().fold(f, |f, (name, value)| f.with(&key(name), value.clone()));
        let error = read(architecture, with).unwrap_err().to_string();
        assert!(error.contains(&key(settings[0].0)), "{error}");
    };
    let text = |s: &str| Value::String(s.into());
    refused("phi3", &[("attn_logit_softcapping", Value::F32(50.0))]);
    refused("phi3", &[("final_logit_softcapping", Value::F32(30.0))]);
    refused("phi3", &[("rope.scaling.type", text("longrope"))]);
    refused("gemma3", &[("attn_logit_softcapping", Value::F32(50.0))]);
    refused("gemma3", &[("rope.freq_base_swa", Value::F32(1.0))]);
    refused("gemma2", &[("rope.freq_base_swa", Value::F32(1e6))]);
    let yarn = [("rope.scaling.type", text("yarn")), ("rope.scaling.factor", Value::F32(4.0))];
    let slow = [("rope.scaling.yarn_beta_slow", Value::F32(32.0))];
    refused("qwen2", &[&slow[..], &yarn].concat());
    refused("qwen2", &[("rope.scaling.factor", Value::F32(1e-30)), yarn[0].clone()]);
    assert!(read("gemma2", |f| f.with("gemma2.rope.freq_base_swa", Value::F32(10_000.0))).is_ok());
    let uncapped = read("gemma2", |f| f.with("gemma2.attn_logit_softcapping", Value::F32(0.0))).unwrap();
    assert_eq!((uncapped.attention_softcap, uncapped.final_softcap), (None, Some(30.0)));
}

#[test]
fn factors_for_long_contexts_are_there_with_those_for_short_ones_or_not_at_all() {
    let longrope = |names: &[&str], more: Option<(&str, Value)>| {
        let mut source = source("phi3", |f| {
            let f = f.with("phi3.rope.scaling.type", Value::String("longrope".into()));
            more.into_iter().fold(f, |f, (key, value)| f.with(key, value))
        });
        for name in names {
            let bytes = Bytes::from(2f32.to_le_bytes().repeat(32));
            source.insert(name, Stored { dtype: DType::F32, shape: vec![32], bytes });
        }
        spec(&mut source, 512).map(|spec| spec.unwrap().layers[0].rope.factors.as_ref().unwrap()[0])
    };
    let [long, short] = crate::spec::ROPE_FACTORS;
    assert_eq!(longrope(&[long, short], None).unwrap(), 2.0);
    for one in [long, short] {
        assert!(longrope(&[one], None).unwrap_err().to_string().contains("rope.scaling.type"));
        let plain = ("phi3.rope.scaling.type", Value::String("none".into()));
        assert!(matches!(longrope(&[one], Some(plain)), Err(LoadError::MissingTensor(name)) if name != one));
    }
    let factor = ("phi3.rope.scaling.factor", Value::F32(4.0));
    assert!(longrope(&[long, short], Some(factor)).unwrap_err().to_string().contains("no factor beside them"));
}

#[test]
fn other_architectures_are_not_ours() {
    let mut source = Source::new("mamba", RowOrder::Gguf, Settings::default(), []);
    assert!(spec(&mut source, 16).unwrap().is_none());
    assert_eq!(names().collect::<Vec<_>>(), rbee_model::format::ARCHITECTURES);
}
