//! The vectors as registers of 512 bits; products by VNNI.

use super::rows::Rows;
use super::simd::Simd;
use std::arch::x86_64::*;

pub(super) struct Avx512;

impl Simd for Avx512 {
    type U = __m512i;
    type F = __m512;
    type Sum = __m512i;
    type WideSum = __m512i;

    const ROWS: usize = 6;
    const FUSED_ROWS: usize = 8;
    const PANELS: usize = 2;
    const PANEL_BYTES: usize = 80 * 1024;
    const SUMS_IN_REGISTERS: usize = 6;
    const PAIRS: bool = false;
    const FLIP: u32 = 0x8080_8080;

    #[inline(always)]
    unsafe fn transpose(rows: Rows, offset: usize) -> [Self::U; 4] {
        // SAFETY: the caller's.
        unsafe {
            // Four rows with a distance of four in the four parts of a register.
            macro_rules! load {
                ($i:literal) => {{
                    let row = |r: usize| _mm_loadu_si128(rows.row(r).add(offset).cast());
                    let a = _mm512_castsi128_si512(row($i));
                    let a = _mm512_inserti32x4::<1>(a, row($i + 4));
                    let a = _mm512_inserti32x4::<2>(a, row($i + 8));
                    _mm512_inserti32x4::<3>(a, row($i + 12))
                }};
            }
            let (a, b, c, d) = (load!(0), load!(1), load!(2), load!(3));
            let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            [
                _mm512_unpacklo_epi64(ab_low, cd_low),
                _mm512_unpackhi_epi64(ab_low, cd_low),
                _mm512_unpacklo_epi64(ab_high, cd_high),
                _mm512_unpackhi_epi64(ab_high, cd_high),
            ]
        }
    }

    #[inline(always)]
    unsafe fn splat(value: u32) -> Self::U {
        // SAFETY: as in the trait; so for all below.
        unsafe { _mm512_set1_epi32(value as i32) }
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self::U {
        // SAFETY: the caller's.
        unsafe { _mm512_load_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut u8, value: Self::U) {
        // SAFETY: the caller's.
        unsafe { _mm512_store_si512(to.cast(), value) }
    }

    #[inline(always)]
    unsafe fn and(a: Self::U, b: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { _mm512_and_si512(a, b) }
    }

    #[inline(always)]
    unsafe fn or(a: Self::U, b: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    unsafe fn xor(a: Self::U, b: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { _mm512_xor_si512(a, b) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::U, b: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { _mm512_add_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::U, b: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { _mm512_mullo_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn shl<const N: u32>(a: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { _mm512_slli_epi32::<N>(a) }
    }

    #[inline(always)]
    unsafe fn shr<const N: u32>(a: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { _mm512_srli_epi32::<N>(a) }
    }

    #[inline(always)]
    unsafe fn splat_f(value: f32) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load_f(from: *const f32) -> Self::F {
        // SAFETY: the caller's.
        unsafe { _mm512_load_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_f(to: *mut f32, value: Self::F) {
        // SAFETY: the caller's.
        unsafe { _mm512_store_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn mul_f(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn fnma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn f16(a: Self::U) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)) }
    }

    #[inline(always)]
    unsafe fn i32(a: Self::U) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { _mm512_cvtepi32_ps(a) }
    }

    #[inline(always)]
    unsafe fn start(word: *const u32) -> Self::Sum {
        // SAFETY: the caller's.
        unsafe { _mm512_set1_epi32(*word as i32) }
    }

    #[inline(always)]
    unsafe fn dot(sum: Self::Sum, weights: Self::U, activations: *const u32) -> Self::Sum {
        // SAFETY: the caller's.
        unsafe { _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi32(*activations as i32)) }
    }

    #[inline(always)]
    unsafe fn sum(sum: Self::Sum) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { _mm512_cvtepi32_ps(sum) }
    }

    #[inline(always)]
    unsafe fn start_wide(word: *const u32) -> Self::WideSum {
        // SAFETY: the caller's.
        unsafe { Self::start(word) }
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
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
}
