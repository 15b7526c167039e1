//! A sorted list of texts that answers which of them a text begins with. It takes the texts' own bytes and a few more for each.

use std::ops::Range;

/// No entry.
const NONE: u32 = u32::MAX;

/// Texts, each once.
#[derive(Default)]
pub struct Table {
    /// All texts in order, one after the other.
    text: String,
    entries: Vec<Entry>,
    first: Bytes,
    last: Bytes,
    longest: usize,
}

struct Entry {
    /// Where the text ends in `Table::text`.
    end: u32,
    id: u32,
    /// The longest other text that this one begins with.
    shorter: u32,
    strip_left: bool,
    strip_right: bool,
}

/// A text of the table, found in another text.
#[derive(Clone, Copy)]
pub struct Found {
    /// Bytes of the text.
    pub length: usize,
    pub id: u32,
    pub strip_left: bool,
    pub strip_right: bool,
}

/// A set of bytes.
#[derive(Default)]
struct Bytes([u64; 4]);

impl Bytes {
    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }
}

impl Table {
    /// Adds a text. Texts come in order, none is empty and none comes twice.
    pub fn push(&mut self, text: &str, id: u32, strip_left: bool, strip_right: bool) {
        let mut shorter = self.entries.len().checked_sub(1).map_or(NONE, |at| at as u32);
        while shorter != NONE && !text.starts_with(self.get(shorter)) {
            shorter = self.entries[shorter as usize].shorter;
        }
        self.text.push_str(text);
        self.entries.push(Entry { end: self.text.len() as u32, id, shorter, strip_left, strip_right });
        self.longest = self.longest.max(text.len());
        if let (Some(&first), Some(&last)) = (text.as_bytes().first(), text.as_bytes().last()) {
            self.first.insert(first);
            self.last.insert(last);
        }
    }

    /// Gives back room for more texts.
    pub fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The n-th text.
    pub fn get(&self, at: u32) -> &str {
        &self.text[self.range(at as usize)]
    }

    fn range(&self, at: usize) -> Range<usize> {
        let start = if at == 0 { 0 } else { self.entries[at - 1].end };
        start as usize..self.entries[at].end as usize
    }

    fn bytes(&self, at: usize) -> &[u8] {
        &self.text.as_bytes()[self.range(at)]
    }

    /// Number of texts that come before `text`.
    fn before(&self, text: &[u8]) -> usize {
        partition(self.len(), |at| self.bytes(at) < text)
    }

    /// The longest text that `text` begins with.
    pub fn longest_at(&self, text: &[u8]) -> Option<Found> {
        if !self.begins(*text.first()?) {
            return None;
        }
        // The last one that does not come after `text`: whatever `text` begins with, that one begins with too.
        let mut at = partition(self.len(), |at| self.bytes(at) <= text).checked_sub(1)?;
        let same = self.bytes(at).iter().zip(text).take_while(|(a, b)| a == b).count();
        loop {
            let length = self.range(at).len();
            let Entry { id, shorter, strip_left, strip_right, .. } = self.entries[at];
            if length <= same {
                return Some(Found { length, id, strip_left, strip_right });
            }
            if shorter == NONE {
                return None;
            }
            at = shorter as usize;
        }
    }

    /// Whether one of the texts begins with that byte.
    pub fn begins(&self, byte: u8) -> bool {
        self.first.has(byte)
    }

    /// Whether the end of `text` is the beginning of one of the texts that goes on.
    pub fn may_go_on(&self, text: &[u8]) -> bool {
        let earliest = (text.len() + 1).saturating_sub(self.longest);
        (earliest..text.len()).filter(|&at| self.begins(text[at])).any(|at| {
            let end = &text[at..];
            // The text itself, if it is one of them, and right behind it those that go on.
            let found = self.before(end);
            (found..self.len()).take(2).any(|at| self.range(at).len() > end.len() && self.bytes(at).starts_with(end))
        })
    }
}

/// The texts of a table by their ends.
#[derive(Default)]
pub struct ByEnd(Vec<u32>);

impl ByEnd {
    pub fn new(table: &Table) -> Self {
        let mut order: Vec<u32> = (0..table.len() as u32).collect();
        let reversed = |&at: &u32| table.get(at).bytes().rev();
        order.sort_unstable_by(|a, b| reversed(a).cmp(reversed(b)));
        Self(order)
    }

    /// Whether the beginning of `text` is the end of one of the texts that begins earlier; `table` is the one that this was made of.
    pub fn may_come_from_before(&self, table: &Table, text: &[u8]) -> bool {
        let latest = text.len().min(table.longest.saturating_sub(1));
        (1..=latest).filter(|&end| table.last.has(text[end - 1])).any(|end| {
            let start = &text[..end];
            let entry = |at: usize| table.bytes(self.0[at] as usize);
            let found = partition(self.0.len(), |at| entry(at).iter().rev().lt(start.iter().rev()));
            (found..self.0.len()).take(2).any(|at| entry(at).len() > end && entry(at).ends_with(start))
        })
    }
}

/// How many of the numbers below `count` fulfil a condition that only the first ones fulfil.
fn partition(count: usize, condition: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if condition(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
