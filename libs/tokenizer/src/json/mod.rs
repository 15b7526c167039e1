//! Tokenizers from tokenizer.json, by the crate `tokenizers`.
//!
//! The library trusts its files, so a file is taken apart here and bounded first, and the library is put together from the parts
//! that it is still needed for: the normalizer, the pre-tokenizer, the model and the added tokens. The crate cuts text at special
//! tokens itself, wherever they come from; here it only gets text, and [`Specials`] finds them.

mod file;
mod pipeline;

use super::config::TokenizerConfig;
use super::ends::end_tokens;
use super::sentence::{BLANK, byte_of};
use super::special::{Special, Specials};
use super::vocab::{Kind, Vocab};
use super::{Model, Tokenizer, TokenizerError, bytes};
use file::{AddedToken, File};
use pipeline::{Growth, Writing};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

/// Bytes of a file; Gemma 3's, of the largest, has 33,000,000.
pub const MOST_BYTES: usize = 64 << 20;
/// Bytes of a normalizer, which may have SentencePiece's table of characters.
const MOST_NORMALIZER_BYTES: usize = 2 << 20;
/// Bytes of another step of the pipeline.
const MOST_PART_BYTES: usize = 64 << 10;
/// Bytes of all added tokens that are normalized, after that.
const MOST_NORMALIZED: usize = 1 << 20;
/// Bytes of text that the library works on at once, which takes it some 50 for each. Known pipelines reach that with a text of
/// several 100,000 bytes.
const MOST_AT_ONCE: usize = 4 << 20;
/// Tokens of a text; no context is as long.
const MOST_TOKENS: usize = 1 << 24;
/// How often the library may fail at a text before the rest is given up.
const MOST_FAILURES: usize = 1 << 10;
/// A text whose tokens must be computable, with characters that hardly a vocabulary has.
const PROBE: &str = "a B1\n\u{1F41D}\u{E000} \u{10FFFD}";

/// The model of a tokenizer.json.
pub struct Json {
    library: tokenizers::Tokenizer,
    /// How much longer a text can get in the library.
    growth: Growth,
    /// A blank goes in front of the first text, and only there.
    first_blank: bool,
}

impl Json {
    /// Appends the tokens of a text; `first` says that nothing stands before it. Where the library fails, the text is taken in
    /// halves, and a character that it fails on is left out.
    pub fn encode(&self, text: &str, first: bool, ids: &mut Vec<u32>) {
        let mut failures = MOST_FAILURES;
        if first && self.first_blank && !text.starts_with([' ', BLANK]) {
            self.plain(&format!(" {text}"), &mut failures, ids);
        } else {
            self.plain(text, &mut failures, ids);
        }
    }

    fn plain(&self, text: &str, failures: &mut usize, ids: &mut Vec<u32>) {
        let too_long = self.growth.of(text.len()) > MOST_AT_ONCE;
        if !too_long {
            if let Some(found) = library_ids(&self.library, text) {
                ids.extend(found);
                return;
            }
            *failures = failures.saturating_sub(1);
        }
        let (left, right) = text.split_at(middle(text, too_long));
        if !left.is_empty() && !right.is_empty() && *failures > 0 && ids.len() < MOST_TOKENS {
            self.plain(left, failures, ids);
            self.plain(right, failures, ids);
        }
    }
}

/// Where a text is cut in halves; `in_front_of_a_word` if there is one nearby, where tokens mostly begin anyway.
fn middle(text: &str, in_front_of_a_word: bool) -> usize {
    let middle = text.floor_char_boundary(text.len() / 2);
    let nearby = text.floor_char_boundary(middle.saturating_sub(1 << 10));
    let word =
        |at: &usize| text[*at + 1..].starts_with(char::is_alphanumeric) && !text[..*at].ends_with(char::is_whitespace);
    let word = text[nearby..middle].match_indices(' ').map(|(at, _)| nearby + at).rfind(word);
    word.filter(|&at| in_front_of_a_word && at > 0).unwrap_or(middle)
}

/// The library's tokens of a text. It is not free of panics for files that contradict themselves; they are errors like others.
fn library_ids(library: &tokenizers::Tokenizer, text: &str) -> Option<Vec<u32>> {
    let encode = || library.encode_fast(text, false).map(|e| e.get_ids().to_vec());
    catch_unwind(AssertUnwindSafe(encode)).ok()?.ok()
}

/// The tokenizer of a tokenizer.json; `config` is tokenizer_config.json.
pub fn tokenizer(json: &[u8], config: Option<&TokenizerConfig>) -> Result<Tokenizer, TokenizerError> {
    if json.len() > MOST_BYTES {
        return Err(broken(&format!("it has {} bytes; at most {MOST_BYTES} are read", json.len())));
    }
    let file: File<'_> = serde_json::from_slice(json).map_err(|e| broken(&e.to_string()))?;
    if file.version.as_ref().is_some_and(|version| version != "1.0") {
        return Err(broken("its version is not 1.0"));
    }
    let added = &file.added_tokens.0;
    let specials = added.iter().filter(|t| t.special).map(|token| Special {
        text: &token.content,
        id: token.id,
        control: true,
        strip_left: token.lstrip,
        strip_right: token.rstrip,
    });
    let specials = Specials::new(specials)?;
    let pipeline = Pipeline::read(&file).map_err(|e| broken(&e))?;
    let (writing, before, after) = (pipeline.writing, pipeline.before.clone(), pipeline.after.clone());
    // The library panics on some files that contradict themselves; nothing of it is used after that.
    let made = catch_unwind(AssertUnwindSafe(|| make(&file, pipeline)));
    let (json, count) = made.map_err(|_| broken("it contradicts itself"))?.map_err(|e| broken(&e))?;
    if let Some(id) = before.iter().chain(&after).find(|&&id| id >= count) {
        return Err(broken(&format!("the post_processor adds the token {id}, which does not exist")));
    }
    let vocab = vocab(&json.library, added, count, writing);
    let named = |text: Option<&str>| text.and_then(|text| json.library.token_to_id(text));
    let bos = named(config.and_then(TokenizerConfig::bos)).or(before.first().copied());
    let eos = named(config.and_then(TokenizerConfig::eos));
    let texts = added.iter().map(|token| (token.content.as_str(), token.id));
    Ok(Tokenizer {
        ends: end_tokens(eos, texts),
        before: wanted(config.and_then(|c| c.add_bos_token), bos, before),
        after: wanted(config.and_then(|c| c.add_eos_token), eos, after),
        vocab,
        specials,
        bos,
        eos,
        model: Model::Json(Box::new(json)),
    })
}

/// The steps of a file around its model, checked.
struct Pipeline {
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    growth: Growth,
    writing: Writing,
    /// Tokens that go in front of a text.
    before: Vec<u32>,
    /// Tokens that go behind a text.
    after: Vec<u32>,
}

impl Pipeline {
    fn read(file: &File<'_>) -> Result<Self, String> {
        let normalizer = part("normalizer", file.normalizer, MOST_NORMALIZER_BYTES)?;
        let pre_tokenizer = part("pre_tokenizer", file.pre_tokenizer, MOST_PART_BYTES)?;
        let post_processor = part("post_processor", file.post_processor, MOST_PART_BYTES)?;
        let decoder = part("decoder", file.decoder, MOST_PART_BYTES)?;
        let first = normalizer.as_ref().map_or(Ok(Growth::NONE), pipeline::normalizer)?;
        let normalized = file.added_tokens.0.iter().filter(|t| t.normalized).map(|t| first.of(t.content.len()));
        if normalized.fold(0, usize::saturating_add) > MOST_NORMALIZED {
            return Err(format!("the normalizer can make more than {MOST_NORMALIZED} bytes of the added tokens"));
        }
        let growth = first.then(pre_tokenizer.as_ref().map_or(Ok(Growth::NONE), pipeline::pre_tokenizer)?).check()?;
        let writing = decoder.as_ref().map_or(Ok(Writing::default()), pipeline::decoder)?;
        let (before, after) = post_processor.as_ref().map_or(Ok(Default::default()), pipeline::post_processor)?;
        Ok(Self { normalizer, pre_tokenizer, growth, writing, before, after })
    }
}

/// A part of the pipeline, if the file has it.
fn part(name: &str, json: Option<&RawValue>, most: usize) -> Result<Option<Value>, String> {
    let Some(text) = json.map(RawValue::get) else { return Ok(None) };
    if text.len() > most {
        return Err(format!("the {name} has {} bytes; at most {most} are read", text.len()));
    }
    serde_json::from_str(text).map(Some).map_err(|e| format!("{name}: {e}"))
}

/// The library's tokenizer, and the number of ids.
fn make(file: &File<'_>, pipeline: Pipeline) -> Result<(Json, u32), String> {
    let (model, count) = file::model(file.model)?;
    let mut library = tokenizers::Tokenizer::new(model);
    if let Some(mut normalizer) = pipeline.normalizer {
        // The library knows it by another name than files have, and guesses from the keys otherwise.
        replace(&mut normalizer, "type", "BertNormalizer", "Bert");
        let normalizer: NormalizerWrapper = step("normalizer", normalizer)?;
        library.with_normalizer(Some(normalizer)).map_err(|e| e.to_string())?;
    }
    let mut first_blank = false;
    if let Some(mut pre_tokenizer) = pipeline.pre_tokenizer {
        // The library cannot know which text is the first.
        first_blank = replace(&mut pre_tokenizer, "prepend_scheme", "first", "never");
        let pre_tokenizer: PreTokenizerWrapper = step("pre_tokenizer", pre_tokenizer)?;
        library.with_pre_tokenizer(Some(pre_tokenizer));
    }
    let added = &file.added_tokens.0;
    let tokens = added.iter().map(|t| tokenizers::AddedToken {
        content: t.content.clone(),
        single_word: t.single_word,
        lstrip: t.lstrip,
        rstrip: t.rstrip,
        normalized: t.normalized,
        special: t.special,
    });
    library.add_tokens(tokens).map_err(|e| e.to_string())?;
    library.set_encode_special_tokens(true);
    // The library numbers added tokens by itself; where the file has other ids, the model would be given wrong tokens.
    if let Some(t) = added.iter().find(|t| library.token_to_id(&t.content) != Some(t.id)) {
        return Err(format!("the added token {:?} cannot have the id {}", t.content, t.id));
    }
    let count = added.iter().map(|t| t.id + 1).max().unwrap_or(0).max(count);
    if count == 0 {
        return Err("it has no tokens".to_owned());
    }
    library_ids(&library, PROBE).ok_or("it has no token for unknown characters")?;
    Ok((Json { library, growth: pipeline.growth, first_blank }, count))
}

fn step<T: DeserializeOwned>(name: &str, value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|e| format!("{name}: {e}"))
}

fn broken(what: &str) -> TokenizerError {
    // Messages of the library may quote the file.
    let what = what.chars().filter(|c| !c.is_control()).take(400).collect();
    TokenizerError::Json(what)
}

/// What is added to a raw text, unless the configuration says otherwise.
fn wanted(add: Option<bool>, token: Option<u32>, added: Vec<u32>) -> Vec<u32> {
    match (add, token) {
        (Some(true), Some(token)) if !added.contains(&token) => vec![token],
        (Some(false), Some(token)) => added.into_iter().filter(|&id| id != token).collect(),
        _ => added,
    }
}

/// Replaces the value `from` of a key anywhere in a document; says whether there was one.
fn replace(value: &mut Value, key: &str, from: &str, to: &str) -> bool {
    match value {
        Value::Object(object) => {
            let mut done = false;
            for (name, value) in object {
                if name == key && value == from {
                    *value = Value::from(to);
                    done = true;
                }
                done |= replace(value, key, from, to);
            }
            done
        }
        Value::Array(array) => {
            let mut done = false;
            for value in array {
                done |= replace(value, key, from, to);
            }
            done
        }
        _ => false,
    }
}

/// All tokens as bytes.
fn vocab(library: &tokenizers::Tokenizer, added: &[AddedToken], count: u32, writing: Writing) -> Vocab {
    let added: BTreeMap<u32, &AddedToken> = added.iter().map(|token| (token.id, token)).collect();
    let mut vocab = Vocab::with_capacity(count as usize);
    for id in 0..count {
        match added.get(&id) {
            Some(token) if token.special => vocab.push(Kind::Control, |_| {}),
            Some(token) => vocab.push(Kind::UserDefined, |out| out.extend_from_slice(token.content.as_bytes())),
            None => match library.id_to_token(id) {
                Some(text) => push(&mut vocab, &text, writing),
                None => vocab.push(Kind::Control, |_| {}),
            },
        }
    }
    vocab.shrink();
    vocab
}

/// Adds a token of the model.
fn push(vocab: &mut Vocab, text: &str, writing: Writing) {
    if writing.byte_level {
        return vocab.push(Kind::Normal, |out| bytes::push_token(text, out));
    }
    if writing.word_piece {
        return vocab.push(Kind::Normal, |out| match text.strip_prefix("##") {
            Some(rest) => out.extend_from_slice(rest.as_bytes()),
            None => out.extend_from_slice(format!(" {text}").as_bytes()),
        });
    }
    match byte_of(text).filter(|_| writing.byte_fallback) {
        Some(byte) => vocab.push(Kind::Byte, |out| out.push(byte)),
        None => vocab.push(Kind::Normal, |out| out.extend_from_slice(text.replace(BLANK, " ").as_bytes())),
    }
}

#[cfg(test)]
mod tests;
