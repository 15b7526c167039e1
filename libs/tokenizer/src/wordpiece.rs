//! WordPiece, as BERT has it: words in normal form, each cut into the longest tokens from its beginning on.

use super::merge::NONE;
use super::vocab::{Index, Vocab};
use regex::Regex;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::{NormalizedString, Normalizer};

/// Longer words are unknown; BERT's limit, in characters.
const LONGEST_WORD: usize = 100;
/// A punctuation character, or what lies between those and blanks.
const WORD: &str = r"[\p{P}!-/:-@\[-`{-~]|[^\s\p{P}!-/:-@\[-`{-~]+";

/// A vocabulary in which a token that begins a word begins with a blank.
pub struct WordPiece {
    index: Index,
    normalizer: BertNormalizer,
    words: Regex,
    unknown: u32,
}

impl WordPiece {
    /// `unknown` stands for words that the vocabulary cannot write.
    #[expect(clippy::expect_used, reason = "the expression is a constant, and every test of this file compiles it")]
    pub fn new(vocab: &Vocab, unknown: Option<u32>, lowercase: bool, strip_accents: bool) -> Self {
        let normalizer = BertNormalizer::new(true, true, Some(strip_accents), lowercase);
        let words = Regex::new(WORD).expect("a constant expression");
        Self { index: Index::new(vocab), normalizer, words, unknown: unknown.unwrap_or(NONE) }
    }

    /// Appends the tokens of a text.
    pub fn encode(&self, vocab: &Vocab, text: &str, ids: &mut Vec<u32>) {
        let mut normalized = NormalizedString::from(text);
        // What cannot be brought into normal form is taken as it is; the normalizer has no such text.
        let normalized = match self.normalizer.normalize(&mut normalized) {
            Ok(()) => normalized.get(),
            Err(_) => text,
        };
        for word in self.words.find_iter(normalized) {
            let before = ids.len();
            if !self.word(vocab, word.as_str(), ids) {
                ids.truncate(before);
                ids.extend(Some(self.unknown).filter(|&id| id != NONE));
            }
        }
    }

    /// Appends the tokens of a word; false if no tokens make it.
    fn word(&self, vocab: &Vocab, word: &str, ids: &mut Vec<u32>) -> bool {
        if word.chars().nth(LONGEST_WORD).is_some() {
            return false;
        }
        let word = format!(" {word}");
        let mut rest = word.as_bytes();
        while !rest.is_empty() {
            let longest = rest.len().min(vocab.longest());
            let found = (1..=longest).rev().find_map(|n| Some((n, self.index.get(vocab, &rest[..n])?)));
            let Some((length, id)) = found else { return false };
            ids.push(id);
            rest = &rest[length..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::Kind;

    fn encode(tokens: &[&str], lowercase: bool, text: &str) -> Vec<u32> {
        let mut vocab = Vocab::with_capacity(tokens.len());
        for token in tokens {
            vocab.push(Kind::Normal, |out| out.extend_from_slice(token.as_bytes()));
        }
        let mut ids = Vec::new();
        WordPiece::new(&vocab, Some(0), lowercase, lowercase).encode(&vocab, text, &mut ids);
        ids
    }

    #[test]
    fn words_are_cut_into_their_longest_tokens() {
        let tokens = ["?", " un", "aff", "able", " !", " 蜂", " u", "n", " e"];
        assert_eq!(encode(&tokens, true, "unaffable"), [1, 2, 3]);
        assert_eq!(encode(&tokens, true, "  UNable\n!\u{7}"), [1, 3, 4]);
        assert_eq!(encode(&tokens, true, "unx un"), [0, 1], "a word is known as a whole or not at all");
        assert_eq!(encode(&tokens, true, "un蜂un!"), [1, 5, 1, 4]);
        assert_eq!(encode(&tokens, true, "É é"), [8, 8]);
        assert_eq!(encode(&tokens, false, "é UN"), [0, 0]);
        assert_eq!(encode(&tokens, true, &format!("u{}", "n".repeat(99))).len(), 99);
        assert_eq!(encode(&tokens, true, &format!("u{}", "n".repeat(100))), [0]);
        assert!(encode(&tokens, true, " \t").is_empty());
    }
}
