//! Attention of the rows of a step to the caches of their sequences.
//!
//! Positions are taken in blocks of [`BLOCK`], counted from position 0 of the sequence. Within a block, a row's scores, the
//! largest of them, the weights and the weighted sum of values are formed; blocks are then merged in ascending order. So the
//! order of operations of a row and head is a function of its position, whatever else is in the step and however many threads
//! there are. Rows that follow each other in one cache form a tile: what is read of the cache serves all heads that share it
//! and all rows of the tile.

mod block;
mod plan;
mod product;
mod softmax;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use block::{Heads, Partial};
use plan::Tile;
use softmax::Stat;

use crate::{Cpu, Isa, KvCache, pool::SendPtr, vector::dispatch};

/// Positions whose scores share one maximum.
const BLOCK: usize = 256;

/// Rows of queries times heads that are worth sharing what was read of a cache; more would leave the first-level cache.
const TILE_QUERIES: usize = 64;

/// Multiplications below which waking the other threads costs more than it gains.
const WORTH_THREADS: usize = 1 << 16;

/// How a model attends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Heads of queries: a multiple of `kv_heads`; neighbours share a head of keys and values.
    pub heads: usize,
    pub kv_heads: usize,
    pub key_length: usize,
    pub value_length: usize,
    /// Factor of every score, usually 1/√key_length.
    pub scale: f32,
    /// Scores become cap tanh(score / cap).
    pub softcap: Option<f32>,
    /// A row sees this many positions, its own among them; all before it without one.
    pub window: Option<usize>,
}

/// Whose row of the step it is, and where in its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Index of the sequence's cache.
    pub cache: usize,
    pub position: usize,
}

/// Rows inside of a wider matrix: row i begins at `data[i * stride + offset]`.
#[derive(Debug, Clone, Copy)]
pub struct Strided<'a> {
    pub data: &'a [f32],
    pub stride: usize,
    pub offset: usize,
}

/// `out[i]` is what row i finds: for every head the mean of the values it sees, weighted by the softmax of its scores.
///
/// `q`: rows of `[heads * key_length]`. `out`: `[rows, heads * value_length]`. The keys and values of `layer` must be written up
/// to each row's own position. Rows of one cache share reads where they stand beside each other.
///
/// # Panics
/// Where lengths, the caches' shapes, positions or indices do not fit each other.
pub fn attention(
    cpu: &Cpu,
    attention: &Attention,
    caches: &[&KvCache],
    layer: usize,
    rows: &[Row],
    q: Strided<'_>,
    out: &mut [f32],
) {
    check(attention, caches, rows, &q, out);
    let tiles = plan::tiles(attention, rows, cpu.pool.threads());
    let step = Step { isa: cpu.isa, attention, caches, layer, rows, q, out: SendPtr(out.as_mut_ptr()) };
    let work: usize = tiles.iter().map(|t| t.span.len() * t.rows.len()).sum::<usize>()
        * attention.heads
        * (attention.key_length + attention.value_length);
    let tasks = tiles.len() * attention.kv_heads;
    if work < WORTH_THREADS || cpu.pool.threads() == 1 {
        (0..tasks).for_each(|task| step.whole(&tiles, task));
    } else if tasks >= 3 * cpu.pool.threads() || tiles.iter().all(|tile| tile.blocks().len() < 2) {
        // The last tiles see most: they come first, so that no thread begins a long one at the end.
        cpu.pool.run(tasks, &|task| step.whole(&tiles, tasks - 1 - task));
    } else {
        step.split(cpu, &tiles);
    }
}

fn check(attention: &Attention, caches: &[&KvCache], rows: &[Row], q: &Strided<'_>, out: &[f32]) {
    let Attention { heads, kv_heads, key_length, value_length, .. } = *attention;
    assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads), "{heads} heads cannot share {kv_heads}");
    assert_eq!(out.len(), rows.len() * heads * value_length, "out");
    assert!(rows.len() <= 1 || q.stride >= heads * key_length, "rows of q overlap");
    let end = rows.len().checked_sub(1).map_or(0, |last| last * q.stride + q.offset + heads * key_length);
    assert!(q.data.len() >= end, "q has {} floats, {end} are needed", q.data.len());
    for cache in caches {
        let shape = cache.shape();
        let lengths = (shape.kv_heads, shape.key_length, shape.value_length);
        assert_eq!(lengths, (kv_heads, key_length, value_length), "a cache of another model");
    }
    for row in rows {
        let context = caches[row.cache].shape().context;
        assert!(row.position < context, "position {} in a cache of {context}", row.position);
    }
}

/// A call, as its tasks see it.
struct Step<'a> {
    isa: Isa,
    attention: &'a Attention,
    caches: &'a [&'a KvCache],
    layer: usize,
    rows: &'a [Row],
    q: Strided<'a>,
    out: SendPtr<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    static PARTIALS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Step<'_> {
    /// One tile and one head of keys and values, block after block.
    fn whole(&self, tiles: &[Tile], task: usize) {
        let (tile, kv_head) = (&tiles[task / self.attention.kv_heads], task % self.attention.kv_heads);
        with_scratch(&SCRATCH, self.scratch_len(tile), |scratch| {
            let (heads, scratch) = self.heads(tile, kv_head, scratch);
            let (partial, scratch) = Partial::split_off(scratch, &heads);
            let (mut total, scratch) = Partial::split_off(scratch, &heads);
            let mut partial = partial;
            for block in tile.blocks() {
                heads.block(block, &mut partial, scratch);
                heads.merge(block, &partial, &mut total);
            }
            self.finish(tile, kv_head, &total);
        });
    }

    /// Every block of every tile and head by itself, then their merging: for few rows that see much.
    fn split(&self, cpu: &Cpu, tiles: &[Tile]) {
        let kv_heads = self.attention.kv_heads;
        let mut tasks = Vec::new();
        let mut len = 0;
        for task in 0..tiles.len() * kv_heads {
            let tile = &tiles[task / kv_heads];
            for block in tile.blocks() {
                tasks.push((task, block, len));
                len += self.partial_len(tile);
            }
        }
        with_scratch(&PARTIALS, len, |partials| {
            let partials = SendPtr(partials.as_mut_ptr());
            // SAFETY: every task has a part of its own, all within `len`; no two calls of `part` for one task live at once.
            let part = |tile: &Tile, start: usize| unsafe {
                std::slice::from_raw_parts_mut(partials.at(start), self.partial_len(tile))
            };
            cpu.pool.run(tasks.len(), &|i| {
                let (task, block, start) = tasks[i];
                let (tile, kv_head) = (&tiles[task / kv_heads], task % kv_heads);
                with_scratch(&SCRATCH, self.scratch_len(tile), |scratch| {
                    let (heads, scratch) = self.heads(tile, kv_head, scratch);
                    let (mut partial, _) = Partial::split_off(part(tile, start), &heads);
                    heads.block(block, &mut partial, scratch);
                });
            });
            cpu.pool.run(tiles.len() * kv_heads, &|task| {
                let (tile, kv_head) = (&tiles[task / kv_heads], task % kv_heads);
                with_scratch(&SCRATCH, self.scratch_len(tile), |scratch| {
                    let (heads, scratch) = self.heads(tile, kv_head, scratch);
                    let (mut total, _) = Partial::split_off(scratch, &heads);
                    for &(_, block, start) in tasks.iter().filter(|t| t.0 == task) {
                        let (partial, _) = Partial::split_off(part(tile, start), &heads);
                        heads.merge(block, &partial, &mut total);
                    }
                    self.finish(tile, kv_head, &total);
                });
            });
        });
    }

    /// The tile's queries of the heads that share `kv_head`, scaled, and the rest of `scratch`.
    fn heads<'s>(&'s self, tile: &'s Tile, kv_head: usize, scratch: &'s mut [f32]) -> (Heads<'s>, &'s mut [f32]) {
        let Attention { key_length, scale, softcap, .. } = *self.attention;
        let group = self.group();
        let (queries, scratch) = scratch.split_at_mut(self.queries_len(tile));
        for (row, to) in tile.rows.clone().zip(queries.chunks_exact_mut(group * key_length)) {
            let start = row * self.q.stride + self.q.offset + kv_head * group * key_length;
            for (to, from) in to.iter_mut().zip(&self.q.data[start..]) {
                *to = from * scale;
            }
        }
        let cache = self.caches[self.rows[tile.rows.start].cache];
        let heads = Heads {
            isa: self.isa,
            group,
            key_length,
            value_stride: cache.value_stride(),
            softcap,
            visible: &tile.visible,
            queries,
            keys: cache.keys(self.layer, kv_head),
            values: cache.values(self.layer, kv_head),
        };
        (heads, scratch)
    }

    /// Divides by the sum of weights, and writes.
    fn finish(&self, tile: &Tile, kv_head: usize, total: &Partial<'_>) {
        let Attention { heads, value_length, .. } = *self.attention;
        let group = self.group();
        let sums = total.sums.chunks_exact(value_length.next_multiple_of(crate::vector::WIDTH));
        for (query, (Stat { sum, .. }, values)) in total.stats.iter().zip(sums).enumerate() {
            let (row, head) = (tile.rows.start + query / group, kv_head * group + query % group);
            // SAFETY: `check` has seen that `out` has value_length floats for every row and head, and each row and head belong to
            // one task.
            let out = unsafe {
                std::slice::from_raw_parts_mut(self.out.at((row * heads + head) * value_length), value_length)
            };
            let factor = 1.0 / sum;
            out.iter_mut().zip(values).for_each(|(out, value)| *out = value * factor);
        }
    }

    fn group(&self) -> usize {
        self.attention.heads / self.attention.kv_heads
    }

    fn queries_len(&self, tile: &Tile) -> usize {
        (tile.rows.len() * self.group() * self.attention.key_length).next_multiple_of(16)
    }

    fn partial_len(&self, tile: &Tile) -> usize {
        Partial::len(tile.rows.len() * self.group(), self.attention.value_length)
    }

    fn scratch_len(&self, tile: &Tile) -> usize {
        let Attention { key_length, value_length, .. } = *self.attention;
        let queries = tile.rows.len() * self.group();
        self.queries_len(tile) + 2 * self.partial_len(tile) + block::scratch_len(queries, key_length, value_length)
    }
}

/// Lends `len` floats that begin at a cache line and hold anything.
fn with_scratch(
    scratch: &'static std::thread::LocalKey<RefCell<Vec<f32>>>,
    len: usize,
    use_it: impl FnOnce(&mut [f32]),
) {
    const LINE: usize = 64 / size_of::<f32>();
    scratch.with_borrow_mut(|scratch| {
        if scratch.len() < len + LINE {
            scratch.resize(len + LINE, 0.0);
        }
        let start = scratch.as_ptr().align_offset(64).min(LINE);
        use_it(&mut scratch[start..start + len]);
    });
}
