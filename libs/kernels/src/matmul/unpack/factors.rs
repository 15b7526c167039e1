//! What becomes of the scales and minimums of types with blocks of 256: f32 for every group, or the integers that they are.

use super::{GroupOut, Out, Panel};
use crate::matmul::panel::{GROUPS, Integers, Kind, QUANTS, VECTOR};
use crate::matmul::rows::Rows;
use crate::matmul::simd::{LANES, Simd};
use rbee_model::gguf::DType;

/// A data type with blocks of 256, whose scales are integers.
pub(super) trait KFormat {
    const DTYPE: DType;

    /// As [`super::Format::block`].
    unsafe fn block<S: Simd>(rows: Rows, out: &mut impl KOut<S>);
}

/// Where the scales and minimums of a block go: those of its groups, or of the halves of its groups, in order.
pub(super) trait KOut<S: Simd>: Out<S> {
    /// What scales, and minimums, are multiplied by. Comes before them.
    unsafe fn factors(&mut self, d: S::F, dmin: Option<S::F>);
    /// The `i`th scale, an i32.
    unsafe fn scale(&mut self, i: usize, scale: S::U);
    /// The `i`th scale and minimum.
    unsafe fn scale_and_min(&mut self, i: usize, scale: S::U, min: S::U);
}

/// Multiplied, they are a group's factors.
pub(super) struct FloatPanel<S: Simd> {
    panel: Panel,
    kind: Kind,
    d: S::F,
    dmin: S::F,
}

impl<S: Simd> FloatPanel<S> {
    #[inline(always)]
    pub(super) unsafe fn new(panel: Panel, kind: Kind) -> Self {
        // SAFETY: vectors of numbers, whose bits may be anything. They are set before they are used.
        let (d, dmin) = unsafe { std::mem::zeroed() };
        Self { panel, kind, d, dmin }
    }

    /// The group of the `i`th scale, and which one of the group it is.
    #[inline(always)]
    fn place(&self, i: usize) -> (usize, usize) {
        if self.kind == Kind::ScaleMin { (i, 0) } else { (i / 2, i % 2) }
    }
}

impl<S: Simd> KOut<S> for FloatPanel<S> {
    #[inline(always)]
    unsafe fn factors(&mut self, d: S::F, dmin: Option<S::F>) {
        self.d = d;
        if let Some(dmin) = dmin {
            self.dmin = dmin;
        }
    }

    #[inline(always)]
    unsafe fn scale(&mut self, i: usize, scale: S::U) {
        let (group, n) = self.place(i);
        // SAFETY: the caller's: the processor has the instructions, and the block has the scale.
        unsafe { GroupOut::<S>::factor(&mut self.panel, group, n, S::mul_f(self.d, S::i32(scale))) }
    }

    /// A weight is `scale * q - min = scale * (q - zero) - (min - zero * scale)`.
    #[inline(always)]
    unsafe fn scale_and_min(&mut self, i: usize, scale: S::U, min: S::U) {
        let (group, n) = self.place(i);
        let (zero, mins) = if self.kind == Kind::ScaleMin { (16.0, 1) } else { (32.0, 2) };
        // SAFETY: as above.
        unsafe {
            let scale = S::mul_f(self.d, S::i32(scale));
            let min = S::fnma(scale, S::splat_f(zero), S::mul_f(self.dmin, S::i32(min)));
            GroupOut::<S>::factor(&mut self.panel, group, n, scale);
            GroupOut::<S>::factor(&mut self.panel, group, mins + n, min);
        }
    }
}

/// As they are, in pairs of i16.
pub(super) struct IntegerPanel<S: Simd> {
    panel: Panel,
    kind: Integers,
    /// The minimum of an even place.
    even: S::U,
}

impl<S: Simd> IntegerPanel<S> {
    #[inline(always)]
    pub(super) unsafe fn new(panel: Panel, kind: Integers) -> Self {
        // SAFETY: a vector of numbers, whose bits may be anything. It is set before it is used.
        Self { panel, kind, even: unsafe { std::mem::zeroed() } }
    }

    /// The low half of each lane of both.
    #[inline(always)]
    unsafe fn pair(low: S::U, high: S::U) -> S::U {
        // SAFETY: the caller's.
        unsafe { S::or(S::and(low, S::splat(0xffff)), S::shl::<16>(high)) }
    }
}

impl<S: Simd> KOut<S> for IntegerPanel<S> {
    #[inline(always)]
    unsafe fn factors(&mut self, d: S::F, dmin: Option<S::F>) {
        // SAFETY: the caller's: the processor has the instructions, and the panel has the block.
        unsafe {
            let to = self.panel.panel.add(self.kind.factors_at()).cast::<f32>();
            S::store_f(to, d);
            if let Some(dmin) = dmin {
                S::store_f(to.add(LANES), dmin);
            }
        }
    }

    #[inline(always)]
    unsafe fn scale(&mut self, i: usize, scale: S::U) {
        let (group, n) = (i / self.kind.scales, i % self.kind.scales);
        // SAFETY: as above.
        unsafe {
            let pair = Self::pair(scale, scale);
            S::store(self.panel.panel.add(group * self.kind.group_bytes() + QUANTS + n * VECTOR), pair);
        }
    }

    #[inline(always)]
    unsafe fn scale_and_min(&mut self, i: usize, scale: S::U, min: S::U) {
        // SAFETY: as above.
        unsafe {
            self.scale(i, scale);
            if i.is_multiple_of(2) {
                self.even = min;
            } else {
                let pair = Self::pair(self.even, min);
                S::store(self.panel.panel.add(GROUPS * self.kind.group_bytes() + i / 2 * VECTOR), pair);
            }
        }
    }
}

impl<S: Simd> Out<S> for FloatPanel<S> {
    #[inline(always)]
    unsafe fn quants(&mut self, group: usize, j: usize, value: S::U) {
        // SAFETY: the caller's.
        unsafe { Out::<S>::quants(&mut self.panel, group, j, value) }
    }
}

impl<S: Simd> Out<S> for IntegerPanel<S> {
    #[inline(always)]
    unsafe fn quants(&mut self, group: usize, j: usize, value: S::U) {
        // SAFETY: the caller's.
        unsafe { Out::<S>::quants(&mut self.panel, group, j, value) }
    }
}
