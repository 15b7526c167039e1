//! Tokenizers from GGUF metadata: `tokenizer.ggml.*`.

use super::bytes::{char_to_byte, push_token};
use super::ends::{end_tokens, is_end_text};
use super::sentence::{BLANK, byte_of};
use super::special::{Special, Specials};
use super::vocab::{Kind, Vocab};
use super::{Bpe, Model, Sentence, Tokenizer, TokenizerError, WordPiece, split};
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
        Some("bert") => word_piece(header),
        Some(found) => Err(TokenizerError::Model { found: found.to_owned() }),
        None => Err(TokenizerError::Missing("tokenizer.ggml.model")),
    }
}

fn byte_level(header: &Header) -> Result<Tokenizer, TokenizerError> {
    let parts = Parts::read(header, Writing::ByteLevel)?;
    let merges = header.strings(MERGES).ok_or(TokenizerError::Missing(MERGES))?;
    // A file that names none is older than the names; this is how it was made.
    let name = header.str("tokenizer.ggml.pre").filter(|name| !name.is_empty()).unwrap_or("default");
    let pre = split::find(name).ok_or_else(|| TokenizerError::Pre { found: name.to_owned() })?;
    let bpe = Bpe::new(&parts.vocab, merges.iter(), pre.ignore_merges, pre.splitter());
    let (bos, eos) = (parts.id(header, "bos", None), parts.id(header, "eos", None));
    let before = bos.filter(|_| adds(header, "bos", pre.add_bos));
    let after = eos.filter(|_| adds(header, "eos", false));
    Ok(parts.build(header, Model::Bpe(bpe), Ends { bos, eos, before, after }))
}

fn sentence(header: &Header) -> Result<Tokenizer, TokenizerError> {
    let parts = Parts::read(header, Writing::Sentence)?;
    let scores = scores(header).ok_or(TokenizerError::Missing(SCORES))?;
    let unknown = parts.id(header, "unknown", Some(0));
    let space_prefix = header.bool("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let model = Model::Sentence(Sentence::new(&parts.vocab, &scores, unknown, space_prefix));
    let (bos, eos) = (parts.id(header, "bos", Some(1)), parts.id(header, "eos", Some(2)));
    let before = bos.filter(|_| adds(header, "bos", true));
    let after = eos.filter(|_| adds(header, "eos", false));
    Ok(parts.build(header, model, Ends { bos, eos, before, after }))
}

fn word_piece(header: &Header) -> Result<Tokenizer, TokenizerError> {
    let parts = Parts::read(header, Writing::Sentence)?;
    let unknown = parts.id(header, "unknown", Some(100));
    let lowercase = header.bool("tokenizer.ggml.normalizer.lowercase").unwrap_or(true);
    let strip_accents = header.bool("tokenizer.ggml.normalizer.strip_accents").unwrap_or(lowercase);
    let model = Model::WordPiece(WordPiece::new(&parts.vocab, unknown, lowercase, strip_accents));
    let class = parts.id(header, "bos", None).or(parts.id(header, "cls", Some(101)));
    let separator = parts.id(header, "seperator", Some(102));
    let ends = Ends { bos: class, eos: parts.id(header, "eos", None), before: class, after: separator };
    Ok(parts.build(header, model, ends))
}

/// Whether BOS or EOS is added to raw texts.
fn adds(header: &Header, name: &str, default: bool) -> bool {
    header.bool(&format!("tokenizer.ggml.add_{name}_token")).unwrap_or(default)
}

/// The tokens at the ends of texts, and those of them that are added to raw texts.
struct Ends {
    bos: Option<u32>,
    eos: Option<u32>,
    before: Option<u32>,
    after: Option<u32>,
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
            let strip_right = strips && !UNSTRIPPED.contains(&text);
            let control = kind == Kind::Control;
            specials.push(Special { text: text.to_owned(), id, control, strip_left: false, strip_right });
        }
        Ok(Self { vocab, specials: Specials::new(specials)?, ends })
    }

    /// The special token of that name, or else `default`, if it is in the vocabulary.
    fn id(&self, header: &Header, name: &str, default: Option<u32>) -> Option<u32> {
        let known = |&id: &u32| (id as usize) < self.vocab.len();
        let named = header.u64(&format!("tokenizer.ggml.{name}_token_id")).and_then(|id| u32::try_from(id).ok());
        named.filter(known).or(default.filter(known))
    }

    fn build(self, header: &Header, model: Model, at_ends: Ends) -> Tokenizer {
        let Ends { bos, eos, before, after } = at_ends;
        let named = ["eot", "eom", "fim_pad", "fim_rep", "fim_sep"].map(|name| self.id(header, name, None));
        let named = named.into_iter().chain([eos]).flatten();
        let ends = end_tokens(named, self.ends.iter().map(|(text, id)| (text.as_str(), *id)));
        let Self { vocab, specials, .. } = self;
        let (before, after) = (before.into_iter().collect(), after.into_iter().collect());
        Tokenizer { vocab, model, specials, bos, eos, before, after, ends }
    }
}

/// Phi-3's special tokens swallow the blanks after them, but these do not. The metadata does not say so.
const UNSTRIPPED: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

fn strips_right(header: &Header) -> bool {
    let name = header.str("general.name").unwrap_or_default().to_ascii_lowercase();
    name.contains("phi-3") || name.contains("phi3")
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
