//! Where the 16 rows of a tile lie.

use super::simd::LANES;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use std::arch::asm;

/// A place in each of 16 rows that lie at the same distance from each other.
///
/// Four addresses and the distance are few enough to stay in registers, where sixteen addresses are not.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    /// In every fourth row.
    fours: [*const u8; 4],
    stride: usize,
}

impl Rows {
    /// Rows of `stride` bytes, the first of which begins at `first`.
    #[inline(always)]
    pub(super) fn new(first: *const u8, stride: usize) -> Self {
        Self { fours: std::array::from_fn(|q| hide(first.wrapping_add(4 * q * stride))), stride }
    }

    /// The place that lies `offset` bytes further in every row.
    #[inline(always)]
    pub(super) fn at(self, offset: usize) -> Self {
        Self::new(self.fours[0].wrapping_add(offset), self.stride)
    }

    /// The place in row `r`, which need not be a valid address.
    #[inline(always)]
    pub(super) fn row(&self, r: usize) -> *const u8 {
        debug_assert!(r < LANES);
        self.fours[r / 4].wrapping_add(r % 4 * self.stride)
    }

    /// The 16 bits at an offset in the rows `r` to `r + 3`, put together in a register for integers: where those for vectors have enough to
    /// do, this is the faster way to a few bits of every row.
    ///
    /// # Safety
    /// Every row has these bits.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) unsafe fn four_u16(&self, r: usize, offset: usize) -> i64 {
        // SAFETY: the caller's.
        let one = |i| u64::from(unsafe { self.row(r + i).add(offset).cast::<u16>().read_unaligned() }) << (16 * i);
        (one(0) | one(1) | one(2) | one(3)) as i64
    }
}

/// No instruction: the compiler no longer knows how an address was made, or it would make all sixteen anew and run out of registers.
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block, reason = "nothing is read there, nor written")]
fn hide(address: *const u8) -> *const u8 {
    #[allow(unused_mut, reason = "not so on other processors")]
    let mut address = address;
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: it does nothing.
    unsafe {
        asm!("/* {0} */", inout(reg) address, options(pure, nomem, nostack, preserves_flags));
    }
    address
}
