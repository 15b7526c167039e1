//! Merging neighbours until none fit together, the best pair first: O(n log n) for n symbols. What fits together is the caller's.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No token, or no neighbour.
pub const NONE: u32 = u32::MAX;

/// A stretch of the text that is one token, or NONE if no token covers it.
#[derive(Debug, Clone, Copy)]
pub struct Symbol {
    /// First byte in the text.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
    pub token: u32,
    previous: u32,
    next: u32,
}

/// Two neighbours that could become one.
type Candidate = Reverse<(u64, u32, u32)>;

/// Symbols of a text and the room to merge them; one is used for many texts.
#[derive(Default)]
pub struct Merger {
    symbols: Vec<Symbol>,
    heap: BinaryHeap<Candidate>,
}

impl Merger {
    /// Begins a text.
    pub fn clear(&mut self) {
        self.symbols.clear();
    }

    /// Adds the next symbol, of `length` bytes.
    pub fn push(&mut self, length: usize, token: u32) {
        let at = self.symbols.len() as u32;
        let start = self.symbols.last().map_or(0, |s| s.end);
        if let Some(last) = self.symbols.last_mut() {
            last.next = at;
        }
        let end = start + length as u32;
        self.symbols.push(Symbol { start, end, token, previous: at.checked_sub(1).unwrap_or(NONE), next: NONE });
    }

    /// Merges. `pair` gives the order of two neighbours, lowest first and then leftmost, and the token that they become.
    pub fn merge(&mut self, pair: impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>) {
        let symbols = &mut self.symbols;
        let candidate = |symbols: &[Symbol], at: u32, next: u32| {
            let (left, right) = (&symbols[at as usize], &symbols[next as usize]);
            pair(left, right).map(|(order, token)| Reverse((u64::from(order) << 32 | u64::from(at), right.end, token)))
        };
        self.heap.clear();
        self.heap.extend((1..symbols.len() as u32).filter_map(|at| candidate(symbols, at - 1, at)));
        while let Some(Reverse((key, end, token))) = self.heap.pop() {
            let at = key as u32;
            let left = symbols[at as usize];
            // A symbol that went into another is empty, and one that has grown ends elsewhere.
            if left.start == left.end || left.next == NONE || symbols[left.next as usize].end != end {
                continue;
            }
            let right = &mut symbols[left.next as usize];
            right.start = right.end;
            let next = right.next;
            symbols[at as usize] = Symbol { end, token, next, ..left };
            if next != NONE {
                symbols[next as usize].previous = at;
                self.heap.extend(candidate(symbols, at, next));
            }
            if left.previous != NONE {
                self.heap.extend(candidate(symbols, left.previous, at));
            }
        }
    }

    /// The symbols that are left, in order.
    pub fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|s| s.start != s.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_order_goes_first_and_leftmost() {
        let run = |text: &str, pairs: &[&str]| {
            let mut merger = Merger::default();
            text.bytes().for_each(|b| merger.push(1, u32::from(b)));
            merger.merge(|l, r| {
                let wanted = &text[l.start as usize..r.end as usize];
                pairs.iter().position(|p| *p == wanted).map(|at| (at as u32, at as u32))
            });
            merger.symbols().map(|s| &text[s.start as usize..s.end as usize]).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(run("abc", &["bc", "ab", "abc"]), "abc");
        assert_eq!(run("abcd", &["bc", "ab", "cd"]), "a bc d");
        assert_eq!(run("aaaaa", &["aa"]), "aa aa a");
        assert_eq!(run("", &["aa"]), "");
        assert_eq!(run("aaaaaaaa", &["aa", "aaaa"]), "aaaa aaaa");
    }
}
