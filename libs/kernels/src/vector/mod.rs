//! Sixteen f32 at a time on every instruction set, so that a kernel is written once.
//!
//! A column of [`WIDTH`] lanes is one register with AVX-512, two with AVX2 and an array elsewhere (which the compiler turns into
//! NEON or SSE2). Because the width is the same everywhere, so are the shapes of all sums. A kernel is a [`Kernel`]; [`dispatch`]
//! compiles its body once per instruction set. All code below `run` has to be `#[inline(always)]`: only then is it compiled with
//! the instruction set of its caller.

mod functions;
mod portable;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use functions::{exp, gelu_tanh, silu, softcap};
use half::f16;

use crate::Isa;

/// Lanes of a column.
pub(crate) const WIDTH: usize = 16;

/// An instruction set. A value of such a type is the proof that the CPU has it: only [`dispatch`] makes one.
pub(crate) trait Simd: Copy {
    /// A column: [`WIDTH`] lanes.
    type V: Copy;

    /// Rows and columns of accumulators that the registers hold, the most rows first: what a product of matrices keeps there.
    const ROWS: usize;

    /// Columns beside each other when a product has `rows` rows: 4, 2 or 1.
    fn columns(rows: usize) -> usize;

    fn splat(self, x: f32) -> Self::V;
    /// # Safety
    /// [`WIDTH`] floats can be read at `from`; no alignment is needed.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// # Safety
    /// [`WIDTH`] halves can be read at `from`; no alignment is needed.
    unsafe fn load_f16(self, from: *const f16) -> Self::V;
    /// # Safety
    /// [`WIDTH`] floats can be written at `to`; no alignment is needed.
    unsafe fn store(self, v: Self::V, to: *mut f32);

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// a * b + c, rounded once where the CPU can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; `b` where either is no number.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; `b` where either is no number.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// To the nearest integer, ties to even.
    fn round(self, v: Self::V) -> Self::V;
    /// v * 2^n for whole n in -125..=128.
    fn scale_by_power(self, v: Self::V, n: Self::V) -> Self::V;
    /// v, but 0 in lanes where x < low (not where x is no number).
    fn zero_where_below(self, v: Self::V, x: Self::V, low: f32) -> Self::V;
    /// Sum of the lanes: halves onto each other until one is left.
    fn sum(self, v: Self::V) -> f32;
    /// Largest of the lanes; lanes that are no number may be passed over.
    fn largest(self, v: Self::V) -> f32;
}

/// What a matrix in memory may consist of: read, it is f32.
pub(crate) trait Element: Copy {
    /// # Safety
    /// [`WIDTH`] elements can be read at `from`.
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::V;
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const f32) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { simd.load(from) }
    }
}

impl Element for f16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const f16) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { simd.load_f16(from) }
    }
}

/// A computation that is compiled for each instruction set. `run` has to be `#[inline(always)]`.
pub(crate) trait Kernel {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs `kernel` with the instructions of `isa`, which this CPU must have: [`crate::Cpu`] only holds such a one.
#[inline]
pub(crate) fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        // SAFETY: `Cpu` has looked that the CPU has these instructions.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { x86::run_avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::AvxVnni => unsafe { x86::run_avx2(kernel) },
        _ => kernel.run(portable::Portable),
    }
}

/// A function of one number, such as an activation.
pub(crate) trait Map: Copy {
    fn apply<S: Simd>(self, simd: S, x: S::V) -> S::V;
}

/// x[i] = map(x[i]); every lane has the same bits wherever it lies in `x`.
pub(crate) struct MapInPlace<'a, M>(pub &'a mut [f32], pub M);

impl<M: Map> Kernel for MapInPlace<'_, M> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let MapInPlace(x, map) = self;
        let mut columns = x.chunks_exact_mut(WIDTH);
        for column in &mut columns {
            // SAFETY: `column` has WIDTH floats.
            unsafe { simd.store(map.apply(simd, simd.load(column.as_ptr())), column.as_mut_ptr()) };
        }
        let rest = columns.into_remainder();
        let mut padded = [0.0; WIDTH];
        padded[..rest.len()].copy_from_slice(rest);
        // SAFETY: `padded` has WIDTH floats.
        unsafe { simd.store(map.apply(simd, simd.load(padded.as_ptr())), padded.as_mut_ptr()) };
        rest.copy_from_slice(&padded[..rest.len()]);
    }
}

/// to[i] = from[i] as f32.
pub(crate) struct Widen<'a> {
    pub from: &'a [f16],
    pub to: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (from, from_rest) = self.from.as_chunks::<WIDTH>();
        let (to, to_rest) = self.to.as_chunks_mut::<WIDTH>();
        for (from, to) in from.iter().zip(to) {
            // SAFETY: both have WIDTH elements.
            unsafe { simd.store(simd.load_f16(from.as_ptr()), to.as_mut_ptr()) };
        }
        for (from, to) in from_rest.iter().zip(to_rest) {
            *to = from.to_f32();
        }
    }
}
