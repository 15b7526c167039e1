//! The vectors in plain Rust.

use super::rows::Rows;
use super::simd::{LANES, Simd};
use half::f16;

pub(super) struct Portable;

macro_rules! each_lane {
    ($i:ident => $value:expr) => {{
        let mut out = [Default::default(); LANES];
        for $i in 0..LANES {
            out[$i] = $value;
        }
        out
    }};
}

impl Simd for Portable {
    type U = [u32; LANES];
    type F = [f32; LANES];
    type Sum = [i32; LANES];
    type WideSum = [i32; LANES];

    const ROWS: usize = 4;
    const FUSED_ROWS: usize = 1;
    const PANELS: usize = 1;
    const PANEL_BYTES: usize = 20 * 1024;
    const SUMS_IN_REGISTERS: usize = 1;
    const PAIRS: bool = false;
    const FLIP: u32 = 0x8080_8080;

    #[inline(always)]
    unsafe fn transpose(rows: Rows, offset: usize) -> [Self::U; 4] {
        let mut out = [[0; LANES]; 4];
        for i in 0..LANES {
            for (j, out) in out.iter_mut().enumerate() {
                // SAFETY: the caller's.
                out[i] = u32::from_le(unsafe { rows.row(i).add(offset + 4 * j).cast::<u32>().read_unaligned() });
            }
        }
        out
    }

    #[inline(always)]
    unsafe fn splat(value: u32) -> Self::U {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self::U {
        // SAFETY: the caller's.
        unsafe { from.cast::<Self::U>().read() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut u8, value: Self::U) {
        // SAFETY: the caller's.
        unsafe { to.cast::<Self::U>().write(value) }
    }

    #[inline(always)]
    unsafe fn and(a: Self::U, b: Self::U) -> Self::U {
        each_lane!(i => a[i] & b[i])
    }

    #[inline(always)]
    unsafe fn or(a: Self::U, b: Self::U) -> Self::U {
        each_lane!(i => a[i] | b[i])
    }

    #[inline(always)]
    unsafe fn xor(a: Self::U, b: Self::U) -> Self::U {
        each_lane!(i => a[i] ^ b[i])
    }

    #[inline(always)]
    unsafe fn add(a: Self::U, b: Self::U) -> Self::U {
        each_lane!(i => a[i].wrapping_add(b[i]))
    }

    #[inline(always)]
    unsafe fn mul(a: Self::U, b: Self::U) -> Self::U {
        each_lane!(i => a[i].wrapping_mul(b[i]))
    }

    #[inline(always)]
    unsafe fn shl<const N: u32>(a: Self::U) -> Self::U {
        each_lane!(i => a[i] << N)
    }

    #[inline(always)]
    unsafe fn shr<const N: u32>(a: Self::U) -> Self::U {
        each_lane!(i => a[i] >> N)
    }

    #[inline(always)]
    unsafe fn splat_f(value: f32) -> Self::F {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load_f(from: *const f32) -> Self::F {
        // SAFETY: the caller's.
        unsafe { from.cast::<Self::F>().read() }
    }

    #[inline(always)]
    unsafe fn store_f(to: *mut f32, value: Self::F) {
        // SAFETY: the caller's.
        unsafe { to.cast::<Self::F>().write(value) }
    }

    #[inline(always)]
    unsafe fn mul_f(a: Self::F, b: Self::F) -> Self::F {
        each_lane!(i => a[i] * b[i])
    }

    /// Rounded twice: processors without an instruction for it would need a function call.
    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        each_lane!(i => a[i] * b[i] + c[i])
    }

    #[inline(always)]
    unsafe fn fnma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        each_lane!(i => c[i] - a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn f16(a: Self::U) -> Self::F {
        each_lane!(i => f16::from_bits(a[i] as u16).to_f32())
    }

    #[inline(always)]
    unsafe fn i32(a: Self::U) -> Self::F {
        each_lane!(i => a[i] as i32 as f32)
    }

    #[inline(always)]
    unsafe fn start(word: *const u32) -> Self::Sum {
        // SAFETY: the caller's.
        [unsafe { *word } as i32; LANES]
    }

    #[inline(always)]
    unsafe fn dot(sum: Self::Sum, weights: Self::U, activations: *const u32) -> Self::Sum {
        // SAFETY: the caller's.
        let x = unsafe { *activations }.to_le_bytes().map(|b| i32::from(b as i8));
        each_lane!(i => {
            let w = weights[i];
            let byte = |n: u32| (w >> (8 * n) & 0xff) as i32;
            sum[i] + byte(0) * x[0] + byte(1) * x[1] + byte(2) * x[2] + byte(3) * x[3]
        })
    }

    #[inline(always)]
    unsafe fn sum(sum: Self::Sum) -> Self::F {
        each_lane!(i => sum[i] as f32)
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
    unsafe fn prefetch(_: *const u8) {}
}
