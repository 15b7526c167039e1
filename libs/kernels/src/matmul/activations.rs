//! The rows of activations of one call, in the order in which the kernels read them.
//!
//! Rows lie in blocks of up to `rows`; within a block, all rows of the first group of 32 columns come first, then those of
//! the next one. For quantized weights, a group of a block of `m` rows consists of 32-bit words:
//! 8 words of i8 for each row, then `m` words of each of [`SCALE`] to [`AUX`]. For float weights it has `m` f32 for each
//! column.

use super::panel::GROUP;

/// Words of a row's group.
pub(super) const WORDS: usize = 16;
/// Words of a row's group that hold its quants, four each.
pub(super) const QUANT_WORDS: usize = 8;
/// What one quant stands for, f32.
pub(super) const SCALE: usize = 8;
/// The sum of the group, f32.
pub(super) const SUM: usize = 9;
/// The sum of the first half of the group, f32. The second half's follows.
pub(super) const HALF_SUM: usize = 10;
/// Where sums of products with unsigned weights begin, so that the weights' offset is taken off: for an offset of 16; of 32
/// in the first half; of 32 in the second half; of 128.
pub(super) const AUX: usize = 12;

/// Numbers smaller than this one are taken for 0: their reciprocal times 127 has no f32.
const SMALLEST: f32 = 4e-37;

/// Writes a block of `m` rows of `cols` numbers as quants. `PAIRS` as in `Simd`.
///
/// A group with a NaN or an infinity has the scale NaN, so that all its products are NaN.
#[inline(always)]
pub(super) fn quantize_block<const PAIRS: bool>(x: &[f32], cols: usize, out: &mut [u32]) {
    let m = x.len() / cols;
    for (i, row) in x.chunks_exact(cols).enumerate() {
        for (numbers, out) in row.chunks_exact(GROUP).zip(out.chunks_exact_mut(WORDS * m)) {
            let (group, _) = numbers.as_chunks::<GROUP>();
            quantize_group::<PAIRS>(&group[0], out, m, i);
        }
    }
}

#[inline(always)]
fn quantize_group<const PAIRS: bool>(numbers: &[f32; GROUP], out: &mut [u32], m: usize, i: usize) {
    // Compared as integers, NaN is larger than infinity, which is larger than every number.
    let mut largest = 0;
    for x in numbers {
        largest = largest.max(x.to_bits() & 0x7fff_ffff);
    }
    let largest = f32::from_bits(largest);
    let (scale, inverse) = if !largest.is_finite() {
        (f32::NAN, 0.0)
    } else if largest < SMALLEST {
        (0.0, 0.0)
    } else {
        (largest / 127.0, 127.0 / largest)
    };
    let mut quants = [0i32; GROUP];
    if inverse != 0.0 {
        for (q, x) in quants.iter_mut().zip(numbers) {
            *q = round(x * inverse);
        }
    }
    // Sums of the columns 0 and 1 of each four, then 2 and 3, in both halves. By fours first, which vectors can do.
    let fours = |half: usize| {
        let half = quants[16 * half..16 * (half + 1)].as_chunks::<4>().0;
        half.iter().fold([0; 4], |sums: [i32; 4], four| std::array::from_fn(|i| sums[i] + four[i]))
    };
    let pairs = [fours(0), fours(1)].map(|[a, b, c, d]| [a + b, c + d]);
    let bytes = quants.map(|q| q as u8);
    for (word, four) in out[i * QUANT_WORDS..][..QUANT_WORDS].iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*four);
    }
    let both = [pairs[0][0] + pairs[1][0], pairs[0][1] + pairs[1][1]];
    let sums = pairs.map(|p| p[0] + p[1]);
    out[SCALE * m + i] = scale.to_bits();
    out[SUM * m + i] = (scale * (sums[0] + sums[1]) as f32).to_bits();
    for half in 0..2 {
        out[(HALF_SUM + half) * m + i] = (scale * sums[half] as f32).to_bits();
    }
    let starts = [(both, 16), (pairs[0], 32), (pairs[1], 32), (both, 128)];
    for (n, (pair, offset)) in starts.into_iter().enumerate() {
        let [low, high] = pair.map(|p| -offset * p);
        let word = if PAIRS { low & 0xffff | high << 16 } else { low + high };
        out[(AUX + n) * m + i] = word as u32;
    }
}

/// To the nearest integer, ties to the even one; `x` lies between -2^21 and 2^21.
#[inline(always)]
fn round(x: f32) -> i32 {
    const ONE_AND_A_HALF_2_23: f32 = 12_582_912.0;
    (x + ONE_AND_A_HALF_2_23).to_bits() as i32 - ONE_AND_A_HALF_2_23.to_bits() as i32
}

/// Writes a block of `m` rows of `cols` numbers column by column, with zeros up to a whole group.
#[inline(always)]
pub(super) fn transpose_block(x: &[f32], cols: usize, out: &mut [u32]) {
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
        quantize_block::<false>(&numbers, GROUP, &mut out);
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
        assert_eq!(words[AUX] as i32, 61 * 16);
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
        quantize_block::<true>(&numbers, GROUP, &mut out);
        let halves = |word: u32| (word as i16, (word >> 16) as i16);
        assert_eq!(halves(out[AUX]), (-16 * 227, 16 * 126));
        assert_eq!(halves(out[AUX + 1]), (-32 * 127, 32 * 127));
        assert_eq!(halves(out[AUX + 2]), (-32 * 100, -32));
    }
}
