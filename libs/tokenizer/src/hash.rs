//! A fast hash for the tables of a vocabulary. The seed differs from process to process, so that no file can be made to collide.

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

#[cfg(test)]
mod tests {
    use super::*;

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
