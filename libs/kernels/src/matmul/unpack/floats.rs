//! F32, F16 and BF16: a vector of f32 per column.

use super::Unpack;
use crate::matmul::panel::{GROUP, VECTOR};
use crate::matmul::rows::Rows;
use crate::matmul::simd::{LANES, LINE, Simd};

/// A type of floating-point numbers, of which 16 bytes hold `COLUMNS`.
pub(super) trait Float {
    const COLUMNS: usize;

    /// Writes `COLUMNS` vectors from the dwords of 16 bytes.
    unsafe fn store<S: Simd>(dwords: [S::U; 4], out: *mut u8);
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct BF16;

impl Float for F32 {
    const COLUMNS: usize = 4;

    #[inline(always)]
    unsafe fn store<S: Simd>(dwords: [S::U; 4], out: *mut u8) {
        // SAFETY: the caller's.
        unsafe {
            for j in 0..4 {
                S::store(out.add(j * VECTOR), dwords[j]);
            }
        }
    }
}

impl Float for F16 {
    const COLUMNS: usize = 8;

    #[inline(always)]
    unsafe fn store<S: Simd>(dwords: [S::U; 4], out: *mut u8) {
        // SAFETY: the caller's.
        unsafe {
            for j in 0..4 {
                S::store_f(out.add(2 * j * VECTOR).cast(), S::f16(dwords[j]));
                S::store_f(out.add((2 * j + 1) * VECTOR).cast(), S::f16(S::shr::<16>(dwords[j])));
            }
        }
    }
}

impl Float for BF16 {
    const COLUMNS: usize = 8;

    #[inline(always)]
    unsafe fn store<S: Simd>(dwords: [S::U; 4], out: *mut u8) {
        // SAFETY: the caller's.
        unsafe {
            for j in 0..4 {
                S::store(out.add(2 * j * VECTOR), S::shl::<16>(dwords[j]));
                S::store(out.add((2 * j + 1) * VECTOR), S::and(dwords[j], S::splat(0xffff_0000)));
            }
        }
    }
}

/// Unpacks the columns and fills the last group with zeros.
///
/// # Safety
/// As for `super::unpack`.
#[inline(always)]
pub(super) unsafe fn unpack<S: Simd, T: Float>(task: Unpack) {
    let bytes = 16 / T::COLUMNS;
    // SAFETY: the caller's; the last columns of rows whose length is no multiple of 16 bytes are read from a copy.
    unsafe {
        let whole = task.columns / T::COLUMNS;
        for i in 0..whole {
            for line in 0..LANES * 16 / 2 / LINE {
                S::prefetch(task.later.wrapping_add(i * LANES * 16 / 2 + line * LINE));
            }
            let dwords = S::transpose(task.rows.at(task.from * bytes + 16 * i), 0);
            T::store::<S>(dwords, task.panel.add(i * T::COLUMNS * VECTOR));
        }
        let end = task.columns.next_multiple_of(GROUP);
        let done = whole * T::COLUMNS;
        std::ptr::write_bytes(task.panel.add(done * VECTOR), 0, (end - done) * VECTOR);
        if done < task.columns {
            let mut last = [[0u8; 16]; LANES];
            for r in 0..LANES {
                let from = task.rows.row(r).add((task.from + done) * bytes);
                std::ptr::copy_nonoverlapping(from, last[r].as_mut_ptr(), (task.columns - done) * bytes);
            }
            T::store::<S>(S::transpose(Rows::new(last.as_ptr().cast(), 16), 0), task.panel.add(done * VECTOR));
        }
    }
}
