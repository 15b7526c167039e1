//! The vectors as four registers of 128 bits: rows 0 to 3, 4 to 7, 8 to 11 and 12 to 15; products by `sdot`.

use super::rows::Rows;
use super::simd::{LANES, Simd};
use half::f16;
use std::arch::aarch64::*;
use std::arch::asm;

pub(super) struct Neon;

macro_rules! quarters {
    ($q:ident => $value:expr) => {{
        let part = |$q: usize| $value;
        [part(0), part(1), part(2), part(3)]
    }};
}

impl Simd for Neon {
    type U = [uint32x4_t; 4];
    type F = [float32x4_t; 4];
    type Sum = [int32x4_t; 4];
    type WideSum = [int32x4_t; 4];

    const ROWS: usize = 4;
    const FUSED_ROWS: usize = 1;
    const PANELS: usize = 1;
    const PANEL_BYTES: usize = 20 * 1024;
    const SUMS_IN_REGISTERS: usize = 2;
    const PAIRS: bool = false;
    const FLIP: u32 = 0;

    #[inline(always)]
    unsafe fn transpose(rows: Rows, offset: usize) -> [Self::U; 4] {
        // SAFETY: the caller's.
        unsafe {
            let quarters = quarters!(q => {
                let row = |r: usize| vreinterpretq_u32_u8(vld1q_u8(rows.row(4 * q + r).add(offset)));
                let (a, b, c, d) = (row(0), row(1), row(2), row(3));
                let (ab_even, ab_odd) = (vtrn1q_u32(a, b), vtrn2q_u32(a, b));
                let (cd_even, cd_odd) = (vtrn1q_u32(c, d), vtrn2q_u32(c, d));
                let low = |a, b| vreinterpretq_u32_u64(vtrn1q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)));
                let high = |a, b| vreinterpretq_u32_u64(vtrn2q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)));
                [low(ab_even, cd_even), low(ab_odd, cd_odd), high(ab_even, cd_even), high(ab_odd, cd_odd)]
            });
            let dword = |j: usize| quarters!(q => quarters[q][j]);
            [dword(0), dword(1), dword(2), dword(3)]
        }
    }

    #[inline(always)]
    unsafe fn splat(value: u32) -> Self::U {
        // SAFETY: as in the trait; so for all below.
        unsafe { [vdupq_n_u32(value); 4] }
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self::U {
        // SAFETY: the caller's.
        unsafe { quarters!(q => vreinterpretq_u32_u8(vld1q_u8(from.add(16 * q)))) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut u8, value: Self::U) {
        // SAFETY: the caller's.
        unsafe { quarters!(q => vst1q_u8(to.add(16 * q), vreinterpretq_u8_u32(value[q]))) };
    }

    #[inline(always)]
    unsafe fn and(a: Self::U, b: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { quarters!(q => vandq_u32(a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn or(a: Self::U, b: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { quarters!(q => vorrq_u32(a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn xor(a: Self::U, b: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { quarters!(q => veorq_u32(a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::U, b: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { quarters!(q => vaddq_u32(a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::U, b: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { quarters!(q => vmulq_u32(a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn shl<const N: u32>(a: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { quarters!(q => vshlq_u32(a[q], vdupq_n_s32(N as i32))) }
    }

    #[inline(always)]
    unsafe fn shr<const N: u32>(a: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { quarters!(q => vshlq_u32(a[q], vdupq_n_s32(-(N as i32)))) }
    }

    #[inline(always)]
    unsafe fn splat_f(value: f32) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { [vdupq_n_f32(value); 4] }
    }

    #[inline(always)]
    unsafe fn load_f(from: *const f32) -> Self::F {
        // SAFETY: the caller's.
        unsafe { quarters!(q => vld1q_f32(from.add(4 * q))) }
    }

    #[inline(always)]
    unsafe fn store_f(to: *mut f32, value: Self::F) {
        // SAFETY: the caller's.
        unsafe { quarters!(q => vst1q_f32(to.add(4 * q), value[q])) };
    }

    #[inline(always)]
    unsafe fn mul_f(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { quarters!(q => vmulq_f32(a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { quarters!(q => vfmaq_f32(c[q], a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn fnma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { quarters!(q => vfmsq_f32(c[q], a[q], b[q])) }
    }

    #[inline(always)]
    unsafe fn f16(a: Self::U) -> Self::F {
        let mut numbers = [0f32; LANES];
        // SAFETY: as in the trait.
        unsafe {
            let mut bits = [0u32; LANES];
            for q in 0..4 {
                vst1q_u32(bits.as_mut_ptr().add(4 * q), a[q]);
            }
            for (x, bits) in numbers.iter_mut().zip(bits) {
                *x = f16::from_bits(bits as u16).to_f32();
            }
            Self::load_f(numbers.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn i32(a: Self::U) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { quarters!(q => vcvtq_f32_s32(vreinterpretq_s32_u32(a[q]))) }
    }

    #[inline(always)]
    unsafe fn start(word: *const u32) -> Self::Sum {
        // SAFETY: the caller's.
        unsafe { [vdupq_n_s32(*word as i32); 4] }
    }

    /// The weights are at most 63, so they are the same numbers as signed bytes.
    #[inline(always)]
    unsafe fn dot(sum: Self::Sum, weights: Self::U, activations: *const u32) -> Self::Sum {
        // SAFETY: the caller's.
        unsafe {
            let x = vreinterpretq_s8_u32(vdupq_n_u32(*activations));
            quarters!(q => signed_dot(sum[q], vreinterpretq_s8_u32(weights[q]), x))
        }
    }

    #[inline(always)]
    unsafe fn sum(sum: Self::Sum) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { quarters!(q => vcvtq_f32_s32(sum[q])) }
    }

    #[inline(always)]
    unsafe fn start_wide(_: *const u32) -> Self::WideSum {
        // SAFETY: as in the trait.
        unsafe { [vdupq_n_s32(0); 4] }
    }

    #[inline(always)]
    unsafe fn dot_wide(sum: Self::WideSum, weights: Self::U, activations: *const u32) -> Self::WideSum {
        // SAFETY: the caller's.
        unsafe { Self::dot(sum, weights, activations) }
    }

    #[inline(always)]
    unsafe fn sum_wide(sum: Self::WideSum) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { Self::sum(sum) }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        // SAFETY: a hint, for any address.
        unsafe { asm!("prfm pldl2keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly)) }
    }
}

/// `vdotq_s32`, which the standard library does not have in stable Rust.
#[inline(always)]
unsafe fn signed_dot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the processor has the dot product instructions.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}
