//! One call's work: which tiles of which matrices a task has, and in what order their columns are multiplied.
//!
//! A tile is 16 rows of a matrix. A task has some tiles that follow each other. Chunks of their columns are unpacked, one
//! tile or two at a time, and multiplied with all rows of activations while they lie in the cache. The sums of a chunk go
//! on from those of the chunk before, so the size of chunks and tasks changes no bit of the result.

use super::activations::WORDS;
use super::dispatch::Kernels;
use super::fused::Fused;
use super::kernel::{Dot, Later};
use super::matrix::Matrix;
use super::panel::{GROUP, Kind};
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
/// The number of columns that are unpacked at once is a multiple of this one, and of every type's block.
const CHUNK_STEP: usize = 256;
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
/// Tasks for each thread, at least, where there are enough tiles.
const TASKS_OF_THREAD: usize = 8;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

thread_local! {
    static PANELS: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    static ACTIVATIONS: Cell<Activations> = const { Cell::new(Activations { quants: Vec::new(), floats: Vec::new() }) };
}

/// Rows of activations as kernels read them; what no matrix of the call needs is empty.
#[derive(Default)]
struct Activations {
    quants: Vec<u32>,
    floats: Vec<u32>,
}

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
        let is_floats = |w: &&&Matrix| Kind::of(w.dtype()) == Kind::Floats;
        let has_floats = self.weights.iter().any(|w| is_floats(&w));
        let has_quants = !self.weights.iter().all(|w| is_floats(&w));
        if has_quants {
            self.pack(
                pool,
                self.blocks(false),
                &mut activations.quants,
                self.cols / GROUP * WORDS,
                self.kernels.quantize,
            );
        }
        if has_floats {
            let row_words = self.cols.next_multiple_of(GROUP);
            self.pack(pool, self.blocks(true), &mut activations.floats, row_words, self.kernels.transpose);
        }
        let tiles: usize = self.weights.iter().map(|w| tiles_of(w)).sum();
        let tiles_of_task = (tiles / (pool.threads() * TASKS_OF_THREAD)).clamp(1, TILES_OF_TASK);
        let tasks = self.weights.iter().map(|w| tiles_of(w).div_ceil(tiles_of_task)).sum();
        pool.run(tasks, &|task| self.task(task, tiles_of_task, &activations));
        ACTIVATIONS.set(activations);
    }

    fn rows(&self) -> usize {
        self.x.len() / self.cols
    }

    /// Fills `words` with `row_words` for every row of activations.
    fn pack(
        &self,
        pool: &Pool,
        blocks: usize,
        words: &mut Vec<u32>,
        row_words: usize,
        pack: unsafe fn(&[f32], usize, &mut [u32]),
    ) {
        let used = self.rows() * row_words;
        if words.len() < used {
            words.resize(used, 0);
        }
        let out = SendPtr(words.as_mut_ptr());
        pool.run(blocks, &|b| {
            let rows = self.block(b, blocks);
            let x = &self.x[rows.start * self.cols..rows.end * self.cols];
            // SAFETY: the rows of blocks do not overlap, and `words` has as many as all rows need.
            let out = unsafe { std::slice::from_raw_parts_mut(out.at(rows.start * row_words), rows.len() * row_words) };
            // SAFETY: the kernels are those of instructions that the processor has.
            unsafe { pack(x, self.cols, out) }
        });
    }

    /// Whether a matrix is multiplied as it is unpacked.
    fn is_fused(&self, w: &Matrix) -> bool {
        self.rows() <= self.kernels.fused_rows(w.dtype())
    }

    /// Blocks of activations for weights that are floats, or quants: one where no panel is made.
    fn blocks(&self, floats: bool) -> usize {
        let mut quants = self.weights.iter().filter(|w| Kind::of(w.dtype()) != Kind::Floats);
        if !floats && quants.all(|w| self.is_fused(w)) { 1 } else { self.rows().div_ceil(self.kernels.rows) }
    }

    /// The rows of one of some blocks. The numbers of two blocks' rows differ by one at most.
    fn block(&self, b: usize, blocks: usize) -> Range<usize> {
        b * self.rows() / blocks..(b + 1) * self.rows() / blocks
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
        let kind = Kind::of(w.dtype());
        let blocks = self.blocks(kind == Kind::Floats);
        if self.is_fused(w) && blocks == 1 {
            return tiles.for_each(|tile| {
                let part = Part { w, kind, column, blocks, tiles: tile..tile + 1, columns: 0..self.cols };
                self.fused(&part, activations);
            });
        }
        let (together, panel_bytes) = if blocks <= FEW_BLOCKS {
            (self.kernels.panels, SHORT_PANEL_BYTES)
        } else {
            (TILES_TOGETHER, self.kernels.panel_bytes)
        };
        let chunk = panel_bytes / self.kernels.panels * GROUP / kind.group_bytes();
        let chunk = chunk.next_multiple_of(CHUNK_STEP);
        let mut panels = PANELS.take();
        for first in tiles.clone().step_by(together) {
            for from in (0..self.cols).step_by(chunk) {
                let columns = from..self.cols.min(from + chunk);
                for first in (first..tiles.end.min(first + together)).step_by(self.kernels.panels) {
                    let tiles = first..tiles.end.min(first + self.kernels.panels);
                    let part = Part { w, kind, column, blocks, tiles, columns: columns.clone() };
                    self.part(&part, &mut panels, activations);
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
            activations: activations.quants.as_ptr(),
            later: part.later(tile),
            sums: sums.0.as_mut_ptr().cast(),
        };
        // SAFETY: the processor has the instructions; every row of a matrix has all columns, and so have the activations.
        unsafe { (self.kernels.fused)(task, self.rows()) };
        self.outputs(part, &(0..self.rows()), |i, out| store(out, &sums.0[i]));
    }

    fn part(&self, part: &Part<'_>, panels: &mut Vec<Line>, activations: &Activations) {
        let (groups, columns) = (part.groups(), &part.columns);
        let lines = groups * part.kind.group_bytes() / size_of::<Line>();
        if panels.len() < lines * self.kernels.panels {
            panels.resize(lines * self.kernels.panels, Line([0; 64]));
        }
        for (tile, panel) in part.tiles.clone().zip(panels.chunks_exact_mut(lines)) {
            let task = Unpack {
                dtype: part.w.dtype(),
                rows: part.w.tile(tile),
                from: columns.start,
                columns: columns.len(),
                later: part.later(tile),
                panel: panel.as_mut_ptr().cast(),
            };
            // SAFETY: the processor has the instructions; every row of a matrix has all columns; the panel has the groups.
            unsafe { (self.kernels.unpack)(task) };
        }
        let (words, group_words) = match part.kind {
            Kind::Floats => (&activations.floats, GROUP),
            _ => (&activations.quants, WORDS),
        };
        let row_words = self.cols.div_ceil(GROUP) * group_words;
        for b in 0..part.blocks {
            let rows = self.block(b, part.blocks);
            let activations = &words[rows.start * row_words + columns.start / GROUP * group_words * rows.len()..];
            // A local on purpose: one for the whole task lies elsewhere, and 512 rows took 13 % longer so (AVX-512, Zen 5).
            let mut sums = Sums::new();
            if columns.start > 0 {
                self.outputs(part, &rows, |i, out| load(&mut sums.0[i], out));
            }
            let dot = Dot {
                panel: panels.as_ptr().cast(),
                panel_bytes: lines * size_of::<Line>(),
                activations: activations.as_ptr(),
                groups,
                later: part.share_of_later(b),
                sums: sums.0.as_mut_ptr().cast(),
            };
            // SAFETY: the processor has the instructions; the panels and the block have the groups, and the sums a place for
            // every panel and row.
            unsafe { (self.kernels.dot)(part.kind, part.tiles.len(), rows.len(), dot) };
            self.outputs(part, &rows, |i, out| store(out, &sums.0[i]));
        }
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
    fn new() -> Self {
        Self([[0.0; LANES]; MAX_PANELS * MAX_ROWS])
    }
}

/// Some columns of some tiles of a matrix: as many as are multiplied at once.
struct Part<'a> {
    w: &'a Matrix,
    kind: Kind,
    /// Where the matrix' outputs begin in a row of `out`.
    column: usize,
    /// Blocks of activations.
    blocks: usize,
    tiles: Range<usize>,
    columns: Range<usize>,
}

impl Part<'_> {
    fn groups(&self) -> usize {
        self.columns.len().div_ceil(GROUP)
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
        let shares = self.blocks.min(SHARES_OF_LATER);
        let share = if block < shares { half / shares } else { 0 };
        let from = self.later(self.tiles.start).wrapping_add((half + block * share) * self.groups());
        Later { from, panel_bytes: LANES * self.w.row_bytes(), group_bytes: share }
    }
}

fn tiles_of(w: &Matrix) -> usize {
    w.rows().div_ceil(LANES)
}
