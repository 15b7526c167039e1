//! What tests share: the built-in model and its reference, vocabularies as files, and what llama.cpp made of them.

use rbee_model::gguf::{Array, Header, StringArray, Value};
use rbee_model::testing::GgufFile;
use serde::Deserialize;
use std::collections::BTreeMap;

/// One prompt of the reference.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    pub mode: String,
    pub prompt: String,
    pub prompt_ids: Vec<u32>,
    pub greedy_ids: Vec<u32>,
    pub greedy_text: String,
}

/// llama.cpp's greedy answers of the built-in model.
pub fn reference() -> Vec<Case> {
    serde_json::from_str(include_str!("../../../tests/data/tinybee.expected.json")).expect("the reference is JSON")
}

pub fn tinybee_header() -> Header {
    Header::from_bytes(rbee_model::builtin::get("tinybee").expect("tinybee is built in").bytes)
        .expect("tinybee has a sound header")
}

/// llama.cpp's ids for values of `tokenizer.ggml.pre`; tests/data/record.py made it.
#[derive(Debug, Deserialize)]
pub struct Recorded {
    /// The n-th makes token 256 + n.
    pub merges: Vec<(usize, usize)>,
    pub texts: Vec<String>,
    pub recorded: Vec<Group>,
}

/// Values for which llama.cpp gives the same ids.
#[derive(Debug, Deserialize)]
pub struct Group {
    pub pre: Vec<String>,
    /// By text; None where llama.cpp only approximates.
    pub ids: Vec<Option<Vec<u32>>>,
}

/// A vocabulary that is not byte-level, and llama.cpp's ids.
#[derive(Debug, Deserialize)]
pub struct Other {
    pub model: String,
    pub name: Option<String>,
    pub flags: BTreeMap<String, bool>,
    pub ids: BTreeMap<String, u32>,
    /// Text, type, score.
    pub tokens: Vec<(String, i32, f32)>,
    pub recorded: Vec<(String, Vec<u32>)>,
}

impl Other {
    pub fn file(&self) -> GgufFile {
        let tokens: Vec<(&str, i32)> = self.tokens.iter().map(|t| (t.0.as_str(), t.1)).collect();
        let scores = Value::Array(Array::F32(self.tokens.iter().map(|t| t.2).collect()));
        let mut file = vocabulary(&self.model, &tokens).with("tokenizer.ggml.scores", scores);
        for (key, value) in &self.flags {
            file = file.with(&format!("tokenizer.ggml.{key}"), Value::Bool(*value));
        }
        for (key, value) in &self.ids {
            file = file.with(&format!("tokenizer.ggml.{key}_token_id"), Value::U32(*value));
        }
        self.name.iter().fold(file, |file, name| file.with("general.name", text(name)))
    }
}

pub fn others() -> Vec<Other> {
    serde_json::from_str(include_str!("../tests/data/others.json")).expect("the table is JSON")
}

pub fn recorded() -> Recorded {
    serde_json::from_str(include_str!("../tests/data/pre.json")).expect("the table is JSON")
}

/// The character that stands for a byte in a vocabulary.
pub fn byte_to_char(byte: u8) -> char {
    match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => byte as char,
        0..=0x20 => char::from_u32(256 + u32::from(byte)).unwrap_or('\0'),
        0x7F..=0xA0 => char::from_u32(256 + 33 + u32::from(byte - 0x7F)).unwrap_or('\0'),
        0xAD => '\u{143}',
    }
}

/// A vocabulary as a file: tokens with their types.
pub fn vocabulary(model: &str, tokens: &[(&str, i32)]) -> GgufFile {
    let texts: StringArray = tokens.iter().map(|t| t.0).collect();
    GgufFile::new()
        .with("general.architecture", text("none"))
        .with("tokenizer.ggml.model", text(model))
        .with("tokenizer.ggml.tokens", Value::Array(Array::String(texts)))
        .with("tokenizer.ggml.token_type", Value::Array(Array::I32(tokens.iter().map(|t| t.1).collect())))
}

pub fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

pub fn texts(values: &[&str]) -> Value {
    Value::Array(Array::String(values.iter().collect()))
}

pub fn header(file: &GgufFile) -> Header {
    Header::from_bytes(&file.bytes()).expect("a sound header")
}

/// A byte-level vocabulary of merges, as [`Recorded`] has them.
pub fn byte_level(merges: &[(usize, usize)]) -> GgufFile {
    let mut tokens: Vec<String> = (0..=255).map(|byte| byte_to_char(byte).to_string()).collect();
    let mut pairs = Vec::new();
    for &(left, right) in merges {
        pairs.push(format!("{} {}", tokens[left], tokens[right]));
        tokens.push(format!("{}{}", tokens[left], tokens[right]));
    }
    let tokens: Vec<(&str, i32)> = tokens.iter().map(|t| (t.as_str(), 1)).collect();
    let pairs: StringArray = pairs.iter().collect();
    vocabulary("gpt2", &tokens).with("tokenizer.ggml.merges", Value::Array(Array::String(pairs)))
}
