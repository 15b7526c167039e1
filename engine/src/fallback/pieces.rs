//! How a sequence is cut for models that remember a mask for every pair of a piece's length and its end.

use std::ops::Range;

/// Lengths of pieces, longest first. A piece begins at a multiple of its length, so there are few pairs of length and end.
const LENGTHS: [usize; 3] = [64, 8, 1];

/// The end of what can be computed of so many tokens before it is known what follows them: more tokens do not change its pieces.
pub fn settled(tokens: usize) -> usize {
    tokens - tokens % LENGTHS[0]
}

/// The pieces of the tokens from `begin` to `end`.
pub fn of(begin: usize, end: usize) -> impl Iterator<Item = Range<usize>> {
    let mut at = begin;
    std::iter::from_fn(move || {
        let fits = |length: &&usize| at.is_multiple_of(**length) && at + **length <= end;
        let length = LENGTHS.iter().find(fits)?;
        at += length;
        Some(at - length..at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_all_and_begin_at_multiples_of_their_length() {
        let all: Vec<Range<usize>> = of(0, 83).collect();
        assert_eq!(all, [0..64, 64..72, 72..80, 80..81, 81..82, 82..83]);
        let rest: Vec<Range<usize>> = of(61, 130).collect();
        assert_eq!(rest, [61..62, 62..63, 63..64, 64..128, 128..129, 129..130]);
        assert_eq!(of(5, 5).count(), 0);
    }

    #[test]
    fn what_is_settled_has_the_same_pieces_whatever_follows() {
        for (begin, cut, end) in [(0, 70, 200), (0, 64, 65), (61, 130, 300), (83, 127, 128), (83, 200, 263)] {
            let middle = settled(cut).max(begin);
            let cut: Vec<Range<usize>> = of(begin, middle).chain(of(middle, end)).collect();
            assert_eq!(cut, of(begin, end).collect::<Vec<_>>());
        }
    }
}
