//! A checkpoint's folder as transformers writes it, of a model that says nothing of sense.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::Sandbox;

/// The configuration of a small model of transformers.
pub const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16, "intermediate_size": 32,
    "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "vocab_size": 257,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "torch_dtype": "float32"}"#;

/// Weights for [`CONFIG`], all the same.
fn weights() -> Vec<u8> {
    let (width, inner, kv, vocab) = (16, 32, 8, 257);
    let tensors: [(&str, &[usize]); 12] = [
        ("model.embed_tokens.weight", &[vocab, width]),
        ("model.norm.weight", &[width]),
        ("lm_head.weight", &[vocab, width]),
        ("model.layers.0.input_layernorm.weight", &[width]),
        ("model.layers.0.post_attention_layernorm.weight", &[width]),
        ("model.layers.0.self_attn.q_proj.weight", &[width, width]),
        ("model.layers.0.self_attn.k_proj.weight", &[kv, width]),
        ("model.layers.0.self_attn.v_proj.weight", &[kv, width]),
        ("model.layers.0.self_attn.o_proj.weight", &[width, width]),
        ("model.layers.0.mlp.gate_proj.weight", &[inner, width]),
        ("model.layers.0.mlp.up_proj.weight", &[inner, width]),
        ("model.layers.0.mlp.down_proj.weight", &[width, inner]),
    ];
    let (mut described, mut data) = (Map::new(), Vec::new());
    for (name, shape) in tensors {
        let start = data.len();
        data.extend((0..shape.iter().product()).flat_map(|_| 0.125f32.to_le_bytes()));
        described.insert(name.to_owned(), json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let described = Value::Object(described).to_string();
    [&(described.len() as u64).to_le_bytes(), described.as_bytes(), &data].concat()
}

/// A tokenizer.json of 256 characters and a control token.
pub fn sound() -> Value {
    let vocab: Map<String, Value> =
        (0..256u32).map(|id| (char::from_u32(id + 0x20).expect("a character").to_string(), json!(id))).collect();
    let special = json!({"id": 256, "content": "<|end|>", "special": true, "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [special], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": " ", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []},
    })
}

/// Writes a checkpoint with that tokenizer.json and gives its folder.
pub fn checkpoint(sandbox: &Sandbox, name: &str, tokenizer: &Value) -> PathBuf {
    sandbox.write(&format!("{name}/config.json"), CONFIG);
    sandbox.write(&format!("{name}/model.safetensors"), weights());
    sandbox.write(&format!("{name}/tokenizer.json"), tokenizer.to_string());
    sandbox.path(name)
}
