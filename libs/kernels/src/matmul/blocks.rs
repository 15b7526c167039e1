//! The blocks of GGUF's data types, one at a time and plainly: what their bytes mean as numbers.
//!
//! Formulas are those of ggml's `dequantize_row_*`. Fast unpacking of 16 rows at once is in `unpack`.

use half::{bf16, f16};
use rbee_model::gguf::DType;

/// Whether [`decode`] knows the type.
pub(crate) fn is_supported(dtype: DType) -> bool {
    use DType::*;
    matches!(dtype, F32 | F16 | BF16 | Q8_0 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q2_K | Q3_K | Q4_K | Q5_K | Q6_K)
}

/// Writes the numbers of a row of blocks to `out`, whose length is the row's number of elements.
pub(crate) fn decode(dtype: DType, row: &[u8], out: &mut [f32]) {
    let decode: fn(&[u8], &mut [f32]) = match dtype {
        DType::F32 => |b, y| y[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        DType::F16 => |b, y| y[0] = half(b),
        DType::BF16 => |b, y| y[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32(),
        DType::Q8_0 => q8_0,
        DType::Q4_0 => q4_0,
        DType::Q4_1 => q4_1,
        DType::Q5_0 => q5_0,
        DType::Q5_1 => q5_1,
        DType::Q2_K => q2_k,
        DType::Q3_K => q3_k,
        DType::Q4_K => q4_k,
        DType::Q5_K => q5_k,
        DType::Q6_K => q6_k,
        _ => unreachable!("a Matrix has only supported types"),
    };
    let blocks = row.chunks_exact(dtype.block_bytes() as usize);
    for (block, numbers) in blocks.zip(out.chunks_exact_mut(dtype.block_elements() as usize)) {
        decode(block, numbers);
    }
}

fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

fn q8_0(b: &[u8], y: &mut [f32]) {
    let d = half(b);
    for (y, &q) in y.iter_mut().zip(&b[2..]) {
        *y = d * f32::from(q as i8);
    }
}

/// The quants of a block of 32: low nibbles are its first half, high nibbles its second.
fn nibbles(qs: &[u8]) -> impl Iterator<Item = u8> {
    qs.iter().map(|q| q & 15).chain(qs.iter().map(|q| q >> 4))
}

/// Bit `i` of a mask that lies in four bytes, as the fifth bit of quant `i`.
fn fifth_bits(qh: &[u8]) -> impl Iterator<Item = u8> {
    (0..32).map(|i| (qh[i / 8] >> (i % 8) & 1) << 4)
}

fn q4_0(b: &[u8], y: &mut [f32]) {
    let d = half(b);
    for (y, q) in y.iter_mut().zip(nibbles(&b[2..])) {
        *y = d * (f32::from(q) - 8.0);
    }
}

fn q4_1(b: &[u8], y: &mut [f32]) {
    let (d, m) = (half(b), half(&b[2..]));
    for (y, q) in y.iter_mut().zip(nibbles(&b[4..])) {
        *y = d * f32::from(q) + m;
    }
}

fn q5_0(b: &[u8], y: &mut [f32]) {
    let d = half(b);
    for ((y, q), h) in y.iter_mut().zip(nibbles(&b[6..])).zip(fifth_bits(&b[2..])) {
        *y = d * (f32::from(q | h) - 16.0);
    }
}

fn q5_1(b: &[u8], y: &mut [f32]) {
    let (d, m) = (half(b), half(&b[2..]));
    for ((y, q), h) in y.iter_mut().zip(nibbles(&b[8..])).zip(fifth_bits(&b[4..])) {
        *y = d * f32::from(q | h) + m;
    }
}

/// Two bits of quant `i` of 256: each 128 lie in 32 bytes, 32 of them at each shift.
fn two_bits(qs: &[u8], i: usize) -> u8 {
    qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

fn q2_k(b: &[u8], y: &mut [f32]) {
    let (scales, qs) = (&b[..16], &b[16..80]);
    let (d, min) = (half(&b[80..]), half(&b[82..]));
    for (i, y) in y.iter_mut().enumerate() {
        let scale = scales[i / 16];
        *y = d * f32::from(scale & 15) * f32::from(two_bits(qs, i)) - min * f32::from(scale >> 4);
    }
}

fn q3_k(b: &[u8], y: &mut [f32]) {
    let (high, qs, scales, d) = (&b[..32], &b[32..96], &b[96..108], half(&b[108..]));
    for (i, y) in y.iter_mut().enumerate() {
        let g = i / 16;
        let low = if g < 8 { scales[g] & 15 } else { scales[g - 8] >> 4 };
        let scale = low | (scales[8 + g % 4] >> (g / 4 * 2) & 3) << 4;
        let missing = if high[i % 32] >> (i / 32) & 1 == 0 { 4.0 } else { 0.0 };
        *y = d * (f32::from(scale) - 32.0) * (f32::from(two_bits(qs, i)) - missing);
    }
}

/// The scale and the minimum, 6 bits each, of a group of 32 in Q4_K and Q5_K.
fn scale_and_min(s: &[u8], group: usize) -> (f32, f32) {
    let (scale, min) = if group < 4 {
        (s[group] & 63, s[group + 4] & 63)
    } else {
        let both = s[group + 4];
        (both & 15 | s[group - 4] >> 6 << 4, both >> 4 | s[group] >> 6 << 4)
    };
    (f32::from(scale), f32::from(min))
}

/// Four bits of quant `i` of 256 in Q4_K and Q5_K: each 64 lie in 32 bytes.
fn four_bits(qs: &[u8], i: usize) -> u8 {
    qs[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15
}

fn q4_k(b: &[u8], y: &mut [f32]) {
    let (d, dmin) = (half(b), half(&b[2..]));
    for (i, y) in y.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(&b[4..16], i / 32);
        *y = d * scale * f32::from(four_bits(&b[16..], i)) - dmin * min;
    }
}

fn q5_k(b: &[u8], y: &mut [f32]) {
    let (d, dmin) = (half(b), half(&b[2..]));
    let (high, qs) = (&b[16..48], &b[48..]);
    for (i, y) in y.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(&b[4..16], i / 32);
        let q = four_bits(qs, i) | (high[i % 32] >> (i / 32) & 1) << 4;
        *y = d * scale * f32::from(q) - dmin * min;
    }
}

fn q6_k(b: &[u8], y: &mut [f32]) {
    let (low, high, scales, d) = (&b[..128], &b[128..192], &b[192..208], half(&b[208..]));
    for (i, y) in y.iter_mut().enumerate() {
        let nibble = low[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
        let q = nibble | two_bits(high, i) << 4;
        *y = d * f32::from(scales[i / 16] as i8) * (f32::from(q) - 32.0);
    }
}
