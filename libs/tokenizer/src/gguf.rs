//! Tokenizers from GGUF metadata: `tokenizer.ggml.*`.

use super::bytes::{char_to_byte, push_token};
use super::ends::{end_tokens, is_end_text};
use super::keys::Keys;
use super::sentence::{BLANK, byte_of};
use super::special::{Budget, Special, Specials};
use super::vocab::{Kind, Vocab};
use super::{Bpe, Model, Sentence, Tokenizer, TokenizerError, WordPiece, split};
use rbee_model::gguf::Header;

const MODEL: &str = "tokenizer.ggml.model";
const TOKENS: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";

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
    let keys = Keys(header);
    match keys.text(MODEL)? {
        Some("gpt2") => byte_level(&keys),
        Some("llama") => sentence(&keys),
        Some("bert") => word_piece(&keys),
        Some(found) => Err(TokenizerError::Model { found: found.to_owned() }),
        None => Err(TokenizerError::Missing(MODEL)),
    }
}

fn byte_level(keys: &Keys<'_>) -> Result<Tokenizer, TokenizerError> {
    let parts = Parts::read(keys, Writing::ByteLevel)?;
    let merges = keys.texts(MERGES)?;
    // A file that names none is older than the names; this is how it was made.
    let name = keys.text("tokenizer.ggml.pre")?.filter(|name| !name.is_empty()).unwrap_or("default");
    let pre = split::find(name).ok_or_else(|| TokenizerError::Pre { found: name.to_owned() })?;
    let bpe = Bpe::new(&parts.vocab, merges.iter(), pre.ignore_merges, pre.splitter());
    let (bos, eos) = (parts.id(keys, "bos", None)?, parts.id(keys, "eos", None)?);
    let (add_bos, add_eos) = (adds(keys, "bos", pre.add_bos)?, adds(keys, "eos", false)?);
    let ends = Ends { bos, eos, before: bos.filter(|_| add_bos), after: eos.filter(|_| add_eos) };
    parts.build(keys, Model::Bpe(bpe), ends)
}

fn sentence(keys: &Keys<'_>) -> Result<Tokenizer, TokenizerError> {
    let parts = Parts::read(keys, Writing::Sentence)?;
    let count = parts.vocab.len();
    let scores = keys.scores("tokenizer.ggml.scores", count)?;
    let unknown = parts.id(keys, "unknown", Some(0))?;
    let space_prefix = keys.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let model = Model::Sentence(Sentence::new(&parts.vocab, (0..count).map(scores), unknown, space_prefix));
    let (bos, eos) = (parts.id(keys, "bos", Some(1))?, parts.id(keys, "eos", Some(2))?);
    let (add_bos, add_eos) = (adds(keys, "bos", true)?, adds(keys, "eos", false)?);
    let ends = Ends { bos, eos, before: bos.filter(|_| add_bos), after: eos.filter(|_| add_eos) };
    parts.build(keys, model, ends)
}

fn word_piece(keys: &Keys<'_>) -> Result<Tokenizer, TokenizerError> {
    let parts = Parts::read(keys, Writing::Sentence)?;
    let unknown = parts.id(keys, "unknown", Some(100))?;
    let lowercase = keys.bool("tokenizer.ggml.normalizer.lowercase")?.unwrap_or(true);
    let strip_accents = keys.bool("tokenizer.ggml.normalizer.strip_accents")?.unwrap_or(lowercase);
    let model = Model::WordPiece(WordPiece::new(&parts.vocab, unknown, lowercase, strip_accents));
    let class = parts.id(keys, "bos", parts.id(keys, "cls", Some(101))?)?;
    let separator = parts.id(keys, "seperator", Some(102))?;
    let ends = Ends { bos: class, eos: parts.id(keys, "eos", None)?, before: class, after: separator };
    parts.build(keys, model, ends)
}

/// Whether BOS or EOS is added to raw texts.
fn adds(keys: &Keys<'_>, name: &str, default: bool) -> Result<bool, TokenizerError> {
    Ok(keys.bool(&format!("tokenizer.ggml.add_{name}_token"))?.unwrap_or(default))
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
    fn read(keys: &Keys<'_>, writing: Writing) -> Result<Self, TokenizerError> {
        let tokens = keys.texts(TOKENS)?;
        let codes = keys.codes("tokenizer.ggml.token_type", tokens.len())?;
        let mut vocab = Vocab::with_capacity(tokens.len());
        let mut specials = Vec::new();
        let mut budget = Budget::default();
        let mut ends = Vec::new();
        let strips = strips_right(keys.0);
        for (at, text) in tokens.iter().enumerate() {
            let kind = kind(codes.as_ref().map_or(NORMAL, |code| code(at)), text, writing);
            vocab.push(kind, |out| push(out, text, kind, writing));
            let id = at as u32;
            if !matches!(kind, Kind::Control | Kind::UserDefined) {
                continue;
            }
            budget.take(id, text)?;
            if is_end_text(text) {
                ends.push((text.to_owned(), id));
            }
            let strip_right = strips && !UNSTRIPPED.contains(&text);
            let control = kind == Kind::Control;
            specials.push(Special { text, id, control, strip_left: false, strip_right });
        }
        vocab.shrink();
        Ok(Self { vocab, specials: Specials::new(specials)?, ends })
    }

    /// The special token of that name, or else `default`, if it is in the vocabulary.
    fn id(&self, keys: &Keys<'_>, name: &str, default: Option<u32>) -> Result<Option<u32>, TokenizerError> {
        let named = keys.id(&format!("tokenizer.ggml.{name}_token_id"), self.vocab.len())?;
        Ok(named.or(default.filter(|&id| (id as usize) < self.vocab.len())))
    }

    fn build(self, keys: &Keys<'_>, model: Model, at_ends: Ends) -> Result<Tokenizer, TokenizerError> {
        let Ends { bos, eos, before, after } = at_ends;
        let mut named: Vec<u32> = eos.into_iter().collect();
        for name in ["eot", "eom", "fim_pad", "fim_rep", "fim_sep"] {
            named.extend(self.id(keys, name, None)?);
        }
        let ends = end_tokens(named, self.ends.iter().map(|(text, id)| (text.as_str(), *id)));
        let Self { vocab, specials, .. } = self;
        let (before, after) = (before.into_iter().collect(), after.into_iter().collect());
        Ok(Tokenizer { vocab, model, specials, bos, eos, before, after, ends })
    }
}

/// Phi-3's special tokens swallow the blanks after them, but these do not. The metadata does not say so.
const UNSTRIPPED: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

fn strips_right(header: &Header) -> bool {
    let name = header.str("general.name").unwrap_or_default().to_ascii_lowercase();
    name.contains("phi-3") || name.contains("phi3")
}

/// The type of tokens in a file that gives none.
const NORMAL: i64 = 1;

/// What a token is by its type. One whose text ends answers is a control token even if its type does not say so.
fn kind(code: i64, text: &str, writing: Writing) -> Kind {
    match code {
        2 | 3 => Kind::Control,
        _ if is_end_text(text) => Kind::Control,
        4 => Kind::UserDefined,
        6 if byte_of(text).is_some() => Kind::Byte,
        _ if writing == Writing::ByteLevel && text.chars().any(|c| char_to_byte(c).is_none()) => Kind::Unreachable,
        _ => Kind::Normal,
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
