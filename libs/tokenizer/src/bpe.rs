//! Merging bytes into tokens: the pair with the lowest rank first, in O(n log n) for a piece of n bytes.

use super::bytes::{byte_to_char, push_token};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Merges of a vocabulary.
pub struct Bpe {
    byte_ids: [Option<u32>; 256],
    /// (left, right) to (rank, token of both).
    merges: HashMap<(u32, u32), (u32, u32)>,
    /// Bytes of whole tokens; only for vocabularies in which a whole piece goes before the merges.
    whole: HashMap<Box<[u8]>, u32>,
}

const NONE: u32 = u32::MAX;

impl Bpe {
    /// `merges` are "left right" in order of rank; those whose parts or whole are no tokens are skipped.
    pub fn new<'a>(tokens: &[&'a str], merges: impl Iterator<Item = &'a str>, whole_first: bool) -> Self {
        let ids: HashMap<&str, u32> = tokens.iter().enumerate().map(|(id, text)| (*text, id as u32)).collect();
        let mut byte_ids = [None; 256];
        for byte in 0..=255u8 {
            byte_ids[usize::from(byte)] = ids.get(byte_to_char(byte).encode_utf8(&mut [0; 4]) as &str).copied();
        }
        let mut map = HashMap::with_capacity(merges.size_hint().0);
        let mut both = String::new();
        for (rank, merge) in merges.enumerate() {
            let Some((left, right)) = merge.split_once(' ') else { continue };
            both.clear();
            both.push_str(left);
            both.push_str(right);
            if let (Some(&l), Some(&r), Some(&id)) = (ids.get(left), ids.get(right), ids.get(both.as_str())) {
                map.entry((l, r)).or_insert((rank as u32, id));
            }
        }
        let mut whole = HashMap::new();
        if whole_first {
            for (id, token) in tokens.iter().enumerate() {
                let mut bytes = Vec::new();
                push_token(token, &mut bytes);
                whole.entry(bytes.into_boxed_slice()).or_insert(id as u32);
            }
        }
        Self { byte_ids, merges: map, whole }
    }

    /// Appends the tokens of a piece. Bytes without a token are left out.
    pub fn encode(&self, piece: &[u8], ids: &mut Vec<u32>) {
        if let Some(&id) = self.whole.get(piece) {
            ids.push(id);
            return;
        }
        let mut tokens: Vec<u32> = piece.iter().filter_map(|&b| self.byte_ids[usize::from(b)]).collect();
        if tokens.len() > 1 {
            self.merge(&mut tokens);
        }
        ids.extend(tokens.into_iter().filter(|&id| id != NONE));
    }

    /// Merges in place; tokens that went into another become NONE.
    fn merge(&self, tokens: &mut [u32]) {
        let last = tokens.len() as u32 - 1;
        let mut next: Vec<u32> = (1..=last).chain([NONE]).collect();
        let mut previous: Vec<u32> = [NONE].into_iter().chain(0..last).collect();
        let pair = |tokens: &[u32], at: u32, right: u32| {
            let (l, r) = (tokens[at as usize], tokens[right as usize]);
            self.merges.get(&(l, r)).map(|&(rank, id)| Reverse((rank, at, l, r, id)))
        };
        let mut heap: BinaryHeap<_> = (0..last).filter_map(|at| pair(tokens, at, at + 1)).collect();
        while let Some(Reverse((_, at, left, right, id))) = heap.pop() {
            let second = next[at as usize];
            if second == NONE || tokens[at as usize] != left || tokens[second as usize] != right {
                continue;
            }
            tokens[at as usize] = id;
            tokens[second as usize] = NONE;
            let after = next[second as usize];
            next[at as usize] = after;
            next[second as usize] = NONE;
            if after != NONE {
                previous[after as usize] = at;
                heap.extend(pair(tokens, at, after));
            }
            let before = previous[at as usize];
            if before != NONE {
                heap.extend(pair(tokens, before, at));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_rank_goes_first_and_leftmost() {
        let tokens = ["a", "b", "c", "ab", "bc", "abc", "aa"];
        let bpe = Bpe::new(&tokens, ["b c", "a b", "a bc", "a a", "x y"].into_iter(), false);
        let encode = |text: &str| {
            let mut ids = Vec::new();
            bpe.encode(text.as_bytes(), &mut ids);
            ids
        };
        assert_eq!(encode("abc"), [5]);
        assert_eq!(encode("ab"), [3]);
        assert_eq!(encode("aaa"), [6, 0]);
        assert_eq!(encode("aaaa"), [6, 6]);
        assert_eq!(encode("a?b"), [3], "bytes without a token are left out");
        assert!(encode("").is_empty());
    }

    #[test]
    fn a_piece_of_a_megabyte_is_no_trouble() {
        let bpe = Bpe::new(&["a", "aa", "aaaa"], ["a a", "aa aa"].into_iter(), false);
        let mut ids = Vec::new();
        bpe.encode(&vec![b'a'; 1 << 20], &mut ids);
        assert_eq!(ids, vec![2; 1 << 18]);
    }
}
