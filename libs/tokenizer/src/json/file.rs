//! A tokenizer.json, taken apart within bounds: how much there is of everything is known before the library sees any of it.

use crate::special::Budget;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use tokenizers::ModelWrapper;
use tokenizers::models::bpe::BPE;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;

/// Ids are below this; a file with one token of id 4,000,000,000 must not make a table of that size.
const MOST_IDS: u64 = 1 << 22;
/// Tokens and merges that a file may have, of either; known ones have less than 600,000.
const MOST_ENTRIES: usize = 1 << 20;
/// Bytes of all texts of a Unigram vocabulary, of which the library makes a tree with some 200 bytes for each.
const MOST_UNIGRAM_BYTES: usize = 2 << 20;
/// Bytes of a text that the model adds to words, for which it looks at every one of them.
const MOST_AFFIX_BYTES: usize = 32;
/// Characters of a word that WordPiece looks at, which takes their number squared.
const MOST_WORD: u64 = 1 << 10;

/// The parts of a file. Those of the pipeline are not yet read.
#[derive(Deserialize)]
pub struct File<'a> {
    #[serde(borrow)]
    pub version: Option<Cow<'a, str>>,
    #[serde(default)]
    pub added_tokens: AddedTokens,
    #[serde(borrow)]
    pub normalizer: Option<&'a RawValue>,
    #[serde(borrow)]
    pub pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow)]
    pub post_processor: Option<&'a RawValue>,
    #[serde(borrow)]
    pub decoder: Option<&'a RawValue>,
    #[serde(borrow)]
    pub model: &'a RawValue,
}

/// A token that is added to those of the model.
#[derive(Deserialize)]
pub struct AddedToken {
    pub id: u32,
    pub content: String,
    #[serde(default)]
    pub single_word: bool,
    #[serde(default)]
    pub lstrip: bool,
    #[serde(default)]
    pub rstrip: bool,
    #[serde(default)]
    pub normalized: bool,
    #[serde(default)]
    pub special: bool,
}

/// Added tokens, not more than can be searched for.
#[derive(Default)]
pub struct AddedTokens(pub Vec<AddedToken>);

impl<'de> Deserialize<'de> for AddedTokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tokens;
        impl<'de> Visitor<'de> for Tokens {
            type Value = AddedTokens;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of added tokens")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<AddedTokens, A::Error> {
                let (mut tokens, mut budget) = (Vec::new(), Budget::default());
                while let Some(token) = list.next_element::<AddedToken>()? {
                    budget.take(token.id, &token.content).map_err(A::Error::custom)?;
                    if u64::from(token.id) >= MOST_IDS {
                        return Err(A::Error::custom(format!("token id {} is not below {MOST_IDS}", token.id)));
                    }
                    tokens.push(token);
                }
                Ok(AddedTokens(tokens))
            }
        }
        deserializer.deserialize_seq(Tokens)
    }
}

/// What there is of a part of the model, which is not held.
#[derive(Debug, Default, PartialEq)]
struct Amount {
    /// Elements of the list or object itself.
    elements: usize,
    /// Bytes of all texts in it.
    bytes: usize,
    /// The largest whole number in it.
    largest: u64,
    /// It is a list.
    list: bool,
}

impl Amount {
    /// Number of ids, if the numbers are ids.
    fn ids(&self) -> usize {
        if self.elements == 0 { 0 } else { self.largest as usize + 1 }
    }

    fn add(&mut self, inner: &Self) {
        self.elements += 1;
        self.bytes += inner.bytes;
        self.largest = self.largest.max(inner.largest);
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Count;
        impl<'de> Visitor<'de> for Count {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("texts and numbers")
            }

            fn visit_str<E>(self, text: &str) -> Result<Amount, E> {
                Ok(Amount { bytes: text.len(), ..Amount::default() })
            }

            fn visit_u64<E>(self, largest: u64) -> Result<Amount, E> {
                Ok(Amount { largest, ..Amount::default() })
            }

            fn visit_i64<E>(self, _: i64) -> Result<Amount, E> {
                Ok(Amount::default())
            }

            fn visit_f64<E>(self, _: f64) -> Result<Amount, E> {
                Ok(Amount::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Amount, A::Error> {
                let mut all = Amount { list: true, ..Amount::default() };
                while let Some(inner) = list.next_element::<Amount>()? {
                    all.add(&inner);
                }
                Ok(all)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Amount, A::Error> {
                let mut all = Amount::default();
                while let Some((key, value)) = map.next_entry::<Amount, Amount>()? {
                    all.bytes += key.bytes;
                    all.add(&value);
                }
                Ok(all)
            }
        }
        deserializer.deserialize_any(Count)
    }
}

/// What decides whether a model is built.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    vocab: Amount,
    merges: Option<Amount>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    max_input_chars_per_word: Option<u64>,
}

/// The model of a file, and the number of its ids. It has no dice: the same text always has the same tokens.
pub fn model(json: &RawValue) -> Result<(ModelWrapper, u32), String> {
    let text = json.get();
    let head: Head<'_> = serde_json::from_str(text).map_err(|e| format!("model: {e}"))?;
    let entries = head.vocab.elements.max(head.merges.as_ref().map_or(0, |m| m.elements));
    if entries > MOST_ENTRIES {
        return Err(format!("the model has {entries} tokens or merges; at most {MOST_ENTRIES} are possible"));
    }
    if !head.vocab.list && head.vocab.largest >= MOST_IDS {
        return Err(format!("token id {} is not below {MOST_IDS}", head.vocab.largest));
    }
    for affix in [&head.continuing_subword_prefix, &head.end_of_word_suffix].into_iter().flatten() {
        if affix.len() > MOST_AFFIX_BYTES {
            let length = affix.len();
            return Err(format!(
                "a prefix or suffix of words has {length} bytes; at most {MOST_AFFIX_BYTES} are possible"
            ));
        }
    }
    if let Some(length) = head.max_input_chars_per_word.filter(|&length| length > MOST_WORD) {
        return Err(format!("max_input_chars_per_word is {length}; at most {MOST_WORD} are possible"));
    }
    let ids = if head.vocab.list { head.vocab.elements } else { head.vocab.ids() };
    Ok((build(&head, text)?, ids as u32))
}

fn build(head: &Head<'_>, text: &str) -> Result<ModelWrapper, String> {
    let failed = |e: serde_json::Error| format!("model: {e}");
    match kind(head)? {
        "BPE" => {
            let mut bpe: BPE = serde_json::from_str(text).map_err(failed)?;
            bpe.dropout = None;
            Ok(bpe.into())
        }
        "WordPiece" => serde_json::from_str::<WordPiece>(text).map(Into::into).map_err(failed),
        "WordLevel" => serde_json::from_str::<WordLevel>(text).map(Into::into).map_err(failed),
        "Unigram" if head.vocab.bytes > MOST_UNIGRAM_BYTES => Err(format!(
            "the texts of the Unigram vocabulary have {} bytes; at most {MOST_UNIGRAM_BYTES} are possible",
            head.vocab.bytes
        )),
        "Unigram" => {
            let mut unigram: Unigram = serde_json::from_str(text).map_err(failed)?;
            (unigram.alpha, unigram.nbest_size) = (None, None);
            Ok(unigram.into())
        }
        other => Err(format!("model {other:?} is not supported; supported: BPE, WordPiece, WordLevel, Unigram")),
    }
}

/// The kind of a model. Old files do not name it.
fn kind<'a>(head: &'a Head<'_>) -> Result<&'a str, String> {
    match &head.kind {
        Some(kind) => Ok(kind),
        None if head.merges.is_some() => Ok("BPE"),
        None if head.vocab.list => Ok("Unigram"),
        None if head.max_input_chars_per_word.is_some() => Ok("WordPiece"),
        None => Err("the model has no type".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_counted_in_whatever_order() {
        let amount = |json: &str| serde_json::from_str::<Amount>(json).ok();
        assert_eq!(
            amount(r#"{"a": 7, "b\u00e9": 3}"#),
            Some(Amount { elements: 2, bytes: 4, largest: 7, list: false })
        );
        assert_eq!(
            amount(r#"[["ab", -1.5], ["c", -2]]"#),
            Some(Amount { elements: 2, bytes: 3, largest: 0, list: true })
        );
        assert_eq!(amount(r#"["a b", ["c", "d"]]"#), Some(Amount { elements: 2, bytes: 5, largest: 0, list: true }));
        assert_eq!(amount("null"), None);
    }
}
