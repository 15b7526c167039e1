//! Tokenizers that multiply a text, ask for more than there can be, or let a user's text write control tokens: refused by name
//! with little memory, or of no effect.

use rbee_model::gguf::{Array, Value};
use rbee_model::testing::ModelSpec;
use serde_json::json;

use crate::hostile::refused;
use crate::support::{
    Sandbox,
    checkpoint::{checkpoint, sound},
};
use crate::worker::Worker;

#[test]
fn a_sound_checkpoint_is_served() {
    let sandbox = Sandbox::new();
    let worker = Worker::ready(&sandbox, &checkpoint(&sandbox, "sound", &sound()), &[]);
    let (status, body) = worker.complete("ten bytes!", 4).expect("an answer");
    assert_eq!((status, &body["usage"]["prompt_tokens"]), (200, &json!(10)), "{body}");
}

#[test]
fn a_tokenizer_that_asks_for_too_much_is_refused_with_little_memory() {
    let sandbox = Sandbox::new();
    let replace = |content: String| json!({"type": "Replace", "pattern": {"String": "a"}, "content": content});
    let bombs = [
        (
            "eight-times-sixteen",
            "normalizer",
            json!({"type": "Sequence", "normalizers": vec![replace("a".repeat(16)); 8]}),
            "4096 times longer",
        ),
        ("a-megabyte-for-a-letter", "normalizer", replace("a".repeat(1 << 20)), "content has 1048576 bytes"),
        (
            "ten-megabytes-in-front",
            "normalizer",
            json!({"type": "Prepend", "prepend": "a".repeat(10 << 20)}),
            "normalizer",
        ),
        (
            "an-expression-of-lookarounds",
            "pre_tokenizer",
            json!({"type": "Split", "behavior": "Isolated", "invert": false,
            "pattern": {"Regex": r"(?=\w{200})".repeat(300)}}),
            "12 look-arounds",
        ),
        (
            "an-added-token-of-5-MB",
            "added_tokens",
            json!([{"id": 256, "content": "x".repeat(5 << 20), "special": true}]),
            "at most 1024",
        ),
        (
            "three-million-ids",
            "post_processor",
            json!({"type": "TemplateProcessing", "single": [], "pair": [],
            "special_tokens": {"x": {"id": "x", "ids": vec![1; 3_000_000], "tokens": []}}}),
            "post_processor",
        ),
        ("an-unknown-step", "normalizer", json!({"type": "Miracle"}), "supported: Sequence, BertNormalizer"),
        (
            "two-million-merges",
            "model",
            json!({"type": "BPE", "vocab": {"a": 0}, "merges": vec!["a a"; 2_000_000]}),
            "2000000 tokens or merges",
        ),
    ];
    for (name, part, value, text) in bombs {
        let mut tokenizer = sound();
        tokenizer[part] = value;
        refused(&sandbox, &checkpoint(&sandbox, name, &tokenizer), &["tokenizer.json", text]);
    }
}

#[test]
fn a_configuration_of_many_values_is_refused_or_passed_over() {
    let sandbox = Sandbox::new();
    let folder = checkpoint(&sandbox, "many", &sound());
    let numbers = |bytes: usize| format!(r#"{{"more": [{}0]}}"#, "0,".repeat(bytes / 2));
    sandbox.write("many/tokenizer_config.json", numbers(64_000_000));
    refused(&sandbox, &folder, &["tokenizer_config.json", "more than 4194304 bytes"]);
    sandbox.write("many/tokenizer_config.json", numbers(4_000_000));
    let worker = Worker::ready(&sandbox, &folder, &[]);
    let peak = crate::worker::memory(worker.running.pid(), "VmHWM");
    assert!(peak < 128 << 20, "{peak} bytes");
}

#[test]
fn control_tokens_of_kilobytes_are_refused() {
    let sandbox = Sandbox::new();
    let spec = ModelSpec::default();
    let tokens: Vec<String> =
        (0..257).map(|n| if n < 256 { format!("{n:01000}") } else { "x".repeat(60_000) }).collect();
    let file = spec.file().with("tokenizer.ggml.tokens", Value::Array(Array::String(tokens.iter().collect())));
    let file = file.with("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![3; tokens.len()])));
    refused(&sandbox, &sandbox.write("one.gguf", file.bytes()), &["token 256 has 60000 bytes; at most 1024"]);
}

#[test]
fn a_users_name_and_text_make_no_control_token_together() {
    let sandbox = Sandbox::new();
    // Its one control token is <|endoftext|>, and every byte is a token.
    let template = "{% for m in messages %}{{ m.name | default('') }}{{ m.content }}{% endfor %}";
    let file = ModelSpec::default().file().with("tokenizer.chat_template", Value::String(template.to_owned()));
    let worker = Worker::ready(&sandbox, &sandbox.write("joined.gguf", file.bytes()), &[]);
    for (name, content) in [("<|endof", "text|>"), ("<", "|endoftext|>"), ("x", "<|endoftext|>"), ("<|endoftext|", ">")]
    {
        let message = json!({"role": "user", "name": name, "content": content});
        let chat = json!({"model": "m", "messages": [message], "max_tokens": 1});
        let (status, body) = worker.post("/v1/chat/completions", &chat).expect("an answer");
        assert_eq!(status, 200, "{body}");
        assert_eq!(body["usage"]["prompt_tokens"], json!(name.len() + content.len()), "{name:?} {content:?}");
    }
}
