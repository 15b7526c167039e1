//! Columns as registers of AVX-512 and AVX2.

use std::arch::x86_64::*;

use half::f16;

use super::{Kernel, Simd};

/// The CPU has AVX-512 F, BW, VL, DQ (and all of [`Avx2`]).
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

/// The CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

/// # Safety
/// The CPU has the features named here.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
pub(super) unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

/// # Safety
/// The CPU has the features named here.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

/// Safe instructions on values of the type that proves them to be there.
macro_rules! instruction {
    ($(fn $name:ident($self:ident, $($arg:ident: $type:ty),*) -> $result:ty $body:block)*) => {
        $(#[inline(always)]
        fn $name($self, $($arg: $type),*) -> $result {
            // SAFETY: `self` proves that the CPU has the instructions.
            unsafe { $body }
        })*
    };
}

impl Simd for Avx512 {
    type V = __m512;

    const ROWS: usize = 8;

    #[inline(always)]
    fn columns(rows: usize) -> usize {
        if rows <= 4 { 4 } else { 2 }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: the caller's promise, and `self`.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const f16) -> __m512 {
        // SAFETY: the caller's promise, and `self`.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, v: __m512, to: *mut f32) {
        // SAFETY: the caller's promise, and `self`.
        unsafe { _mm512_storeu_ps(to, v) }
    }

    instruction! {
        fn splat(self, x: f32) -> __m512 { _mm512_set1_ps(x) }
        fn add(self, a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
        fn sub(self, a: __m512, b: __m512) -> __m512 { _mm512_sub_ps(a, b) }
        fn mul(self, a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
        fn div(self, a: __m512, b: __m512) -> __m512 { _mm512_div_ps(a, b) }
        fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
        fn max(self, a: __m512, b: __m512) -> __m512 { _mm512_max_ps(a, b) }
        fn min(self, a: __m512, b: __m512) -> __m512 { _mm512_min_ps(a, b) }
        fn round(self, v: __m512) -> __m512 { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v) }
        fn scale_by_power(self, v: __m512, n: __m512) -> __m512 { _mm512_scalef_ps(v, n) }
        fn zero_where_below(self, v: __m512, x: __m512, low: f32) -> __m512 {
            _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, _mm512_set1_ps(low)), v)
        }
        fn sum(self, v: __m512) -> f32 {
            Avx2(()).sum_half(_mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v)))
        }
        fn largest(self, v: __m512) -> f32 {
            Avx2(()).largest_half(_mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v)))
        }
    }
}

/// The lower and the upper eight lanes.
#[derive(Clone, Copy)]
pub(super) struct Pair(__m256, __m256);

impl Avx2 {
    instruction! {
        fn sum_half(self, v: __m256) -> f32 {
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
        }
        fn largest_half(self, v: __m256) -> f32 {
            let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)))
        }
        fn scale_half(self, v: __m256, n: __m256) -> __m256 {
            // 2 * 2^(n-1): 2^128 is no f32.
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(126));
            let power = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent));
            _mm256_mul_ps(_mm256_add_ps(v, v), power)
        }
        fn zero_half_where_below(self, v: __m256, x: __m256, low: f32) -> __m256 {
            _mm256_and_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(x, _mm256_set1_ps(low)), v)
        }
    }
}

impl Simd for Avx2 {
    type V = Pair;

    const ROWS: usize = 6;

    #[inline(always)]
    fn columns(rows: usize) -> usize {
        match rows {
            1 => 4,
            2 | 3 => 2,
            _ => 1,
        }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Pair {
        // SAFETY: the caller's promise, and `self`.
        unsafe { Pair(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const f16) -> Pair {
        let from: *const __m128i = from.cast();
        // SAFETY: the caller's promise, and `self`.
        unsafe { Pair(_mm256_cvtph_ps(_mm_loadu_si128(from)), _mm256_cvtph_ps(_mm_loadu_si128(from.add(1)))) }
    }

    #[inline(always)]
    unsafe fn store(self, v: Pair, to: *mut f32) {
        // SAFETY: the caller's promise, and `self`.
        unsafe {
            _mm256_storeu_ps(to, v.0);
            _mm256_storeu_ps(to.add(8), v.1);
        }
    }

    #[inline(always)]
    fn scale_by_power(self, v: Pair, n: Pair) -> Pair {
        Pair(self.scale_half(v.0, n.0), self.scale_half(v.1, n.1))
    }

    #[inline(always)]
    fn zero_where_below(self, v: Pair, x: Pair, low: f32) -> Pair {
        Pair(self.zero_half_where_below(v.0, x.0, low), self.zero_half_where_below(v.1, x.1, low))
    }

    instruction! {
        fn splat(self, x: f32) -> Pair { Pair(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
        fn add(self, a: Pair, b: Pair) -> Pair { Pair(_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)) }
        fn sub(self, a: Pair, b: Pair) -> Pair { Pair(_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)) }
        fn mul(self, a: Pair, b: Pair) -> Pair { Pair(_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)) }
        fn div(self, a: Pair, b: Pair) -> Pair { Pair(_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)) }
        fn mul_add(self, a: Pair, b: Pair, c: Pair) -> Pair {
            Pair(_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1))
        }
        fn max(self, a: Pair, b: Pair) -> Pair { Pair(_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)) }
        fn min(self, a: Pair, b: Pair) -> Pair { Pair(_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1)) }
        fn round(self, v: Pair) -> Pair {
            const MODE: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
            Pair(_mm256_round_ps::<MODE>(v.0), _mm256_round_ps::<MODE>(v.1))
        }
        fn sum(self, v: Pair) -> f32 { self.sum_half(_mm256_add_ps(v.0, v.1)) }
        fn largest(self, v: Pair) -> f32 { self.largest_half(_mm256_max_ps(v.0, v.1)) }
    }
}
