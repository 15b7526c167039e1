//! The product of 16 rows of weights with one row of activations: what is unpacked is multiplied at once and never stored.
//!
//! The order of floating-point operations is that of a panel with a block of one row ([`super::kernel`]), so both give the same bits.

use super::activations::{AUX, HALF_SUM, QUANT_WORDS, SCALE, SUM, WORDS};
use super::panel::{GROUP, Kind};
use super::simd::{LANES, Simd};
use super::unpack::{Ahead, Format, Out, Rows, k_quants, legacy};
use rbee_model::gguf::DType;

/// A tile and what it is multiplied with.
#[derive(Clone, Copy)]
pub(super) struct Single<'a> {
    /// One that consists of quants.
    pub(super) dtype: DType,
    pub(super) rows: &'a Rows,
    /// Blocks of a row.
    pub(super) blocks: usize,
    /// Of as many groups as the blocks have.
    pub(super) activations: *const u32,
    /// Bytes that are multiplied later, as many as the tile has: they are asked for from memory. The address need not be valid.
    pub(super) later: *const u8,
    /// 16 sums, aligned to a vector.
    pub(super) sums: *mut f32,
}

/// # Safety
/// The processor has the instructions of `S`; every row has the blocks; the pointers hold as much as the fields say.
#[inline(always)]
pub(super) unsafe fn single<S: Simd, const DTYPE: usize>(task: Single<'_>) {
    // SAFETY: the caller's.
    unsafe {
        match DTYPE {
            0 => tile::<S, legacy::Q4_0>(task),
            1 => tile::<S, legacy::Q4_1>(task),
            2 => tile::<S, legacy::Q5_0>(task),
            3 => tile::<S, legacy::Q5_1>(task),
            4 => tile::<S, legacy::Q8_0>(task),
            5 => tile::<S, k_quants::Q2_K>(task),
            6 => tile::<S, k_quants::Q3_K>(task),
            7 => tile::<S, k_quants::Q4_K>(task),
            8 => tile::<S, k_quants::Q5_K>(task),
            _ => tile::<S, k_quants::Q6_K>(task),
        }
    }
}

#[inline(always)]
unsafe fn tile<S: Simd, T: Format>(task: Single<'_>) {
    let groups = T::DTYPE.block_elements() as usize / GROUP;
    let bytes = T::DTYPE.block_bytes() as usize;
    // SAFETY: the caller's.
    unsafe {
        let mut sum = S::splat_f(0.0);
        for block in 0..task.blocks {
            let ahead = Ahead::of::<T>(task.later.wrapping_add(block * LANES * bytes));
            let activations = task.activations.add(block * groups * WORDS);
            let mut products = Products::<S>::start(Kind::of(T::DTYPE), groups, activations, ahead);
            T::block::<S>(task.rows, block * bytes, &mut products);
            sum = products.add_to(sum);
        }
        S::store_f(task.sums, sum);
    }
}

/// The groups of a block, at most.
const GROUPS: usize = 8;

/// The products of a block's groups with their activations, and the groups' factors. All is in registers, as every index is a constant.
struct Products<S: Simd> {
    kind: Kind,
    groups: usize,
    activations: *const u32,
    ahead: Ahead,
    /// Of each group, or of its two halves where these have a scale each.
    small: [[S::Sum; 2]; GROUPS],
    wide: [S::WideSum; GROUPS],
    factors: [[S::F; 4]; GROUPS],
}

impl<S: Simd> Products<S> {
    #[inline(always)]
    unsafe fn start(kind: Kind, groups: usize, activations: *const u32, ahead: Ahead) -> Self {
        // SAFETY: the caller's.
        unsafe {
            let mut products = Self {
                kind,
                groups,
                activations,
                ahead,
                small: [[S::start(activations); 2]; GROUPS],
                wide: [S::start_wide(activations); GROUPS],
                factors: [[S::splat_f(0.0); 4]; GROUPS],
            };
            for g in 0..GROUPS {
                if g < groups {
                    match kind {
                        Kind::Bytes => products.wide[g] = S::start_wide(products.word(g, AUX + 3)),
                        Kind::HalfScales | Kind::HalfScalesMins => {
                            products.small[g] =
                                [S::start(products.word(g, AUX + 1)), S::start(products.word(g, AUX + 2))];
                        }
                        _ => products.small[g][0] = S::start(products.word(g, AUX)),
                    }
                }
            }
            products
        }
    }

    #[inline(always)]
    unsafe fn word(&self, group: usize, n: usize) -> *const u32 {
        // SAFETY: the caller's.
        unsafe { self.activations.add(group * WORDS + n) }
    }

    #[inline(always)]
    unsafe fn splat(&self, group: usize, n: usize) -> S::F {
        // SAFETY: the caller's.
        unsafe { S::splat_f(f32::from_bits(*self.word(group, n))) }
    }

    /// The sum of the columns before and these.
    #[inline(always)]
    unsafe fn add_to(self, mut sum: S::F) -> S::F {
        // SAFETY: the caller's.
        unsafe {
            for g in 0..GROUPS {
                if g < self.groups {
                    let scale = self.splat(g, SCALE);
                    let factors = &self.factors[g];
                    let small = |half: usize| S::sum(self.small[g][half]);
                    let min = |sum: S::F, n: usize, of: usize| S::fnma(factors[n], self.splat(g, of), sum);
                    let scaled = |sum: S::F, half: usize| S::fma(small(half), S::mul_f(factors[half], scale), sum);
                    sum = match self.kind {
                        Kind::Scale => scaled(sum, 0),
                        Kind::ScaleMin => min(scaled(sum, 0), 1, SUM),
                        Kind::HalfScales => scaled(scaled(sum, 0), 1),
                        Kind::HalfScalesMins => {
                            let first = min(scaled(sum, 0), 2, HALF_SUM);
                            min(scaled(first, 1), 3, HALF_SUM + 1)
                        }
                        _ => S::fma(S::sum_wide(self.wide[g]), S::mul_f(factors[0], scale), sum),
                    };
                }
            }
            sum
        }
    }
}

impl<S: Simd> Out<S> for Products<S> {
    #[inline(always)]
    unsafe fn quants(&mut self, group: usize, j: usize, value: S::U) {
        // SAFETY: a group has 8 such words.
        unsafe {
            self.ahead.ask::<S>(group * QUANT_WORDS + j);
            let x = self.word(group, j);
            match self.kind {
                Kind::Bytes => self.wide[group] = S::dot_wide(self.wide[group], value, x),
                Kind::HalfScales | Kind::HalfScalesMins => {
                    let half = j / (QUANT_WORDS / 2);
                    self.small[group][half] = S::dot(self.small[group][half], value, x);
                }
                _ => self.small[group][0] = S::dot(self.small[group][0], value, x),
            }
        }
    }

    #[inline(always)]
    unsafe fn factor(&mut self, group: usize, n: usize, value: S::F) {
        self.factors[group][n] = value;
    }
}
