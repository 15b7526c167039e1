//! Random models as a checkpoint and as a GGUF file of the same weights: both must give the same numbers.

use super::*;
use crate::load::{Options, load};
use crate::{Chunk, Engine, Output};
use rbee_model::gguf;
use rbee_model::testing::{GgufFile, ModelSpec};
use serde_json::{Value as Json, json};
use std::fs;
use std::path::Path;

/// A tensor of a checkpoint: name, rows-first shape, numbers.
type Floats = (String, Vec<usize>, Vec<f32>);

/// Writes tensors one after the other, in F32.
fn file(tensors: &[Floats]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, shape, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let header = Json::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

fn gguf_source(file: &GgufFile) -> (gguf::Header, Source) {
    let bytes = file.bytes();
    let header = gguf::Header::from_bytes(&bytes).expect("a sound header");
    let source = Source::gguf(&header, &Bytes::from(bytes)).expect("a sound file");
    (header, source)
}

/// The weights of a random model as transformers would have saved them.
fn tensors(spec: &ModelSpec) -> Vec<Floats> {
    let (header, mut source) = gguf_source(&spec.file());
    let gemma = spec.architecture.starts_with("gemma");
    let tensor = |t: &gguf::Tensor| {
        let shape: Vec<usize> = t.dims.iter().rev().map(|&d| d as usize).collect();
        let mut values = source.take(&t.name, &shape).expect("it is there").floats().expect("it is F32");
        if spec.architecture == "llama" {
            let heads = match t.name.as_str() {
                name if name.contains("attn_q.") => spec.heads as usize,
                name if name.contains("attn_k.") => spec.kv_heads as usize,
                _ => 0,
            };
            if heads > 0 {
                values = halves(&values, heads, shape[0] / heads);
            }
        }
        if gemma && t.name.ends_with("norm.weight") {
            values.iter_mut().for_each(|w| *w -= 1.0);
        }
        (theirs(spec, &t.name), shape, values)
    };
    header.tensors().iter().map(tensor).filter(|(name, ..)| name != "rope_freqs.weight").collect()
}

/// Rows of each head from neighbouring pairs to halves.
fn halves(values: &[f32], heads: usize, length: usize) -> Vec<f32> {
    let columns = values.len() / heads / length;
    let order = (0..length / 2).map(|i| 2 * i).chain((0..length / 2).map(|i| 2 * i + 1));
    let order: Vec<usize> = order.collect();
    let row = |head: usize, i: usize| &values[(head * length + i) * columns..][..columns];
    (0..heads).flat_map(|head| order.iter().flat_map(move |&i| row(head, i).iter().copied())).collect()
}

fn theirs(spec: &ModelSpec, name: &str) -> String {
    let bert = spec.architecture == "bert";
    let table: &[(&str, &str)] = if bert {
        &[
            ("token_embd_norm", "embeddings.LayerNorm"),
            ("token_embd", "embeddings.word_embeddings"),
            ("position_embd", "embeddings.position_embeddings"),
            ("token_types", "embeddings.token_type_embeddings"),
            ("blk.", "encoder.layer."),
            ("attn_q.", "attention.self.query."),
            ("attn_k.", "attention.self.key."),
            ("attn_v.", "attention.self.value."),
            ("attn_output.", "attention.output.dense."),
            ("attn_output_norm", "attention.output.LayerNorm"),
            ("ffn_up", "intermediate.dense"),
            ("ffn_down", "output.dense"),
            ("layer_output_norm", "output.LayerNorm"),
        ]
    } else {
        &[
            ("token_embd", "model.embed_tokens"),
            ("output_norm", "model.norm"),
            ("blk.", "model.layers."),
            ("attn_q.", "self_attn.q_proj."),
            ("attn_k.", "self_attn.k_proj."),
            ("attn_v.", "self_attn.v_proj."),
            ("attn_qkv.", "self_attn.qkv_proj."),
            ("attn_q_norm", "self_attn.q_norm"),
            ("attn_k_norm", "self_attn.k_norm"),
            ("attn_output", "self_attn.o_proj"),
            ("attn_norm", "input_layernorm"),
            ("post_attention_norm", "post_attention_layernorm"),
            ("post_ffw_norm", "post_feedforward_layernorm"),
            ("ffn_norm", if spec.post_norms { "pre_feedforward_layernorm" } else { "post_attention_layernorm" }),
            ("ffn_gate", "mlp.gate_proj"),
            ("ffn_up", if spec.fused { "mlp.gate_up_proj" } else { "mlp.up_proj" }),
            ("ffn_down", "mlp.down_proj"),
        ]
    };
    if name == "output.weight" {
        return "lm_head.weight".to_owned();
    }
    table.iter().fold(name.to_owned(), |name, (ours, theirs)| name.replace(ours, theirs))
}

fn config(spec: &ModelSpec) -> Json {
    let class = match spec.architecture {
        "llama" => "LlamaForCausalLM",
        "qwen2" => "Qwen2ForCausalLM",
        "qwen3" => "Qwen3ForCausalLM",
        "gemma2" => "Gemma2ForCausalLM",
        "gemma3" => "Gemma3ForCausalLM",
        "phi3" => "Phi3ForCausalLM",
        _ => "BertModel",
    };
    let (header, _) = gguf_source(&spec.file());
    let mut config = json!({
        "architectures": [class], "hidden_size": spec.width, "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads, "num_key_value_heads": spec.kv_heads, "head_dim": spec.head_length,
        "intermediate_size": spec.feed_forward, "max_position_embeddings": spec.context, "rms_norm_eps": spec.epsilon,
        "layer_norm_eps": spec.epsilon, "vocab_size": header.summary().vocab_size, "rope_theta": spec.rope_base,
        "tie_word_embeddings": spec.tied, "type_vocab_size": 2,
    });
    if let Some(window) = spec.window {
        config["sliding_window"] = json!(window);
        config["query_pre_attn_scalar"] = json!(spec.head_length);
    }
    if let Some((attention, logits)) = spec.softcap {
        config["attn_logit_softcapping"] = json!(attention);
        config["final_logit_softcapping"] = json!(logits);
    }
    if spec.rope_factors {
        config["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 256});
    }
    config
}

/// Writes a checkpoint in `parts` files.
fn write(folder: &Path, spec: &ModelSpec, parts: usize) {
    fs::write(folder.join("config.json"), config(spec).to_string()).unwrap();
    let tensors = tensors(spec);
    if parts == 1 {
        fs::write(folder.join("model.safetensors"), file(&tensors)).unwrap();
        return;
    }
    let mut map = serde_json::Map::new();
    for (part, tensors) in tensors.chunks(tensors.len().div_ceil(parts)).enumerate() {
        let name = format!("model-{:05}-of-{parts:05}.safetensors", part + 1);
        fs::write(folder.join(&name), file(tensors)).unwrap();
        map.extend(tensors.iter().map(|(tensor, ..)| (tensor.clone(), json!(name))));
    }
    let index = json!({"metadata": {"total_size": 0}, "weight_map": map});
    fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

/// Rows of a prompt that is longer than the window.
fn numbers(source: Source, output: Output) -> Vec<f32> {
    let tokens: Vec<u32> = (0..40).map(|i| (i * i + 3 * i) % 90).collect();
    numbers_of(source, &tokens, output)
}

fn numbers_of(source: Source, tokens: &[u32], output: Output) -> Vec<f32> {
    let options = Options { slots: 1, context_length: 64, threads: 2, device: Default::default() };
    let mut engine: Box<dyn Engine> = load(source, options, &mut |_| {}).expect("it loads");
    let chunk = Chunk { slot: 0, position: 0, tokens, output };
    engine.step(&[chunk]).expect("a step").remove(0)
}

#[test]
fn a_checkpoint_gives_the_numbers_of_the_gguf_file_with_the_same_weights() {
    for architecture in ["llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "bert"] {
        let spec = ModelSpec::of(architecture).expect("the writer knows it");
        let head_length = if architecture == "bert" { 16 } else { 32 };
        let spec =
            ModelSpec { width: 64, head_length, feed_forward: 128, rope_factors: architecture == "llama", ..spec };
        let output = if architecture == "bert" { Output::Hidden } else { Output::Logits };
        let expected = numbers(gguf_source(&spec.file()).1, output);
        for parts in [1, 3] {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), &spec, parts);
            let checkpoint = Checkpoint::open(folder.path()).unwrap_or_else(|e| panic!("{architecture}: {e}"));
            let found = numbers(checkpoint.source().expect("a sound checkpoint"), output);
            assert_eq!(found.len(), expected.len());
            let size = expected.iter().map(|v| v.abs()).fold(0.0, f32::max);
            let worst = found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
            assert!(size > 0.5 && worst < 1e-3 * size, "{architecture}: {worst} of {size}");
        }
    }
}

#[test]
fn factors_of_a_checkpoint_for_long_contexts_give_the_numbers_of_the_gguf_file_that_has_them_as_tensors() {
    let spec =
        ModelSpec { width: 64, head_length: 32, feed_forward: 128, ..ModelSpec::of("phi3").expect("it is known") };
    let factors = |first: f32| (0..16).map(|i| first + i as f32 / 8.0).collect::<Vec<f32>>();
    let (long, short) = (factors(2.0), factors(1.0));
    let magnitude = (1.0 + (512f64 / 48.0).ln() / 48f64.ln()).sqrt();
    let tensor = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let gguf = spec
        .file()
        .with("phi3.rope.scaling.type", gguf::Value::String("longrope".into()))
        .with("phi3.rope.scaling.original_context_length", gguf::Value::U32(48))
        .with("phi3.rope.scaling.attn_factor", gguf::Value::F32(magnitude as f32))
        .tensor("rope_factors_long.weight", DType::F32, &[16], tensor(&long))
        .tensor("rope_factors_short.weight", DType::F32, &[16], tensor(&short));
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &spec, 1);
    let mut config = config(&spec);
    config["original_max_position_embeddings"] = json!(48);
    config["rope_scaling"] = json!({"type": "longrope", "long_factor": long, "short_factor": short});
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let mut seen = Vec::new();
    for context in [48, 64] {
        let numbers = |source: Source| {
            let options = Options { slots: 1, context_length: context, threads: 2, device: Default::default() };
            let mut engine = load(source, options, &mut |_| {}).expect("it loads");
            let tokens: Vec<u32> = (0..40).map(|i| (i * i + 3 * i) % 90).collect();
            engine
                .step(&[Chunk { slot: 0, position: 0, tokens: &tokens, output: Output::Logits }])
                .expect("a step")
                .remove(0)
        };
        let expected = numbers(gguf_source(&gguf).1);
        let found = numbers(Checkpoint::open(folder.path()).expect("it opens").source().expect("it is sound"));
        let size = expected.iter().map(|v| v.abs()).fold(0.0, f32::max);
        let worst = found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
        assert!(size > 0.5 && worst < 1e-3 * size, "{context}: {worst} of {size}");
        seen.push(found);
    }
    assert_ne!(seen[0], seen[1], "each length turns by its own factors");
}

#[test]
fn a_window_and_a_scale_of_a_checkpoint_are_computed_with() {
    let spec = ModelSpec { layers: 1, ..ModelSpec::default() };
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &spec, 1);
    let opened = |changed: Json| {
        fs::write(folder.path().join("config.json"), changed.to_string()).unwrap();
        Checkpoint::open(folder.path()).expect("it opens").source().expect("it is sound")
    };
    // Keys and values are held in 16 bits, and turned keys round differently.
    let worst = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let near = |a: &[f32], b: &[f32]| {
        eprintln!("WORST {}", worst(a, b));
        worst(a, b) < 1e-2
    };
    let tokens: Vec<u32> = (0..30).collect();
    let mut windowed = config(&spec);
    windowed["sliding_window"] = json!(8);
    let found = numbers_of(opened(windowed.clone()), &tokens, Output::Logits);
    // One layer sees the window only, and positions count by their distance.
    assert!(near(&found, &numbers_of(opened(windowed), &tokens[22..], Output::Logits)));
    assert!(!near(&found, &numbers_of(opened(config(&spec)), &tokens, Output::Logits)));
    let gemma = ModelSpec { architecture: "gemma2", post_norms: true, window: Some(8), tied: true, ..spec };
    write(folder.path(), &gemma, 1);
    let usual = numbers(opened(config(&gemma)), Output::Logits);
    let mut scaled = config(&gemma);
    scaled["query_pre_attn_scalar"] = json!(gemma.head_length * 100);
    assert!(!near(&usual, &numbers(opened(scaled), Output::Logits)));
}

#[test]
fn a_number_of_tokens_that_is_not_the_embedding_s_is_refused() {
    for architecture in ["llama", "bert"] {
        let spec = ModelSpec::of(architecture).expect("the writer knows it");
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &spec, 1);
        for stated in [5, 100_000] {
            let mut config = config(&spec);
            config["vocab_size"] = json!(stated);
            fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
            let source = Checkpoint::open(folder.path()).expect("it opens").source().expect("it is read");
            let options = Options { slots: 1, context_length: 64, threads: 1, device: Default::default() };
            let text = load(source, options, &mut |_| {}).err().expect("it is refused").to_string();
            assert!(text.contains(&format!("{architecture}.vocab_size\" is {stated}, and token_embd")), "{text}");
        }
    }
}

#[test]
fn a_file_of_the_folder_names_the_checkpoint_too() {
    let spec = ModelSpec::default();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &spec, 2);
    let count = |path: &Path| Checkpoint::open(path).expect("it opens").source().expect("it is sound").bytes_total();
    let all = count(folder.path());
    assert_eq!(count(&folder.path().join("model-00002-of-00002.safetensors")), all);
    // A file that the index does not name stands for itself.
    fs::write(folder.path().join("other.safetensors"), file(&tensors(&spec))).unwrap();
    assert_eq!(count(&folder.path().join("other.safetensors")), all);
}

#[test]
fn what_is_wrong_with_a_folder_is_said_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |part: &str| {
        let text = Checkpoint::open(folder.path()).err().expect(part).to_string();
        assert!(text.contains(part), "{text}");
    };
    refused("config.json: it cannot be opened");
    let spec = ModelSpec::default();
    fs::write(folder.path().join("config.json"), config(&spec).to_string()).unwrap();
    refused("model.safetensors.index.json");
    fs::write(folder.path().join("pytorch_model.bin"), "").unwrap();
    refused("pickle");
    let mut bytes = file(&tensors(&spec));
    bytes.pop();
    fs::write(folder.path().join("model.safetensors"), &bytes).unwrap();
    refused("model.safetensors: safetensors tensor");
    fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    fs::write(folder.path().join("1_Pooling/config.json"), r#"{"pooling_mode_max_tokens": true}"#).unwrap();
    refused("pooling_mode_max_tokens");
    fs::write(folder.path().join("1_Pooling/config.json"), r#"{"pooling_mode_lasttoken": true}"#).unwrap();
    bytes.push(0);
    fs::write(folder.path().join("model.safetensors"), &bytes).unwrap();
    assert_eq!(Checkpoint::open(folder.path()).unwrap().pooling, Some(Pooling::Last));
}

#[test]
fn tensors_that_are_missing_unknown_doubled_or_no_floats_are_named() {
    let spec = ModelSpec::default();
    let config = Config::parse(config(&spec).to_string().as_bytes()).expect("a sound configuration");
    let source = |bytes: Vec<u8>| {
        let header = Header::read(&bytes[..], bytes.len() as u64).expect("a sound header");
        Source::safetensors(&config, &[(header, Bytes::from(bytes))], None)
    };
    let all = tensors(&spec);
    let without: Vec<Floats> = all.iter().filter(|t| t.0 != "lm_head.weight").cloned().collect();
    assert!(matches!(source(file(&without)), Err(LoadError::MissingTensor(name)) if name == "lm_head.weight"));
    let with = |name: &str| file(&[&all[..], &[(name.to_owned(), vec![1], vec![0.0])]].concat());
    let unknown = source(with("model.layers.0.self_attn.sinks")).expect("it is read");
    assert!(unknown.has("model.layers.0.self_attn.sinks"));
    let tied = source(with("model.layers.0.self_attn.rotary_emb.inv_freq")).expect("it is read");
    assert_eq!(tied.bytes_total(), unknown.bytes_total() - 4);
    let text = String::from_utf8_lossy(&file(&all)).replace("F32", "I32");
    assert!(text.contains("I32"));
    let mut ints = file(&all);
    let at = ints.windows(3).position(|w| w == b"F32").expect("it is there");
    ints[at] = b'I';
    assert!(matches!(source(ints), Err(LoadError::Read { message, .. }) if message.contains("I32")));
}
