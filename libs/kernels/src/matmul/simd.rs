//! The operations that unpacking and products are written in: vectors of 16 lanes, a lane for every row of a panel.
//!
//! Every instruction set implements [`Simd`] once; formats (`unpack`) and loops (`kernel`) are written once over it. The
//! functions have no `#[target_feature]` of their own: they are inlined into functions that have it (see `kernels!`).

use super::rows::Rows;

/// Rows of weights that are multiplied at once.
pub(super) const LANES: usize = 16;
/// Bytes that come from memory at once.
pub(super) const LINE: usize = 64;

/// Vectors of 16 lanes.
///
/// # Safety
/// Every function needs the instructions of its implementation, and pointers to as many bytes as it reads or writes.
pub(super) trait Simd {
    /// 16 x u32, often taken as 16 x 4 bytes.
    type U: Copy;
    /// 16 x f32.
    type F: Copy;
    /// Sums of products of small unsigned bytes (up to 63) with i8.
    type Sum: Copy;
    /// Sums of products of any bytes with i8.
    type WideSum: Copy;

    /// Rows of activations that are multiplied at once, at most.
    const ROWS: usize;
    /// Rows of activations up to which weights with blocks of 32 are faster multiplied as they are unpacked, without a panel.
    const FUSED_ROWS: usize;
    /// Panels that are multiplied at once: as many as share an activation in a register.
    const PANELS: usize;
    /// Bytes of the panels that are multiplied at once, about, so that they stay in a near cache while activations stream
    /// past. More columns mean fewer, longer runs.
    const PANEL_BYTES: usize;
    /// The most rows of activations for which registers suffice to hold the sums of a panel besides those of a group.
    const SUMS_IN_REGISTERS: usize;
    /// Whether a lane of [`Simd::Sum`] has two i16, for the bytes 0 and 1, 2 and 3 of each four, instead of one i32. These have to be made one
    /// number anyway, and are multiplied on the way: the integer scales of types with blocks of 256 stay integers, see [`super::integers`].
    const PAIRS: bool;
    /// What makes the signed bytes of Q8_0 those that [`Simd::dot_wide`] takes.
    const FLIP: u32;

    /// The 16 bytes at an offset in each of 16 rows, as vectors of dword 0, 1, 2, 3 of all rows.
    unsafe fn transpose(rows: Rows, offset: usize) -> [Self::U; 4];
    unsafe fn splat(value: u32) -> Self::U;
    unsafe fn load(from: *const u8) -> Self::U;
    unsafe fn store(to: *mut u8, value: Self::U);
    unsafe fn and(a: Self::U, b: Self::U) -> Self::U;
    unsafe fn or(a: Self::U, b: Self::U) -> Self::U;
    unsafe fn xor(a: Self::U, b: Self::U) -> Self::U;
    unsafe fn add(a: Self::U, b: Self::U) -> Self::U;
    unsafe fn mul(a: Self::U, b: Self::U) -> Self::U;
    unsafe fn shl<const N: u32>(a: Self::U) -> Self::U;
    unsafe fn shr<const N: u32>(a: Self::U) -> Self::U;

    unsafe fn splat_f(value: f32) -> Self::F;
    unsafe fn load_f(from: *const f32) -> Self::F;
    unsafe fn store_f(to: *mut f32, value: Self::F);
    unsafe fn mul_f(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b`
    unsafe fn fnma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The low half of each lane, an f16.
    unsafe fn f16(a: Self::U) -> Self::F;
    /// The f16 at an offset in each of 16 rows, in which 14 bytes follow.
    #[inline(always)]
    unsafe fn f16_of(rows: Rows, offset: usize) -> Self::F {
        // SAFETY: the caller's.
        unsafe { Self::f16(Self::transpose(rows, offset)[0]) }
    }
    /// Each lane, an i32.
    unsafe fn i32(a: Self::U) -> Self::F;
    /// A sum that begins with a word of the activations, see [`Simd::PAIRS`].
    unsafe fn start(word: *const u32) -> Self::Sum;
    /// Adds to each lane the products of its four weights with four activations.
    unsafe fn dot(sum: Self::Sum, weights: Self::U, activations: *const u32) -> Self::Sum;
    /// Keeps the compiler from moving work on these sums, and accesses to memory, across this place: with few registers it
    /// would otherwise finish one sum after the other and spill the weights.
    unsafe fn in_order(_: &mut [Self::Sum]) {}
    unsafe fn sum(sum: Self::Sum) -> Self::F;
    /// Where there are [`Simd::PAIRS`]: each lane's products of its pair with the one of `with`, added, as i32.
    unsafe fn dot_pairs(_pairs: Self::U, _with: Self::U) -> Self::U {
        unreachable!("lanes of sums have one number")
    }
    /// Where there are [`Simd::PAIRS`]: the pairs of a sum.
    unsafe fn pairs(_: Self::Sum) -> Self::U {
        unreachable!("lanes of sums have one number")
    }
    unsafe fn start_wide(word: *const u32) -> Self::WideSum;
    unsafe fn dot_wide(sum: Self::WideSum, weights: Self::U, activations: *const u32) -> Self::WideSum;
    /// As [`Simd::in_order`].
    unsafe fn in_order_wide(_: &mut [Self::WideSum]) {}
    unsafe fn sum_wide(sum: Self::WideSum) -> Self::F;
    /// Asks for a line of memory that is read soon.
    unsafe fn prefetch(address: *const u8);
}
