//! The types with blocks of 32: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.

use super::{Format, GroupOut, Out, each, high_nibbles, mask};
use crate::matmul::rows::Rows;
use crate::matmul::simd::Simd;
use rbee_model::gguf::DType;

/// Four bits, zero at 8.
pub(in crate::matmul) struct Q4_0;
/// Four bits and a number that is added.
pub(in crate::matmul) struct Q4_1;
/// Five bits, zero at 16.
pub(in crate::matmul) struct Q5_0;
/// Five bits and a number that is added.
pub(in crate::matmul) struct Q5_1;
/// Signed bytes.
pub(in crate::matmul) struct Q8_0;

impl Format for Q4_0 {
    const DTYPE: DType = DType::Q4_0;

    #[inline(always)]
    unsafe fn block<S: Simd, O: GroupOut<S>>(rows: Rows, out: &mut O) {
        // SAFETY: the caller's; a block is d: f16, 16 bytes of nibbles.
        unsafe {
            let nibbles = S::transpose(rows, 2);
            out.factor(0, 0, O::f16_of(rows, 0));
            each!(j in [0 1 2 3] {
                out.quants(0, j, mask::<S>(nibbles[j], 15));
                out.quants(0, 4 + j, high_nibbles::<S>(nibbles[j]));
            });
        }
    }
}

impl Format for Q4_1 {
    const DTYPE: DType = DType::Q4_1;

    #[inline(always)]
    unsafe fn block<S: Simd, O: GroupOut<S>>(rows: Rows, out: &mut O) {
        // SAFETY: the caller's; a block is d, m: f16, 16 bytes of nibbles.
        unsafe {
            let head = S::transpose(rows, 0);
            let nibbles = S::transpose(rows, 4);
            scale_and_added::<S>(head[0], out);
            each!(j in [0 1 2 3] {
                out.quants(0, j, mask::<S>(nibbles[j], 15));
                out.quants(0, 4 + j, high_nibbles::<S>(nibbles[j]));
            });
        }
    }
}

impl Format for Q5_0 {
    const DTYPE: DType = DType::Q5_0;

    #[inline(always)]
    unsafe fn block<S: Simd, O: GroupOut<S>>(rows: Rows, out: &mut O) {
        // SAFETY: the caller's; a block is d: f16, 4 bytes of fifth bits, 16 bytes of nibbles.
        unsafe {
            let head = S::transpose(rows, 0);
            let nibbles = S::transpose(rows, 6);
            out.factor(0, 0, S::f16(head[0]));
            let fifth = S::or(S::shr::<16>(head[0]), S::shl::<16>(head[1]));
            five_bits::<S>(nibbles, fifth, out);
        }
    }
}

impl Format for Q5_1 {
    const DTYPE: DType = DType::Q5_1;

    #[inline(always)]
    unsafe fn block<S: Simd, O: GroupOut<S>>(rows: Rows, out: &mut O) {
        // SAFETY: the caller's; a block is d, m: f16, 4 bytes of fifth bits, 16 bytes of nibbles.
        unsafe {
            let head = S::transpose(rows, 0);
            let nibbles = S::transpose(rows, 8);
            scale_and_added::<S>(head[0], out);
            five_bits::<S>(nibbles, head[1], out);
        }
    }
}

impl Format for Q8_0 {
    const DTYPE: DType = DType::Q8_0;

    #[inline(always)]
    unsafe fn block<S: Simd, O: GroupOut<S>>(rows: Rows, out: &mut O) {
        // SAFETY: the caller's; a block is d: f16, 32 signed bytes.
        unsafe {
            let flip = S::splat(S::FLIP);
            // Not by `O::f16_of`: few rows wait for the memory of so many bytes, and took 5 to 7 % longer so (AVX-VNNI, Zen 5).
            let head = S::transpose(rows, 0);
            out.factor(0, 0, S::f16(head[0]));
            each!(half in [0 1] {
                let quants = S::transpose(rows, 2 + 16 * half);
                each!(j in [0 1 2 3] {
                    out.quants(0, 4 * half + j, S::xor(quants[j], flip));
                });
            });
        }
    }
}

/// d and m, as f16 of one dword, where a weight is d * q + m: `d * (q - 16) - min` with `min = -(m + 16 d)`.
#[inline(always)]
unsafe fn scale_and_added<S: Simd>(both: S::U, out: &mut impl GroupOut<S>) {
    // SAFETY: the caller's.
    unsafe {
        let (d, m) = (S::f16(both), S::f16(S::shr::<16>(both)));
        out.factor(0, 0, d);
        let minus_m = S::mul_f(m, S::splat_f(-1.0));
        out.factor(0, 1, S::fnma(d, S::splat_f(16.0), minus_m));
    }
}

/// Nibbles with the bits of `fifth`: bit `i` belongs to column `i`.
#[inline(always)]
unsafe fn five_bits<S: Simd>(nibbles: [S::U; 4], fifth: S::U, out: &mut impl Out<S>) {
    // SAFETY: the caller's.
    unsafe {
        let low = [fifth, S::shr::<4>(fifth), S::shr::<8>(fifth), S::shr::<12>(fifth)];
        each!(j in [0 1 2 3] {
            out.quants(0, j, S::or(mask::<S>(nibbles[j], 15), spread::<S>(low[j])));
            let high = spread::<S>(S::shr::<16>(low[j]));
            out.quants(0, 4 + j, S::or(high_nibbles::<S>(nibbles[j]), high));
        });
    }
}

/// The lowest four bits of a lane as bit 4 of its four bytes.
#[inline(always)]
unsafe fn spread<S: Simd>(bits: S::U) -> S::U {
    // SAFETY: the caller's. The product has bit i of the four at 8 i + 4, and no two terms share a bit.
    unsafe {
        let four = S::and(bits, S::splat(15));
        mask::<S>(S::mul(four, S::splat(0x0204_0810)), 16)
    }
}
