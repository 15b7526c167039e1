//! Hash tables of a vocabulary: numbers of entries that are kept elsewhere, in four bytes each. The seed differs from process to
//! process, so that no file can be made to collide.

use std::hash::{BuildHasher, Hasher, RandomState};

/// An odd constant without pattern: the golden ratio's digits.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// What the hashes of one table begin with.
pub struct Seed(u64);

impl Seed {
    pub fn new() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    /// Hash of a number.
    pub fn number(&self, value: u64) -> u64 {
        fold(self.0 ^ value)
    }

    /// Hash of bytes.
    pub fn bytes(&self, bytes: &[u8]) -> u64 {
        let mut hash = self.0 ^ bytes.len() as u64;
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            hash = fold(hash ^ u64::from_le_bytes(*word)).wrapping_add(self.0);
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        fold(hash ^ u64::from_le_bytes(last))
    }
}

/// The product's halves over each other, so that every bit of the input reaches the low bits.
fn fold(value: u64) -> u64 {
    let product = u128::from(value) * u128::from(MULTIPLIER);
    (product >> 64) as u64 ^ product as u64
}

/// Numbers below a count, by hashes. What they stand for is the caller's.
pub struct Slots {
    /// A number in the low bits, and as much of its hash as fits above, which mostly tells it from others without a look at
    /// what it stands for.
    slots: Vec<u32>,
    /// Bits of a number.
    bits: u32,
}

const EMPTY: u32 = u32::MAX;

impl Slots {
    /// Room for the numbers below `count`, which is far below 2^32.
    pub fn new(count: usize) -> Self {
        // Almost half stays empty, so that a search soon ends; no number has all its bits set, so that none looks like an empty slot.
        let slots = vec![EMPTY; count / 4 * 7 + 8];
        Self { slots, bits: usize::BITS - count.leading_zeros() }
    }

    /// The number with that hash for which `same` holds.
    pub fn find(&self, hash: u64, same: impl Fn(u32) -> bool) -> Option<u32> {
        let (_, slot) = self.slot(hash, same);
        (slot != EMPTY).then_some(slot & self.low())
    }

    /// Puts in a number, unless there is one for which `same` holds.
    pub fn insert(&mut self, hash: u64, number: u32, same: impl Fn(u32) -> bool) {
        let (at, slot) = self.slot(hash, same);
        if slot == EMPTY {
            self.slots[at] = self.mark(hash) | number;
        }
    }

    fn low(&self) -> u32 {
        (1 << self.bits) - 1
    }

    fn mark(&self, hash: u64) -> u32 {
        (hash as u32) << self.bits
    }

    /// Where the number is, or would be, and what is there.
    fn slot(&self, hash: u64, same: impl Fn(u32) -> bool) -> (usize, u32) {
        let (low, mark) = (self.low(), self.mark(hash));
        let mut at = (((hash >> 32) * self.slots.len() as u64) >> 32) as usize;
        loop {
            let slot = self.slots[at];
            if slot == EMPTY || (slot & !low == mark && same(slot & low)) {
                return (at, slot);
            }
            at += 1;
            if at == self.slots.len() {
                at = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_found_where_it_was_put_and_the_first_one_counts() {
        for count in [1, 2, 3, 4, 7, 8, 255, 256, 5000] {
            let mut slots = Slots::new(count);
            let seed = Seed(count as u64);
            let hash = |n: u32| seed.number(u64::from(n / 2));
            for n in 0..count as u32 {
                slots.insert(hash(n), n, |other| other / 2 == n / 2);
            }
            assert!((0..count as u32).all(|n| slots.find(hash(n), |other| other / 2 == n / 2) == Some(n / 2 * 2)));
            assert_eq!(slots.find(hash(count as u32 + 2), |other| other / 2 == count as u32 / 2 + 1), None);
        }
        assert_eq!(Slots::new(0).find(u64::MAX, |_| true), None);
    }

    #[test]
    fn hashes_that_are_all_the_same_only_take_longer() {
        let mut slots = Slots::new(100);
        (0..100).for_each(|n| slots.insert(u64::MAX, n, |other| other == n));
        assert!((0..100).all(|n| slots.find(u64::MAX, |other| other == n) == Some(n)));
    }

    #[test]
    fn hashes_differ_by_content_length_and_seed() {
        let seed = Seed(7);
        let mut all: Vec<u64> = vec![seed.bytes(b""), seed.bytes(b"\0"), seed.bytes(b"\0\0"), seed.bytes(b"12345678")];
        all.extend([seed.bytes(b"123456789"), seed.bytes(b"023456789"), seed.number(9), Seed(8).number(9)]);
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
