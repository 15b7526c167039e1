//! Byte-level BPE built from GGUF metadata alone: text to token ids, token ids to bytes.
//!
//! Control tokens (`<|im_end|>` …) come only from templates. In text that a user wrote the same characters stay text.

mod bpe;
mod bytes;
mod special;
mod split;
#[cfg(test)]
mod testing;
mod text;

pub use text::{Piece, TextStream};

use bpe::Bpe;
use rbee_model::gguf::Header;
use special::Specials;
use split::Splitter;

/// Why no tokenizer could be made from a header.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("tokenizer.ggml.model {found:?} is not supported; supported: gpt2 (byte-level BPE)")]
    Model { found: String },
    #[error("tokenizer.ggml.pre {found:?} is not supported; supported: {}", split::NAMES.join(", "))]
    Pre { found: String },
    #[error("{0} is missing or has the wrong type")]
    Missing(&'static str),
    #[error("token {id} is empty")]
    EmptyToken { id: usize },
}

/// What a token is, after `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    /// Steers the model, has no text of its own.
    Control,
    /// Text that is always one token.
    UserDefined,
}

/// A vocabulary with its merges, its special tokens and its rules for BOS and end.
pub struct Tokenizer {
    bpe: Bpe,
    splitter: Splitter,
    specials: Specials,
    /// Bytes of all tokens, one after the other; control tokens have none.
    bytes: Vec<u8>,
    ends: Vec<u32>,
    longest: usize,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    stops: Vec<u32>,
}

/// Texts of control tokens that end an answer, whatever the metadata calls them.
const STOP_TEXTS: &[&str] =
    &["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>", "<end_of_turn>", "</s>"];

impl Tokenizer {
    /// Builds the tokenizer that a checked header describes.
    pub fn from_header(header: &Header) -> Result<Self, TokenizerError> {
        match header.str("tokenizer.ggml.model") {
            Some("gpt2") => {}
            Some(found) => return Err(TokenizerError::Model { found: found.to_owned() }),
            None => return Err(TokenizerError::Missing("tokenizer.ggml.model")),
        }
        let tokens = header.strings("tokenizer.ggml.tokens").ok_or(TokenizerError::Missing("tokenizer.ggml.tokens"))?;
        let merges = header.strings("tokenizer.ggml.merges").ok_or(TokenizerError::Missing("tokenizer.ggml.merges"))?;
        let tokens: Vec<&str> = tokens.iter().collect();
        if let Some(id) = tokens.iter().position(|t| t.is_empty()) {
            return Err(TokenizerError::EmptyToken { id });
        }
        let pre = header.str("tokenizer.ggml.pre").unwrap_or("gpt-2");
        let (splitter, rules) = split::for_pre(pre).ok_or_else(|| TokenizerError::Pre { found: pre.to_owned() })?;
        let kinds = kinds(header, tokens.len());
        let (bytes, ends, longest) = token_bytes(&tokens, &kinds);
        let id =
            |key: &str| header.u64(key).and_then(|v| u32::try_from(v).ok()).filter(|&v| (v as usize) < tokens.len());
        let bos = id("tokenizer.ggml.bos_token_id");
        let eos = id("tokenizer.ggml.eos_token_id");
        let named = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];
        let mut stops: Vec<u32> = named.iter().filter_map(|key| id(key)).collect();
        let control = |at: &usize| kinds[*at] == Kind::Control && STOP_TEXTS.contains(&tokens[*at]);
        stops.extend((0..tokens.len()).filter(control).map(|at| at as u32));
        stops.sort_unstable();
        stops.dedup();
        let specials =
            Specials::new(tokens.iter().zip(&kinds).enumerate().filter_map(|(at, (text, kind))| match kind {
                Kind::Normal => None,
                Kind::Control => Some((*text, at as u32, true)),
                Kind::UserDefined => Some((*text, at as u32, false)),
            }));
        Ok(Self {
            bpe: Bpe::new(&tokens, merges.iter(), rules.ignore_merges),
            splitter,
            specials,
            bytes,
            ends,
            longest,
            bos,
            eos,
            add_bos: header.bool("tokenizer.ggml.add_bos_token").unwrap_or(rules.add_bos),
            stops,
        })
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of the longest token: a text of n bytes has at least n / longest tokens.
    pub fn longest_token(&self) -> usize {
        self.longest
    }

    /// Bytes that a token adds to the answer; none for control tokens and unknown ids.
    pub fn bytes(&self, id: u32) -> &[u8] {
        let at = id as usize;
        let Some(&end) = self.ends.get(at) else { return &[] };
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[start as usize..end as usize]
    }

    /// Whether a token ends the answer.
    pub fn is_end(&self, id: u32) -> bool {
        self.stops.binary_search(&id).is_ok()
    }

    /// Tokens of a raw text, with BOS in front where the model wants it.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids: Vec<u32> = self.bos.filter(|_| self.add_bos).into_iter().collect();
        self.encode_into(text, false, &mut ids);
        ids
    }

    /// Tokens of a rendered template, in which control tokens are read. What [`Tokenizer::shield`] protected is text.
    pub fn encode_rendered(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        self.encode_into(text, true, &mut ids);
        match self.bos.filter(|_| self.add_bos) {
            Some(bos) if ids.first() != Some(&bos) => ids.insert(0, bos),
            _ => {}
        }
        ids
    }

    /// Protects a user's text before it goes into a template, so that control tokens in it stay text.
    pub fn shield(&self, text: &str) -> String {
        self.specials.shield(text)
    }

    /// Text of the BOS token, for templates.
    pub fn bos_text(&self) -> &str {
        self.bos.and_then(|id| self.specials.text(id)).unwrap_or_default()
    }

    /// Text of the EOS token, for templates.
    pub fn eos_text(&self) -> &str {
        self.eos.and_then(|id| self.specials.text(id)).unwrap_or_default()
    }

    fn encode_into(&self, text: &str, control: bool, ids: &mut Vec<u32>) {
        for part in self.specials.split(text, control) {
            match part {
                special::Part::Token(id) => ids.push(id),
                special::Part::Text(text) => self.splitter.each(&text, |piece| self.bpe.encode(piece.as_bytes(), ids)),
            }
        }
    }
}

fn kinds(header: &Header, count: usize) -> Vec<Kind> {
    let types = header.get("tokenizer.ggml.token_type").and_then(|v| v.as_array()).and_then(|a| a.to_i64s());
    let kind = |code: i64| match code {
        2 | 3 => Kind::Control,
        4 => Kind::UserDefined,
        _ => Kind::Normal,
    };
    let mut kinds: Vec<Kind> = types.unwrap_or_default().into_iter().map(kind).collect();
    kinds.resize(count, Kind::Normal);
    kinds
}

fn token_bytes(tokens: &[&str], kinds: &[Kind]) -> (Vec<u8>, Vec<u32>, usize) {
    let mut all = Vec::new();
    let mut ends = Vec::with_capacity(tokens.len());
    let mut longest = 1;
    for (token, kind) in tokens.iter().zip(kinds) {
        let start = all.len();
        match kind {
            Kind::Normal => bytes::push_token(token, &mut all),
            Kind::UserDefined => all.extend_from_slice(token.as_bytes()),
            Kind::Control => {}
        }
        longest = longest.max(all.len() - start);
        ends.push(all.len() as u32);
    }
    (all, ends, longest)
}

#[cfg(test)]
mod tests;
