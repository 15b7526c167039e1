//! From 16 rows of GGUF blocks to a panel, for every data type and every instruction set.
//!
//! The formats are described by `blocks`, plainly; here 16 rows are read at once. Where a type's quants have another zero
//! than the kind's, the difference is added to the quants or goes into the minimums.

mod factors;
mod floats;
mod k_quants;
pub(super) mod legacy;

use super::panel::{BLOCK, GROUP, Kind, QUANTS, VECTOR};
use super::rows::Rows;
use super::simd::{LANES, LINE, Simd};
use factors::{FloatPanel, IntegerPanel, KFormat};
use rbee_model::gguf::DType;

/// Which part of which rows is unpacked.
#[derive(Clone, Copy)]
pub(super) struct Unpack {
    pub(super) dtype: DType,
    pub(super) rows: Rows,
    /// The first column, a multiple of a block's.
    pub(super) from: usize,
    /// How many, a multiple of a block's.
    pub(super) columns: usize,
    /// Bytes that are unpacked later, of which half as many as these are asked for from memory. The address need not be valid.
    pub(super) later: *const u8,
    pub(super) panel: *mut u8,
}

/// # Safety
/// The processor has the instructions of `S`. Every row has the columns. The panel is aligned to a vector and holds
/// `Kind::bytes` of the columns, up to a whole group.
#[inline(always)]
pub(super) unsafe fn unpack<S: Simd>(task: Unpack) {
    // SAFETY: the caller's.
    unsafe {
        match task.dtype {
            DType::Q4_0 => blocks::<S, legacy::Q4_0>(task),
            DType::Q4_1 => blocks::<S, legacy::Q4_1>(task),
            DType::Q5_0 => blocks::<S, legacy::Q5_0>(task),
            DType::Q5_1 => blocks::<S, legacy::Q5_1>(task),
            DType::Q8_0 => blocks::<S, legacy::Q8_0>(task),
            DType::Q2_K => k_blocks::<S, k_quants::Q2_K>(task),
            DType::Q3_K => k_blocks::<S, k_quants::Q3_K>(task),
            DType::Q4_K => k_blocks::<S, k_quants::Q4_K>(task),
            DType::Q5_K => k_blocks::<S, k_quants::Q5_K>(task),
            DType::Q6_K => k_blocks::<S, k_quants::Q6_K>(task),
            DType::F16 => floats::unpack::<S, floats::F16>(task),
            DType::BF16 => floats::unpack::<S, floats::BF16>(task),
            _ => floats::unpack::<S, floats::F32>(task),
        }
    }
}

/// A data type whose blocks become groups of quants.
pub(super) trait Format {
    const DTYPE: DType;

    /// Gives the groups of the block that begins there in every row to `out`. Numbers of groups and of vectors are constants once this is
    /// inlined, so that what `out` holds by them stays in registers.
    unsafe fn block<S: Simd, O: GroupOut<S>>(rows: Rows, out: &mut O);
}

/// Where quants go: each vector comes once, those of a group of 32 columns (or of its halves) in order.
pub(super) trait Out<S: Simd> {
    /// Columns `4 * j` to `4 * j + 3` of a group.
    unsafe fn quants(&mut self, group: usize, j: usize, value: S::U);
}

/// Where all of a group goes.
pub(super) trait GroupOut<S: Simd>: Out<S> {
    /// The f16 at an offset in each of 16 rows, in which 14 bytes follow. Not [`Simd::f16_of`] where the memory is waited for: one row by
    /// AVX2 took 5 to 10 % longer so, where several, by panels, took 5 % less (Zen 5).
    #[inline(always)]
    unsafe fn f16_of(rows: Rows, offset: usize) -> S::F {
        // SAFETY: the caller's.
        unsafe { S::f16(S::transpose(rows, offset)[0]) }
    }
    /// The `n`th of the vectors after a group's quants: scales, then minimums.
    unsafe fn factor(&mut self, group: usize, n: usize, value: S::F);
}

/// Runs a block of code for each of some numbers, which are constants in it.
macro_rules! each {
    ($i:ident in [$($n:literal)*] $code:block) => { $({ let $i = $n; $code })* };
}
pub(super) use each;

#[inline(always)]
unsafe fn blocks<S: Simd, T: Format>(task: Unpack) {
    let (columns, bytes) = (T::DTYPE.block_elements() as usize, T::DTYPE.block_bytes() as usize);
    let kind = const { Kind::of(T::DTYPE, false) };
    let first = task.from / columns;
    // SAFETY: the caller's.
    unsafe {
        for block in 0..task.columns / columns {
            let panel = task.panel.add(kind.bytes(block * columns));
            let ahead = Ahead::half_of(T::DTYPE, task.later.wrapping_add(block * LANES * bytes / 2));
            let mut out = Panel { panel, group_bytes: kind.group_bytes(), ahead };
            T::block::<S, _>(task.rows.at((first + block) * bytes), &mut out);
        }
    }
}

/// As [`blocks`], for types whose scales are integers, which stay so or not.
#[inline(always)]
unsafe fn k_blocks<S: Simd, T: KFormat>(task: Unpack) {
    let bytes = T::DTYPE.block_bytes() as usize;
    let kind = const { Kind::of(T::DTYPE, S::PAIRS) };
    let first = task.from / BLOCK;
    // SAFETY: the caller's.
    unsafe {
        for block in 0..task.columns / BLOCK {
            let panel = task.panel.add(kind.bytes(block * BLOCK));
            let ahead = Ahead::half_of(T::DTYPE, task.later.wrapping_add(block * LANES * bytes / 2));
            let panel = Panel { panel, group_bytes: kind.group_bytes(), ahead };
            let rows = task.rows.at((first + block) * bytes);
            match kind {
                Kind::Integers(kind) => T::block::<S>(rows, &mut IntegerPanel::new(panel, kind)),
                _ => T::block::<S>(rows, &mut FloatPanel::new(panel, kind)),
            }
        }
    }
}

/// Bytes that are used soon, asked for while others are used: with each vector of a block's quants its share of them. Evenly, because a
/// processor follows few such requests at a time, and each line once. The address need not be valid.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    from: *const u8,
    bytes: usize,
    vectors: usize,
}

impl Ahead {
    /// As many bytes as a block of 16 rows has.
    #[inline(always)]
    pub(super) fn of(dtype: DType, from: *const u8) -> Self {
        Self { from, bytes: LANES * dtype.block_bytes() as usize, vectors: dtype.block_elements() as usize / 4 }
    }

    /// Half as many.
    #[inline(always)]
    fn half_of(dtype: DType, from: *const u8) -> Self {
        let whole = Self::of(dtype, from);
        Self { bytes: whole.bytes / 2, ..whole }
    }

    /// Those of the `i`th vector of a block.
    #[inline(always)]
    pub(super) unsafe fn ask<S: Simd>(self, i: usize) {
        let line = |i: usize| i * self.bytes / self.vectors / LINE;
        if i == 0 || line(i) > line(i - 1) {
            // SAFETY: the caller's: the processor has the instructions.
            unsafe { S::prefetch(self.from.wrapping_add(line(i) * LINE)) };
        }
    }
}

/// A panel, from the first of a block's groups on.
struct Panel {
    panel: *mut u8,
    group_bytes: usize,
    ahead: Ahead,
}

impl<S: Simd> Out<S> for Panel {
    #[inline(always)]
    unsafe fn quants(&mut self, group: usize, j: usize, value: S::U) {
        // SAFETY: a group has 8 such vectors.
        unsafe {
            self.ahead.ask::<S>(group * (GROUP / 4) + j);
            S::store(self.panel.add(group * self.group_bytes + j * VECTOR), value);
        }
    }
}

impl<S: Simd> GroupOut<S> for Panel {
    #[inline(always)]
    unsafe fn f16_of(rows: Rows, offset: usize) -> S::F {
        // SAFETY: the caller's.
        unsafe { S::f16_of(rows, offset) }
    }

    #[inline(always)]
    unsafe fn factor(&mut self, group: usize, n: usize, value: S::F) {
        // SAFETY: the format knows its kind.
        unsafe { S::store_f(self.panel.add(group * self.group_bytes + QUANTS + n * VECTOR).cast(), value) }
    }
}

/// `a & mask`, in every byte.
#[inline(always)]
unsafe fn mask<S: Simd>(a: S::U, mask: u8) -> S::U {
    // SAFETY: the caller's: the processor has the instructions.
    unsafe { S::and(a, S::splat(u32::from_le_bytes([mask; 4]))) }
}

/// The high four bits of every byte.
#[inline(always)]
unsafe fn high_nibbles<S: Simd>(a: S::U) -> S::U {
    // SAFETY: the caller's.
    unsafe { mask::<S>(S::shr::<4>(a), 15) }
}
