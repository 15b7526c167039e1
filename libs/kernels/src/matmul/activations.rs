//! The rows of activations of one call, in the order in which the kernels read them.
//!
//! Rows lie in blocks of up to `rows`; within a block, all rows of the first columns come first, then those of the next ones. How many
//! columns that are, and what they become, depends on the weights ([`Packing`]): 32-bit words, with 8 words of i8 for each row and 32
//! columns, then words that each row has one of; or an f32 for each column.

use super::panel::{BLOCK, GROUP, GROUPS, Kind};

/// What rows of activations become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// Quants with a scale for every 32 columns. A group of them has its rows' quants, then [`SCALE`] to [`HALF_SUM`].
    By32,
    /// Quants with a scale for every 256 columns, for [`Kind::Integers`]. So many have 8 groups, each its rows' quants, then [`STARTS`]; then
    /// come [`BLOCK_SCALE`] to [`HALF_SUMS`].
    By256,
    /// The f32 themselves, column by column, with zeros up to a whole group.
    Floats,
}

impl Packing {
    pub(super) const ALL: [Self; 3] = [Packing::By32, Packing::By256, Packing::Floats];

    /// For weights of a kind.
    pub(super) const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Floats => Packing::Floats,
            Kind::Integers(_) => Packing::By256,
            _ => Packing::By32,
        }
    }

    /// Words of some columns of a row.
    pub(super) const fn words(self, columns: usize) -> usize {
        match self {
            Packing::By32 => columns / GROUP * WORDS,
            Packing::By256 => columns / BLOCK * BLOCK_WORDS,
            Packing::Floats => columns.next_multiple_of(GROUP),
        }
    }
}

/// Words of a row's group.
pub(super) const WORDS: usize = 16;
/// Words of a row's group that hold its quants, four each.
pub(super) const QUANT_WORDS: usize = 8;
/// What one quant stands for, f32.
pub(super) const SCALE: usize = 8;
/// The sum of the group, f32.
pub(super) const SUM: usize = 9;
/// Where sums of products with unsigned weights begin, so that the weights' zero is taken off: for a zero at 8; at 16; at 32, in the first
/// half and in the second one; at 128.
pub(super) const START_8: usize = 10;
pub(super) const START_16: usize = 11;
pub(super) const START_32: usize = 12;
pub(super) const START_128: usize = 14;
/// The sum of the first half of the group, f32.
pub(super) const HALF_SUM: usize = 15;

/// Words of a row's group in a block.
pub(super) const BLOCK_GROUP_WORDS: usize = 10;
/// Of a group in a block: where sums of products with unsigned weights begin, for a zero at 32, in the first half and in the second one.
pub(super) const STARTS: usize = 8;
/// Of a block: what one quant stands for, f32.
pub(super) const BLOCK_SCALE: usize = GROUPS * BLOCK_GROUP_WORDS;
/// Of a block: the sums of the quants of two groups that follow each other, as i16.
pub(super) const GROUP_SUMS: usize = BLOCK_SCALE + 1;
/// Of a block: the sums of the quants of a group's halves, as i16.
pub(super) const HALF_SUMS: usize = GROUP_SUMS + GROUPS / 2;
/// Words of a row's block.
const BLOCK_WORDS: usize = HALF_SUMS + GROUPS;

/// Numbers smaller than this one are taken for 0: their reciprocal times 127 has no f32.
const SMALLEST: f32 = 4e-37;

/// Writes a block of `m` rows of `cols` numbers as [`Packing::By32`]. `PAIRS` as in `Simd`.
///
/// A group with a NaN or an infinity has the scale NaN, so that all its products are NaN.
#[inline(always)]
pub(super) fn pack_by_32<const PAIRS: bool>(x: &[f32], cols: usize, out: &mut [u32]) {
    let m = x.len() / cols;
    for (i, row) in x.chunks_exact(cols).enumerate() {
        for (numbers, out) in row.as_chunks::<GROUP>().0.iter().zip(out.chunks_exact_mut(WORDS * m)) {
            pack_group::<PAIRS>(numbers, out, m, i);
        }
    }
}

#[inline(always)]
fn pack_group<const PAIRS: bool>(numbers: &[f32; GROUP], out: &mut [u32], m: usize, i: usize) {
    let (scale, inverse) = scale_of(numbers);
    let group = Quants::of(numbers, inverse);
    group.write(&mut out[i * QUANT_WORDS..]);
    let pairs = group.pairs;
    let both = [pairs[0][0] + pairs[1][0], pairs[0][1] + pairs[1][1]];
    let sums = group.sums();
    out[SCALE * m + i] = scale.to_bits();
    out[SUM * m + i] = (scale * (sums[0] + sums[1]) as f32).to_bits();
    out[HALF_SUM * m + i] = (scale * sums[0] as f32).to_bits();
    let starts = [(both, 8), (both, 16), (pairs[0], 32), (pairs[1], 32), (both, 128)];
    for (n, (pair, zero)) in starts.into_iter().enumerate() {
        let [low, high] = [-zero * pair[0], -zero * pair[1]];
        let word = if PAIRS { halves(low, high) } else { (low + high) as u32 };
        out[(START_8 + n) * m + i] = word;
    }
}

/// Writes a block of `m` rows of `cols` numbers as [`Packing::By256`].
///
/// A NaN or an infinity makes its 256 numbers' scale NaN.
#[inline(always)]
pub(super) fn pack_by_256(x: &[f32], cols: usize, out: &mut [u32]) {
    let m = x.len() / cols;
    for (i, row) in x.chunks_exact(cols).enumerate() {
        for (numbers, out) in row.as_chunks::<BLOCK>().0.iter().zip(out.chunks_exact_mut(BLOCK_WORDS * m)) {
            let (scale, inverse) = scale_of(numbers);
            let mut sums = [[0; 2]; GROUPS];
            for (g, numbers) in numbers.as_chunks::<GROUP>().0.iter().enumerate() {
                let group = Quants::of(numbers, inverse);
                let out = &mut out[g * BLOCK_GROUP_WORDS * m..];
                group.write(&mut out[i * QUANT_WORDS..]);
                for (half, [low, high]) in group.pairs.into_iter().enumerate() {
                    out[(STARTS + half) * m + i] = halves(-32 * low, -32 * high);
                }
                sums[g] = group.sums();
            }
            out[BLOCK_SCALE * m + i] = scale.to_bits();
            for (n, [a, b]) in sums.as_chunks::<2>().0.iter().enumerate() {
                out[(GROUP_SUMS + n) * m + i] = halves(a[0] + a[1], b[0] + b[1]);
            }
            for (g, [first, second]) in sums.into_iter().enumerate() {
                out[(HALF_SUMS + g) * m + i] = halves(first, second);
            }
        }
    }
}

/// What one quant of these numbers stands for, and how many quants 1 is.
#[inline(always)]
fn scale_of(numbers: &[f32]) -> (f32, f32) {
    // Compared as integers, NaN is larger than infinity, which is larger than every number.
    let mut largest = 0;
    for x in numbers {
        largest = largest.max(x.to_bits() & 0x7fff_ffff);
    }
    let largest = f32::from_bits(largest);
    if !largest.is_finite() {
        (f32::NAN, 0.0)
    } else if largest < SMALLEST {
        (0.0, 0.0)
    } else {
        (largest / 127.0, 127.0 / largest)
    }
}

/// The quants of a group.
struct Quants {
    quants: [i32; GROUP],
    /// Sums of the columns 0 and 1 of each four, then of 2 and 3, in both halves.
    pairs: [[i32; 2]; 2],
}

impl Quants {
    #[inline(always)]
    fn of(numbers: &[f32; GROUP], inverse: f32) -> Self {
        let mut quants = [0i32; GROUP];
        if inverse != 0.0 {
            for (q, x) in quants.iter_mut().zip(numbers) {
                *q = round(x * inverse);
            }
        }
        // By fours first, which vectors can do. In loops: the closures of `array::map` would be compiled for any processor.
        let mut fours = [[0; 4]; 2];
        for (n, four) in quants.as_chunks::<4>().0.iter().enumerate() {
            for (sum, q) in fours[n / 4].iter_mut().zip(four) {
                *sum += q;
            }
        }
        let [[a, b, c, d], [e, f, g, h]] = fours;
        Self { quants, pairs: [[a + b, c + d], [e + f, g + h]] }
    }

    /// As bytes, four to a word.
    #[inline(always)]
    fn write(&self, out: &mut [u32]) {
        let mut bytes = [0; GROUP];
        for (byte, q) in bytes.iter_mut().zip(self.quants) {
            *byte = q as u8;
        }
        for (word, four) in out[..QUANT_WORDS].iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*four);
        }
    }

    /// Of each half.
    #[inline(always)]
    fn sums(&self) -> [i32; 2] {
        let [[a, b], [c, d]] = self.pairs;
        [a + b, c + d]
    }
}

/// Two i16.
#[inline(always)]
fn halves(low: i32, high: i32) -> u32 {
    (low & 0xffff | high << 16) as u32
}

/// To the nearest integer, ties to the even one; `x` lies between -2^21 and 2^21.
#[inline(always)]
fn round(x: f32) -> i32 {
    const ONE_AND_A_HALF_2_23: f32 = 12_582_912.0;
    (x + ONE_AND_A_HALF_2_23).to_bits() as i32 - ONE_AND_A_HALF_2_23.to_bits() as i32
}

/// Writes a block of `m` rows of `cols` numbers as [`Packing::Floats`].
#[inline(always)]
pub(super) fn pack_floats(x: &[f32], cols: usize, out: &mut [u32]) {
    let m = x.len() / cols;
    let (columns, padding) = out.split_at_mut(cols * m);
    for (i, row) in x.chunks_exact(cols).enumerate() {
        for (x, out) in row.iter().zip(columns.chunks_exact_mut(m)) {
            out[i] = x.to_bits();
        }
    }
    padding.fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantized(numbers: [f32; GROUP]) -> Vec<u32> {
        let mut out = vec![0; WORDS];
        pack_by_32::<false>(&numbers, GROUP, &mut out);
        out
    }

    #[test]
    fn the_largest_number_becomes_127_and_ties_go_to_the_even_quant() {
        let mut numbers = [0.0; GROUP];
        (numbers[0], numbers[1], numbers[2], numbers[3]) = (-254.0, 1.0, 3.0, 127.0);
        let words = quantized(numbers);
        assert_eq!(words[0].to_le_bytes().map(|b| b as i8), [-127, 0, 2, 64]);
        assert_eq!(f32::from_bits(words[SCALE]), 2.0);
        assert_eq!(f32::from_bits(words[SUM]), -122.0);
        assert_eq!(words[START_16] as i32, 61 * 16);
    }

    #[test]
    fn a_number_that_is_none_makes_its_group_nan() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut numbers = [1.0; GROUP];
            numbers[17] = bad;
            let words = quantized(numbers);
            assert!(f32::from_bits(words[SCALE]).is_nan() && f32::from_bits(words[SUM]).is_nan(), "{bad}");
        }
        assert_eq!(f32::from_bits(quantized([1e-40; GROUP])[SCALE]), 0.0);
        assert!(
            f32::from_bits(quantized([f32::MAX; GROUP])[SUM]).is_finite() || f32::MAX / 127.0 * 4064.0 == f32::INFINITY
        );
    }

    #[test]
    fn pairs_hold_the_offset_of_the_columns_of_their_halfword() {
        let mut numbers = [0.0; GROUP];
        (numbers[1], numbers[2]) = (127.0, -127.0);
        (numbers[20], numbers[23]) = (100.0, 1.0);
        let mut out = vec![0; WORDS];
        pack_by_32::<true>(&numbers, GROUP, &mut out);
        let halves = |word: u32| (word as i16, (word >> 16) as i16);
        assert_eq!(halves(out[START_8]), (-8 * 227, 8 * 126));
        assert_eq!(halves(out[START_16]), (-16 * 227, 16 * 126));
    }

    #[test]
    fn a_block_has_one_scale_and_the_sums_of_its_groups_and_halves() {
        let mut numbers = [0.0; 2 * BLOCK];
        (numbers[0], numbers[33], numbers[50]) = (1.0, 2.0, -4.0);
        // The second of two rows.
        numbers[BLOCK + 255] = 254.0;
        numbers[BLOCK + 200] = 4.0;
        let m = 2;
        let mut out = vec![0; BLOCK_WORDS * m];
        pack_by_256(&numbers, BLOCK, &mut out);
        let word = |n: usize, i: usize| out[n * m + i];
        let halves = |word: u32| (word as i16, (word >> 16) as i16);
        assert_eq!([0, 1].map(|i| f32::from_bits(word(BLOCK_SCALE, i))), [4.0 / 127.0, 2.0]);
        let group = |g: usize| g * BLOCK_GROUP_WORDS;
        assert_eq!(out[0].to_le_bytes().map(|b| b as i8), [32, 0, 0, 0]);
        let last = group(7) * m + QUANT_WORDS + 7;
        assert_eq!(out[last].to_le_bytes().map(|b| b as i8), [0, 0, 0, 127]);
        // 2.0 is 63.5 quants, and ties go to the even one.
        assert_eq!(halves(word(GROUP_SUMS, 0)), (32, 64 - 127));
        assert_eq!(halves(word(HALF_SUMS + 1, 0)), (64, -127));
        assert_eq!((halves(word(GROUP_SUMS + 3, 1)), halves(word(HALF_SUMS + 6, 1))), ((2, 127), (2, 0)));
        assert_eq!(halves(word(group(1) + STARTS, 0)), (-32 * 64, 0));
        assert_eq!(halves(word(group(1) + STARTS + 1, 0)), (0, 32 * 127));
        numbers[77] = f32::NAN;
        pack_by_256(&numbers, BLOCK, &mut out);
        assert!(f32::from_bits(out[BLOCK_SCALE * m]).is_nan() && f32::from_bits(out[BLOCK_SCALE * m + 1]) == 2.0);
    }
}
