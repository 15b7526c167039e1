//! Configurations as published models have them, and what is refused of them.

use super::*;
use serde_json::{Value as Json, json};

fn parse(config: &Json) -> Result<Config, ConfigError> {
    Config::parse(config.to_string().as_bytes())
}

fn llama() -> Json {
    json!({
        "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 8192,
        "max_position_embeddings": 131072, "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8,
        "head_dim": 64, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": true, "vocab_size": 128256,
        "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    })
}

fn with(mut config: Json, key: &str, value: Json) -> Json {
    config[key] = value;
    config
}

#[test]
fn llama_3_has_its_settings_under_gguf_s_keys_and_its_factors() {
    let config = parse(&llama()).expect("a sound configuration");
    let map = config.metadata();
    let int = |key: &str| map[key].as_u64();
    assert_eq!(map["general.architecture"].as_str(), Some("llama"));
    assert_eq!(int("llama.block_count"), Some(16));
    assert_eq!(int("llama.attention.head_count_kv"), Some(8));
    assert_eq!(int("llama.attention.key_length"), Some(64));
    assert_eq!(int("llama.rope.dimension_count"), Some(64));
    assert_eq!(map["llama.rope.freq_base"].as_f64(), Some(500_000.0));
    assert!(config.tied && !map.contains_key("llama.rope.scaling.type"));
    let factors = config.rope_factors().expect("Llama 3 has factors");
    assert_eq!((factors.len(), factors[0], factors[31]), (32, 1.0, 32.0));
    assert!(factors.windows(2).all(|w| w[0] <= w[1]) && factors.iter().any(|&f| f > 1.0 && f < 32.0));
}

#[test]
fn gemma_3_has_two_bases_a_window_and_a_scale() {
    let gemma = json!({
        "architectures": ["Gemma3ForCausalLM"], "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": 1152, "intermediate_size": 6912, "max_position_embeddings": 32768, "num_attention_heads": 4,
        "num_hidden_layers": 26, "num_key_value_heads": 1, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6,
        "rope_local_base_freq": 10000, "rope_theta": 1000000, "sliding_window": 512, "sliding_window_pattern": 6,
        "vocab_size": 262144, "attn_logit_softcapping": null, "rope_scaling": null,
    });
    let config = parse(&gemma).expect("a sound configuration");
    assert_eq!((config.window, config.attention_scale, config.tied), (Some(512), Some(1.0 / 16.0), true));
    let map = config.metadata();
    assert_eq!(map["gemma3.rope.freq_base_swa"].as_f64(), Some(10_000.0));
    assert_eq!(map["gemma3.rope.freq_base"].as_f64(), Some(1_000_000.0));
    let newer = with(
        gemma.clone(),
        "rope_parameters",
        json!({
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        }),
    );
    let config = parse(&newer).expect("a sound configuration");
    assert_eq!(config.rope.map(|r| r.scaling), Some(Scaling::Linear { factor: 8.0 }));
    let text = parse(&with(gemma, "sliding_window_pattern", json!(4))).unwrap_err().to_string();
    assert!(text.contains("sliding_window_pattern \"4\""), "{text}");
}

#[test]
fn yarn_s_attention_factor_is_given_as_gguf_counts_it() {
    let scaling =
        json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768, "attention_factor": 1.0});
    let qwen = with(with(llama(), "architectures", json!(["Qwen2ForCausalLM"])), "rope_scaling", scaling);
    let map = parse(&qwen).expect("a sound configuration").metadata();
    assert_eq!(map["qwen2.rope.scaling.type"].as_str(), Some("yarn"));
    assert_eq!(map["qwen2.rope.scaling.original_context_length"].as_u64(), Some(32768));
    let share = map["qwen2.rope.scaling.attn_factor"].as_f64().expect("it is a number");
    assert!((share * (1.0 + 0.1 * 4f64.ln()) - 1.0).abs() < 1e-6, "{share}");
}

#[test]
fn phi_3_for_long_contexts_has_its_factors_and_the_magnitude_that_belongs_to_them() {
    let phi = json!({
        "architectures": ["Phi3ForCausalLM"], "hidden_act": "silu", "hidden_size": 3072, "intermediate_size": 8192,
        "max_position_embeddings": 131072, "original_max_position_embeddings": 4096, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 32, "rms_norm_eps": 1e-5, "vocab_size": 32064,
        "rope_scaling": {"type": "longrope", "long_factor": vec![4.0; 48], "short_factor": vec![1.5; 48]},
    });
    let config = parse(&phi).expect("a sound configuration");
    let map = config.metadata();
    assert_eq!(map["phi3.rope.scaling.type"].as_str(), Some("longrope"));
    assert_eq!(map["phi3.rope.scaling.original_context_length"].as_u64(), Some(4096));
    let magnitude = map["phi3.rope.scaling.attn_factor"].as_f64().expect("it is a number");
    assert!((magnitude - (1.0 + 32f64.ln() / 4096f64.ln()).sqrt()).abs() < 1e-6, "{magnitude}");
    assert_eq!(config.long_factors(), Some((&[4.0; 48][..], &[1.5; 48][..])));
    let refused = |change: &dyn Fn(&mut Json), part: &str| {
        let mut changed = phi.clone();
        change(&mut changed);
        let text = parse(&changed).unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    };
    refused(
        &|c| c["rope_scaling"]["long_factor"] = json!([1.0]),
        "rope_scaling.long_factor has 1 numbers; 48 are needed",
    );
    refused(&|c| c["rope_scaling"]["short_factor"] = json!(null), "rope_scaling.short_factor is missing");
    refused(&|c| c["rope_scaling"]["short_factor"][3] = json!(0.0), "rope_scaling.short_factor");
    refused(&|c| c["rope_scaling"]["short_factor"][3] = json!("x"), "rope_scaling.short_factor");
    refused(&|c| c["original_max_position_embeddings"] = json!(null), "original_max_position_embeddings is missing");
    refused(&|c| c["architectures"] = json!(["LlamaForCausalLM"]), "rope_scaling.type \"longrope\"");
}

#[test]
fn bert_has_its_settings() {
    let bert = json!({
        "architectures": ["BertModel"], "hidden_act": "gelu", "hidden_size": 384, "intermediate_size": 1536,
        "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "num_attention_heads": 12, "num_hidden_layers": 6,
        "position_embedding_type": "absolute", "type_vocab_size": 2, "vocab_size": 30522,
    });
    let map = parse(&bert).expect("a sound configuration").metadata();
    assert_eq!(map["bert.attention.layer_norm_epsilon"].as_f64(), Some(f64::from(1e-12f32)));
    assert_eq!(map["tokenizer.ggml.token_type_count"].as_u64(), Some(2));
    let text = parse(&with(bert, "hidden_act", json!("relu"))).unwrap_err().to_string();
    assert!(text.contains("hidden_act \"relu\""), "{text}");
}

#[test]
fn what_is_wrong_is_named_by_its_key() {
    let refused = |key: &str, value: Json, part: &str| {
        let text = parse(&with(llama(), key, value)).unwrap_err().to_string();
        assert!(text.starts_with("config.json: ") && text.contains(part), "{key}: {text}");
    };
    refused("architectures", json!(["MambaForCausalLM"]), "supported: LlamaForCausalLM, MistralForCausalLM");
    refused("architectures", json!([]), "architectures is missing");
    refused("hidden_size", json!(null), "hidden_size is missing");
    refused("hidden_size", json!("large"), "hidden_size is large; it must be a whole number");
    refused("hidden_size", json!(0), "hidden_size is 0");
    refused("hidden_size", json!(-1), "hidden_size is -1");
    refused("num_hidden_layers", json!(4_294_967_295u64), "num_hidden_layers");
    refused("num_key_value_heads", json!(5), "num_key_value_heads 5");
    refused("rms_norm_eps", json!(0.0), "rms_norm_eps is 0.0");
    refused("rms_norm_eps", json!(1e38), "rms_norm_eps is 1e+38; it must be a number from 1e-30 to 0.1");
    refused("rope_theta", json!(1e300), "rope_theta");
    refused("rope_theta", json!(1.0), "rope_theta is 1.0");
    refused("rope_scaling", json!({"type": "linear", "factor": 1e-38}), "rope_scaling.factor is 1e-38");
    refused("is_causal", json!(false), "is_causal \"false\"");
    refused("use_bidirectional_attention", json!(true), "use_bidirectional_attention \"true\"");
    refused("hidden_act", json!("gelu"), "hidden_act \"gelu\"");
    refused("quantization_config", json!({"quant_method": "gptq"}), "quantization_config \"gptq\"");
    refused("rope_scaling", json!({"type": "longrope"}), "rope_scaling.type \"longrope\"");
    refused("rope_scaling", json!({"type": "linear"}), "rope_scaling.factor is missing");
    refused("layer_types", json!(["full_attention"]), "layer_types");
    refused("partial_rotary_factor", json!(0.01), "partial_rotary_factor");
    refused("hidden_size", json!("\u{1b}[31m\n"), "hidden_size is \\u{1b}[31m\\n; it must");
    refused("architectures", json!([format!("\u{202e}{}", "x".repeat(5000))]), "\"\\u{202e}xxx");
    refused("quantization_config", json!({"quant_method": "q\n".repeat(5000)}), "\\n… (10000 bytes)");
    assert!(matches!(Config::parse(b"[1]"), Err(ConfigError::Json(_))));
    assert!(matches!(Config::parse(b"{"), Err(ConfigError::Json(_))));
}

#[test]
fn a_configuration_of_a_million_values_is_refused_before_one_is_held() {
    for large in [format!("{{\"a\":[0{}]}}", ",0".repeat(400_000)), format!("[{}0]", "[".repeat(400_000))] {
        let text = Config::parse(large.as_bytes()).unwrap_err().to_string();
        assert!(text.contains("at most 1048576 bytes and 16384 values are read"), "{text}");
        assert!(matches!(pooling::parse(large.as_bytes()), Err(ConfigError::TooLarge { .. })));
    }
    let long = with(llama(), "a", json!("x".repeat(1 << 20)));
    assert!(matches!(parse(&long), Err(ConfigError::TooLarge { .. })));
    let many = with(llama(), "modules_to_not_convert", json!(vec!["model.layers.10.mlp"; 5000]));
    assert!(parse(&many).is_ok());
}
