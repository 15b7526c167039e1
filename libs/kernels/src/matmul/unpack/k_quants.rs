//! The types with blocks of 256: Q2_K to Q6_K.

use super::factors::{KFormat, KOut};
use super::{each, high_nibbles, mask};
use crate::matmul::rows::Rows;
use crate::matmul::simd::Simd;
use rbee_model::gguf::DType;

/// Two bits; a scale and a minimum of 4 bits for every 16.
#[allow(non_camel_case_types)]
pub(super) struct Q2_K;
/// Three bits, zero at 4; a scale of 6 bits for every 16.
#[allow(non_camel_case_types)]
pub(super) struct Q3_K;
/// Four bits; a scale and a minimum of 6 bits for every 32.
#[allow(non_camel_case_types)]
pub(super) struct Q4_K;
/// Five bits; scales and minimums like Q4_K's.
#[allow(non_camel_case_types)]
pub(super) struct Q5_K;
/// Six bits, zero at 32; a signed scale of 8 bits for every 16.
#[allow(non_camel_case_types)]
pub(super) struct Q6_K;

impl KFormat for Q4_K {
    const DTYPE: DType = DType::Q4_K;

    #[inline(always)]
    unsafe fn block<S: Simd>(rows: Rows, out: &mut impl KOut<S>) {
        // SAFETY: the caller's; a block is d, dmin: f16, 12 bytes of scales, 128 bytes of nibbles.
        unsafe {
            scales_and_mins::<S>(S::transpose(rows, 0), out);
            each!(pair in [0 1 2 3] {
                each!(half in [0 1] {
                    let nibbles = S::transpose(rows, 16 + 32 * pair + 16 * half);
                    each!(j in [0 1 2 3] {
                        out.quants(2 * pair, 4 * half + j, mask::<S>(nibbles[j], 15));
                        out.quants(2 * pair + 1, 4 * half + j, high_nibbles::<S>(nibbles[j]));
                    });
                });
            });
        }
    }
}

impl KFormat for Q5_K {
    const DTYPE: DType = DType::Q5_K;

    #[inline(always)]
    unsafe fn block<S: Simd>(rows: Rows, out: &mut impl KOut<S>) {
        // SAFETY: the caller's; a block is d, dmin: f16, 12 bytes of scales, 32 bytes of fifth bits, 128 of nibbles.
        unsafe {
            scales_and_mins::<S>(S::transpose(rows, 0), out);
            let fifth = [S::transpose(rows, 16), S::transpose(rows, 32)];
            macro_rules! pair {
                ($pair:literal, $even:ident::<$a:literal>, $odd:ident::<$b:literal>) => {
                    each!(half in [0 1] {
                        let nibbles = S::transpose(rows, 48 + 32 * $pair + 16 * half);
                        each!(j in [0 1 2 3] {
                            let bit = mask::<S>(S::$even::<$a>(fifth[half][j]), 16);
                            out.quants(2 * $pair, 4 * half + j, S::or(mask::<S>(nibbles[j], 15), bit));
                            let bit = mask::<S>(S::$odd::<$b>(fifth[half][j]), 16);
                            out.quants(2 * $pair + 1, 4 * half + j, S::or(high_nibbles::<S>(nibbles[j]), bit));
                        });
                    });
                };
            }
            // Bit g of a byte, the fifth of group g's quant, goes to bit 4.
            pair!(0, shl::<4>, shl::<3>);
            pair!(1, shl::<2>, shl::<1>);
            pair!(2, shl::<0>, shr::<1>);
            pair!(3, shr::<2>, shr::<3>);
        }
    }
}

/// The scales and minimums of 8 groups from the first 16 bytes of a block, as dwords: d and dmin, then 6 bits each.
#[inline(always)]
unsafe fn scales_and_mins<S: Simd>(head: [S::U; 4], out: &mut impl KOut<S>) {
    // SAFETY: the caller's.
    unsafe {
        out.factors(S::f16(head[0]), Some(S::f16(S::shr::<16>(head[0]))));
        let high = |a: S::U| mask::<S>(S::shr::<2>(a), 0x30);
        let scales = [mask::<S>(head[1], 63), S::or(mask::<S>(head[3], 15), high(head[1]))];
        let mins = [mask::<S>(head[2], 63), S::or(high_nibbles::<S>(head[3]), high(head[2]))];
        each!(four in [0 1] {
            let (scales, mins) = (bytes::<S>(scales[four]), bytes::<S>(mins[four]));
            each!(i in [0 1 2 3] {
                out.scale_and_min(4 * four + i, scales[i], mins[i]);
            });
        });
    }
}

/// The four bytes of each lane.
#[inline(always)]
unsafe fn bytes<S: Simd>(a: S::U) -> [S::U; 4] {
    // SAFETY: the caller's.
    unsafe {
        let byte = S::splat(0xff);
        [S::and(a, byte), S::and(S::shr::<8>(a), byte), S::and(S::shr::<16>(a), byte), S::shr::<24>(a)]
    }
}

impl KFormat for Q6_K {
    const DTYPE: DType = DType::Q6_K;

    #[inline(always)]
    unsafe fn block<S: Simd>(rows: Rows, out: &mut impl KOut<S>) {
        // SAFETY: the caller's; a block is 128 bytes of low 4 bits, 64 of high 2 bits, 16 of scales, d: f16.
        unsafe {
            out.factors(S::f16(S::shr::<16>(S::transpose(rows, 194)[3])), None);
            let scales = S::transpose(rows, 192);
            each!(four in [0 1 2 3] {
                // Signed bytes: with the sign bit flipped they are 128 more.
                let plus_128 = bytes::<S>(S::xor(scales[four], S::splat(0x8080_8080)));
                each!(i in [0 1 2 3] {
                    out.scale(4 * four + i, S::add(plus_128[i], S::splat((-128i32) as u32)));
                });
            });
            each!(part in [0 1] {
                let high = [S::transpose(rows, 128 + 32 * part), S::transpose(rows, 144 + 32 * part)];
                macro_rules! pair {
                    ($first:literal, $a:ident::<$i:literal>, $b:ident::<$k:literal>) => {
                        each!(half in [0 1] {
                            let low = S::transpose(rows, 64 * part + 32 * $first + 16 * half);
                            each!(j in [0 1 2 3] {
                                let bits = mask::<S>(S::$a::<$i>(high[half][j]), 48);
                                out.quants(4 * part + $first, 4 * half + j, S::or(mask::<S>(low[j], 15), bits));
                                let bits = mask::<S>(S::$b::<$k>(high[half][j]), 48);
                                out.quants(4 * part + $first + 2, 4 * half + j, S::or(high_nibbles::<S>(low[j]), bits));
                            });
                        });
                    };
                }
                // Bits 2 g and 2 g + 1 of a byte, the high ones of group g's quant, go to bits 4 and 5.
                pair!(0, shl::<4>, shl::<0>);
                pair!(1, shl::<2>, shr::<2>);
            });
        }
    }
}

impl KFormat for Q3_K {
    const DTYPE: DType = DType::Q3_K;

    #[inline(always)]
    unsafe fn block<S: Simd>(rows: Rows, out: &mut impl KOut<S>) {
        // SAFETY: the caller's; a block is 32 bytes of third bits, 64 of low 2 bits, 12 of scales, d: f16.
        unsafe {
            out.factors(S::f16(S::shr::<16>(S::transpose(rows, 94)[3])), None);
            let [_, a, b, high] = S::transpose(rows, 92);
            let two = |bits: S::U| mask::<S>(bits, 48);
            let scales = [
                S::or(mask::<S>(a, 15), two(S::shl::<4>(high))),
                S::or(mask::<S>(b, 15), two(S::shl::<2>(high))),
                S::or(high_nibbles::<S>(a), two(high)),
                S::or(high_nibbles::<S>(b), two(S::shr::<2>(high))),
            ];
            each!(four in [0 1 2 3] {
                let scales = bytes::<S>(scales[four]);
                each!(i in [0 1 2 3] {
                    out.scale(4 * four + i, S::add(scales[i], S::splat((-32i32) as u32)));
                });
            });
            // The bit that is set is worth 4, and the zero of the kind is 28 above this type's.
            let offset = S::splat(0x1c1c_1c1c);
            let third = [S::transpose(rows, 0), S::transpose(rows, 16)];
            each!(part in [0 1] {
                each!(half in [0 1] {
                    let low = S::transpose(rows, 32 + 32 * part + 16 * half);
                    each!(j in [0 1 2 3] {
                        let third = if part == 0 { third[half][j] } else { S::shr::<4>(third[half][j]) };
                        let third = [S::shl::<2>(third), S::shl::<1>(third), third, S::shr::<1>(third)];
                        let low = two_bits::<S>(low[j]);
                        each!(g in [0 1 2 3] {
                            let q = S::or(low[g], mask::<S>(third[g], 4));
                            out.quants(4 * part + g, 4 * half + j, S::add(q, offset));
                        });
                    });
                });
            });
        }
    }
}

impl KFormat for Q2_K {
    const DTYPE: DType = DType::Q2_K;

    #[inline(always)]
    unsafe fn block<S: Simd>(rows: Rows, out: &mut impl KOut<S>) {
        // SAFETY: the caller's; a block is 16 bytes of scales and minimums, 64 of 2 bits, d, dmin: f16.
        unsafe {
            let both = S::transpose(rows, 68)[3];
            out.factors(S::f16(both), Some(S::f16(S::shr::<16>(both))));
            let factors = S::transpose(rows, 0);
            each!(four in [0 1 2 3] {
                let scales = bytes::<S>(mask::<S>(factors[four], 15));
                let mins = bytes::<S>(high_nibbles::<S>(factors[four]));
                each!(i in [0 1 2 3] {
                    out.scale_and_min(4 * four + i, scales[i], mins[i]);
                });
            });
            each!(part in [0 1 2 3] {
                let (group, j0) = (part / 2 * 4, part % 2 * 4);
                let quants = S::transpose(rows, 16 + 16 * part);
                each!(j in [0 1 2 3] {
                    let quants = two_bits::<S>(quants[j]);
                    each!(g in [0 1 2 3] {
                        out.quants(group + g, j0 + j, quants[g]);
                    });
                });
            });
        }
    }
}

/// Bits 0 and 1, 2 and 3, 4 and 5, 6 and 7 of every byte.
#[inline(always)]
unsafe fn two_bits<S: Simd>(a: S::U) -> [S::U; 4] {
    // SAFETY: the caller's.
    unsafe {
        [mask::<S>(a, 3), mask::<S>(S::shr::<2>(a), 3), mask::<S>(S::shr::<4>(a), 3), mask::<S>(S::shr::<6>(a), 3)]
    }
}
