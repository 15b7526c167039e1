//! From scores to weights, block by block, without ever holding a whole row of them.

use crate::vector::{Kernel, Simd, WIDTH, exp, softcap};

/// What has to be known of the weights of some positions to merge them with others.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub(super) struct Stat {
    /// The largest score: weights are e^(score - largest).
    pub largest: f32,
    /// Sum of the weights.
    pub sum: f32,
}

/// Turns the scores `[from, to)` of a block into weights; neighbours up to whole columns become 0.
pub(super) struct Weigh<'a> {
    /// Whole columns; at least up to `to`.
    pub scores: &'a mut [f32],
    pub from: usize,
    pub to: usize,
    pub softcap: Option<f32>,
}

impl Kernel for Weigh<'_> {
    type Output = Stat;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Stat {
        let Weigh { scores, from, to, softcap: cap } = self;
        let start = from / WIDTH * WIDTH;
        let scores = &mut scores[start..to.next_multiple_of(WIDTH)];
        let (columns, _) = scores.as_chunks_mut::<WIDTH>();
        if let Some(cap) = cap {
            for column in columns.iter_mut() {
                // SAFETY: `column` has WIDTH floats.
                unsafe { simd.store(softcap(simd, simd.load(column.as_ptr()), cap), column.as_mut_ptr()) };
            }
        }
        columns.as_flattened_mut()[..from - start].fill(f32::NEG_INFINITY);
        columns.as_flattened_mut()[to - start..].fill(f32::NEG_INFINITY);
        let mut largest = simd.splat(f32::NEG_INFINITY);
        for column in columns.iter() {
            // SAFETY: `column` has WIDTH floats.
            largest = simd.max(unsafe { simd.load(column.as_ptr()) }, largest);
        }
        let largest = simd.largest(largest);
        let mut sum = simd.splat(0.0);
        for column in columns.iter_mut() {
            // SAFETY: `column` has WIDTH floats.
            unsafe {
                let weight = exp(simd, simd.sub(simd.load(column.as_ptr()), simd.splat(largest)));
                simd.store(weight, column.as_mut_ptr());
                sum = simd.add(sum, weight);
            }
        }
        Stat { largest, sum: simd.sum(sum) }
    }
}

/// Merges the weighted sum of a block into that of the blocks before it.
pub(super) struct Merge<'a> {
    pub total: &'a mut Stat,
    /// Whole columns, as `part_sums`.
    pub total_sums: &'a mut [f32],
    pub part: Stat,
    pub part_sums: &'a [f32],
}

impl Kernel for Merge<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Merge { total, total_sums, part, part_sums } = self;
        let largest = if part.largest > total.largest { part.largest } else { total.largest };
        let old = exp(simd, simd.splat(total.largest - largest));
        let new = exp(simd, simd.splat(part.largest - largest));
        let (total_columns, _) = total_sums.as_chunks_mut::<WIDTH>();
        let (part_columns, _) = part_sums.as_chunks::<WIDTH>();
        for (total, part) in total_columns.iter_mut().zip(part_columns) {
            // SAFETY: both have WIDTH floats.
            unsafe {
                let scaled = simd.mul(simd.load(part.as_ptr()), new);
                simd.store(simd.mul_add(simd.load(total.as_ptr()), old, scaled), total.as_mut_ptr());
            }
        }
        let sum = simd.mul_add(simd.splat(total.sum), old, simd.mul(simd.splat(part.sum), new));
        let mut lanes = [0.0; WIDTH];
        // SAFETY: `lanes` has WIDTH floats.
        unsafe { simd.store(sum, lanes.as_mut_ptr()) };
        *total = Stat { largest, sum: lanes[0] };
    }
}
