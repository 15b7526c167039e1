//! One block of positions for the queries of a tile that share a head of keys and values.

use std::ops::Range;

use half::f16;

use super::{
    BLOCK, dispatch,
    product::{Product, RowsAtOnce},
    softmax::{Merge, Stat, Weigh},
};
use crate::{
    Isa,
    vector::{Element, WIDTH, Widen},
};

/// Positions whose keys or values are converted at once: they stay in the first-level cache while all queries use them.
const SECTION: usize = 64;

/// Queries ordered by row, then by head, and what they attend to.
pub(super) struct Heads<'a> {
    pub isa: Isa,
    /// Heads of queries.
    pub group: usize,
    pub key_length: usize,
    pub value_stride: usize,
    pub softcap: Option<f32>,
    /// The positions that each row sees.
    pub visible: &'a [Range<usize>],
    /// `[queries][key_length]`, scaled.
    pub queries: &'a [f32],
    pub keys: &'a [f16],
    pub values: &'a [f16],
}

/// What some blocks give each query.
pub(super) struct Partial<'a> {
    pub stats: &'a mut [Stat],
    /// `[queries][value_stride]`: sums of weighted values.
    pub sums: &'a mut [f32],
}

impl<'a> Partial<'a> {
    /// Floats that it takes.
    pub fn len(queries: usize, value_length: usize) -> usize {
        (2 * queries).next_multiple_of(WIDTH) + queries * value_length.next_multiple_of(WIDTH)
    }

    /// One at the beginning of `memory`, and the rest.
    pub fn split_off(memory: &'a mut [f32], heads: &Heads<'_>) -> (Partial<'a>, &'a mut [f32]) {
        let queries = heads.count();
        let (stats, memory) = memory.split_at_mut((2 * queries).next_multiple_of(WIDTH));
        let (sums, memory) = memory.split_at_mut(queries * heads.value_stride);
        // SAFETY: a Stat is two f32, which is also its alignment; there are 2 * queries of them.
        let stats = unsafe { std::slice::from_raw_parts_mut(stats.as_mut_ptr().cast::<Stat>(), queries) };
        (Partial { stats, sums }, memory)
    }
}

/// Floats of the scratch that [`Heads::block`] needs.
pub(super) fn scratch_len(queries: usize, key_length: usize, value_length: usize) -> usize {
    queries * BLOCK + SECTION * key_length.max(value_length.next_multiple_of(WIDTH))
}

impl Heads<'_> {
    /// Computes what the block gives the queries of rows that see any of it; of others `partial` holds anything.
    pub fn block(&self, block: usize, partial: &mut Partial<'_>, scratch: &mut [f32]) {
        let (weights, converted) = scratch.split_at_mut(self.count() * BLOCK);
        let start = block * BLOCK;
        self.scores(start, weights, converted);
        for row in 0..self.visible.len() {
            let Range { start: from, end: to } = self.sees(row..row + 1, start, 0..BLOCK);
            if from == to {
                continue;
            }
            for query in row * self.group..(row + 1) * self.group {
                let scores = &mut weights[query * BLOCK..][..BLOCK];
                partial.stats[query] = dispatch(self.isa, Weigh { scores, from, to, softcap: self.softcap });
            }
        }
        partial.sums.fill(0.0);
        self.weighted_values(start, weights, partial.sums, converted);
    }

    /// Merges a block's part into the total of the blocks before it.
    pub fn merge(&self, block: usize, partial: &Partial<'_>, total: &mut Partial<'_>) {
        for (row, visible) in self.visible.iter().enumerate() {
            if self.sees(row..row + 1, block * BLOCK, 0..BLOCK).is_empty() {
                continue;
            }
            for query in row * self.group..(row + 1) * self.group {
                let sums = query * self.value_stride..(query + 1) * self.value_stride;
                let (part, part_sums) = (partial.stats[query], &partial.sums[sums.clone()]);
                let (total, total_sums) = (&mut total.stats[query], &mut total.sums[sums]);
                if visible.start / BLOCK == block {
                    *total = part;
                    total_sums.copy_from_slice(part_sums);
                } else {
                    dispatch(self.isa, Merge { total, total_sums, part, part_sums });
                }
            }
        }
    }

    fn count(&self) -> usize {
        self.visible.len() * self.group
    }

    /// Queries in parts as even as possible, each at most as many as a product takes.
    fn strips(&self) -> impl ExactSizeIterator<Item = Range<usize>> {
        let count = self.count();
        let strips = count.div_ceil(dispatch(self.isa, RowsAtOnce));
        (0..strips).map(move |i| i * count / strips..(i + 1) * count / strips)
    }

    /// The rows that a strip of queries belongs to.
    fn rows(&self, queries: &Range<usize>) -> Range<usize> {
        queries.start / self.group..(queries.end - 1) / self.group + 1
    }

    /// From the first to the last position of a section that any of the rows sees; all counted from `start`.
    fn sees(&self, rows: Range<usize>, start: usize, section: Range<usize>) -> Range<usize> {
        let clip = |position: usize| position.saturating_sub(start).clamp(section.start, section.end);
        let seen = self.visible[rows].iter().map(|v| clip(v.start)..clip(v.end)).filter(|seen| !seen.is_empty());
        seen.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(section.start..section.start)
    }

    /// The scores of whole columns around the positions that a strip of queries sees.
    fn scores(&self, start: usize, scores: &mut [f32], converted: &mut [f32]) {
        let direct = self.strips().len() == 1;
        for section in sections() {
            let seen = columns(&self.sees(0..self.visible.len(), start, section.clone()));
            if seen.is_empty() {
                continue;
            }
            let keys = (start + seen.start) * self.key_length..(start + seen.end) * self.key_length;
            let keys = &self.keys[keys];
            if direct {
                self.score_strips(start, seen, keys, scores);
            } else {
                let converted = &mut converted[..keys.len()];
                dispatch(self.isa, Widen { from: keys, to: converted });
                self.score_strips(start, seen, converted, scores);
            }
        }
    }

    /// `keys`: those of the positions `section` of the block.
    fn score_strips<E: Element>(&self, start: usize, section: Range<usize>, keys: &[E], scores: &mut [f32]) {
        let length = self.key_length;
        for queries in self.strips() {
            let seen = columns(&self.sees(self.rows(&queries), start, section.clone()));
            if seen.is_empty() {
                continue;
            }
            let product = Product {
                a: &self.queries[queries.start * length..],
                a_stride: length,
                b: &keys[(seen.start - section.start) * length..],
                b_step: WIDTH,
                b_column: WIDTH * length,
                c: &mut scores[queries.start * BLOCK + seen.start..],
                c_stride: BLOCK,
                rows: queries.len(),
                depth: length,
                columns: seen.len() / WIDTH,
                onto: false,
            };
            dispatch(self.isa, product);
        }
    }

    /// Adds the weighted values of the block to `sums`; no position is touched for a row that does not see it.
    fn weighted_values(&self, start: usize, weights: &[f32], sums: &mut [f32], converted: &mut [f32]) {
        let direct = self.strips().len() == 1;
        for section in sections() {
            let seen = self.sees(0..self.visible.len(), start, section);
            if seen.is_empty() {
                continue;
            }
            let values = (start + seen.start) * self.value_stride..(start + seen.end) * self.value_stride;
            let values = &self.values[values];
            if direct {
                self.sum_strips(start, seen, values, weights, sums);
            } else {
                let converted = &mut converted[..values.len()];
                dispatch(self.isa, Widen { from: values, to: converted });
                self.sum_strips(start, seen, converted, weights, sums);
            }
        }
    }

    /// `values`: those of the positions `section` of the block.
    fn sum_strips<E: Element>(
        &self,
        start: usize,
        section: Range<usize>,
        values: &[E],
        weights: &[f32],
        sums: &mut [f32],
    ) {
        let mut add = |queries: Range<usize>, positions: Range<usize>| {
            if positions.is_empty() {
                return;
            }
            let product = Product {
                a: &weights[queries.start * BLOCK + positions.start..],
                a_stride: BLOCK,
                b: &values[(positions.start - section.start) * self.value_stride..],
                b_step: self.value_stride,
                b_column: WIDTH,
                c: &mut sums[queries.start * self.value_stride..],
                c_stride: self.value_stride,
                rows: queries.len(),
                depth: positions.len(),
                columns: self.value_stride / WIDTH,
                onto: true,
            };
            dispatch(self.isa, product);
        };
        for queries in self.strips() {
            let rows = self.rows(&queries);
            let by_row = |row: usize| {
                let own = (row * self.group).max(queries.start)..((row + 1) * self.group).min(queries.end);
                (own, self.sees(row..row + 1, start, section.clone()))
            };
            // Each row's positions in ascending order: those before what all see, the common ones, those after.
            let all = rows.clone().map(|row| by_row(row).1);
            let common = all.reduce(|a, b| a.start.max(b.start)..a.end.min(b.end)).unwrap_or(0..0);
            if common.is_empty() {
                rows.map(by_row).for_each(|(own, seen)| add(own, seen));
                continue;
            }
            rows.clone().map(by_row).for_each(|(own, seen)| add(own, seen.start..common.start));
            add(queries.clone(), common.clone());
            rows.map(by_row).for_each(|(own, seen)| add(own, common.end..seen.end));
        }
    }
}

fn sections() -> impl Iterator<Item = Range<usize>> {
    (0..BLOCK).step_by(SECTION).map(|start| start..start + SECTION)
}

/// The whole columns around positions.
fn columns(positions: &Range<usize>) -> Range<usize> {
    if positions.is_empty() {
        return 0..0;
    }
    positions.start / WIDTH * WIDTH..positions.end.next_multiple_of(WIDTH)
}
