//! SentencePiece BPE: neighbours whose text is a token become that token, the highest score first; what no token covers becomes
//! bytes.

use super::merge::{Merger, NONE};
use super::vocab::{Index, Kind, Vocab};

/// What stands for a blank in the file's tokens. In a [`Vocab`] it is a blank again.
pub const BLANK: char = '\u{2581}';

/// A vocabulary with scores.
pub struct Sentence {
    index: Index,
    /// By token: the higher the score, the lower the order.
    orders: Vec<u32>,
    byte_ids: [u32; 256],
    unknown: Option<u32>,
    /// A blank goes in front of a text.
    space_prefix: bool,
}

impl Sentence {
    /// `scores` are those of all tokens; NaN counts as the lowest.
    pub fn new(vocab: &Vocab, scores: impl Iterator<Item = f32>, unknown: Option<u32>, space_prefix: bool) -> Self {
        let orders: Vec<u32> = scores.map(order).collect();
        let index = Index::new(vocab);
        let mut byte_ids = [NONE; 256];
        for id in (0..vocab.len() as u32).rev().filter(|&id| vocab.kind(id) == Kind::Byte) {
            if let [byte] = vocab.bytes(id) {
                byte_ids[usize::from(*byte)] = id;
            }
        }
        for (byte, id) in (0..=255u8).zip(&mut byte_ids).filter(|(_, id)| **id == NONE) {
            *id = index.get(vocab, &[byte]).unwrap_or(NONE);
        }
        Self { index, orders, byte_ids, unknown, space_prefix }
    }

    /// Appends the tokens of a text that stands at the beginning or after a special token.
    pub fn encode(&self, vocab: &Vocab, text: &str, merger: &mut Merger, ids: &mut Vec<u32>) {
        let mut plain = String::with_capacity(text.len() + 1);
        if self.space_prefix {
            plain.push(' ');
        }
        // In the file's tokens this character is a blank, so there it cannot be anything else either.
        plain.extend(text.chars().map(|c| if c == BLANK { ' ' } else { c }));
        let bytes = plain.as_bytes();
        merger.clear();
        for c in plain.chars() {
            let token = self.index.get(vocab, c.encode_utf8(&mut [0; 4]).as_bytes());
            merger.push(c.len_utf8(), token.unwrap_or(NONE));
        }
        merger.merge(|left, right| {
            let both = bytes.get(left.start as usize..right.end as usize).filter(|b| b.len() <= vocab.longest())?;
            let token = self.index.get(vocab, both)?;
            Some((self.orders[token as usize], token))
        });
        for symbol in merger.symbols() {
            match symbol.token {
                NONE => self.fall_back(&bytes[symbol.start as usize..symbol.end as usize], ids),
                token => ids.push(token),
            }
        }
    }

    /// Bytes of a character that is no token; the unknown token, once, if the vocabulary lacks one of them.
    fn fall_back(&self, bytes: &[u8], ids: &mut Vec<u32>) {
        let tokens = bytes.iter().map(|&b| self.byte_ids[usize::from(b)]);
        if tokens.clone().all(|id| id != NONE) {
            ids.extend(tokens);
        } else {
            ids.extend(self.unknown);
        }
    }
}

/// Turns the order of scores round, as whole numbers.
fn order(score: f32) -> u32 {
    if score.is_nan() {
        return u32::MAX;
    }
    let bits = score.to_bits();
    let rising = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    !rising
}

/// The byte of a token that is written as `<0x0A>`.
pub fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 { None } else { u8::from_str_radix(digits, 16).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer(tokens: &[(&str, f32)], space_prefix: bool) -> (Vocab, Sentence) {
        let mut vocab = Vocab::with_capacity(tokens.len());
        for (text, _) in tokens {
            match byte_of(text) {
                Some(byte) => vocab.push(Kind::Byte, |out| out.push(byte)),
                None => vocab.push(Kind::Normal, |out| out.extend_from_slice(text.as_bytes())),
            }
        }
        let sentence = Sentence::new(&vocab, tokens.iter().map(|t| t.1), Some(0), space_prefix);
        (vocab, sentence)
    }

    fn encode(tokens: &[(&str, f32)], space_prefix: bool, text: &str) -> Vec<u32> {
        let (vocab, sentence) = tokenizer(tokens, space_prefix);
        let mut ids = Vec::new();
        sentence.encode(&vocab, text, &mut Merger::default(), &mut ids);
        ids
    }

    #[test]
    fn the_highest_score_goes_first_then_the_leftmost() {
        let tokens = [("?", 0.0), ("a", -9.0), ("b", -9.0), ("ab", -2.0), ("ba", -1.0), (" ", -9.0), (" a", f32::NAN)];
        assert_eq!(encode(&tokens, false, "aba"), [1, 4]);
        assert_eq!(encode(&tokens, false, "abab"), [1, 4, 2]);
        assert_eq!(encode(&tokens, true, "b"), [5, 2]);
        assert_eq!(encode(&tokens, true, "a"), [6], "a score that is no number merges last");
        assert_eq!(encode(&tokens, true, "ab"), [5, 3]);
        assert_eq!(encode(&tokens, false, "\u{2581}a"), [6]);
    }

    #[test]
    fn characters_without_a_token_become_bytes_or_unknown() {
        let tokens = [("?", 0.0), ("<0xC3>", 0.0), ("<0xA9>", 0.0), ("<0xXY>", 0.0)];
        assert_eq!(encode(&tokens, false, "é"), [1, 2]);
        assert_eq!(encode(&tokens, false, "éü"), [1, 2, 0]);
        assert_eq!(encode(&tokens, false, "<0xC3>"), [0; 6], "written out it is text");
    }

    #[test]
    fn orders_turn_scores_round() {
        let scores = [f32::INFINITY, 3.0, 0.5, 0.0, -0.5, -1e9, f32::NEG_INFINITY];
        assert!(scores.windows(2).all(|w| order(w[0]) < order(w[1])));
        assert_eq!(order(f32::NAN), u32::MAX);
    }

    #[test]
    fn a_text_of_a_megabyte_is_no_trouble() {
        let tokens = [("a", 0.0), ("aa", -1.0), ("aaaa", -2.0)];
        assert_eq!(encode(&tokens, false, &"a".repeat(1 << 20)), vec![2; 1 << 18]);
    }
}
