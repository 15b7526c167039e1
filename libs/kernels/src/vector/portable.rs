//! Columns as arrays: the compiler makes NEON, SSE2 or plain code of them.

use half::f16;

use super::{Simd, WIDTH};

/// 1.5 * 2^23: a sum with it has no room for a fraction.
const MAGIC: f32 = 12_582_912.0;

#[derive(Clone, Copy)]
pub(super) struct Portable;

/// Aligned, so that a column is whole registers.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Column([f32; WIDTH]);

impl Column {
    #[inline(always)]
    fn lanes(f: impl Fn(usize) -> f32) -> Column {
        let mut lanes = [0.0; WIDTH];
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = f(i);
        }
        Column(lanes)
    }
}

/// Fused where that is one instruction; a call of the C library elsewhere would be many times slower than two roundings.
#[inline(always)]
fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, c) } else { a * b + c }
}

/// Without branches: the exponent is moved by a multiplication, which also makes subnormal halves normal.
#[inline(always)]
fn widen(half: f16) -> f32 {
    let bits = u32::from(half.to_bits());
    let magnitude = (bits & 0x7fff) << 13;
    let finite = (f32::from_bits(magnitude) * f32::from_bits(0x7780_0000)).to_bits();
    let value = if magnitude < 0x0f80_0000 { finite } else { magnitude | 0x7f80_0000 };
    f32::from_bits(value | (bits & 0x8000) << 16)
}

impl Simd for Portable {
    type V = Column;

    const ROWS: usize = 4;

    #[inline(always)]
    fn columns(_: usize) -> usize {
        1
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Column {
        Column([x; WIDTH])
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Column {
        // SAFETY: the caller's promise; an array of f32 has f32's alignment, which `read_unaligned` does not even need.
        Column(unsafe { from.cast::<[f32; WIDTH]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const f16) -> Column {
        // SAFETY: the caller's promise.
        let halves = unsafe { from.cast::<[f16; WIDTH]>().read_unaligned() };
        Column::lanes(|i| widen(halves[i]))
    }

    #[inline(always)]
    unsafe fn store(self, v: Column, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; WIDTH]>().write_unaligned(v.0) };
    }

    #[inline(always)]
    fn add(self, a: Column, b: Column) -> Column {
        Column::lanes(|i| a.0[i] + b.0[i])
    }

    #[inline(always)]
    fn sub(self, a: Column, b: Column) -> Column {
        Column::lanes(|i| a.0[i] - b.0[i])
    }

    #[inline(always)]
    fn mul(self, a: Column, b: Column) -> Column {
        Column::lanes(|i| a.0[i] * b.0[i])
    }

    #[inline(always)]
    fn div(self, a: Column, b: Column) -> Column {
        Column::lanes(|i| a.0[i] / b.0[i])
    }

    #[inline(always)]
    fn mul_add(self, a: Column, b: Column, c: Column) -> Column {
        Column::lanes(|i| mul_add(a.0[i], b.0[i], c.0[i]))
    }

    #[inline(always)]
    fn max(self, a: Column, b: Column) -> Column {
        Column::lanes(|i| if a.0[i] > b.0[i] { a.0[i] } else { b.0[i] })
    }

    #[inline(always)]
    fn min(self, a: Column, b: Column) -> Column {
        Column::lanes(|i| if a.0[i] < b.0[i] { a.0[i] } else { b.0[i] })
    }

    #[inline(always)]
    fn round(self, v: Column) -> Column {
        Column::lanes(|i| (v.0[i] + MAGIC) - MAGIC)
    }

    #[inline(always)]
    fn scale_by_power(self, v: Column, n: Column) -> Column {
        // 2 * 2^(n-1), as 2^128 is no f32. Added to MAGIC, a whole number stands in the lowest bits.
        Column::lanes(|i| (v.0[i] * 2.0) * f32::from_bits((n.0[i] + 126.0 + MAGIC).to_bits() << 23))
    }

    #[inline(always)]
    fn zero_where_below(self, v: Column, x: Column, low: f32) -> Column {
        Column::lanes(|i| if x.0[i] < low { 0.0 } else { v.0[i] })
    }

    #[inline(always)]
    fn sum(self, v: Column) -> f32 {
        fold(v, |a, b| a + b)
    }

    #[inline(always)]
    fn largest(self, v: Column) -> f32 {
        fold(v, |a, b| if a > b { a } else { b })
    }
}

#[inline(always)]
fn fold(v: Column, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = v.0;
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] = f(lanes[i], lanes[i + half]);
        }
    }
    lanes[0]
}
