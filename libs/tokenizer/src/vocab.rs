//! Tokens by id and by bytes: one arena for the bytes of all tokens, and a hash table of ids.

use super::hash::{Seed, Slots};

/// What a token is, after `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Normal,
    /// Steers the model, has no text of its own. The unknown token is one of them.
    Control,
    /// Text that is always one token.
    UserDefined,
    /// One byte of a text that no other token covers.
    Byte,
    /// Has text, but no text becomes it.
    Unreachable,
}

/// The bytes and kinds of all tokens. Control tokens have no bytes.
pub struct Vocab {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    kinds: Vec<Kind>,
    longest: usize,
}

impl Vocab {
    /// No tokens yet, and room for `tokens` of them.
    pub fn with_capacity(tokens: usize) -> Self {
        let (ends, kinds) = (Vec::with_capacity(tokens), Vec::with_capacity(tokens));
        Self { bytes: Vec::with_capacity(tokens * 8), ends, kinds, longest: 1 }
    }

    /// Adds the next token; `write` appends its bytes.
    pub fn push(&mut self, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.longest = self.longest.max(self.bytes.len() - start);
        // A header is at most 128 MiB, and no token has more bytes here than in the file.
        self.ends.push(self.bytes.len() as u32);
        self.kinds.push(kind);
    }

    /// Gives back room for more tokens.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.kinds.shrink_to_fit();
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of the longest token; at least 1.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Bytes of a token; none for ids that do not exist.
    pub fn bytes(&self, id: u32) -> &[u8] {
        let at = id as usize;
        let Some(&end) = self.ends.get(at) else { return &[] };
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[start as usize..end as usize]
    }

    /// What a token is; ids that do not exist count as control tokens.
    pub fn kind(&self, id: u32) -> Kind {
        self.kinds.get(id as usize).copied().unwrap_or(Kind::Control)
    }
}

/// Ids by bytes, for normal and user-defined tokens. Of tokens with the same bytes a normal one goes before a user-defined one,
/// and the lowest id first.
pub struct Index {
    slots: Slots,
    seed: Seed,
}

impl Index {
    /// The index of a vocabulary.
    pub fn new(vocab: &Vocab) -> Self {
        let (mut slots, seed) = (Slots::new(vocab.len()), Seed::new());
        for wanted in [Kind::Normal, Kind::UserDefined] {
            for id in 0..vocab.len() as u32 {
                let bytes = vocab.bytes(id);
                if vocab.kind(id) == wanted && !bytes.is_empty() {
                    slots.insert(seed.bytes(bytes), id, |other| vocab.bytes(other) == bytes);
                }
            }
        }
        Self { slots, seed }
    }

    /// The token with these bytes. `vocab` is the vocabulary that the index was made of.
    pub fn get(&self, vocab: &Vocab, bytes: &[u8]) -> Option<u32> {
        self.slots.find(self.seed.bytes(bytes), |id| vocab.bytes(id) == bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocab(tokens: &[(&str, Kind)]) -> Vocab {
        let mut vocab = Vocab::with_capacity(tokens.len());
        for (text, kind) in tokens {
            vocab.push(*kind, |out| out.extend_from_slice(text.as_bytes()));
        }
        vocab
    }

    #[test]
    fn tokens_are_found_by_id_and_by_bytes() {
        use Kind::{Byte, Normal, UserDefined};
        let vocab =
            vocab(&[("b", UserDefined), ("a", Byte), ("b", Normal), ("", Normal), ("abc", Normal), ("b", Normal)]);
        let index = Index::new(&vocab);
        assert_eq!((vocab.len(), vocab.longest()), (6, 3));
        assert_eq!((vocab.bytes(4), vocab.bytes(3), vocab.bytes(6)), (&b"abc"[..], &b""[..], &b""[..]));
        assert_eq!(index.get(&vocab, b"b"), Some(2), "the first normal one");
        assert_eq!(index.get(&vocab, b"abc"), Some(4));
        assert_eq!(index.get(&vocab, b"a"), None, "bytes are no text");
        assert_eq!(index.get(&vocab, b""), None);
        assert_eq!(vocab.kind(9), Kind::Control);
    }

    #[test]
    fn an_empty_vocabulary_has_nothing() {
        let vocab = vocab(&[]);
        assert_eq!(Index::new(&vocab).get(&vocab, b"a"), None);
    }

    #[test]
    fn many_tokens_are_all_found() {
        let texts: Vec<String> = (0..5000).map(|n| format!("t{n}")).collect();
        let tokens: Vec<(&str, Kind)> = texts.iter().map(|t| (t.as_str(), Kind::Normal)).collect();
        let vocab = vocab(&tokens);
        let index = Index::new(&vocab);
        assert!((0..5000).all(|id| index.get(&vocab, vocab.bytes(id)) == Some(id)));
    }
}
