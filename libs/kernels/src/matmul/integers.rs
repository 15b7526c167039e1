//! The dot products of a panel of [`Kind::Integers`] with a block of activations.
//!
//! The products of 256 columns are summed in integers; only then come the f32 that the block's scales and minimums, and the activations,
//! are multiplied by. The largest sum is that of Q6_K, 256 * 32 * 127 * 128, and fits into 32 bits.

use super::activations::{BLOCK_GROUP_WORDS, BLOCK_SCALE, GROUP_SUMS, HALF_SUMS, Packing, QUANT_WORDS, STARTS};
use super::kernel::Dot;
use super::panel::{BLOCK, GROUPS, Integers, Kind, QUANTS, VECTOR};
use super::simd::{LANES, Simd};
use super::unpack::each;
use rbee_model::gguf::DType;

/// The types whose panels are such.
pub(super) const DTYPES: [DType; 5] = [DType::Q2_K, DType::Q3_K, DType::Q4_K, DType::Q5_K, DType::Q6_K];

/// Adds the products of all blocks of a panel with `M` rows of activations. `DTYPE`: an index into [`DTYPES`].
///
/// # Safety
/// The processor has the instructions of `S`; the pointers of `dot` hold as much as its fields say.
#[inline(always)]
pub(super) unsafe fn integers<S: Simd, const M: usize, const DTYPE: usize>(mut dot: Dot) {
    let kind = const { kind_of(DTYPES[DTYPE]) };
    // SAFETY: the caller's.
    unsafe {
        for _ in 0..dot.groups / GROUPS {
            let mut block = dot;
            // All bits 0.
            let mut products: [S::U; M] = std::mem::zeroed();
            for _ in 0..GROUPS {
                dot.later.ask::<S, 1>();
                group::<S, M>(block, kind, &mut products);
                block.panel = block.panel.add(kind.group_bytes());
                block.activations = block.activations.add(BLOCK_GROUP_WORDS * M);
            }
            complete::<S, M>(dot, kind, products);
            dot.panel = dot.panel.add(kind.block_bytes());
            dot.activations = dot.activations.add(Packing::By256.words(BLOCK) * M);
        }
    }
}

const fn kind_of(dtype: DType) -> Integers {
    match Kind::of(dtype, true) {
        Kind::Integers(integers) => integers,
        _ => panic!("a type without blocks of 256"),
    }
}

/// Adds the scaled products of a group.
#[inline(always)]
unsafe fn group<S: Simd, const M: usize>(dot: Dot, kind: Integers, products: &mut [S::U; M]) {
    // SAFETY: the caller's.
    unsafe {
        for part in 0..kind.parts {
            // All bits 0.
            let mut sums: [S::Sum; M] = std::mem::zeroed();
            if kind.zero_is_32 {
                for i in 0..M {
                    sums[i] = S::start(dot.word::<M>(STARTS + part, i));
                }
            }
            let columns = QUANT_WORDS / kind.parts;
            each!(n in [0 1 2 3 4 5 6 7] {
                if n < columns {
                    let j = part * columns + n;
                    let weights = S::load(dot.panel.add(j * VECTOR));
                    for i in 0..M {
                        sums[i] = S::dot(sums[i], weights, dot.quants(i, j));
                    }
                    S::in_order(&mut sums);
                }
            });
            let scale = S::load(dot.panel.add(QUANTS + part % kind.scales * VECTOR));
            for i in 0..M {
                products[i] = S::add(products[i], S::dot_pairs(S::pairs(sums[i]), scale));
            }
        }
    }
}

/// Adds a block, whose scaled products these are, to the sums.
#[inline(always)]
unsafe fn complete<S: Simd, const M: usize>(dot: Dot, kind: Integers, products: [S::U; M]) {
    let sums_of_quants = if kind.mins == 1 { GROUP_SUMS } else { HALF_SUMS };
    // SAFETY: the caller's.
    unsafe {
        let factors = dot.panel.add(kind.factors_at()).cast::<f32>();
        for i in 0..M {
            let to = dot.sums.add(i * LANES);
            let x = dot.splat::<S, M>(BLOCK_SCALE, i);
            let mut sum = S::fma(S::i32(products[i]), S::mul_f(S::load_f(factors), x), S::load_f(to));
            if kind.mins > 0 {
                // All bits 0.
                let mut mins: S::U = std::mem::zeroed();
                for n in 0..kind.min_vectors() {
                    let min = S::load(dot.panel.add(GROUPS * kind.group_bytes() + n * VECTOR));
                    let quants = S::splat(*dot.word::<M>(sums_of_quants + n, i));
                    mins = S::add(mins, S::dot_pairs(min, quants));
                }
                let factor = S::mul_f(S::load_f(factors.add(LANES)), x);
                sum = S::fnma(S::i32(mins), factor, sum);
            }
            S::store_f(to, sum);
        }
    }
}
