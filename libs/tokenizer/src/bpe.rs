//! Byte-level BPE: the pair with the lowest rank is merged first.

use super::bytes::push_token;
use super::hash::{Seed, Slots};
use super::merge::{Merger, NONE};
use super::split::Splitter;
use super::vocab::{Index, Kind, Vocab};

/// A vocabulary's merges and how text is cut before them.
pub struct Bpe {
    byte_ids: [u32; 256],
    merges: Merges,
    /// Tokens by bytes; only for vocabularies in which a whole piece goes before the merges.
    whole: Option<Index>,
    splitter: Splitter,
}

impl Bpe {
    /// `merges` are "left right" in order of rank; those whose parts or whole are no tokens are skipped.
    pub fn new<'a>(
        vocab: &Vocab,
        merges: impl ExactSizeIterator<Item = &'a str>,
        whole_first: bool,
        splitter: Splitter,
    ) -> Self {
        let index = Index::new(vocab);
        let mut byte_ids = [NONE; 256];
        for (byte, id) in (0..=255u8).zip(&mut byte_ids) {
            *id = index.get(vocab, &[byte]).unwrap_or(NONE);
        }
        let mut map = Merges::with_capacity(merges.len());
        let mut both = Vec::new();
        let mut last = 0;
        for merge in merges {
            // The left part may begin with a blank itself.
            let Some(gap) = merge.bytes().skip(1).position(|b| b == b' ') else { continue };
            both.clear();
            push_token(&merge[..=gap], &mut both);
            let middle = both.len();
            push_token(&merge[gap + 2..], &mut both);
            // Most vocabularies number their tokens in the order of the merges that make them.
            let next = Some(last + 1).filter(|&id| vocab.kind(id) == Kind::Normal && vocab.bytes(id) == both);
            let Some(id) = next.or_else(|| index.get(vocab, &both)) else { continue };
            last = id;
            let (left, right) = (index.get(vocab, &both[..middle]), index.get(vocab, &both[middle..]));
            if let (Some(left), Some(right)) = (left, right) {
                map.push(Merge { left, right, id });
            }
        }
        map.list.shrink_to_fit();
        Self { byte_ids, merges: map, whole: whole_first.then_some(index), splitter }
    }

    /// Appends the tokens of a text. Bytes without a token are left out.
    pub fn encode(&self, vocab: &Vocab, text: &str, merger: &mut Merger, ids: &mut Vec<u32>) {
        self.splitter.each(text, |piece| self.piece(vocab, piece.as_bytes(), merger, ids));
    }

    fn piece(&self, vocab: &Vocab, piece: &[u8], merger: &mut Merger, ids: &mut Vec<u32>) {
        if let Some(id) = self.whole.as_ref().and_then(|whole| whole.get(vocab, piece)) {
            ids.push(id);
            return;
        }
        merger.clear();
        piece.iter().for_each(|&byte| merger.push(1, self.byte_ids[usize::from(byte)]));
        merger.merge(|left, right| self.merges.get(left.token, right.token));
        ids.extend(merger.symbols().map(|s| s.token).filter(|&id| id != NONE));
    }
}

/// Two tokens that become one.
struct Merge {
    left: u32,
    right: u32,
    id: u32,
}

/// Merges by rank, and their ranks by the tokens that they join.
struct Merges {
    list: Vec<Merge>,
    slots: Slots,
    seed: Seed,
}

impl Merges {
    fn with_capacity(count: usize) -> Self {
        Self { list: Vec::with_capacity(count), slots: Slots::new(count), seed: Seed::new() }
    }

    fn hash(&self, left: u32, right: u32) -> u64 {
        self.seed.number(u64::from(left) << 32 | u64::from(right))
    }

    /// Adds the merge of the next rank. Of two merges of the same tokens the first one counts.
    fn push(&mut self, merge: Merge) {
        let (hash, rank) = (self.hash(merge.left, merge.right), self.list.len() as u32);
        let list = &self.list;
        let same = |at: u32| (list[at as usize].left, list[at as usize].right) == (merge.left, merge.right);
        self.slots.insert(hash, rank, same);
        self.list.push(merge);
    }

    /// Rank and token of a merge.
    fn get(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let merge = |rank: u32| &self.list[rank as usize];
        let same = |rank: u32| (merge(rank).left, merge(rank).right) == (left, right);
        let rank = self.slots.find(self.hash(left, right), same)?;
        Some((rank, merge(rank).id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split;

    fn encode(tokens: &[&str], merges: &[&str], whole_first: bool, text: &str) -> Vec<u32> {
        let mut vocab = Vocab::with_capacity(tokens.len());
        for token in tokens {
            vocab.push(Kind::Normal, |out| push_token(token, out));
        }
        let splitter = split::find("gpt-2").unwrap().splitter();
        let bpe = Bpe::new(&vocab, merges.iter().copied(), whole_first, splitter);
        let mut ids = Vec::new();
        bpe.encode(&vocab, text, &mut Merger::default(), &mut ids);
        ids
    }

    #[test]
    fn the_lowest_rank_goes_first_and_leftmost() {
        let tokens = ["a", "b", "c", "ab", "bc", "abc", "aa", "Ġa", "Ġ"];
        let merges = ["b c", "a b", "a bc", "a a", "x y", "Ġ a", "a b", "a", " ", "", "a  b"];
        let ids = |text: &str| encode(&tokens, &merges, false, text);
        assert_eq!(ids("abc"), [5]);
        assert_eq!(ids("ab"), [3]);
        assert_eq!(ids("aaa"), [6, 0]);
        assert_eq!(ids("a a"), [0, 7]);
        assert_eq!(ids("aéb"), [0, 1], "bytes without a token are left out, and nothing is merged over them");
        assert!(ids("").is_empty());
    }

    #[test]
    fn a_piece_that_is_a_token_may_go_before_the_merges() {
        let tokens = ["a", "b", "ab"];
        assert_eq!(encode(&tokens, &[], false, "ab"), [0, 1]);
        assert_eq!(encode(&tokens, &[], true, "ab"), [2]);
    }

    #[test]
    fn a_piece_of_a_megabyte_is_no_trouble() {
        let text = "a".repeat(1 << 20);
        assert_eq!(encode(&["a", "aa", "aaaa"], &["a a", "aa aa"], false, &text), vec![2; 1 << 18]);
    }
}
