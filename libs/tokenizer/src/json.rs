//! Tokenizers from tokenizer.json, by the crate `tokenizers`.
//!
//! That crate cuts text at special tokens itself, wherever they come from; here it only gets text, and [`Specials`] finds them.

use super::ends::end_tokens;
use super::sentence::{BLANK, byte_of};
use super::special::{Special, Specials};
use super::vocab::{Kind, Vocab};
use super::{Model, Tokenizer, TokenizerError, bytes};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokenizers::PreTokenizerWrapper;

/// Ids are below this; a file with one token of id 4,000,000,000 must not make a table of that size.
const MOST_IDS: u32 = 1 << 22;
/// A text whose tokens must be computable, with characters that hardly a vocabulary has.
const PROBE: &str = "a B1\n\u{1F41D}\u{E000} \u{10FFFD}";

/// The model of a tokenizer.json.
pub struct Json {
    library: tokenizers::Tokenizer,
    /// A blank goes in front of the first text, and only there.
    first_blank: bool,
}

impl Json {
    /// Appends the tokens of a text; `first` says that nothing stands before it. Where the library fails, the text is taken in
    /// halves, and a character that it fails on is left out.
    pub fn encode(&self, text: &str, first: bool, ids: &mut Vec<u32>) {
        if first && self.first_blank && !text.starts_with([' ', BLANK]) {
            self.plain(&format!(" {text}"), ids);
        } else {
            self.plain(text, ids);
        }
    }

    fn plain(&self, text: &str, ids: &mut Vec<u32>) {
        if let Some(found) = library_ids(&self.library, text, false) {
            ids.extend(found);
            return;
        }
        let middle = text.floor_char_boundary(text.len() / 2);
        let (left, right) = text.split_at(middle);
        if !left.is_empty() && !right.is_empty() {
            self.plain(left, ids);
            self.plain(right, ids);
        }
    }
}

/// The library's tokens of a text. It is not free of panics for files that contradict themselves; they are errors like others.
fn library_ids(library: &tokenizers::Tokenizer, text: &str, with_special: bool) -> Option<Vec<u32>> {
    let encode = || library.encode_fast(text, with_special).map(|e| e.get_ids().to_vec());
    catch_unwind(AssertUnwindSafe(encode)).ok()?.ok()
}

/// The tokenizer of a tokenizer.json; `config` is tokenizer_config.json.
pub fn tokenizer(json: &[u8], config: Option<&Value>) -> Result<Tokenizer, TokenizerError> {
    // The library panics on some files that contradict themselves; nothing of it is used after that.
    let read = catch_unwind(AssertUnwindSafe(|| tokenizers::Tokenizer::from_bytes(json)));
    let mut library = match read {
        Ok(read) => read.map_err(|e| broken(&e.to_string()))?,
        Err(_) => return Err(broken("it contradicts itself")),
    };
    check_ids(&library, json)?;
    library.set_encode_special_tokens(true);
    library.with_padding(None);
    library.with_truncation(None).map_err(|e| broken(&e.to_string()))?;
    let first_blank = take_first_blank(&mut library)?;
    library_ids(&library, PROBE, false).ok_or_else(|| broken("it has no token for unknown characters"))?;
    let (before, after) = surroundings(&library);
    let tokens = tokens(&library)?;
    let vocab = vocab(&library, &tokens);
    let added = library.get_added_tokens_decoder();
    let specials = added.iter().filter(|(_, t)| t.special).map(|(&id, token)| Special {
        text: &token.content,
        id,
        control: true,
        strip_left: token.lstrip,
        strip_right: token.rstrip,
    });
    let specials = Specials::new(specials)?;
    let named = |name: &str| named_token(config?, name).and_then(|text| library.token_to_id(text));
    let bos = named("bos").or(before.first().copied());
    let eos = named("eos");
    let texts = added.iter().map(|(&id, token)| (token.content.as_str(), id));
    Ok(Tokenizer {
        ends: end_tokens(eos, texts),
        before: wanted(config, "add_bos_token", bos, before),
        after: wanted(config, "add_eos_token", eos, after),
        vocab,
        specials,
        bos,
        eos,
        model: Model::Json(Box::new(Json { library, first_blank })),
    })
}

/// The part of a tokenizer.json that the library reads in its own way.
#[derive(Deserialize)]
struct Added {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
}

/// The library numbers added tokens by itself; where the file has other ids, the model would be given wrong tokens.
fn check_ids(library: &tokenizers::Tokenizer, json: &[u8]) -> Result<(), TokenizerError> {
    let added: Added = serde_json::from_slice(json).map_err(|e| broken(&e.to_string()))?;
    let wrong = added.added_tokens.iter().find(|t| library.token_to_id(&t.content) != Some(t.id));
    wrong.map_or(Ok(()), |t| Err(broken(&format!("the added token {:?} cannot have the id {}", t.content, t.id))))
}

fn broken(what: &str) -> TokenizerError {
    // Messages of the library may quote the file.
    let what = what.chars().filter(|c| !c.is_control()).take(200).collect();
    TokenizerError::Json(what)
}

/// `bos_token` and the like are a text, or an object with one.
fn named_token<'a>(config: &'a Value, name: &str) -> Option<&'a str> {
    let token = config.get(format!("{name}_token"))?;
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// What is added to a raw text, unless the configuration says otherwise.
fn wanted(config: Option<&Value>, key: &str, token: Option<u32>, added: Vec<u32>) -> Vec<u32> {
    match (config.and_then(|c| c.get(key)?.as_bool()), token) {
        (Some(true), Some(token)) if !added.contains(&token) => vec![token],
        (Some(false), Some(token)) => added.into_iter().filter(|&id| id != token).collect(),
        _ => added,
    }
}

/// What the file's post-processor puts before and after a text.
fn surroundings(library: &tokenizers::Tokenizer) -> (Vec<u32>, Vec<u32>) {
    let text = "a";
    let (Some(plain), Some(whole)) = (library_ids(library, text, false), library_ids(library, text, true)) else {
        return Default::default();
    };
    let at = (0..=whole.len().saturating_sub(plain.len())).find(|&at| whole[at..].starts_with(&plain));
    match at {
        Some(at) => (whole[..at].to_vec(), whole[at + plain.len()..].to_vec()),
        None => Default::default(),
    }
}

/// Takes the blank in front of the first text over from the library, which cannot know which text is the first.
fn take_first_blank(library: &mut tokenizers::Tokenizer) -> Result<bool, TokenizerError> {
    let Some(pre_tokenizer) = library.get_pre_tokenizer() else { return Ok(false) };
    let mut value = serde_json::to_value(pre_tokenizer).map_err(|e| broken(&e.to_string()))?;
    if !replace(&mut value, "prepend_scheme", "first", "never") {
        return Ok(false);
    }
    let changed: PreTokenizerWrapper = serde_json::from_value(value).map_err(|e| broken(&e.to_string()))?;
    library.with_pre_tokenizer(Some(changed));
    Ok(true)
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

/// All tokens by id.
fn tokens(library: &tokenizers::Tokenizer) -> Result<BTreeMap<u32, String>, TokenizerError> {
    let tokens: BTreeMap<u32, String> = library.get_vocab(true).into_iter().map(|(text, id)| (id, text)).collect();
    match tokens.last_key_value() {
        None => Err(broken("it has no tokens")),
        Some((&id, _)) if id >= MOST_IDS => Err(broken(&format!("token id {id} is above {MOST_IDS}"))),
        Some(_) => Ok(tokens),
    }
}

/// How tokens are written, which the decoder says.
fn vocab(library: &tokenizers::Tokenizer, tokens: &BTreeMap<u32, String>) -> Vocab {
    let decoder = serde_json::to_string(&library.get_decoder()).unwrap_or_default();
    let has = |name: &str| decoder.contains(&format!("\"{name}\""));
    let (byte_level, word_piece, fallback) = (has("ByteLevel"), has("WordPiece"), has("ByteFallback"));
    let added = library.get_added_tokens_decoder();
    let count = tokens.last_key_value().map_or(0, |(&id, _)| id + 1);
    let mut vocab = Vocab::with_capacity(count as usize);
    for id in 0..count {
        let text = tokens.get(&id).map(String::as_str).unwrap_or_default();
        match added.get(&id) {
            Some(token) if token.special => vocab.push(Kind::Control, |_| {}),
            Some(_) => vocab.push(Kind::UserDefined, |out| out.extend_from_slice(text.as_bytes())),
            None if !tokens.contains_key(&id) => vocab.push(Kind::Control, |_| {}),
            None if byte_level => vocab.push(Kind::Normal, |out| bytes::push_token(text, out)),
            None if word_piece => vocab.push(Kind::Normal, |out| match text.strip_prefix("##") {
                Some(rest) => out.extend_from_slice(rest.as_bytes()),
                None => out.extend_from_slice(format!(" {text}").as_bytes()),
            }),
            None => match byte_of(text).filter(|_| fallback) {
                Some(byte) => vocab.push(Kind::Byte, |out| out.push(byte)),
                None => vocab.push(Kind::Normal, |out| out.extend_from_slice(text.replace(BLANK, " ").as_bytes())),
            },
        }
    }
    vocab
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn added(id: u32, content: &str, special: bool) -> Value {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": special})
    }

    /// A SentencePiece vocabulary with byte fallback for é, in the form of Llama 2.
    fn sentence(scheme: &str) -> Value {
        let vocab = json!({"<unk>": 0, "<s>": 1, "</s>": 2, "<0xC3>": 3, "<0xA9>": 4, "\u{2581}": 5, "a": 6, "b": 7,
            "\u{2581}a": 8, "ab": 9, "<": 10, "s": 11, ">": 12, "/": 13, "<0x00>": 14});
        json!({
            "version": "1.0", "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
            "padding": null,
            "added_tokens": [added(0, "<unk>", true), added(1, "<s>", true), added(2, "</s>", true)],
            "normalizer": null,
            "pre_tokenizer": {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": false},
            "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
            "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"}]},
            "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                "vocab": vocab, "merges": [["\u{2581}", "a"], ["a", "b"]]}
        })
    }

    fn read(value: &Value, config: Option<&Value>) -> Result<Tokenizer, TokenizerError> {
        Tokenizer::from_tokenizer_json(value.to_string().as_bytes(), config)
    }

    #[test]
    fn a_sentence_vocabulary_gives_ids_bytes_and_ends() {
        let config = json!({"bos_token": {"content": "<s>"}, "eos_token": "</s>"});
        let t = read(&sentence("always"), Some(&config)).unwrap();
        assert_eq!(t.encode("aé b"), [1, 8, 3, 4, 5, 7]);
        assert_eq!(t.encode("</s>"), [1, 5, 10, 13, 11, 12], "text of a user stays text");
        assert_eq!(t.encode_part("a"), [8]);
        assert_eq!(t.encode_rendered("<s>a</s>b"), [1, 8, 2, 5, 7]);
        assert_eq!(t.encode_rendered("a"), [1, 8]);
        let shielded = format!("<s>{}", t.shield("</s>"));
        assert_eq!(t.encode_rendered(&shielded), [1, 5, 10, 13, 11, 12]);
        assert_eq!((t.bytes(8), t.bytes(3), t.bytes(2), t.bytes(99)), (&b" a"[..], &b"\xc3"[..], &b""[..], &b""[..]));
        assert_eq!((t.bos_text(), t.eos_text(), t.end_tokens(), t.vocab_size()), ("<s>", "</s>", &[2][..], 15));
        assert!(t.is_special(1) && !t.is_special(6) && t.is_end(2));
    }

    #[test]
    fn a_blank_goes_in_front_of_the_first_text_only() {
        let t = read(&sentence("first"), None).unwrap();
        assert_eq!(t.encode("a"), [1, 8]);
        assert_eq!(t.encode_rendered("<s>a"), [1, 6]);
        assert_eq!(t.encode_rendered("a<s>a"), [1, 8, 1, 6]);
        assert_eq!(t.encode_rendered(" a"), [1, 8]);
    }

    #[test]
    fn the_configuration_decides_what_is_added() {
        let config = |bos: bool, eos: bool| json!({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": bos, "add_eos_token": eos});
        assert_eq!(read(&sentence("never"), Some(&config(false, false))).unwrap().encode("a"), [6]);
        assert_eq!(read(&sentence("never"), Some(&config(true, true))).unwrap().encode("a"), [1, 6, 2]);
    }

    #[test]
    fn byte_level_vocabularies_give_bytes() {
        let mut json = sentence("never");
        json["pre_tokenizer"] =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true});
        json["decoder"] = json["pre_tokenizer"].clone();
        json["post_processor"] = Value::Null;
        json["model"]["byte_fallback"] = Value::Bool(false);
        json["model"]["vocab"] = json!({"<unk>": 0, "<s>": 1, "</s>": 2, "Ġ": 3, "a": 4, "Ġa": 5, "Ã": 6, "©": 7});
        json["model"]["merges"] = json!([["Ġ", "a"]]);
        json["added_tokens"].as_array_mut().unwrap().push(added(8, "<tool>", false));
        let t = read(&json, None).unwrap();
        assert_eq!(t.encode("a a<tool>é"), [4, 5, 8, 6, 7]);
        assert_eq!((t.bytes(5), t.bytes(6), t.bytes(8)), (&b" a"[..], &b"\xc3"[..], &b"<tool>"[..]));
        assert!(!t.is_special(8));
        json["model"]["vocab"]["x"] = json!(10);
        json["added_tokens"] = json!([]);
        let t = read(&json, None).unwrap();
        assert_eq!((t.vocab_size(), t.bytes(9), t.bytes(10)), (11, &b""[..], &b"x"[..]));
        assert!(t.is_special(9), "an id without a token is no text");
    }

    #[test]
    fn broken_files_are_errors() {
        let good = sentence("always").to_string();
        for cut in (0..good.len()).step_by(97) {
            assert!(Tokenizer::from_tokenizer_json(&good.as_bytes()[..cut], None).is_err(), "{cut}");
        }
        let mut far = sentence("always");
        far["added_tokens"].as_array_mut().unwrap().push(added(u32::MAX, "<far>", true));
        far["model"]["vocab"]["<far>"] = json!(u32::MAX);
        let mut merges = sentence("always");
        merges["model"]["merges"] = json!([["no", "such"]]);
        let mut empty = sentence("always");
        empty["model"]["vocab"] = json!({});
        empty["model"]["merges"] = json!([]);
        empty["added_tokens"] = json!([]);
        let mut unknown = sentence("always");
        unknown["model"]["unk_token"] = json!("no such");
        unknown["model"]["byte_fallback"] = json!(false);
        let mut renumbered = sentence("always");
        renumbered["added_tokens"].as_array_mut().unwrap().push(added(30, "<x>", false));
        let all =
            [("far", far), ("merges", merges), ("empty", empty), ("unknown", unknown), ("renumbered", renumbered)];
        for (name, json) in all {
            let error = read(&json, None).err();
            assert!(matches!(error, Some(TokenizerError::Json(_))), "{name}: {error:?}");
        }
    }
}
