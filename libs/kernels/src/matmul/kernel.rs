//! The dot products of a panel with a block of activations, for every instruction set.

use super::activations::{HALF_SUM, QUANT_WORDS, SCALE, START_8, START_16, START_32, START_128, SUM, WORDS};
use super::panel::{GROUP, Kind, QUANTS, VECTOR};
use super::simd::{LANES, LINE, Simd};
use super::unpack::each;

/// What is multiplied: `groups` groups of 32 columns.
#[derive(Clone, Copy)]
pub(super) struct Dot {
    /// Of the kind that the kernel is for, aligned to a vector.
    pub(super) panel: *const u8,
    /// Bytes from one panel to the next, where several are multiplied at once.
    pub(super) panel_bytes: usize,
    /// The block's words, from the first of these groups on.
    pub(super) activations: *const u32,
    pub(super) groups: usize,
    pub(super) later: Later,
    /// `[tiles, m, 16]`: the sums of the columns before, to which these are added. Aligned to a vector.
    pub(super) sums: *mut f32,
}

/// Weights that are unpacked later, asked for from memory while others are multiplied: unpacking alone would wait for the memory, which
/// would then lie idle during the products.
#[derive(Clone, Copy)]
pub(super) struct Later {
    /// What takes the first panel's place. The address need not be valid.
    pub(super) from: *const u8,
    /// Bytes from there to what takes the next panel's place.
    pub(super) panel_bytes: usize,
    /// Bytes that are asked for with each group of each panel; 0 for none.
    pub(super) group_bytes: usize,
}

impl Later {
    /// Asks for those of a group of `T` panels, and goes on to the next one.
    #[inline(always)]
    pub(super) unsafe fn ask<S: Simd, const T: usize>(&mut self) {
        for t in 0..T {
            // A line that two groups share is asked for twice.
            for line in (0..self.group_bytes).step_by(LINE) {
                // SAFETY: the caller's: the processor has the instructions.
                unsafe { S::prefetch(self.from.wrapping_add(t * self.panel_bytes + line)) };
            }
        }
        self.from = self.from.wrapping_add(self.group_bytes);
    }
}

/// Adds the products of all groups of `T` panels with `M` rows of activations. `KIND`: a [`Kind`] but `Floats` and `Integers`.
///
/// # Safety
/// The processor has the instructions of `S`; the pointers of `dot` hold as much as its fields say.
#[inline(always)]
pub(super) unsafe fn quants<S: Simd, const T: usize, const M: usize, const KIND: usize>(mut dot: Dot) {
    let group_bytes = const { kind_of(KIND).group_bytes() };
    // SAFETY: the caller's; a group of the panel has `group_bytes` bytes, one of the block `WORDS * M` words.
    unsafe {
        let mut sums = Sums::<S, T, M>::load(dot.sums);
        for _ in 0..dot.groups {
            dot.later.ask::<S, T>();
            match const { kind_of(KIND) } {
                Kind::Nibbles => scaled::<S, T, M>(dot, START_8, 0, 1, &mut sums),
                Kind::Scale => scaled::<S, T, M>(dot, START_16, 0, 1, &mut sums),
                Kind::ScaleMin => {
                    scaled::<S, T, M>(dot, START_16, 0, 1, &mut sums);
                    minimum::<S, T, M>(dot, 1, Summed::Group, &mut sums);
                }
                Kind::HalfScales => {
                    scaled::<S, T, M>(dot, START_32, 0, 2, &mut sums);
                    scaled::<S, T, M>(dot, START_32 + 1, 1, 2, &mut sums);
                }
                Kind::HalfScalesMins => {
                    for (half, summed) in [Summed::First, Summed::Second].into_iter().enumerate() {
                        scaled::<S, T, M>(dot, START_32 + half, half, 2, &mut sums);
                        minimum::<S, T, M>(dot, 2 + half, summed, &mut sums);
                    }
                }
                _ => bytes::<S, T, M>(dot, &mut sums),
            }
            dot.panel = dot.panel.add(group_bytes);
            dot.activations = dot.activations.add(WORDS * M);
        }
        sums.store();
    }
}

/// The kind of a code, as constants of functions must be: those of `quants`.
const fn kind_of(code: usize) -> Kind {
    match code {
        0 => Kind::Nibbles,
        1 => Kind::Scale,
        2 => Kind::ScaleMin,
        3 => Kind::HalfScales,
        4 => Kind::HalfScalesMins,
        _ => Kind::Bytes,
    }
}

/// Adds the products of small bytes in part `part` of `parts` of the group, each of which has a scale. `start`: the word that takes their zero
/// off.
#[inline(always)]
unsafe fn scaled<S: Simd, const T: usize, const M: usize>(
    dot: Dot,
    start: usize,
    part: usize,
    parts: usize,
    sums: &mut Sums<S, T, M>,
) {
    let columns = QUANT_WORDS / parts;
    // SAFETY: the caller's.
    unsafe {
        let mut products = [[S::start(dot.word::<M>(start, 0)); M]; T];
        for i in 1..M {
            for t in 0..T {
                products[t][i] = S::start(dot.word::<M>(start, i));
            }
        }
        each!(n in [0 1 2 3 4 5 6 7] {
            if n < columns {
                let j = part * columns + n;
                let weights = dot.weights::<S, T>(j);
                for i in 0..M {
                    for t in 0..T {
                        products[t][i] = S::dot(products[t][i], weights[t], dot.quants(i, j));
                    }
                }
                S::in_order(products.as_flattened_mut());
            }
        });
        let scales = dot.factors::<S, T>(part);
        for i in 0..M {
            let scale = dot.splat::<S, M>(SCALE, i);
            for t in 0..T {
                let sum = S::fma(S::sum(products[t][i]), S::mul_f(scales[t], scale), sums.get(t, i));
                sums.set(t, i, sum);
            }
        }
    }
}

/// Adds the products of any bytes.
#[inline(always)]
unsafe fn bytes<S: Simd, const T: usize, const M: usize>(dot: Dot, sums: &mut Sums<S, T, M>) {
    // SAFETY: the caller's.
    unsafe {
        let mut products = [[S::start_wide(dot.word::<M>(START_128, 0)); M]; T];
        for i in 1..M {
            for t in 0..T {
                products[t][i] = S::start_wide(dot.word::<M>(START_128, i));
            }
        }
        each!(j in [0 1 2 3 4 5 6 7] {
            let weights = dot.weights::<S, T>(j);
            for i in 0..M {
                for t in 0..T {
                    products[t][i] = S::dot_wide(products[t][i], weights[t], dot.quants(i, j));
                }
            }
            S::in_order_wide(products.as_flattened_mut());
        });
        let scales = dot.factors::<S, T>(0);
        for i in 0..M {
            let scale = dot.splat::<S, M>(SCALE, i);
            for t in 0..T {
                let sum = S::fma(S::sum_wide(products[t][i]), S::mul_f(scales[t], scale), sums.get(t, i));
                sums.set(t, i, sum);
            }
        }
    }
}

/// Whose activations are summed: the group's, or one of its halves'.
#[derive(Clone, Copy)]
enum Summed {
    Group,
    First,
    Second,
}

/// Takes off the minimum that is the group's factor `n`, times the sum of activations.
#[inline(always)]
unsafe fn minimum<S: Simd, const T: usize, const M: usize>(
    dot: Dot,
    n: usize,
    summed: Summed,
    sums: &mut Sums<S, T, M>,
) {
    // SAFETY: the caller's.
    unsafe {
        let mins = dot.factors::<S, T>(n);
        for i in 0..M {
            let activations = match summed {
                Summed::Group => dot.splat::<S, M>(SUM, i),
                Summed::First => dot.splat::<S, M>(HALF_SUM, i),
                Summed::Second => S::fnma(dot.splat::<S, M>(HALF_SUM, i), S::splat_f(1.0), dot.splat::<S, M>(SUM, i)),
            };
            for t in 0..T {
                sums.set(t, i, S::fnma(mins[t], activations, sums.get(t, i)));
            }
        }
    }
}

/// Adds the products of [`Kind::Floats`].
///
/// # Safety
/// As for [`quants`].
#[inline(always)]
pub(super) unsafe fn floats<S: Simd, const T: usize, const M: usize>(mut dot: Dot) {
    // SAFETY: the caller's; a group has a vector of weights and `M` activations for each column.
    unsafe {
        let mut sums = [[S::splat_f(0.0); M]; T];
        for t in 0..T {
            for i in 0..M {
                sums[t][i] = S::load_f(dot.sums.add((t * M + i) * LANES));
            }
        }
        for _ in 0..dot.groups {
            dot.later.ask::<S, T>();
            for _ in 0..GROUP {
                let mut weights = [S::splat_f(0.0); T];
                for t in 0..T {
                    weights[t] = S::load_f(dot.panel.add(t * dot.panel_bytes).cast());
                }
                for i in 0..M {
                    let x = dot.splat::<S, M>(0, i);
                    for t in 0..T {
                        sums[t][i] = S::fma(weights[t], x, sums[t][i]);
                    }
                }
                dot.panel = dot.panel.add(VECTOR);
                dot.activations = dot.activations.add(M);
            }
        }
        for t in 0..T {
            for i in 0..M {
                S::store_f(dot.sums.add((t * M + i) * LANES), sums[t][i]);
            }
        }
    }
}

impl Dot {
    /// Word `n` of row `i` of a group; `n` is one of those after the quants.
    #[inline(always)]
    pub(super) unsafe fn word<const M: usize>(&self, n: usize, i: usize) -> *const u32 {
        // SAFETY: the caller's.
        unsafe { self.activations.add(n * M + i) }
    }

    #[inline(always)]
    pub(super) unsafe fn splat<S: Simd, const M: usize>(&self, n: usize, i: usize) -> S::F {
        // SAFETY: the caller's.
        unsafe { S::splat_f(f32::from_bits(*self.word::<M>(n, i))) }
    }

    /// Columns `4 * j` to `4 * j + 3` of row `i`.
    #[inline(always)]
    pub(super) unsafe fn quants(&self, i: usize, j: usize) -> *const u32 {
        // SAFETY: the caller's.
        unsafe { self.activations.add(i * QUANT_WORDS + j) }
    }

    #[inline(always)]
    unsafe fn weights<S: Simd, const T: usize>(&self, j: usize) -> [S::U; T] {
        // SAFETY: the caller's.
        unsafe {
            let mut weights = [S::load(self.panel.add(j * VECTOR)); T];
            for t in 1..T {
                weights[t] = S::load(self.panel.add(t * self.panel_bytes + j * VECTOR));
            }
            weights
        }
    }

    /// The `n`th vectors after the quants.
    #[inline(always)]
    unsafe fn factors<S: Simd, const T: usize>(&self, n: usize) -> [S::F; T] {
        // SAFETY: the caller's.
        unsafe {
            let first = self.panel.add(QUANTS + n * VECTOR);
            let mut factors = [S::load_f(first.cast()); T];
            for t in 1..T {
                factors[t] = S::load_f(first.add(t * self.panel_bytes).cast());
            }
            factors
        }
    }
}

/// The sums of a block: in registers where there are enough of them, else in memory.
struct Sums<S: Simd, const T: usize, const M: usize> {
    registers: [[S::F; M]; T],
    memory: *mut f32,
}

impl<S: Simd, const T: usize, const M: usize> Sums<S, T, M> {
    const IN_REGISTERS: bool = M <= S::SUMS_IN_REGISTERS;

    #[inline(always)]
    unsafe fn load(memory: *mut f32) -> Self {
        // SAFETY: the caller's: `memory` holds `T * M` vectors.
        unsafe {
            let mut registers = [[S::splat_f(0.0); M]; T];
            for t in 0..T {
                for i in 0..M {
                    registers[t][i] = S::load_f(memory.add((t * M + i) * LANES));
                }
            }
            Self { registers, memory }
        }
    }

    #[inline(always)]
    unsafe fn get(&self, t: usize, i: usize) -> S::F {
        if Self::IN_REGISTERS {
            self.registers[t][i]
        } else {
            // SAFETY: the caller of `load`'s.
            unsafe { S::load_f(self.memory.add((t * M + i) * LANES)) }
        }
    }

    #[inline(always)]
    unsafe fn set(&mut self, t: usize, i: usize, sum: S::F) {
        if Self::IN_REGISTERS {
            self.registers[t][i] = sum;
        } else {
            // SAFETY: the caller of `load`'s.
            unsafe { S::store_f(self.memory.add((t * M + i) * LANES), sum) };
        }
    }

    #[inline(always)]
    unsafe fn store(self) {
        if Self::IN_REGISTERS {
            for t in 0..T {
                for i in 0..M {
                    // SAFETY: the caller of `load`'s.
                    unsafe { S::store_f(self.memory.add((t * M + i) * LANES), self.registers[t][i]) };
                }
            }
        }
    }
}
