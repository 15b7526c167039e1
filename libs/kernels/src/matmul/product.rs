//! One call's work: which tiles of which matrices a task has, and in what order their columns are multiplied.
//!
//! A tile is 16 rows of a matrix. A task has some tiles that follow each other. Chunks of their columns are unpacked, one
//! tile or two at a time, and multiplied with all rows of activations while they lie in the cache. The sums of a chunk go
//! on from those of the chunk before, so the size of chunks and tasks changes no bit of the result.

use super::activations::Packing;
use super::dispatch::Kernels;
use super::fused::Fused;
use super::kernel::{Dot, Later};
use super::matrix::Matrix;
use super::panel::{BLOCK, GROUP, Kind};
use super::simd::LANES;
use super::unpack::Unpack;
use crate::Pool;
use crate::pool::SendPtr;
use std::cell::Cell;
use std::ops::Range;

/// The largest number of rows in a block of activations, for any instruction set.
const MAX_ROWS: usize = 8;
/// The largest number of panels that are multiplied at once, for any instruction set.
const MAX_PANELS: usize = 2;
/// The number of blocks of activations up to which a product waits for the weights: they are unpacked in short turns, in
/// which the memory has no time to fall idle.
const FEW_BLOCKS: usize = 3;
/// Bytes of the panels that are multiplied at once in such short turns, about.
const SHORT_PANEL_BYTES: usize = 10 * 1024;
/// Blocks of activations during which the weights that follow are asked for, at most.
const SHARES_OF_LATER: usize = 4;
/// Tiles whose columns are multiplied in turn, so that the activations of these columns stay in the second-level cache.
const TILES_TOGETHER: usize = 8;
/// Tiles of a task at most.
const TILES_OF_TASK: usize = 16;
/// Tasks for each thread, about, where there are enough tiles.
const TASKS_OF_THREAD: usize = 8;
/// Rounds of panels for each thread, at least, for tasks to be of whole ones.
const ROUNDS_OF_THREAD: usize = 4;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

thread_local! {
    static PANELS: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    static ACTIVATIONS: Cell<Activations> = const { Cell::new([const { Vec::new() }; Packing::ALL.len()]) };
}

/// The call's rows in each [`Packing`], as far as its matrices need it.
type Activations = [Vec<u32>; Packing::ALL.len()];

/// A call. `out` has `x.len() / cols` rows as long as all matrices' rows together.
pub(super) struct Product<'a> {
    pub(super) kernels: &'static Kernels,
    pub(super) weights: &'a [&'a Matrix],
    pub(super) cols: usize,
    pub(super) x: &'a [f32],
    pub(super) out: SendPtr<f32>,
    pub(super) out_cols: usize,
}

impl Product<'_> {
    pub(super) fn run(&self, pool: &Pool) {
        let mut activations = ACTIVATIONS.take();
        for packing in Packing::ALL {
            if self.weights.iter().any(|w| self.packing(w) == packing) {
                self.pack(pool, packing, &mut activations[packing as usize]);
            }
        }
        let tiles: usize = self.weights.iter().map(|w| tiles_of(w)).sum();
        let tiles_of_task = self.tiles_of_task(tiles, pool.threads());
        let tasks = self.weights.iter().map(|w| tiles_of(w).div_ceil(tiles_of_task)).sum();
        pool.run(tasks, &|task| self.task(task, tiles_of_task, &activations));
        ACTIVATIONS.set(activations);
    }

    /// How many of all tiles are a task's: whole rounds of panels where there are enough for all threads. A panel alone at a task's end asks
    /// only for one that follows, and the next task's second one is waited for.
    fn tiles_of_task(&self, tiles: usize, threads: usize) -> usize {
        let panels = self.kernels.panels;
        let few = (tiles / (threads * TASKS_OF_THREAD)).clamp(1, TILES_OF_TASK);
        if tiles >= threads * ROUNDS_OF_THREAD * panels { few.next_multiple_of(panels) } else { few }
    }

    fn rows(&self) -> usize {
        self.x.len() / self.cols
    }

    fn packing(&self, w: &Matrix) -> Packing {
        Packing::of(self.kernels.kind(w.dtype()))
    }

    /// Fills `words` with all rows.
    fn pack(&self, pool: &Pool, packing: Packing, words: &mut Vec<u32>) {
        let (blocks, row_words) = (self.blocks(packing), packing.words(self.cols));
        let used = self.rows() * row_words;
        if words.len() < used {
            words.resize(used, 0);
        }
        let out = SendPtr(words.as_mut_ptr());
        pool.run(blocks.count, &|b| {
            let rows = blocks.rows(b);
            let x = &self.x[rows.start * self.cols..rows.end * self.cols];
            // SAFETY: the rows of blocks do not overlap, and `words` has as many as all rows need.
            let out = unsafe { std::slice::from_raw_parts_mut(out.at(rows.start * row_words), rows.len() * row_words) };
            // SAFETY: the kernels are those of instructions that the processor has.
            unsafe { (self.kernels.pack)(packing, x, self.cols, out) }
        });
    }

    /// Whether a matrix is multiplied as it is unpacked.
    fn is_fused(&self, w: &Matrix) -> bool {
        self.rows() <= self.kernels.fused_rows(w.dtype())
    }

    /// Blocks of activations: one where no panel is made of any matrix that they are multiplied with.
    fn blocks(&self, packing: Packing) -> RowBlocks {
        let mut weights = self.weights.iter().filter(|w| self.packing(w) == packing);
        let one = weights.all(|w| self.is_fused(w));
        RowBlocks::of(self.rows(), if one { 1 } else { self.rows().div_ceil(self.kernels.rows) })
    }

    fn task(&self, mut task: usize, tiles_of_task: usize, activations: &Activations) {
        let mut column = 0;
        for w in self.weights {
            let tasks = tiles_of(w).div_ceil(tiles_of_task);
            if task < tasks {
                let first = task * tiles_of_task;
                return self.tiles(w, column, first..tiles_of(w).min(first + tiles_of_task), activations);
            }
            task -= tasks;
            column += w.rows();
        }
    }

    /// Multiplies tiles of `w`, whose outputs begin at `column`.
    fn tiles(&self, w: &Matrix, column: usize, tiles: Range<usize>, activations: &Activations) {
        let kind = self.kernels.kind(w.dtype());
        let blocks = self.blocks(Packing::of(kind));
        if self.is_fused(w) && blocks.count == 1 {
            return tiles.for_each(|tile| {
                let part = Part { w, kind, column, blocks, tiles: tile..tile + 1, columns: 0..self.cols };
                self.fused(&part, activations);
            });
        }
        let (together, panel_bytes) = if blocks.count <= FEW_BLOCKS {
            (self.kernels.panels, SHORT_PANEL_BYTES)
        } else {
            (TILES_TOGETHER, self.kernels.panel_bytes)
        };
        let chunk = panel_bytes / self.kernels.panels * BLOCK / kind.bytes(BLOCK);
        let chunk = chunk.next_multiple_of(BLOCK);
        let mut panels = PANELS.take();
        let mut sums = [const { Sums::new() }; FEW_BLOCKS];
        for first in tiles.clone().step_by(together) {
            for from in (0..self.cols).step_by(chunk) {
                let columns = from..self.cols.min(from + chunk);
                for first in (first..tiles.end.min(first + together)).step_by(self.kernels.panels) {
                    let tiles = first..tiles.end.min(first + self.kernels.panels);
                    let part = Part { w, kind, column, blocks, tiles, columns: columns.clone() };
                    let panels = self.unpack(&part, &mut panels);
                    if blocks.count <= FEW_BLOCKS {
                        self.few(&part, panels, activations, &mut sums);
                    } else {
                        self.many(&part, panels, activations);
                    }
                }
            }
        }
        PANELS.set(panels);
    }

    /// Multiplies all columns of a tile with the only block of activations.
    fn fused(&self, part: &Part<'_>, activations: &Activations) {
        let mut sums = Sums::new();
        let tile = part.tiles.start;
        let task = Fused {
            dtype: part.w.dtype(),
            rows: part.w.tile(tile),
            blocks: self.cols / part.w.dtype().block_elements() as usize,
            activations: activations[Packing::By32 as usize].as_ptr(),
            later: part.later(tile),
            sums: sums.0.as_mut_ptr().cast(),
        };
        // SAFETY: the processor has the instructions; every row of a matrix has all columns, and so have the activations.
        unsafe { (self.kernels.fused)(task, self.rows()) };
        self.outputs(part, &(0..self.rows()), |i, out| store(out, &sums.0[i]));
    }

    /// Makes the panels of a part, in what was the place of others.
    fn unpack<'a>(&self, part: &Part<'_>, panels: &'a mut Vec<Line>) -> &'a [Line] {
        let lines = part.panel_lines();
        let used = lines * part.tiles.len();
        if panels.len() < used {
            panels.resize(used, Line([0; 64]));
        }
        for (tile, panel) in part.tiles.clone().zip(panels.chunks_exact_mut(lines)) {
            let task = Unpack {
                dtype: part.w.dtype(),
                rows: part.w.tile(tile),
                from: part.columns.start,
                columns: part.columns.len(),
                later: part.later(tile),
                panel: panel.as_mut_ptr().cast(),
            };
            // SAFETY: the processor has the instructions; every row of a matrix has all columns; the panel has the groups.
            unsafe { (self.kernels.unpack)(task) };
        }
        &panels[..used]
    }

    /// Multiplies a part with few blocks of activations: their sums, near, stay in `sums` until the last columns.
    fn few(&self, part: &Part<'_>, panels: &[Line], activations: &Activations, sums: &mut [Sums; FEW_BLOCKS]) {
        for (b, sums) in sums.iter_mut().enumerate().take(part.blocks.count) {
            let rows = part.blocks.rows(b);
            if part.columns.start == 0 {
                sums.0[..part.tiles.len() * rows.len()].fill([0.0; LANES]);
            }
            self.dot(part, panels, activations, b, sums);
            if part.columns.end == self.cols {
                self.outputs(part, &rows, |i, out| store(out, &sums.0[i]));
            }
        }
    }

    /// Multiplies a part with any number of blocks: between its columns and the next ones their sums are in `out`.
    fn many(&self, part: &Part<'_>, panels: &[Line], activations: &Activations) {
        for b in 0..part.blocks.count {
            let rows = part.blocks.rows(b);
            // A local on purpose: one for the whole task lies elsewhere, and 512 rows took 13 % longer so (AVX-512, Zen 5).
            let mut sums = Sums::new();
            if part.columns.start > 0 {
                self.outputs(part, &rows, |i, out| load(&mut sums.0[i], out));
            }
            self.dot(part, panels, activations, b, &mut sums);
            self.outputs(part, &rows, |i, out| store(out, &sums.0[i]));
        }
    }

    /// Adds the products of a part's panels with block `b` to the sums.
    #[inline(always)]
    fn dot(&self, part: &Part<'_>, panels: &[Line], activations: &Activations, b: usize, sums: &mut Sums) {
        let packing = Packing::of(part.kind);
        let rows = part.blocks.rows(b);
        let first = rows.start * packing.words(self.cols) + packing.words(part.columns.start) * rows.len();
        let dot = Dot {
            panel: panels.as_ptr().cast(),
            panel_bytes: part.panel_lines() * size_of::<Line>(),
            activations: activations[packing as usize][first..].as_ptr(),
            groups: part.groups(),
            later: part.share_of_later(b),
            sums: sums.0.as_mut_ptr().cast(),
        };
        // SAFETY: the processor has the instructions; the panels and the block have the groups, and the sums a place for
        // every panel and row.
        unsafe { (self.kernels.dot)(part.w.dtype(), part.tiles.len(), rows.len(), dot) };
    }

    /// Hands out the places in `out` of every tile and row, in the order of a kernel's sums.
    #[inline(always)]
    fn outputs(&self, part: &Part<'_>, rows: &Range<usize>, mut each: impl FnMut(usize, &mut [f32])) {
        for (t, tile) in part.tiles.clone().enumerate() {
            let from = part.column + tile * LANES;
            let length = LANES.min(part.w.rows() - tile * LANES);
            for (i, row) in rows.clone().enumerate() {
                // SAFETY: a tile's outputs lie inside of a row of `out`, and only this task uses them.
                let out = unsafe { std::slice::from_raw_parts_mut(self.out.at(row * self.out_cols + from), length) };
                each(t * rows.len() + i, out);
            }
        }
    }
}

#[inline(always)]
fn load(sums: &mut [f32; LANES], out: &[f32]) {
    match out.as_array() {
        Some(out) => *sums = *out,
        None => sums[..out.len()].copy_from_slice(out),
    }
}

#[inline(always)]
fn store(out: &mut [f32], sums: &[f32; LANES]) {
    match out.as_mut_array() {
        Some(out) => *out = *sums,
        None => out.copy_from_slice(&sums[..out.len()]),
    }
}

/// Of every panel and row that are multiplied at once.
#[repr(align(64))]
struct Sums([[f32; LANES]; MAX_PANELS * MAX_ROWS]);

impl Sums {
    const fn new() -> Self {
        Self([[0.0; LANES]; MAX_PANELS * MAX_ROWS])
    }
}

/// The blocks that the rows of activations lie in. The numbers of two blocks' rows differ by one at most.
#[derive(Clone, Copy)]
struct RowBlocks {
    count: usize,
    /// Of each, at least.
    rows: usize,
    /// The first ones, so many, have one more.
    longer: usize,
}

impl RowBlocks {
    fn of(rows: usize, count: usize) -> Self {
        Self { count, rows: rows / count, longer: rows % count }
    }

    /// The rows of block `b`.
    fn rows(self, b: usize) -> Range<usize> {
        let start = b * self.rows + b.min(self.longer);
        start..start + self.rows + usize::from(b < self.longer)
    }
}

/// Some columns of some tiles of a matrix: as many as are multiplied at once.
struct Part<'a> {
    w: &'a Matrix,
    kind: Kind,
    /// Where the matrix' outputs begin in a row of `out`.
    column: usize,
    blocks: RowBlocks,
    tiles: Range<usize>,
    columns: Range<usize>,
}

impl Part<'_> {
    fn groups(&self) -> usize {
        self.columns.len().div_ceil(GROUP)
    }

    /// Lines of a panel.
    fn panel_lines(&self) -> usize {
        self.kind.bytes(self.groups() * GROUP) / size_of::<Line>()
    }

    /// The place of the bytes of the same columns of the tile that this place's panel will have next, were they in one
    /// piece. Over all columns it is the whole tile.
    fn later(&self, tile: usize) -> *const u8 {
        let tiles_before = LANES * (tile + self.tiles.len()) * self.w.row_bytes();
        self.w.bytes().as_ptr().wrapping_add(tiles_before + self.columns.start / GROUP * self.w.group_bytes())
    }

    /// The share of the second half of [`Self::later`], of all tiles, that is asked for with a block of activations. The first half is
    /// asked for while the panels are unpacked.
    fn share_of_later(&self, block: usize) -> Later {
        let half = self.w.group_bytes() / 2;
        let shares = self.blocks.count.min(SHARES_OF_LATER);
        let share = if block < shares { half / shares } else { 0 };
        let from = self.later(self.tiles.start).wrapping_add((half + block * share) * self.groups());
        Later { from, panel_bytes: LANES * self.w.row_bytes(), group_bytes: share }
    }
}

fn tiles_of(w: &Matrix) -> usize {
    w.rows().div_ceil(LANES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_every_row_once_and_differ_by_one_row_at_most() {
        for rows in 1..40usize {
            for most in 1..=MAX_ROWS {
                let blocks = RowBlocks::of(rows, rows.div_ceil(most));
                let ranges: Vec<_> = (0..blocks.count).map(|b| blocks.rows(b)).collect();
                assert!(ranges.iter().cloned().flatten().eq(0..rows), "{rows} rows, at most {most}: {ranges:?}");
                let lengths = ranges.iter().map(ExactSizeIterator::len);
                let (shortest, longest) = (lengths.clone().min(), lengths.max());
                assert!(longest <= Some(most) && longest <= shortest.map(|n| n + 1), "{rows}, {most}: {ranges:?}");
            }
        }
    }
}
