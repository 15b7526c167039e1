//! The product of 16 rows of weights with few rows of activations: what is unpacked is multiplied at once and never stored.
//!
//! The order of floating-point operations is that of a panel ([`super::kernel`]), so both give the same bits.

use super::activations::{AUX, HALF_SUM, QUANT_WORDS, SCALE, SUM, WORDS};
use super::panel::{GROUP, Kind};
use super::simd::{LANES, Simd};
use super::unpack::{Ahead, Format, Out, Rows, each, k_quants, legacy};
use rbee_model::gguf::DType;

/// A tile and what it is multiplied with.
#[derive(Clone, Copy)]
pub(super) struct Fused<'a> {
    /// One that consists of quants.
    pub(super) dtype: DType,
    pub(super) rows: &'a Rows,
    /// Blocks of a row.
    pub(super) blocks: usize,
    /// A block of activations, of as many groups as the blocks have.
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
pub(super) unsafe fn fused<S: Simd, const M: usize, const DTYPE: usize>(task: Fused<'_>) {
    // SAFETY: the caller's.
    unsafe {
        match const { DTYPES[DTYPE] } {
            DType::Q4_0 => tile::<S, legacy::Q4_0, M>(task),
            DType::Q4_1 => tile::<S, legacy::Q4_1, M>(task),
            DType::Q5_0 => tile::<S, legacy::Q5_0, M>(task),
            DType::Q5_1 => tile::<S, legacy::Q5_1, M>(task),
            DType::Q8_0 => tile::<S, legacy::Q8_0, M>(task),
            DType::Q2_K => tile::<S, k_quants::Q2_K, M>(task),
            DType::Q3_K => tile::<S, k_quants::Q3_K, M>(task),
            DType::Q4_K => tile::<S, k_quants::Q4_K, M>(task),
            DType::Q5_K => tile::<S, k_quants::Q5_K, M>(task),
            _ => tile::<S, k_quants::Q6_K, M>(task),
        }
    }
}

/// The types of quants.
pub(super) const DTYPES: [DType; 10] = [
    DType::Q4_0,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q8_0,
    DType::Q2_K,
    DType::Q3_K,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
];

#[inline(always)]
unsafe fn tile<S: Simd, T: Format, const M: usize>(task: Fused<'_>) {
    let groups = T::DTYPE.block_elements() as usize / GROUP;
    let bytes = T::DTYPE.block_bytes() as usize;
    // SAFETY: the caller's.
    unsafe {
        // All bits 0: +0.0.
        let mut sums: [S::F; M] = std::mem::zeroed();
        for block in 0..task.blocks {
            let ahead = match T::DTYPE.block_elements() {
                256 => {
                    let (next, row) = (block + BLOCKS_AHEAD, task.blocks * bytes);
                    let wrapped = if next < task.blocks { 0 } else { (LANES - 1) * row };
                    Ahead::in_rows::<T>(task.rows, next * bytes + wrapped)
                }
                _ => Ahead::of::<T>(task.later.wrapping_add(block * LANES * bytes)),
            };
            let activations = task.activations.add(block * groups * WORDS * M);
            let mut products = Products::<'_, S, M>::start(Kind::of(T::DTYPE), sums, activations, ahead);
            T::block::<S>(task.rows, block * bytes, &mut products);
            sums = products.sums;
        }
        for i in 0..M {
            S::store_f(task.sums.add(i * LANES), sums[i]);
        }
    }
}

/// Blocks of 256 that are asked for ahead of the one that is multiplied, in every row, and at the end of rows in those of the next tile.
const BLOCKS_AHEAD: usize = 4;

/// The groups of a block, at most.
const GROUPS: usize = 8;

/// Runs a block of code for each of `M` rows, whose number is a constant in it: a loop would be unrolled too late for what it indexes to
/// become registers.
macro_rules! rows {
    ($i:ident $code:block) => { each!($i in [0 1 2 3 4 5 6 7] { if $i < M { $code } }) };
}

/// The products of a block's groups with their activations, and the groups' factors. Every index is a constant once this is inlined, so
/// what is in use is in registers.
struct Products<'a, S: Simd, const M: usize> {
    kind: Kind,
    activations: *const u32,
    ahead: Ahead<'a>,
    /// Of each group, or of its two halves where these have a scale each.
    small: [[[S::Sum; M]; 2]; GROUPS],
    wide: [[S::WideSum; M]; GROUPS],
    factors: [[S::F; 4]; GROUPS],
    /// Of the groups that are complete, and all before them.
    sums: [S::F; M],
}

impl<'a, S: Simd, const M: usize> Products<'a, S, M> {
    #[inline(always)]
    fn start(kind: Kind, sums: [S::F; M], activations: *const u32, ahead: Ahead<'a>) -> Self {
        // SAFETY: vectors of numbers, whose bits may be anything. They are set before they are used.
        let (small, wide, factors) = unsafe { std::mem::zeroed() };
        Self { kind, activations, ahead, small, wide, factors, sums }
    }

    /// Word `n` of row `i`; `n` is one of those after the quants.
    #[inline(always)]
    unsafe fn word(&self, group: usize, n: usize, i: usize) -> *const u32 {
        // SAFETY: the caller's.
        unsafe { self.activations.add(group * WORDS * M + n * M + i) }
    }

    #[inline(always)]
    unsafe fn splat(&self, group: usize, n: usize, i: usize) -> S::F {
        // SAFETY: the caller's.
        unsafe { S::splat_f(f32::from_bits(*self.word(group, n, i))) }
    }

    /// `sum` and the products of a group, or of its half, with row `i`.
    #[inline(always)]
    unsafe fn scaled(&self, group: usize, half: usize, i: usize, sum: S::F) -> S::F {
        // SAFETY: the caller's.
        unsafe {
            let scale = S::mul_f(self.factors[group][half], self.splat(group, SCALE, i));
            S::fma(S::sum(self.small[group][half][i]), scale, sum)
        }
    }

    /// `sum` less the minimum that is the group's factor `n`, times the activations' sum that lies at `of`.
    #[inline(always)]
    unsafe fn lowered(&self, group: usize, n: usize, of: usize, i: usize, sum: S::F) -> S::F {
        // SAFETY: the caller's.
        unsafe { S::fnma(self.factors[group][n], self.splat(group, of, i), sum) }
    }
}

impl<S: Simd, const M: usize> Out<S> for Products<'_, S, M> {
    #[inline(always)]
    unsafe fn quants(&mut self, group: usize, j: usize, value: S::U) {
        // SAFETY: a group has 8 such words.
        unsafe {
            self.ahead.ask::<S>(group * QUANT_WORDS + j);
            let halves = matches!(self.kind, Kind::HalfScales | Kind::HalfScalesMins);
            let half = if halves { j / (QUANT_WORDS / 2) } else { 0 };
            let first = j == half * (QUANT_WORDS / 2);
            rows!(i {
                let x = self.activations.add(group * WORDS * M + i * QUANT_WORDS + j);
                if self.kind == Kind::Bytes {
                    let sum = if first { S::start_wide(self.word(group, AUX + 3, i)) } else { self.wide[group][i] };
                    self.wide[group][i] = S::dot_wide(sum, value, x);
                } else {
                    let start = if halves { AUX + 1 + half } else { AUX };
                    let sum = if first { S::start(self.word(group, start, i)) } else { self.small[group][half][i] };
                    self.small[group][half][i] = S::dot(sum, value, x);
                }
            });
        }
    }

    #[inline(always)]
    unsafe fn factor(&mut self, group: usize, n: usize, value: S::F) {
        self.factors[group][n] = value;
    }

    #[inline(always)]
    unsafe fn complete(&mut self, group: usize) {
        // SAFETY: the caller's.
        unsafe {
            rows!(i {
                let sum = self.sums[i];
                self.sums[i] = match self.kind {
                    Kind::Scale => self.scaled(group, 0, i, sum),
                    Kind::ScaleMin => {
                        let sum = self.scaled(group, 0, i, sum);
                        self.lowered(group, 1, SUM, i, sum)
                    }
                    Kind::HalfScales => {
                        let sum = self.scaled(group, 0, i, sum);
                        self.scaled(group, 1, i, sum)
                    }
                    Kind::HalfScalesMins => {
                        let sum = self.scaled(group, 0, i, sum);
                        let sum = self.lowered(group, 2, HALF_SUM, i, sum);
                        let sum = self.scaled(group, 1, i, sum);
                        self.lowered(group, 3, HALF_SUM + 1, i, sum)
                    }
                    _ => {
                        let scale = S::mul_f(self.factors[group][0], self.splat(group, SCALE, i));
                        S::fma(S::sum_wide(self.wide[group][i]), scale, sum)
                    }
                };
            });
        }
    }
}
