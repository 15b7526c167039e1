//! The dot products of a panel with a block of activations, for every instruction set.

use super::activations::{AUX, HALF_SUM, QUANT_WORDS, SCALE, SUM, WORDS};
use super::panel::{GROUP, Kind, QUANTS, VECTOR};
use super::simd::{LANES, Simd};

/// What is multiplied: `groups` groups of 32 columns.
#[derive(Clone, Copy)]
pub(super) struct Dot {
    /// Of the kind that the kernel is for, aligned to a vector.
    pub(super) panel: *const u8,
    /// The block's words, from the first of these groups on.
    pub(super) activations: *const u32,
    pub(super) groups: usize,
    /// `[m, 16]`: the sums of the columns before, to which these are added.
    pub(super) sums: *mut f32,
}

/// Products with quants. `KIND`: a [`Kind`] but `Bytes` and `Floats`.
///
/// # Safety
/// The processor has the instructions of `S`; the pointers of `dot` hold as much as its fields say.
#[inline(always)]
pub(super) unsafe fn quants<S: Simd, const M: usize, const KIND: usize>(dot: Dot) {
    let kind = const { kind_of(KIND) };
    let (mins, halves) = const {
        let kind = kind_of(KIND);
        (
            matches!(kind, Kind::ScaleMin | Kind::HalfScalesMins),
            if matches!(kind, Kind::HalfScales | Kind::HalfScalesMins) { 2 } else { 1 },
        )
    };
    // SAFETY: the caller's; a group of the panel has `group_bytes` bytes, one of the block `WORDS * M` words.
    unsafe {
        let mut sums = load_sums::<S, M>(dot.sums);
        let (mut panel, mut words) = (dot.panel, dot.activations);
        for _ in 0..dot.groups {
            for half in 0..halves {
                let first_aux = if halves == 2 { AUX + 1 + half } else { AUX };
                let mut products = [S::start(words.add(first_aux * M)); M];
                for i in 1..M {
                    products[i] = S::start(words.add(first_aux * M + i));
                }
                let columns = QUANT_WORDS / halves;
                for j in half * columns..(half + 1) * columns {
                    let weights = S::load(panel.add(j * VECTOR));
                    for i in 0..M {
                        products[i] = S::dot(products[i], weights, words.add(i * QUANT_WORDS + j));
                    }
                }
                let scale = S::load_f(panel.add(QUANTS + half * VECTOR).cast());
                for i in 0..M {
                    let factor = S::mul_f(scale, S::splat_f(f32::from_bits(*words.add(SCALE * M + i))));
                    sums[i] = S::fma(S::sum(products[i]), factor, sums[i]);
                }
                if mins {
                    let min = S::load_f(panel.add(QUANTS + (halves + half) * VECTOR).cast());
                    let first_sum = if halves == 2 { HALF_SUM + half } else { SUM };
                    for i in 0..M {
                        let sum = S::splat_f(f32::from_bits(*words.add(first_sum * M + i)));
                        sums[i] = S::fnma(min, sum, sums[i]);
                    }
                }
            }
            panel = panel.add(kind.group_bytes());
            words = words.add(WORDS * M);
        }
        store_sums::<S, M>(dot.sums, sums);
    }
}

const fn kind_of(code: usize) -> Kind {
    match code {
        0 => Kind::Scale,
        1 => Kind::ScaleMin,
        2 => Kind::HalfScales,
        _ => Kind::HalfScalesMins,
    }
}

/// Products with [`Kind::Bytes`].
///
/// # Safety
/// As for [`quants`].
#[inline(always)]
pub(super) unsafe fn bytes<S: Simd, const M: usize>(dot: Dot) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = load_sums::<S, M>(dot.sums);
        let (mut panel, mut words) = (dot.panel, dot.activations);
        for _ in 0..dot.groups {
            let first_aux = AUX + 3;
            let mut products = [S::start_wide(words.add(first_aux * M)); M];
            for i in 1..M {
                products[i] = S::start_wide(words.add(first_aux * M + i));
            }
            for j in 0..QUANT_WORDS {
                let weights = S::load(panel.add(j * VECTOR));
                for i in 0..M {
                    products[i] = S::dot_wide(products[i], weights, words.add(i * QUANT_WORDS + j));
                }
            }
            let scale = S::load_f(panel.add(QUANTS).cast());
            for i in 0..M {
                let factor = S::mul_f(scale, S::splat_f(f32::from_bits(*words.add(SCALE * M + i))));
                sums[i] = S::fma(S::sum_wide(products[i]), factor, sums[i]);
            }
            panel = panel.add(Kind::Bytes.group_bytes());
            words = words.add(WORDS * M);
        }
        store_sums::<S, M>(dot.sums, sums);
    }
}

/// Products with [`Kind::Floats`].
///
/// # Safety
/// As for [`quants`].
#[inline(always)]
pub(super) unsafe fn floats<S: Simd, const M: usize>(dot: Dot) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = load_sums::<S, M>(dot.sums);
        let (mut panel, mut numbers) = (dot.panel, dot.activations.cast::<f32>());
        for _ in 0..dot.groups * GROUP {
            let weights = S::load_f(panel.cast());
            for i in 0..M {
                sums[i] = S::fma(weights, S::splat_f(*numbers.add(i)), sums[i]);
            }
            panel = panel.add(VECTOR);
            numbers = numbers.add(M);
        }
        store_sums::<S, M>(dot.sums, sums);
    }
}

#[inline(always)]
unsafe fn load_sums<S: Simd, const M: usize>(from: *const f32) -> [S::F; M] {
    // SAFETY: the caller's: `from` holds `M` vectors.
    unsafe {
        let mut sums = [S::splat_f(0.0); M];
        for i in 0..M {
            sums[i] = S::load_f(from.add(i * LANES));
        }
        sums
    }
}

#[inline(always)]
unsafe fn store_sums<S: Simd, const M: usize>(to: *mut f32, sums: [S::F; M]) {
    // SAFETY: the caller's: `to` holds `M` vectors.
    unsafe {
        for i in 0..M {
            S::store_f(to.add(i * LANES), sums[i]);
        }
    }
}
