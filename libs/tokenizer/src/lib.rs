//! Text to token ids and back, from GGUF metadata alone or from tokenizer.json.
//!
//! Control tokens (`<|im_end|>` …) come only from templates. In text that a user wrote the same characters stay text.

mod bpe;
mod bytes;
mod config;
mod ends;
mod gguf;
mod hash;
mod json;
mod keys;
mod merge;
mod sentence;
mod special;
mod split;
#[cfg(test)]
mod testing;
mod text;
mod vocab;
mod wordpiece;

pub use config::TokenizerConfig;
pub use json::MOST_BYTES as MOST_JSON_BYTES;
pub use special::SpecialsError;
pub use text::{Piece, TextStream};

use bpe::Bpe;
use json::Json;
use merge::Merger;
use rbee_model::gguf::Header;
use sentence::Sentence;
use special::{Part, Specials};
use vocab::{Kind, Vocab};
use wordpiece::WordPiece;

/// Why no tokenizer could be made.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error(
        "tokenizer.ggml.model {found:?} is not supported; supported: gpt2 (byte-level BPE), llama (SentencePiece), bert (WordPiece)"
    )]
    Model { found: String },
    #[error("tokenizer.ggml.pre {found:?} is not supported; supported: {}", split::known().collect::<Vec<_>>().join(", "))]
    Pre { found: String },
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{key} is {found}; it must be {expected}")]
    Type { key: String, found: String, expected: &'static str },
    #[error("{key} has {found} elements for {expected} tokens")]
    Length { key: &'static str, found: usize, expected: usize },
    #[error("{key} is {id}; it must be below the number of tokens, {count}")]
    Id { key: String, id: u64, count: usize },
    #[error("tokenizer.json cannot be used: {0}")]
    Json(String),
    #[error(transparent)]
    Specials(#[from] SpecialsError),
}

/// How text becomes tokens.
enum Model {
    Bpe(Bpe),
    Sentence(Sentence),
    WordPiece(WordPiece),
    Json(Box<Json>),
}

/// A vocabulary with its model, its special tokens and its rules for BOS and end.
pub struct Tokenizer {
    vocab: Vocab,
    model: Model,
    specials: Specials,
    bos: Option<u32>,
    eos: Option<u32>,
    /// Tokens that a raw text begins with.
    before: Vec<u32>,
    /// Tokens that a raw text ends with.
    after: Vec<u32>,
    /// Tokens that end an answer, in order.
    ends: Vec<u32>,
}

impl Tokenizer {
    /// The tokenizer that a checked header describes.
    ///
    /// # Errors
    /// [`TokenizerError`] says which key of the metadata is missing or not supported.
    pub fn from_header(header: &Header) -> Result<Self, TokenizerError> {
        gguf::tokenizer(header)
    }

    /// The tokenizer of a `tokenizer.json`; `config` is the `tokenizer_config.json` beside it, which names BOS and EOS.
    ///
    /// # Errors
    /// [`TokenizerError::Json`] says what is wrong with the file.
    pub fn from_tokenizer_json(json: &[u8], config: Option<&TokenizerConfig>) -> Result<Self, TokenizerError> {
        json::tokenizer(json, config)
    }

    /// Number of tokens; ids are below it.
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// Bytes of the longest token: a text of n bytes has at least n / longest tokens.
    pub fn longest_token(&self) -> usize {
        self.vocab.longest()
    }

    /// Bytes that a token adds to the answer; none for control tokens and unknown ids.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.vocab.bytes(id)
    }

    /// Whether a token steers the model and is no text; so do ids that do not exist.
    pub fn is_special(&self, id: u32) -> bool {
        self.vocab.kind(id) == Kind::Control
    }

    /// How templates write a special token: a control token, or text that is always one token. None for other tokens.
    pub fn special_text(&self, id: u32) -> Option<&str> {
        self.specials.text(id)
    }

    /// Whether a token ends the answer.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// All tokens that end an answer, in order.
    pub fn end_tokens(&self) -> &[u32] {
        &self.ends
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Text of the BOS token, for templates.
    pub fn bos_text(&self) -> &str {
        self.bos.and_then(|id| self.specials.text(id)).unwrap_or_default()
    }

    /// Text of the EOS token, for templates.
    pub fn eos_text(&self) -> &str {
        self.eos.and_then(|id| self.specials.text(id)).unwrap_or_default()
    }

    /// Tokens of a raw text, with what the model wants in front and at the end. Control tokens in it stay text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = self.before.clone();
        self.encode_into(text, false, &mut ids);
        ids.extend(&self.after);
        ids
    }

    /// Tokens of a text in the middle of others: nothing is added, and control tokens in it stay text.
    pub fn encode_part(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        self.encode_into(text, false, &mut ids);
        ids
    }

    /// Tokens of a rendered template, in which control tokens are read. What [`Tokenizer::shield`] protected is text. BOS goes
    /// in front if the model wants it and the template did not write it.
    pub fn encode_rendered(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        self.encode_into(text, true, &mut ids);
        if !ids.starts_with(&self.before) {
            ids.splice(0..0, self.before.iter().copied());
        }
        ids
    }

    /// Protects a user's text before it goes into a template, so that control tokens in it stay text.
    pub fn shield(&self, text: &str) -> String {
        self.specials.shield(text)
    }

    fn encode_into(&self, text: &str, control: bool, ids: &mut Vec<u32>) {
        let mut merger = Merger::default();
        let mut first = true;
        self.specials.split(text, control, |part| {
            match (part, &self.model) {
                (Part::Token(id), _) => ids.push(id),
                (Part::Text(text), Model::Bpe(model)) => model.encode(&self.vocab, text, &mut merger, ids),
                (Part::Text(text), Model::Sentence(model)) => model.encode(&self.vocab, text, &mut merger, ids),
                (Part::Text(text), Model::WordPiece(model)) => model.encode(&self.vocab, text, ids),
                (Part::Text(text), Model::Json(model)) => model.encode(text, first, ids),
            }
            first = false;
        });
    }
}

#[cfg(test)]
mod tests;
