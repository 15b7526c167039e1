//! One call's work: which tiles of which matrices a task has, and in what order their columns are multiplied.
//!
//! A tile is 16 rows of a matrix. A task has some tiles that follow each other. They are unpacked in chunks of columns, a
//! few tiles at a time, and each chunk is multiplied with all rows of activations while it lies in the cache. The sums of
//! a chunk go on from those of the chunk before, so the size of chunks and tasks changes no bit of the result.

use super::activations::WORDS;
use super::dispatch::Kernels;
use super::kernel::Dot;
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
/// Columns of quants in a chunk when a panel is used for one block of activations: it stays in the first-level cache.
const SHORT_CHUNK: usize = 512;
/// Columns of quants in a chunk when a panel is used often.
const LONG_CHUNK: usize = 2048;
/// Tiles that are unpacked at once when panels are used often: they fill a good part of the second-level cache, and a
/// block of activations stays in the first level meanwhile.
const TILES_AT_ONCE: usize = 4;
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
            self.pack(pool, &mut activations.quants, self.cols / GROUP * WORDS, self.kernels.quantize);
        }
        if has_floats {
            self.pack(pool, &mut activations.floats, self.cols.next_multiple_of(GROUP), self.kernels.transpose);
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
    fn pack(&self, pool: &Pool, words: &mut Vec<u32>, row_words: usize, pack: unsafe fn(&[f32], usize, &mut [u32])) {
        let used = self.rows() * row_words;
        if words.len() < used {
            words.resize(used, 0);
        }
        let block = self.kernels.rows * self.cols;
        pool.run_rows(&mut words[..used], self.kernels.rows * row_words, &|i, out| {
            let x = &self.x[i * block..self.x.len().min((i + 1) * block)];
            // SAFETY: the kernels are those of instructions that the processor has.
            unsafe { pack(x, self.cols, out) }
        });
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
        let often = self.rows() > self.kernels.rows;
        let (chunk, at_once) = if often { (LONG_CHUNK, TILES_AT_ONCE) } else { (SHORT_CHUNK, 1) };
        let chunk = if kind == Kind::Floats { chunk / 4 } else { chunk };
        let mut panels = PANELS.take();
        for first in tiles.clone().step_by(at_once) {
            let part = Part { w, kind, column, tiles: first..tiles.end.min(first + at_once) };
            for from in (0..self.cols).step_by(chunk) {
                self.chunk(&part, from..self.cols.min(from + chunk), &mut panels, activations);
            }
        }
        PANELS.set(panels);
    }

    fn chunk(&self, part: &Part<'_>, columns: Range<usize>, panels: &mut Vec<Line>, activations: &Activations) {
        let groups = columns.len().div_ceil(GROUP);
        let lines = groups * part.kind.group_bytes() / size_of::<Line>();
        if panels.len() < lines * part.tiles.len() {
            panels.resize(lines * part.tiles.len(), Line([0; 64]));
        }
        for (tile, panel) in part.tiles.clone().zip(panels.chunks_exact_mut(lines)) {
            let rows = std::array::from_fn(|r| part.w.row_data((tile * LANES + r).min(part.w.rows() - 1)).as_ptr());
            let block = part.w.dtype().block_elements() as usize;
            let skipped = columns.start / block * part.w.dtype().block_bytes() as usize;
            let task = Unpack {
                dtype: part.w.dtype(),
                rows: &rows,
                from: columns.start,
                columns: columns.len(),
                next: rows[0].wrapping_add(LANES * (part.w.row_bytes() + skipped)),
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
        for row in (0..self.rows()).step_by(self.kernels.rows) {
            let m = self.kernels.rows.min(self.rows() - row);
            let activations = words[row * row_words + columns.start / GROUP * group_words * m..].as_ptr();
            for (tile, panel) in part.tiles.clone().zip(panels.chunks_exact(lines)) {
                let mut sums = Sums([[0.0; LANES]; MAX_ROWS]);
                let outputs = part.outputs(tile);
                if columns.start > 0 {
                    self.read(row, &outputs, &mut sums.0[..m]);
                }
                let panel = panel.as_ptr().cast();
                let dot = Dot { panel, activations, groups, sums: sums.0.as_mut_ptr().cast() };
                // SAFETY: the processor has the instructions; the panel and the block have the groups; m <= MAX_ROWS.
                unsafe { (self.kernels.dot)(part.kind, m, dot) };
                self.write(row, &outputs, &sums.0[..m]);
            }
        }
    }

    fn read(&self, row: usize, outputs: &Range<usize>, sums: &mut [[f32; LANES]]) {
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the outputs of a tile lie inside of a row, and only this task uses them.
            let out = unsafe { self.out.at((row + i) * self.out_cols + outputs.start) };
            // SAFETY: as above; a tile has at most `LANES` outputs.
            unsafe { std::ptr::copy_nonoverlapping(out, sums.as_mut_ptr(), outputs.len()) };
        }
    }

    fn write(&self, row: usize, outputs: &Range<usize>, sums: &[[f32; LANES]]) {
        for (i, sums) in sums.iter().enumerate() {
            // SAFETY: as in `read`.
            let out = unsafe { self.out.at((row + i) * self.out_cols + outputs.start) };
            // SAFETY: as in `read`.
            unsafe { std::ptr::copy_nonoverlapping(sums.as_ptr(), out, outputs.len()) };
        }
    }
}

#[repr(align(64))]
struct Sums([[f32; LANES]; MAX_ROWS]);

/// Some tiles of a matrix.
struct Part<'a> {
    w: &'a Matrix,
    kind: Kind,
    /// Where the matrix' outputs begin in a row of `out`.
    column: usize,
    tiles: Range<usize>,
}

impl Part<'_> {
    /// Where the outputs of a tile lie in a row of `out`.
    fn outputs(&self, tile: usize) -> Range<usize> {
        self.column + tile * LANES..self.column + self.w.rows().min((tile + 1) * LANES)
    }
}

fn tiles_of(w: &Matrix) -> usize {
    w.rows().div_ceil(LANES)
}
