//! The built-in model as a checkpoint's folder, and folders that are no models.

use super::*;
use crate::config::HiveLink;
use crate::testing::{reference, tinybee_bytes, tinybee_header};
use rbee_model::gguf::{DType, Header, Tensor};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

fn config(model: &Path) -> Config {
    Config {
        model: model.to_owned(),
        model_ref: "bee".into(),
        worker_id: "w".into(),
        listen: ([127, 0, 0, 1], 0).into(),
        slots: 1,
        context_length: None,
        threads: 1,
        backend: "cpu".into(),
        device: 0,
        compute_device: rbee_engine::Device::Cpu,
        api_key: None,
        hive: HiveLink { callback_url: None, socket: None, nonce: None },
    }
}

fn f16(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (bits >> 15, i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let size = if exponent == 0 { fraction * 2f32.powi(-24) } else { (1024.0 + fraction) * 2f32.powi(exponent - 25) };
    if sign == 1 { -size } else { size }
}

fn floats(header: &Header, tensor: &Tensor) -> Vec<f32> {
    let start = (header.data_offset() + tensor.offset) as usize;
    let bytes = &tinybee_bytes()[start..start + tensor.bytes as usize];
    match tensor.dtype {
        DType::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        DType::Q8_0 => {
            let block = |b: &[u8; 34]| {
                let scale = f16(u16::from_le_bytes([b[0], b[1]]));
                b[2..].iter().map(|&q| f32::from(q as i8) * scale).collect::<Vec<_>>()
            };
            bytes.as_chunks().0.iter().flat_map(block).collect()
        }
        other => panic!("{other} is in no tensor of tinybee"),
    }
}

/// Rows of heads of 32 elements, from neighbouring pairs to halves.
fn halves(values: Vec<f32>, columns: usize) -> Vec<f32> {
    let rows: Vec<&[f32]> = values.chunks_exact(columns).collect();
    let from = |row: usize| row / 32 * 32 + row % 16 * 2 + row % 32 / 16;
    (0..rows.len()).flat_map(|row| rows[from(row)].iter().copied()).collect()
}

fn weights(header: &Header) -> Vec<u8> {
    let names = [
        ("token_embd", "model.embed_tokens"),
        ("output_norm", "model.norm"),
        ("blk.", "model.layers."),
        ("attn_norm", "input_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("ffn_norm", "post_attention_layernorm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ];
    let (mut described, mut data) = (Map::new(), Vec::new());
    for tensor in header.tensors() {
        let mut values = floats(header, tensor);
        if tensor.name.contains("attn_q.") || tensor.name.contains("attn_k.") {
            values = halves(values, tensor.dims[0] as usize);
        }
        let name = names.iter().fold(tensor.name.clone(), |name, (ours, theirs)| name.replace(ours, theirs));
        let shape: Vec<u64> = tensor.dims.iter().rev().copied().collect();
        let start = data.len();
        data.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        described.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let described = Value::Object(described).to_string();
    [&(described.len() as u64).to_le_bytes()[..], described.as_bytes(), &data].concat()
}

fn tokenizer(header: &Header) -> Value {
    let strings = |key: &str| header.strings(key).expect("tinybee has it");
    let vocab: Map<String, Value> =
        (0..).zip(strings("tokenizer.ggml.tokens").iter()).map(|(id, t)| (t.to_owned(), json!(id))).collect();
    let merges: Vec<&str> = strings("tokenizer.ggml.merges").iter().collect();
    let special = |id: usize| {
        let content = strings("tokenizer.ggml.tokens").get(id);
        json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(0), special(1), special(2)],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges},
    })
}

/// tinybee as transformers would have saved it.
fn checkpoint() -> tempfile::TempDir {
    let header = tinybee_header();
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 256, "intermediate_size": 512,
        "max_position_embeddings": 256, "num_attention_heads": 8, "num_hidden_layers": 4, "num_key_value_heads": 4,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "vocab_size": 1280,
    });
    let template = header.str("tokenizer.chat_template");
    let about = json!({"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "add_bos_token": false, "chat_template": template});
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("config.json", config.to_string().as_bytes());
    write("tokenizer_config.json", about.to_string().as_bytes());
    write("tokenizer.json", tokenizer(&header).to_string().as_bytes());
    write("model.safetensors", &weights(&header));
    folder
}

/// The most likely tokens after a prompt.
fn greedy(engine: &mut dyn Engine, prompt: &[u32], count: usize) -> Vec<u32> {
    let (mut tokens, mut at) = (prompt.to_vec(), 0);
    while tokens.len() < prompt.len() + count {
        let chunk = Chunk { slot: 0, position: at, tokens: &tokens[at..], output: Output::Logits };
        let logits = engine.step(&[chunk]).expect("a step").remove(0);
        at = tokens.len();
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        tokens.push(best.expect("there are logits") as u32);
    }
    engine.truncate(0, 0);
    tokens.split_off(prompt.len())
}

#[test]
fn a_checkpoint_of_the_built_in_model_writes_what_the_gguf_file_does() {
    let folder = checkpoint();
    for path in [folder.path().to_owned(), folder.path().join("model.safetensors")] {
        let mut told = 0;
        let (mut engine, model) = load(&config(&path), &mut |p| told = p.layers_loaded).expect("it loads");
        assert_eq!((told, model.context_length), (4, 256));
        assert!(matches!(model.template, Some(Ok(_))));
        for case in reference().iter().filter(|case| case.exact).take(3) {
            let text = format!("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", case.prompt);
            // A prompt of a conversation begins with <|im_start|>.
            let ids = match case.prompt_ids[0] {
                1 => model.tokenizer.encode_rendered(&text),
                _ => model.tokenizer.encode(&case.prompt),
            };
            assert_eq!(ids, case.prompt_ids);
            let count = case.greedy_ids.len().min(16);
            assert_eq!(greedy(engine.as_mut(), &case.prompt_ids, count), case.greedy_ids[..count]);
        }
    }
}

#[test]
fn what_is_wrong_with_a_checkpoint_is_said_with_its_file_and_code() {
    let folder = checkpoint();
    let refused = |part: &str, code: ErrorCode| {
        let error = load(&config(folder.path()), &mut |_| {}).map(|_| ()).expect_err(part);
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(error.kind.code(), code, "{error}");
    };
    // A new file, because the old one may still be mapped.
    let write = |name: &str, text: &str| {
        let _ = fs::remove_file(folder.path().join(name));
        fs::write(folder.path().join(name), text).unwrap();
    };
    write("tokenizer_config.json", "{");
    refused("tokenizer_config.json", ErrorCode::InvalidModelFile);
    fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
    write("tokenizer.json", "{}");
    refused("tokenizer.json", ErrorCode::InvalidModelFile);
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    refused("tokenizer.json: it is missing", ErrorCode::InvalidModelFile);
    write("model.safetensors", "cut");
    refused("model.safetensors", ErrorCode::InvalidModelFile);
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    refused("no model.safetensors", ErrorCode::ModelNotFound);
    write("pytorch_model.bin", "");
    refused("pickle", ErrorCode::UnsupportedFormat);
    write("config.json", r#"{"architectures": ["MambaForCausalLM"]}"#);
    refused("MambaForCausalLM", ErrorCode::UnsupportedFormat);
    fs::remove_file(folder.path().join("config.json")).unwrap();
    refused("config.json", ErrorCode::ModelNotFound);
}

#[test]
fn files_beside_the_weights_that_are_too_long_are_refused_by_name() {
    let folder = checkpoint();
    let name = folder.path().join("tokenizer_config.json");
    let long = json!({"bos_token": "<|endoftext|>", "more": "x".repeat(4 << 20)}).to_string();
    fs::write(&name, long).unwrap();
    let error = load(&config(folder.path()), &mut |_| {}).map(|_| ()).expect_err("it is too long").to_string();
    assert!(error.contains("tokenizer_config.json: it has more than 4194304 bytes"), "{error}");
    fs::write(&name, r#"{"add_bos_token": "yes"}"#).unwrap();
    let error = load(&config(folder.path()), &mut |_| {}).map(|_| ()).expect_err("a wrong type").to_string();
    assert!(error.contains("tokenizer_config.json") && error.contains("a boolean"), "{error}");
    fs::remove_file(&name).unwrap();
    let json = fs::File::options().write(true).open(folder.path().join("tokenizer.json")).unwrap();
    json.set_len((64 << 20) + 1).unwrap();
    let error = load(&config(folder.path()), &mut |_| {}).map(|_| ()).expect_err("it is too long").to_string();
    assert!(error.contains("tokenizer.json: it has more than 67108864 bytes"), "{error}");
}

#[test]
fn a_panic_in_the_tokenizer_is_told_as_what_it_is() {
    let error = |joined| made(joined).err().map(|e| e.to_string()).unwrap_or_default();
    let panicked = thread::spawn(|| panic!("index {} out of bounds", 7)).join();
    assert!(error(panicked).contains("(index 7 out of bounds)"));
    let panicked = thread::spawn(|| std::panic::panic_any(7)).join();
    assert!(error(panicked).contains("(no message)"));
    let refused = thread::spawn(|| Err(TokenizerError::Missing("tokenizer.ggml.model"))).join();
    assert_eq!(error(refused), "tokenizer: tokenizer.ggml.model is missing");
}

#[test]
fn a_chat_template_that_is_no_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bee.gguf");
    let spec = rbee_model::testing::ModelSpec::default();
    let file = spec.file().with("tokenizer.chat_template", rbee_model::gguf::Value::U32(1));
    fs::write(&path, file.bytes()).unwrap();
    let error = load(&config(&path), &mut |_| {}).map(|_| ()).expect_err("it is no text").to_string();
    assert!(error.contains("tokenizer.chat_template") && error.contains("a string"), "{error}");
}

#[test]
fn a_tokenizer_whose_own_tokens_have_no_weights_is_refused() {
    let tokenizer = crate::testing::tinybee_tokenizer();
    let own = tokenizer.eos().unwrap();
    assert!(check_vocabulary(&tokenizer, 1280).is_ok());
    // That others have no weights is fine.
    assert!(check_vocabulary(&tokenizer, own as usize + 1).is_ok());
    let refused = check_vocabulary(&tokenizer, own as usize).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidModelFile);
    assert!(refused.to_string().contains(&format!("token {own}")), "{refused}");
}

#[test]
fn what_the_machine_lacks_is_not_the_files_fault() {
    let text = || "x".to_owned();
    let code = |error: LoadError| ModelErrorKind::Engine(error).code();
    for damaged in [
        LoadError::MissingTensor(text()),
        LoadError::Shape { name: text(), found: vec![1], expected: vec![2] },
        LoadError::MissingSetting(text()),
        LoadError::Setting { key: text(), value: text(), why: text() },
    ] {
        assert_eq!(code(damaged), ErrorCode::InvalidModelFile);
    }
    assert_eq!(code(LoadError::UnknownTensor(text())), ErrorCode::UnsupportedFormat);
    assert_eq!(code(LoadError::Cache { bytes: 1, error: text() }), ErrorCode::InsufficientMemory);
    assert_eq!(code(LoadError::Threads(io::Error::other("none"))), ErrorCode::WorkerStartFailed);
}
