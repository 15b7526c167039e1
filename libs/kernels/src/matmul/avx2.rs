//! The vectors as pairs of registers of 256 bits: rows 0 to 7 and 8 to 15.

use super::rows::Rows;
use super::simd::Simd;
use std::arch::asm;
use std::arch::x86_64::*;
use std::marker::PhantomData;

macro_rules! both {
    ($h:ident => $value:expr) => {{
        let first = {
            let $h = 0;
            $value
        };
        let second = {
            let $h = 1;
            $value
        };
        [first, second]
    }};
}

/// AVX2, with products by `P`.
pub(super) struct Avx2<P>(PhantomData<P>);

/// Products of bytes, in pairs of registers.
///
/// # Safety
/// As for [`Simd`], whose functions of the same names say what these do.
pub(super) trait Products {
    const ROWS: usize;
    const PAIRS: bool;
    const FLIP: u32;

    unsafe fn dot(sum: [__m256i; 2], weights: [__m256i; 2], activations: __m256i) -> [__m256i; 2];
    /// The sum of each lane.
    unsafe fn lanes(sum: __m256i) -> __m256i;
    unsafe fn start_wide(word: *const u32) -> [__m256i; 2];
    unsafe fn dot_wide(sum: [__m256i; 2], weights: [__m256i; 2], activations: __m256i) -> [__m256i; 2];
}

/// By AVX2 itself, which adds two products of bytes to a word.
///
/// Products of small bytes are summed in 16 bits: at most 16 columns of a lane's half, each at most 16 * 127 from its start
/// (8 columns and 32 * 127 where halves of a group are summed), so that the final sum fits, and what wraps on the way does no harm.
pub(super) struct Words;

impl Products for Words {
    const ROWS: usize = 4;
    const PAIRS: bool = true;
    const FLIP: u32 = 0;

    #[inline(always)]
    unsafe fn dot(sum: [__m256i; 2], weights: [__m256i; 2], activations: __m256i) -> [__m256i; 2] {
        // SAFETY: the caller's; so for all below.
        unsafe { both!(h => _mm256_add_epi16(sum[h], _mm256_maddubs_epi16(weights[h], activations))) }
    }

    #[inline(always)]
    unsafe fn lanes(sum: __m256i) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_madd_epi16(sum, _mm256_set1_epi16(1)) }
    }

    #[inline(always)]
    unsafe fn start_wide(_: *const u32) -> [__m256i; 2] {
        // SAFETY: the caller's.
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    /// Unsigned weights times activations with the weights' signs: two products of at most 128 * 127 fit into 16 bits.
    #[inline(always)]
    unsafe fn dot_wide(sum: [__m256i; 2], weights: [__m256i; 2], activations: __m256i) -> [__m256i; 2] {
        // SAFETY: the caller's.
        unsafe {
            both!(h => {
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights[h]), _mm256_sign_epi8(activations, weights[h]));
                _mm256_add_epi32(sum[h], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            })
        }
    }
}

/// By AVX-VNNI, which adds four products of bytes to a lane.
pub(super) struct Vnni;

impl Products for Vnni {
    const ROWS: usize = 6;
    const PAIRS: bool = false;
    const FLIP: u32 = 0x8080_8080;

    #[inline(always)]
    unsafe fn dot(sum: [__m256i; 2], weights: [__m256i; 2], activations: __m256i) -> [__m256i; 2] {
        // SAFETY: the caller's; so for all below.
        unsafe { both!(h => _mm256_dpbusd_avx_epi32(sum[h], weights[h], activations)) }
    }

    #[inline(always)]
    unsafe fn lanes(sum: __m256i) -> __m256i {
        sum
    }

    #[inline(always)]
    unsafe fn start_wide(word: *const u32) -> [__m256i; 2] {
        // SAFETY: the caller's.
        unsafe { [_mm256_set1_epi32(*word as i32); 2] }
    }

    #[inline(always)]
    unsafe fn dot_wide(sum: [__m256i; 2], weights: [__m256i; 2], activations: __m256i) -> [__m256i; 2] {
        // SAFETY: the caller's.
        unsafe { Self::dot(sum, weights, activations) }
    }
}

impl<P: Products> Simd for Avx2<P> {
    type U = [__m256i; 2];
    type F = [__m256; 2];
    type Sum = [__m256i; 2];
    type WideSum = [__m256i; 2];

    const ROWS: usize = P::ROWS;
    const FUSED_ROWS: usize = 1;
    const PANELS: usize = 1;
    const PANEL_BYTES: usize = 20 * 1024;
    const SUMS_IN_REGISTERS: usize = 2;
    const PAIRS: bool = P::PAIRS;
    const FLIP: u32 = P::FLIP;

    #[inline(always)]
    unsafe fn transpose(rows: Rows, offset: usize) -> [Self::U; 4] {
        // SAFETY: the caller's.
        unsafe {
            // Two rows with a distance of four in the halves of a register.
            macro_rules! load {
                ($i:expr) => {{
                    let row = |r: usize| _mm_loadu_si128(rows.row(r).add(offset).cast());
                    _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(row($i)), row($i + 4))
                }};
            }
            let halves = both!(h => {
                let (a, b, c, d) = (load!(8 * h), load!(8 * h + 1), load!(8 * h + 2), load!(8 * h + 3));
                let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
                let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
                [
                    _mm256_unpacklo_epi64(ab_low, cd_low),
                    _mm256_unpackhi_epi64(ab_low, cd_low),
                    _mm256_unpacklo_epi64(ab_high, cd_high),
                    _mm256_unpackhi_epi64(ab_high, cd_high),
                ]
            });
            let dword = |j: usize| [halves[0][j], halves[1][j]];
            [dword(0), dword(1), dword(2), dword(3)]
        }
    }

    #[inline(always)]
    unsafe fn splat(value: u32) -> Self::U {
        // SAFETY: as in the trait; so for all below.
        unsafe { [_mm256_set1_epi32(value as i32); 2] }
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self::U {
        // SAFETY: the caller's.
        unsafe { both!(h => _mm256_load_si256(from.add(32 * h).cast())) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut u8, value: Self::U) {
        // SAFETY: the caller's.
        unsafe { both!(h => _mm256_store_si256(to.add(32 * h).cast(), value[h])) };
    }

    #[inline(always)]
    unsafe fn and(a: Self::U, b: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { both!(h => _mm256_and_si256(a[h], b[h])) }
    }

    #[inline(always)]
    unsafe fn or(a: Self::U, b: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { both!(h => _mm256_or_si256(a[h], b[h])) }
    }

    #[inline(always)]
    unsafe fn xor(a: Self::U, b: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { both!(h => _mm256_xor_si256(a[h], b[h])) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::U, b: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { both!(h => _mm256_add_epi32(a[h], b[h])) }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::U, b: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { both!(h => _mm256_mullo_epi32(a[h], b[h])) }
    }

    #[inline(always)]
    unsafe fn shl<const N: u32>(a: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { both!(h => _mm256_sll_epi32(a[h], _mm_cvtsi32_si128(N as i32))) }
    }

    #[inline(always)]
    unsafe fn shr<const N: u32>(a: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { both!(h => _mm256_srl_epi32(a[h], _mm_cvtsi32_si128(N as i32))) }
    }

    #[inline(always)]
    unsafe fn splat_f(value: f32) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    unsafe fn load_f(from: *const f32) -> Self::F {
        // SAFETY: the caller's.
        unsafe { both!(h => _mm256_load_ps(from.add(8 * h))) }
    }

    #[inline(always)]
    unsafe fn store_f(to: *mut f32, value: Self::F) {
        // SAFETY: the caller's.
        unsafe { both!(h => _mm256_store_ps(to.add(8 * h), value[h])) };
    }

    #[inline(always)]
    unsafe fn mul_f(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { both!(h => _mm256_mul_ps(a[h], b[h])) }
    }

    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { both!(h => _mm256_fmadd_ps(a[h], b[h], c[h])) }
    }

    #[inline(always)]
    unsafe fn fnma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { both!(h => _mm256_fnmadd_ps(a[h], b[h], c[h])) }
    }

    #[inline(always)]
    unsafe fn f16(a: Self::U) -> Self::F {
        // SAFETY: as in the trait.
        unsafe {
            let low = _mm256_set1_epi32(0xffff);
            // Words 0-3 of both, then 4-7 of both: the middle quarters are swapped back.
            let words = _mm256_packus_epi32(_mm256_and_si256(a[0], low), _mm256_and_si256(a[1], low));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            [_mm256_cvtph_ps(_mm256_castsi256_si128(words)), _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(words))]
        }
    }

    #[inline(always)]
    unsafe fn f16_of(rows: Rows, offset: usize) -> Self::F {
        // SAFETY: the caller's.
        unsafe {
            both!(h => _mm256_cvtph_ps(_mm_set_epi64x(rows.four_u16(8 * h + 4, offset), rows.four_u16(8 * h, offset))))
        }
    }

    #[inline(always)]
    unsafe fn i32(a: Self::U) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { both!(h => _mm256_cvtepi32_ps(a[h])) }
    }

    #[inline(always)]
    unsafe fn start(word: *const u32) -> Self::Sum {
        // SAFETY: the caller's; so for all below.
        unsafe { [_mm256_set1_epi32(*word as i32); 2] }
    }

    #[inline(always)]
    unsafe fn dot(sum: Self::Sum, weights: Self::U, activations: *const u32) -> Self::Sum {
        // SAFETY: the caller's.
        unsafe { P::dot(sum, weights, _mm256_set1_epi32(*activations as i32)) }
    }

    #[inline(always)]
    unsafe fn in_order(sums: &mut [Self::Sum]) {
        for [a, b] in sums {
            // SAFETY: as in the trait.
            unsafe { pin(a, b) };
        }
    }

    #[inline(always)]
    unsafe fn sum(sum: Self::Sum) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { both!(h => _mm256_cvtepi32_ps(P::lanes(sum[h]))) }
    }

    #[inline(always)]
    unsafe fn dot_pairs(pairs: Self::U, with: Self::U) -> Self::U {
        // SAFETY: as in the trait.
        unsafe { both!(h => _mm256_madd_epi16(pairs[h], with[h])) }
    }

    #[inline(always)]
    unsafe fn pairs(sum: Self::Sum) -> Self::U {
        sum
    }

    #[inline(always)]
    unsafe fn start_wide(word: *const u32) -> Self::WideSum {
        // SAFETY: the caller's.
        unsafe { P::start_wide(word) }
    }

    #[inline(always)]
    unsafe fn dot_wide(sum: Self::WideSum, weights: Self::U, activations: *const u32) -> Self::WideSum {
        // SAFETY: the caller's.
        unsafe { P::dot_wide(sum, weights, _mm256_set1_epi32(*activations as i32)) }
    }

    #[inline(always)]
    unsafe fn in_order_wide(sums: &mut [Self::WideSum]) {
        // SAFETY: as in the trait.
        unsafe { Self::in_order(sums) }
    }

    #[inline(always)]
    unsafe fn sum_wide(sum: Self::WideSum) -> Self::F {
        // SAFETY: as in the trait.
        unsafe { both!(h => _mm256_cvtepi32_ps(sum[h])) }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        // SAFETY: a hint, for any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
}

/// No instruction: a place that the compiler moves neither these values' computation nor accesses to memory across.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn pin(a: &mut __m256i, b: &mut __m256i) {
    // SAFETY: it does nothing.
    unsafe { asm!("/* {0} {1} */", inout(ymm_reg) * a, inout(ymm_reg) * b, options(nostack, preserves_flags)) };
}
