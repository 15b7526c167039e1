//! The product of 16 rows of weights with few rows of activations: what is unpacked is multiplied at once and never stored.
//!
//! For types with blocks of 32, whose parts fit into registers. The order of floating-point operations is that of a panel
//! ([`super::kernel`]), so both give the same bits.

use super::activations::{QUANT_WORDS, SCALE, START_8, START_16, START_128, SUM, WORDS};
use super::panel::Kind;
use super::rows::Rows;
use super::simd::{LANES, Simd};
use super::unpack::{Ahead, Format, GroupOut, Out, each, legacy};
use rbee_model::gguf::DType;

/// A tile and what it is multiplied with.
#[derive(Clone, Copy)]
pub(super) struct Fused {
    /// One of [`DTYPES`].
    pub(super) dtype: DType,
    pub(super) rows: Rows,
    /// Blocks of a row.
    pub(super) blocks: usize,
    /// A block of activations, of as many groups as a row has blocks.
    pub(super) activations: *const u32,
    /// Bytes that are multiplied later, as many as the tile has: they are asked for from memory. The address need not be valid.
    pub(super) later: *const u8,
    /// `[m, 16]` sums, aligned to a vector.
    pub(super) sums: *mut f32,
}

/// Multiplies with `M` rows of activations. `DTYPE`: an index into [`DTYPES`].
///
/// # Safety
/// The processor has the instructions of `S`; every row has the blocks; the pointers hold as much as the fields say.
#[inline(always)]
pub(super) unsafe fn fused<S: Simd, const M: usize, const DTYPE: usize>(task: Fused) {
    // SAFETY: the caller's.
    unsafe {
        match const { DTYPES[DTYPE] } {
            DType::Q4_0 => tile::<S, legacy::Q4_0, M>(task),
            DType::Q4_1 => tile::<S, legacy::Q4_1, M>(task),
            DType::Q5_0 => tile::<S, legacy::Q5_0, M>(task),
            DType::Q5_1 => tile::<S, legacy::Q5_1, M>(task),
            _ => tile::<S, legacy::Q8_0, M>(task),
        }
    }
}

/// The types that are multiplied so.
pub(super) const DTYPES: [DType; 5] = [DType::Q4_0, DType::Q4_1, DType::Q5_0, DType::Q5_1, DType::Q8_0];

#[inline(always)]
unsafe fn tile<S: Simd, T: Format, const M: usize>(task: Fused) {
    let bytes = T::DTYPE.block_bytes() as usize;
    // SAFETY: the caller's.
    unsafe {
        // All bits 0: +0.0.
        let mut sums: [S::F; M] = std::mem::zeroed();
        for block in 0..task.blocks {
            let ahead = Ahead::of(T::DTYPE, task.later.wrapping_add(block * LANES * bytes));
            let activations = task.activations.add(block * WORDS * M);
            let mut products = Products::<S, M>::start(Kind::of(T::DTYPE, S::PAIRS), sums, activations, ahead);
            T::block::<S, _>(task.rows.at(block * bytes), &mut products);
            sums = products.complete();
        }
        for i in 0..M {
            S::store_f(task.sums.add(i * LANES), sums[i]);
        }
    }
}

/// Runs a block of code for each of `M` rows, whose number is a constant in it: a loop would be unrolled too late for what it indexes to
/// become registers.
macro_rules! rows {
    ($i:ident $code:block) => { each!($i in [0 1 2 3 4 5 6 7] { if $i < M { $code } }) };
}

/// The products of a group with its activations, and its factors. Every index is a constant once this is inlined, so what is in use is
/// in registers.
struct Products<S: Simd, const M: usize> {
    kind: Kind,
    activations: *const u32,
    ahead: Ahead,
    small: [S::Sum; M],
    wide: [S::WideSum; M],
    factors: [S::F; 2],
    /// Of the groups before.
    sums: [S::F; M],
}

impl<S: Simd, const M: usize> Products<S, M> {
    #[inline(always)]
    fn start(kind: Kind, sums: [S::F; M], activations: *const u32, ahead: Ahead) -> Self {
        // SAFETY: vectors of numbers, whose bits may be anything. They are set before they are used.
        let (small, wide, factors) = unsafe { std::mem::zeroed() };
        Self { kind, activations, ahead, small, wide, factors, sums }
    }

    /// Word `n` of row `i`; `n` is one of those after the quants.
    #[inline(always)]
    unsafe fn word(&self, n: usize, i: usize) -> *const u32 {
        // SAFETY: the caller's.
        unsafe { self.activations.add(n * M + i) }
    }

    #[inline(always)]
    unsafe fn splat(&self, n: usize, i: usize) -> S::F {
        // SAFETY: the caller's.
        unsafe { S::splat_f(f32::from_bits(*self.word(n, i))) }
    }

    /// The sums with this group, once all of it has come.
    #[inline(always)]
    unsafe fn complete(mut self) -> [S::F; M] {
        // SAFETY: the caller's.
        unsafe {
            rows!(i {
                let scale = S::mul_f(self.factors[0], self.splat(SCALE, i));
                let products = if self.kind == Kind::Bytes { S::sum_wide(self.wide[i]) } else { S::sum(self.small[i]) };
                self.sums[i] = S::fma(products, scale, self.sums[i]);
                if self.kind == Kind::ScaleMin {
                    self.sums[i] = S::fnma(self.factors[1], self.splat(SUM, i), self.sums[i]);
                }
            });
        }
        self.sums
    }
}

impl<S: Simd, const M: usize> Out<S> for Products<S, M> {
    #[inline(always)]
    unsafe fn quants(&mut self, _: usize, j: usize, value: S::U) {
        // SAFETY: a group has 8 such words.
        unsafe {
            self.ahead.ask::<S>(j);
            rows!(i {
                let x = self.activations.add(i * QUANT_WORDS + j);
                if self.kind == Kind::Bytes {
                    let sum = if j == 0 { S::start_wide(self.word(START_128, i)) } else { self.wide[i] };
                    self.wide[i] = S::dot_wide(sum, value, x);
                } else {
                    let start = if self.kind == Kind::Nibbles { START_8 } else { START_16 };
                    let sum = if j == 0 { S::start(self.word(start, i)) } else { self.small[i] };
                    self.small[i] = S::dot(sum, value, x);
                }
            });
        }
    }
}

impl<S: Simd, const M: usize> GroupOut<S> for Products<S, M> {
    #[inline(always)]
    unsafe fn factor(&mut self, _: usize, n: usize, value: S::F) {
        self.factors[n] = value;
    }
}
