//! What tests share: the built-in model and its reference.

use rbee_model::gguf::Header;
use serde::Deserialize;

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
