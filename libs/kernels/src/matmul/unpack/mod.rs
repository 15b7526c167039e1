//! From 16 rows of GGUF blocks to a panel, for every data type and every instruction set.
//!
//! The formats are described by `blocks`, plainly; here 16 rows are read at once. Where a type's quants have another zero
//! than the kind's, the difference is added to the quants or goes into the minimums.

mod floats;
mod k_quants;
mod legacy;

use super::panel::{GROUP, Kind, QUANTS, VECTOR};
use super::simd::{LANES, Simd};
use rbee_model::gguf::DType;

type Rows = [*const u8; LANES];

/// Which part of which rows is unpacked.
#[derive(Clone, Copy)]
pub(super) struct Unpack<'a> {
    pub(super) dtype: DType,
    pub(super) rows: &'a Rows,
    /// The first column, a multiple of a block's.
    pub(super) from: usize,
    /// How many, a multiple of a block's.
    pub(super) columns: usize,
    /// Bytes that are unpacked later, as many as these: they are asked for from memory. The address need not be valid.
    pub(super) later: *const u8,
    pub(super) panel: *mut u8,
}

/// # Safety
/// The processor has the instructions of `S`. Every row has the columns. The panel is aligned to a vector and holds
/// `Kind::group_bytes` for every group that the columns begin.
#[inline(always)]
pub(super) unsafe fn unpack<S: Simd>(task: Unpack<'_>) {
    // SAFETY: the caller's.
    unsafe {
        match task.dtype {
            DType::Q4_0 => blocks::<S, legacy::Q4_0>(task),
            DType::Q4_1 => blocks::<S, legacy::Q4_1>(task),
            DType::Q5_0 => blocks::<S, legacy::Q5_0>(task),
            DType::Q5_1 => blocks::<S, legacy::Q5_1>(task),
            DType::Q8_0 => blocks::<S, legacy::Q8_0>(task),
            DType::Q2_K => blocks::<S, k_quants::Q2_K>(task),
            DType::Q3_K => blocks::<S, k_quants::Q3_K>(task),
            DType::Q4_K => blocks::<S, k_quants::Q4_K>(task),
            DType::Q5_K => blocks::<S, k_quants::Q5_K>(task),
            DType::Q6_K => blocks::<S, k_quants::Q6_K>(task),
            DType::F16 => floats::unpack::<S, floats::F16>(task),
            DType::BF16 => floats::unpack::<S, floats::BF16>(task),
            _ => floats::unpack::<S, floats::F32>(task),
        }
    }
}

/// A data type whose blocks become groups of quants.
trait Format {
    const DTYPE: DType;

    /// Unpacks the block at `at` of every row to the groups from `out` on.
    unsafe fn block<S: Simd>(rows: &Rows, at: usize, out: Group);
}

#[inline(always)]
unsafe fn blocks<S: Simd, T: Format>(task: Unpack<'_>) {
    let (columns, bytes) = (T::DTYPE.block_elements() as usize, T::DTYPE.block_bytes() as usize);
    let first = task.from / columns;
    let mut out = Group {
        panel: task.panel,
        bytes: Kind::of(T::DTYPE).group_bytes(),
        later: task.later,
        later_step: LANES * bytes / (columns / 4),
    };
    // SAFETY: the caller's.
    unsafe {
        for block in 0..task.columns / columns {
            T::block::<S>(task.rows, (first + block) * bytes, out);
            out = out.after(columns / GROUP);
        }
    }
}

/// Where the parts of a group of 32 columns are written. With each vector of quants, as much of what comes later is asked
/// for as the vector was made from: evenly, because a processor follows few such requests at a time.
#[derive(Clone, Copy)]
struct Group {
    panel: *mut u8,
    bytes: usize,
    later: *const u8,
    later_step: usize,
}

impl Group {
    #[inline(always)]
    unsafe fn after(self, groups: usize) -> Self {
        let later = self.later.wrapping_add(groups * QUANTS / VECTOR * self.later_step);
        // SAFETY: the caller stays inside of the panel, or at its end.
        Self { panel: unsafe { self.panel.add(groups * self.bytes) }, later, ..self }
    }

    /// Columns `4 * j` to `4 * j + 3`.
    #[inline(always)]
    unsafe fn quants<S: Simd>(self, j: usize, value: S::U) {
        // SAFETY: a group has 8 such vectors.
        unsafe {
            S::prefetch(self.later.wrapping_add(j * self.later_step));
            S::store(self.panel.add(j * VECTOR), value);
        }
    }

    /// The `n`th of the vectors after the quants: scales, then minimums.
    #[inline(always)]
    unsafe fn factor<S: Simd>(self, n: usize, value: S::F) {
        // SAFETY: the caller knows the kind.
        unsafe { S::store_f(self.panel.add(QUANTS + n * VECTOR).cast(), value) }
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
