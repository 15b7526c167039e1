//! Quantizers: plain, deterministic and good enough to compute with. Layouts: `ggml-common.h` of llama.cpp.

use half::{bf16, f16};

use crate::gguf::DType;

/// Stores values as a data type. The values are whole blocks of it: rows follow each other without a gap.
///
/// # Panics
/// For a data type that is not served.
pub fn quantize(dtype: DType, values: &[f32]) -> Vec<u8> {
    match dtype {
        DType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
        DType::BF16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
        DType::Q8_0 => blocks(values, q8_0),
        DType::Q4_0 => blocks(values, |x| symmetric(x, 4)),
        DType::Q5_0 => blocks(values, |x| symmetric(x, 5)),
        DType::Q4_1 => blocks(values, |x| with_minimum(x, 4)),
        DType::Q5_1 => blocks(values, |x| with_minimum(x, 5)),
        DType::Q2_K => blocks(values, q2_k),
        DType::Q3_K => blocks(values, q3_k),
        DType::Q4_K => blocks(values, |x| super_block(x, 4)),
        DType::Q5_K => blocks(values, |x| super_block(x, 5)),
        DType::Q6_K => blocks(values, q6_k),
        other => panic!("there is no quantizer for {other}"),
    }
}

fn blocks<const N: usize>(values: &[f32], block: impl Fn(&[f32; N]) -> Vec<u8>) -> Vec<u8> {
    let (whole, rest) = values.as_chunks::<N>();
    assert!(rest.is_empty(), "{} values are no multiple of {N}", values.len());
    whole.iter().flat_map(block).collect()
}

/// A scale as it is stored, and as the reader sees it.
fn half(scale: f32) -> ([u8; 2], f32) {
    let stored = f16::from_f32(scale);
    (stored.to_le_bytes(), stored.to_f32())
}

/// The nearest level of a value; 0 where all are one.
fn level(value: f32, scale: f32, lowest: f32, highest: f32) -> i32 {
    if scale == 0.0 { 0 } else { (value / scale).round().clamp(lowest, highest) as i32 }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |m, &v| if v.abs() > f32::abs(m) { v } else { m })
}

fn q8_0(x: &[f32; 32]) -> Vec<u8> {
    let (stored, d) = half(largest(x).abs() / 127.0);
    stored.into_iter().chain(x.iter().map(|&v| level(v, d, -127.0, 127.0) as u8)).collect()
}

/// 32 levels as the formats of 4 and 5 bits hold them: the fifth bits in 32 bits, then two levels per byte.
fn pack(levels: [u8; 32], bits: u32) -> Vec<u8> {
    let fifth = levels.iter().enumerate().fold(0u32, |acc, (i, &q)| acc | u32::from(q >> 4 & 1) << i);
    let high = if bits == 5 { fifth.to_le_bytes().to_vec() } else { Vec::new() };
    let nibbles = (0..16).map(|i| levels[i] & 15 | (levels[i + 16] & 15) << 4);
    high.into_iter().chain(nibbles).collect()
}

/// Q4_0 and Q5_0: levels around the middle one.
fn symmetric(x: &[f32; 32], bits: u32) -> Vec<u8> {
    let middle = (1 << (bits - 1)) as f32;
    // The value that is farthest from 0 gets the lowest level, which has no counterpart.
    let (stored, d) = half(largest(x) / -middle);
    let levels = x.map(|v| (level(v, d, -middle, middle - 1.0) + middle as i32) as u8);
    stored.into_iter().chain(pack(levels, bits)).collect()
}

/// Q4_1 and Q5_1: levels from the least value on.
fn with_minimum(x: &[f32; 32], bits: u32) -> Vec<u8> {
    let top = ((1 << bits) - 1) as f32;
    let (least, most) = range(x);
    let ((scale, d), (minimum, m)) = (half((most - least) / top), half(least));
    let levels = x.map(|v| level(v - m, d, 0.0, top) as u8);
    scale.into_iter().chain(minimum).chain(pack(levels, bits)).collect()
}

fn range(x: &[f32]) -> (f32, f32) {
    x.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), &v| (least.min(v), most.max(v)))
}

/// Groups with a scale and a minimum each, both multiples of two numbers in half precision.
struct Grouped {
    d: [u8; 2],
    dmin: [u8; 2],
    /// Per group.
    scales: Vec<u8>,
    minimums: Vec<u8>,
    /// Per value.
    levels: Vec<u8>,
}

impl Grouped {
    /// `largest_scale` is that of scales and minimums as they are stored.
    fn new<const N: usize>(x: &[f32; 256], bits: u32, largest_scale: f32) -> Self {
        let top = ((1 << bits) - 1) as f32;
        // Each group's step, and how far below 0 it begins.
        let wanted: Vec<(f32, f32)> = x
            .as_chunks::<N>()
            .0
            .iter()
            .map(|group| {
                let (least, most) = range(group);
                ((most - least.min(0.0)).max(0.0) / top, -least.min(0.0))
            })
            .collect();
        let (d_stored, d) = half(wanted.iter().fold(0.0, |m: f32, w| m.max(w.0)) / largest_scale);
        let (dmin_stored, dmin) = half(wanted.iter().fold(0.0, |m: f32, w| m.max(w.1)) / largest_scale);
        let scales: Vec<u8> = wanted.iter().map(|w| level(w.0, d, 0.0, largest_scale) as u8).collect();
        let minimums: Vec<u8> = wanted.iter().map(|w| level(w.1, dmin, 0.0, largest_scale) as u8).collect();
        let levels = (0..256)
            .map(|i| {
                let (step, below) = (d * f32::from(scales[i / N]), dmin * f32::from(minimums[i / N]));
                level(x[i] + below, step, 0.0, top) as u8
            })
            .collect();
        Self { d: d_stored, dmin: dmin_stored, scales, minimums, levels }
    }
}

/// 16 groups of 16 with scales and minimums of 4 bits; levels of 2 bits.
fn q2_k(x: &[f32; 256]) -> Vec<u8> {
    let Grouped { d, dmin, scales, minimums, levels } = Grouped::new::<16>(x, 2, 15.0);
    let scales = scales.iter().zip(&minimums).map(|(scale, minimum)| scale | minimum << 4);
    scales.chain(crumbs(&levels)).chain(d).chain(dmin).collect()
}

/// Two bits of each level: four values that are 32 apart share a byte.
fn crumbs(levels: &[u8]) -> Vec<u8> {
    let halves = levels.chunks(128);
    halves
        .flat_map(|half| (0..32).map(|l| (0..4).fold(0, |byte, part| byte | (half[l + 32 * part] & 3) << (2 * part))))
        .collect()
}

/// 16 groups of 16 with scales of 6 bits; levels of 3 bits around 4, whose upper bits stand apart.
fn q3_k(x: &[f32; 256]) -> Vec<u8> {
    let steps: Vec<f32> = x.as_chunks::<16>().0.iter().map(|group| largest(group) / -4.0).collect();
    let (stored, d) = half(largest(&steps).abs() / 31.0);
    let scales: Vec<i32> = steps.iter().map(|&s| level(s, d, -31.0, 31.0)).collect();
    let levels: Vec<u8> = (0..256).map(|i| (level(x[i], d * scales[i / 16] as f32, -4.0, 3.0) + 4) as u8).collect();
    let upper = (0..32).map(|at| (0..8).fold(0, |byte, row| byte | (levels[32 * row + at] >> 2 & 1) << row));
    let scales: Vec<u8> = scales.iter().map(|s| (s + 32) as u8).collect();
    let low = (0..8).map(|j| scales[j] & 15 | (scales[j + 8] & 15) << 4);
    let high = (0..4).map(|j| (0..4).fold(0, |byte, row| byte | (scales[4 * row + j] >> 4) << (2 * row)));
    upper.chain(crumbs(&levels)).chain(low).chain(high).chain(stored).collect()
}

/// Q4_K and Q5_K: 8 groups of 32 with scales and minimums of 6 bits.
fn super_block(x: &[f32; 256], bits: u32) -> Vec<u8> {
    let Grouped { d, dmin, scales, minimums, levels } = Grouped::new::<32>(x, bits, 63.0);
    let mut out: Vec<u8> = d.into_iter().chain(dmin).chain(six_bits(&scales, &minimums)).collect();
    if bits == 5 {
        out.extend((0..32).map(|at| (0..8).fold(0, |byte, group| byte | (levels[32 * group + at] >> 4 & 1) << group)));
    }
    // Two groups share 32 bytes.
    for pair in levels.chunks(64) {
        out.extend((0..32).map(|at| pair[at] & 15 | (pair[at + 32] & 15) << 4));
    }
    out
}

/// 8 scales and 8 minimums of 6 bits in 12 bytes: the upper bits of the last four of each stand above the first four.
fn six_bits(scales: &[u8], minimums: &[u8]) -> Vec<u8> {
    let first = |of: &[u8]| -> Vec<u8> { (0..4).map(|j| of[j] | (of[j + 4] >> 4) << 6).collect() };
    let low = (4..8).map(|j| scales[j] & 15 | (minimums[j] & 15) << 4);
    first(scales).into_iter().chain(first(minimums)).chain(low).collect()
}

/// 16 groups of 16 with scales of 8 bits; levels of 6 bits around 32.
fn q6_k(x: &[f32; 256]) -> Vec<u8> {
    let steps: Vec<f32> = x.as_chunks::<16>().0.iter().map(|group| largest(group) / -32.0).collect();
    let (stored, d) = half(largest(&steps).abs() / 127.0);
    let scales: Vec<i32> = steps.iter().map(|&s| level(s, d, -127.0, 127.0)).collect();
    let levels: Vec<u8> = (0..256).map(|i| (level(x[i], d * scales[i / 16] as f32, -32.0, 31.0) + 32) as u8).collect();
    let mut low = Vec::with_capacity(128);
    let mut high = Vec::with_capacity(64);
    for half in levels.chunks(128) {
        low.extend((0..64).map(|l| half[l] & 15 | (half[l + 64] & 15) << 4));
        high.extend((0..32).map(|l| (0..4).fold(0, |byte, part| byte | (half[l + 32 * part] >> 4) << (2 * part))));
    }
    low.into_iter().chain(high).chain(scales.iter().map(|&s| s as u8)).chain(stored).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random::Random;

    #[test]
    fn every_block_has_the_length_of_its_data_type() {
        let mut random = Random::new(3, "blocks");
        let values: Vec<f32> = (0..512).map(|_| random.normal()).collect();
        for &dtype in crate::format::DTYPES {
            let bytes = 512 / dtype.block_elements() * dtype.block_bytes();
            assert_eq!(quantize(dtype, &values).len() as u64, bytes, "{dtype}");
            assert_eq!(quantize(dtype, &[0.0; 256]), quantize(dtype, &[-0.0; 256].map(f32::abs)), "{dtype}");
        }
    }

    #[test]
    fn scales_of_six_bits_lie_where_the_reader_looks() {
        let scales = [1, 2, 3, 63, 0b10_0101, 0b01_1010, 7, 0b11_0000];
        let minimums = [9, 0, 63, 1, 0b11_1111, 0b00_0001, 0b10_0000, 0b01_0101];
        let packed = six_bits(&scales, &minimums);
        for j in 0..8 {
            let (scale, minimum) = match j {
                0..4 => (packed[j] & 63, packed[j + 4] & 63),
                _ => (packed[j + 4] & 15 | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4),
            };
            assert_eq!((scale, minimum), (scales[j], minimums[j]), "group {j}");
        }
    }

    #[test]
    fn levels_of_q8_0_and_q4_0_give_the_values_back() {
        let values: [f32; 32] = std::array::from_fn(|i| i as f32 - 16.0);
        let block = quantize(DType::Q8_0, &values);
        let d = f16::from_le_bytes([block[0], block[1]]).to_f32();
        for (v, q) in values.iter().zip(&block[2..]) {
            assert!((v - d * f32::from(*q as i8)).abs() <= d, "{v}");
        }
        let block = quantize(DType::Q4_0, &values);
        let d = f16::from_le_bytes([block[0], block[1]]).to_f32();
        for i in 0..16 {
            let of = |nibble: u8| d * (f32::from(nibble) - 8.0);
            assert!(
                (values[i] - of(block[2 + i] & 15)).abs() <= d && (values[i + 16] - of(block[2 + i] >> 4)).abs() <= d
            );
        }
    }
}
