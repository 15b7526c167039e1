//! Causal attention of a ragged batch over the slots' caches, one task per row and head.

use super::math::{add_scaled, dot};
use rayon::prelude::*;

/// Keys and values of one slot: per layer, position after position, all heads of a position together.
pub struct Cache {
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    /// Elements per position.
    width: usize,
    len: usize,
}

impl Cache {
    pub fn new(layers: usize, width: usize) -> Self {
        Self { layers: vec![(Vec::new(), Vec::new()); layers], width, len: 0 }
    }

    /// Number of positions.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends one position to a layer; the last layer completes it.
    pub fn push(&mut self, layer: usize, key: &[f32], value: &[f32]) {
        let last = layer + 1 == self.layers.len();
        let (keys, values) = &mut self.layers[layer];
        keys.extend_from_slice(key);
        values.extend_from_slice(value);
        self.len += usize::from(last);
    }

    /// Takes over the first positions of another cache of the same shape.
    pub fn copy_from(&mut self, other: &Self, len: usize) {
        for ((keys, values), (from_keys, from_values)) in self.layers.iter_mut().zip(&other.layers) {
            *keys = from_keys[..len * self.width].to_vec();
            *values = from_values[..len * self.width].to_vec();
        }
        self.len = len;
    }

    /// Forgets all positions from `len` on, also in layers that are ahead of the others.
    pub fn truncate(&mut self, len: usize) {
        for (keys, values) in &mut self.layers {
            keys.truncate(len * self.width);
            values.truncate(len * self.width);
        }
        self.len = self.len.min(len);
    }
}

/// Shape of the attention.
pub struct Attention {
    heads: usize,
    kv_heads: usize,
    head: usize,
    scale: f32,
    wide: bool,
}

/// Below so many multiplications the threads cost more than they bring.
const PARALLEL_WORK: usize = 1 << 17;

impl Attention {
    pub fn new(heads: usize, kv_heads: usize, head: usize) -> Self {
        Self { heads, kv_heads, head, scale: 1.0 / (head as f32).sqrt(), wide: has_wide() }
    }

    /// For every row (slot, position): what its query sees in its slot up to its position.
    pub fn run(
        &self,
        pool: &rayon::ThreadPool,
        slots: &[Cache],
        layer: usize,
        rows: &[(usize, usize)],
        queries: &[f32],
    ) -> Vec<f32> {
        let mut out = vec![0.0; queries.len()];
        let one = |(index, out): (usize, &mut [f32])| {
            let (row, head) = (index / self.heads, index % self.heads);
            let (slot, position) = rows[row];
            let (keys, values) = &slots[slot].layers[layer];
            let query = &queries[index * self.head..(index + 1) * self.head];
            let offset = head / (self.heads / self.kv_heads) * self.head;
            let view = View { keys, values, offset, stride: self.kv_heads * self.head, positions: position + 1 };
            self.attend(query, view, out);
        };
        let work: usize = rows.iter().map(|&(_, p)| (p + 1) * self.heads * self.head * 2).sum();
        if work < PARALLEL_WORK {
            out.chunks_exact_mut(self.head).enumerate().for_each(one);
        } else {
            pool.install(|| out.par_chunks_exact_mut(self.head).enumerate().for_each(one));
        }
        out
    }

    fn attend(&self, query: &[f32], view: View<'_>, out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if self.wide {
            // SAFETY: `wide` says that the CPU has AVX2 and FMA.
            return unsafe { attend_wide(query, view, self.scale, out) };
        }
        attend(query, view, self.scale, out);
    }
}

fn has_wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// One head of one slot's layer.
#[derive(Clone, Copy)]
struct View<'a> {
    keys: &'a [f32],
    values: &'a [f32],
    offset: usize,
    stride: usize,
    positions: usize,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn attend_wide(query: &[f32], view: View<'_>, scale: f32, out: &mut [f32]) {
    attend(query, view, scale, out);
}

#[inline(always)]
fn attend(query: &[f32], view: View<'_>, scale: f32, out: &mut [f32]) {
    let View { keys, values, offset, stride, positions } = view;
    let at = |position: usize| position * stride + offset..position * stride + offset + query.len();
    let mut scores = Vec::with_capacity(positions);
    let mut top = f32::NEG_INFINITY;
    for position in 0..positions {
        let score = dot(query, &keys[at(position)]) * scale;
        top = top.max(score);
        scores.push(score);
    }
    let mut sum = 0.0;
    for score in &mut scores {
        *score = (*score - top).exp();
        sum += *score;
    }
    let inverse = 1.0 / sum;
    for (position, score) in scores.into_iter().enumerate() {
        add_scaled(out, score * inverse, &values[at(position)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap()
    }

    #[test]
    fn a_row_sees_only_its_slot_and_its_past() {
        let attention = Attention::new(2, 1, 2);
        let mut slots = vec![Cache::new(1, 2), Cache::new(1, 2)];
        slots[0].push(0, &[1.0, 0.0], &[1.0, 2.0]);
        slots[0].push(0, &[1.0, 0.0], &[3.0, 4.0]);
        slots[1].push(0, &[9.0, 9.0], &[7.0, 8.0]);
        let queries = [1.0, 0.0, 5.0, 5.0].repeat(3);
        let out = attention.run(&pool(), &slots, 0, &[(0, 0), (0, 1), (1, 0)], &queries);
        assert_eq!(out[..4], [1.0, 2.0, 1.0, 2.0]);
        assert_eq!(out[4..8], [2.0, 3.0, 2.0, 3.0]);
        assert_eq!(out[8..], [7.0, 8.0, 7.0, 8.0]);
    }

    #[test]
    fn a_cache_forgets_what_was_cut() {
        let mut cache = Cache::new(2, 1);
        for value in [1.0, 2.0, 3.0] {
            cache.push(0, &[value], &[value]);
            cache.push(1, &[value], &[value]);
        }
        cache.push(0, &[4.0], &[4.0]);
        cache.truncate(2);
        assert_eq!((cache.len(), cache.layers[0].0.len(), cache.layers[1].0.len()), (2, 2, 2));
        cache.truncate(0);
        assert_eq!((cache.len(), cache.layers[0].0.len()), (0, 0));
    }
}
