//! A vocabulary of real size: the built-in model's, grown by merges of its own pieces.

use rbee_model::gguf::{Array, Header, Value};
use rbee_model::testing::GgufFile;
use std::collections::HashSet;

const NORMAL: i32 = 1;

pub struct Vocabulary {
    tokens: Vec<String>,
    types: Vec<i32>,
    merges: Vec<String>,
}

impl Vocabulary {
    /// The built-in model's vocabulary with pieces of it put together until there are `size`.
    pub fn of_size(size: usize) -> Self {
        let bytes = rbee_model::builtin::get("tinybee").expect("tinybee is built in").bytes;
        let header = Header::from_bytes(bytes).expect("a sound header");
        let strings = |key: &str| -> Vec<String> {
            header.strings(key).map(|s| s.iter().map(str::to_owned).collect()).unwrap_or_default()
        };
        let types = match header.get("tokenizer.ggml.token_type") {
            Some(Value::Array(Array::I32(types))) => types.clone(),
            _ => Vec::new(),
        };
        let mut grown =
            Self { tokens: strings("tokenizer.ggml.tokens"), types, merges: strings("tokenizer.ggml.merges") };
        grown.grow(size);
        grown
    }

    fn grow(&mut self, size: usize) {
        let pieces: Vec<String> = self.tokens.iter().filter(|t| t.len() > 2 && plain(t)).cloned().collect();
        let mut known: HashSet<String> = self.tokens.iter().cloned().collect();
        let pairs = pieces.iter().flat_map(|a| pieces.iter().map(move |b| (a, b)));
        for (a, b) in pairs.filter(|(_, b)| !b.starts_with('Ġ')) {
            if self.tokens.len() >= size {
                break;
            }
            let both = format!("{a}{b}");
            if known.insert(both.clone()) {
                self.tokens.push(both);
                self.types.push(NORMAL);
                self.merges.push(format!("{a} {b}"));
            }
        }
        assert!(self.tokens.len() >= size, "too few pieces for {size} tokens");
    }

    pub fn write(&self, file: GgufFile, pre: &str) -> GgufFile {
        let strings = |s: &[String]| Value::Array(Array::String(s.iter().collect()));
        file.with("tokenizer.ggml.model", Value::String("gpt2".into()))
            .with("tokenizer.ggml.pre", Value::String(pre.into()))
            .with("tokenizer.ggml.tokens", strings(&self.tokens))
            .with("tokenizer.ggml.token_type", Value::Array(Array::I32(self.types.clone())))
            .with("tokenizer.ggml.merges", strings(&self.merges))
            .with("tokenizer.ggml.bos_token_id", Value::U32(0))
            .with("tokenizer.ggml.eos_token_id", Value::U32(0))
            .with("tokenizer.ggml.eot_token_id", Value::U32(2))
            .with("tokenizer.ggml.add_bos_token", Value::Bool(false))
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Tokens that must not win: those that end an answer, and pieces that alone are no text.
    pub fn damped(&self) -> impl Iterator<Item = bool> {
        self.tokens.iter().zip(&self.types).map(|(token, kind)| *kind != NORMAL || !plain(token))
    }
}

/// Whether a piece is ASCII; `Ġ` and `Ċ` stand for space and newline.
fn plain(token: &str) -> bool {
    token.chars().all(|c| c.is_ascii() || matches!(c, 'Ġ' | 'Ċ'))
}
