//! Tokenizers from GGUF metadata: `tokenizer.ggml.*`.

use super::bytes::{char_to_byte, push_token};
use super::ends::{end_tokens, is_end_text};
use super::sentence::{BLANK, byte_of};
use super::special::{Special, Specials};
use super::vocab::{Kind, Vocab};
use super::{Bpe, Model, Sentence, Tokenizer, TokenizerError, split};
use rbee_model::gguf::{Array, Header, StringArray};

const TOKENS: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";

/// How the tokens of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    /// A character for each byte.
    ByteLevel,
    /// U+2581 for a blank.
    Sentence,
}

/// The tokenizer that a checked header describes.
pub fn tokenizer(header: &Header) -> Result<Tokenizer, TokenizerError> {
    match header.str("tokenizer.ggml.model") {
        Some("gpt2") => byte_level(header),
        Some("llama") => sentence(header),
        Some(found) => Err(TokenizerError::Model { found: found.to_owned() }),
        None => Err(TokenizerError::Missing("tokenizer.ggml.model")),
    }
}

fn byte_level(header: &Header) -> Result<Tokenizer, TokenizerError> {
    let parts = Parts::read(header, Writing::ByteLevel)?;
    let merges = header.strings(MERGES).ok_or(TokenizerError::Missing(MERGES))?;
    // What a file without a name means was settled when files had none.
    let name = header.str("tokenizer.ggml.pre").filter(|name| !name.is_empty()).unwrap_or("default");
    let pre = split::find(name).ok_or_else(|| TokenizerError::Pre { found: name.to_owned() })?;
    let bpe = Bpe::new(&parts.vocab, merges.iter(), pre.ignore_merges, pre.splitter());
    let ids = Ids::read(header, parts.vocab.len(), None, None);
    parts.build(header, Model::Bpe(bpe), ids, pre.add_bos)
}

fn sentence(header: &Header) -> Result<Tokenizer, TokenizerError> {
    let parts = Parts::read(header, Writing::Sentence)?;
    let scores = scores(header).ok_or(TokenizerError::Missing(SCORES))?;
    let unknown = id(header, "unknown", parts.vocab.len()).or((!parts.vocab.is_empty()).then_some(0));
    let space_prefix = header.bool("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let model = Model::Sentence(Sentence::new(&parts.vocab, &scores, unknown, space_prefix));
    let ids = Ids::read(header, parts.vocab.len(), Some(1), Some(2));
    parts.build(header, model, ids, true)
}

/// What all models have in common.
struct Parts {
    vocab: Vocab,
    specials: Specials,
    /// Special tokens that end an answer by their text.
    ends: Vec<(String, u32)>,
}

impl Parts {
    fn read(header: &Header, writing: Writing) -> Result<Self, TokenizerError> {
        let tokens = header.strings(TOKENS).ok_or(TokenizerError::Missing(TOKENS))?;
        let kinds = kinds(header, tokens, writing);
        let mut vocab = Vocab::with_capacity(tokens.len());
        let mut specials = Vec::new();
        let mut ends = Vec::new();
        let strips = strips_right(header);
        for (at, (text, &kind)) in tokens.iter().zip(&kinds).enumerate() {
            vocab.push(kind, |out| push(out, text, kind, writing));
            let id = at as u32;
            if !matches!(kind, Kind::Control | Kind::UserDefined) {
                continue;
            }
            if is_end_text(text) {
                ends.push((text.to_owned(), id));
            }
            let strip_right = strips && (kind == Kind::Control) != UNSTRIPPED.contains(&text);
            let control = kind == Kind::Control;
            specials.push(Special { text: text.to_owned(), id, control, strip_left: false, strip_right });
        }
        Ok(Self { vocab, specials: Specials::new(specials)?, ends })
    }

    fn build(self, header: &Header, model: Model, ids: Ids, adds_bos: bool) -> Result<Tokenizer, TokenizerError> {
        let Self { vocab, specials, ends } = self;
        let adds =
            |key: &str, default: bool| header.bool(&format!("tokenizer.ggml.add_{key}_token")).unwrap_or(default);
        let named = ["eot", "eom", "fim_pad", "fim_rep", "fim_sep"].map(|key| id(header, key, vocab.len()));
        let named = named.into_iter().chain([ids.eos]).flatten();
        Ok(Tokenizer {
            ends: end_tokens(named, ends.iter().map(|(text, id)| (text.as_str(), *id))),
            before: ids.bos.filter(|_| adds("bos", adds_bos)).into_iter().collect(),
            after: ids.eos.filter(|_| adds("eos", false)).into_iter().collect(),
            bos: ids.bos,
            eos: ids.eos,
            vocab,
            model,
            specials,
        })
    }
}

/// Phi-3's special tokens swallow the blanks after them, but these do not. The metadata does not say so.
const UNSTRIPPED: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

fn strips_right(header: &Header) -> bool {
    let name = header.str("general.name").unwrap_or_default().to_ascii_lowercase();
    name.contains("phi-3") || name.contains("phi3")
}

struct Ids {
    bos: Option<u32>,
    eos: Option<u32>,
}

impl Ids {
    fn read(header: &Header, count: usize, bos: Option<u32>, eos: Option<u32>) -> Self {
        let default = |id: Option<u32>| id.filter(|&id| (id as usize) < count);
        Self { bos: id(header, "bos", count).or(default(bos)), eos: id(header, "eos", count).or(default(eos)) }
    }
}

/// The special token of that name, if it is one of the `count` tokens.
fn id(header: &Header, name: &str, count: usize) -> Option<u32> {
    let id = header.u64(&format!("tokenizer.ggml.{name}_token_id"))?;
    u32::try_from(id).ok().filter(|&id| (id as usize) < count)
}

/// Kinds of all tokens. A token whose text ends answers is a control token even if its type does not say so.
fn kinds(header: &Header, tokens: &StringArray, writing: Writing) -> Vec<Kind> {
    let codes = header.get("tokenizer.ggml.token_type").and_then(|v| v.as_array()).and_then(|a| a.to_i64s());
    let codes = codes.unwrap_or_default();
    let kind = |(at, text): (usize, &str)| match codes.get(at) {
        Some(2 | 3) => Kind::Control,
        _ if is_end_text(text) => Kind::Control,
        Some(4) => Kind::UserDefined,
        Some(6) if byte_of(text).is_some() => Kind::Byte,
        _ if writing == Writing::ByteLevel && text.chars().any(|c| char_to_byte(c).is_none()) => Kind::Unreachable,
        _ => Kind::Normal,
    };
    tokens.iter().enumerate().map(kind).collect()
}

fn scores(header: &Header) -> Option<Vec<f32>> {
    match header.get(SCORES)?.as_array()? {
        Array::F32(scores) => Some(scores.clone()),
        Array::I32(scores) => Some(scores.iter().map(|&score| score as f32).collect()),
        _ => None,
    }
}

/// Appends a token's bytes.
fn push(out: &mut Vec<u8>, text: &str, kind: Kind, writing: Writing) {
    match (kind, writing) {
        (Kind::Control, _) => {}
        (Kind::Byte, _) => out.extend(byte_of(text)),
        (Kind::UserDefined | Kind::Unreachable, _) => out.extend_from_slice(text.as_bytes()),
        (Kind::Normal, Writing::ByteLevel) => push_token(text, out),
        (Kind::Normal, Writing::Sentence) => push_sentence(text, out),
    }
}

fn push_sentence(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(BLANK) {
        out.extend_from_slice(before.as_bytes());
        out.push(b' ');
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
}
