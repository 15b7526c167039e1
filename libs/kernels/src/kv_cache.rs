//! The keys and values of one sequence, as f16, in the order in which attention reads them.
//!
//! Every layer and head has a region of its own. Keys lie in tiles of 16 positions, transposed (`[tile][key_length][16]`): a
//! column of 16 positions of one dimension is one load, and a score needs no sum across lanes. Values lie as
//! `[position][value_length]`, each row padded to whole columns. The memory is mapped, so pages that no position touched cost
//! nothing.

use std::io;

use half::{f16, slice::HalfFloatSliceExt};
use memmap2::MmapMut;

use crate::vector::WIDTH;

/// Sizes of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    pub layers: usize,
    /// Heads of keys and values; fewer than heads of queries where these share them.
    pub kv_heads: usize,
    /// Floats of one key of one head.
    pub key_length: usize,
    /// Floats of one value of one head.
    pub value_length: usize,
    /// Positions.
    pub context: usize,
}

impl KvShape {
    /// Bytes of address space of a cache; None where that is no number that this machine has, or 0. What was not written is not
    /// in memory.
    pub fn bytes(&self) -> Option<usize> {
        let halves = self.head_halves()?.checked_mul(self.kv_heads)?.checked_mul(self.layers)?;
        halves.checked_mul(size_of::<f16>()).filter(|&bytes| bytes > 0 && isize::try_from(bytes).is_ok())
    }

    fn head_halves(&self) -> Option<usize> {
        let row = self.key_length.checked_add(self.value_length.checked_next_multiple_of(WIDTH)?)?;
        self.context.checked_next_multiple_of(WIDTH)?.checked_mul(row)
    }
}

/// One slot: the keys and values of one sequence.
#[derive(Debug)]
pub struct KvCache {
    shape: KvShape,
    len: usize,
    memory: MmapMut,
}

impl KvCache {
    /// An empty cache.
    ///
    /// # Errors
    /// `InvalidInput` where a size is 0 or the product of all is too large; what the operating system says where it has no such
    /// address space.
    pub fn new(shape: KvShape) -> io::Result<KvCache> {
        let bytes = shape.bytes().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a KV cache of {shape:?} cannot be: every size must be at least 1 and their product fit into memory"
                ),
            )
        })?;
        Ok(KvCache { shape, len: 0, memory: MmapMut::map_anon(bytes)? })
    }

    pub fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// Positions that are in use, from 0 on.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Says how many positions are in use: more after a step, fewer where a sequence goes back.
    ///
    /// # Panics
    /// Where that is more than the context.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.shape.context, "{len} positions in a cache of {}", self.shape.context);
        self.len = len;
    }

    /// Writes the keys (`[kv_heads * key_length]`) and values (`[kv_heads * value_length]`) of one position, rounded to the
    /// nearest f16, ties to even. [`KvCache::len`] stays: a position counts when all layers have it.
    ///
    /// # Panics
    /// Where the layer, the position or a length does not fit the shape.
    pub fn write(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let KvShape { kv_heads, key_length, value_length, context, .. } = self.shape;
        assert!(position < context, "position {position} in a cache of {context}");
        assert_eq!(keys.len(), kv_heads * key_length, "keys of a position");
        assert_eq!(values.len(), kv_heads * value_length, "values of a position");
        let value_stride = self.value_stride();
        for (head, (key, value)) in keys.chunks_exact(key_length).zip(values.chunks_exact(value_length)).enumerate() {
            let (key_region, value_region) = self.regions_mut(layer, head);
            let tile = position / WIDTH * WIDTH * key_length + position % WIDTH;
            scatter(key, &mut key_region[tile..]);
            value_region[position * value_stride..][..value_length].convert_from_f32_slice(value);
        }
    }

    /// What was written for a position of a head: the key and the value.
    ///
    /// # Panics
    /// Where the layer, the head, the position or a length does not fit the shape.
    pub fn read(&self, layer: usize, head: usize, position: usize, key: &mut [f32], value: &mut [f32]) {
        assert!(position < self.shape.context && key.len() == self.shape.key_length);
        let tile = position / WIDTH * WIDTH * self.shape.key_length + position % WIDTH;
        for (to, from) in key.iter_mut().zip(self.keys(layer, head)[tile..].iter().step_by(WIDTH)) {
            *to = from.to_f32();
        }
        let row = &self.values(layer, head)[position * self.value_stride()..][..self.shape.value_length];
        row.convert_to_f32_slice(value);
    }

    /// Makes the first `len` positions those of `from`, and their number the length. Only what they take is copied.
    ///
    /// # Panics
    /// Where the caches differ in more than their context, or one of them is shorter than `len`.
    pub fn copy_prefix(&mut self, from: &KvCache, len: usize) {
        let shape = KvShape { context: self.shape.context, ..from.shape };
        assert_eq!(self.shape, shape, "caches of different models");
        assert!(len <= from.len, "{len} positions of {}", from.len);
        let keys = len.next_multiple_of(WIDTH) * shape.key_length;
        let values = len * self.value_stride();
        for layer in 0..shape.layers {
            for head in 0..shape.kv_heads {
                let (key_region, value_region) = self.regions_mut(layer, head);
                key_region[..keys].copy_from_slice(&from.keys(layer, head)[..keys]);
                value_region[..values].copy_from_slice(&from.values(layer, head)[..values]);
            }
        }
        self.set_len(len);
    }

    /// Halves from one position's value to the next one's.
    pub(crate) fn value_stride(&self) -> usize {
        self.shape.value_length.next_multiple_of(WIDTH)
    }

    /// `[context / 16][key_length][16]`, the context rounded up. Lanes of positions that were not written hold anything.
    pub(crate) fn keys(&self, layer: usize, head: usize) -> &[f16] {
        let start = self.region(layer, head);
        &self.halves()[start..start + self.key_halves()]
    }

    /// `[context][value_stride]`, the context rounded up.
    pub(crate) fn values(&self, layer: usize, head: usize) -> &[f16] {
        let start = self.region(layer, head) + self.key_halves();
        &self.halves()[start..start + self.positions() * self.value_stride()]
    }

    fn regions_mut(&mut self, layer: usize, head: usize) -> (&mut [f16], &mut [f16]) {
        let (start, keys) = (self.region(layer, head), self.key_halves());
        let len = keys + self.positions() * self.value_stride();
        // SAFETY: the map is aligned to pages, has whole halves, and every pattern of bits is one.
        let halves =
            unsafe { std::slice::from_raw_parts_mut(self.memory.as_mut_ptr().cast::<f16>(), self.memory.len() / 2) };
        halves[start..start + len].split_at_mut(keys)
    }

    fn halves(&self) -> &[f16] {
        // SAFETY: as in `regions_mut`.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast::<f16>(), self.memory.len() / 2) }
    }

    fn region(&self, layer: usize, head: usize) -> usize {
        let KvShape { layers, kv_heads, .. } = self.shape;
        assert!(layer < layers && head < kv_heads, "layer {layer} of {layers}, head {head} of {kv_heads}");
        (layer * kv_heads + head) * (self.key_halves() + self.positions() * self.value_stride())
    }

    fn key_halves(&self) -> usize {
        self.positions() * self.shape.key_length
    }

    fn positions(&self) -> usize {
        self.shape.context.next_multiple_of(WIDTH)
    }
}

/// Writes `key` to every 16th half of `to`.
fn scatter(key: &[f32], to: &mut [f16]) {
    let mut halves = [f16::ZERO; 64];
    for (part, to) in key.chunks(halves.len()).zip(to.chunks_mut(halves.len() * WIDTH)) {
        halves[..part.len()].convert_from_f32_slice(part);
        for (half, to) in halves[..part.len()].iter().zip(to.iter_mut().step_by(WIDTH)) {
            *to = *half;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: KvShape = KvShape { layers: 3, kv_heads: 2, key_length: 80, value_length: 40, context: 50 };

    fn row(length: usize, seed: usize) -> Vec<f32> {
        (0..length).map(|i| ((seed * 31 + i * 7) % 257) as f32 / 16.0 - 8.0).collect()
    }

    fn write(cache: &mut KvCache, layer: usize, position: usize) {
        let seed = layer * 100 + position;
        let KvShape { kv_heads, key_length, value_length, .. } = *cache.shape();
        cache.write(layer, position, &row(kv_heads * key_length, seed), &row(kv_heads * value_length, seed + 1));
    }

    fn assert_holds(cache: &KvCache, layer: usize, position: usize) {
        let KvShape { kv_heads, key_length, value_length, .. } = *cache.shape();
        let seed = layer * 100 + position;
        let (mut key, mut value) = (vec![0.0; key_length], vec![0.0; value_length]);
        for head in 0..kv_heads {
            cache.read(layer, head, position, &mut key, &mut value);
            assert_eq!(key, row(kv_heads * key_length, seed)[head * key_length..][..key_length]);
            assert_eq!(value, row(kv_heads * value_length, seed + 1)[head * value_length..][..value_length]);
        }
    }

    #[test]
    fn what_is_written_is_read_back_in_every_layer_and_position() {
        let mut cache = KvCache::new(SHAPE).unwrap();
        let everywhere = || (0..SHAPE.layers).flat_map(|l| (0..SHAPE.context).map(move |p| (l, p)));
        everywhere().for_each(|(layer, position)| write(&mut cache, layer, position));
        everywhere().for_each(|(layer, position)| assert_holds(&cache, layer, position));
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn halves_are_rounded_to_the_nearest_and_ties_to_even() {
        let mut cache =
            KvCache::new(KvShape { layers: 1, kv_heads: 1, key_length: 5, value_length: 5, context: 1 }).unwrap();
        let exact = [1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0, 1.0 + 1.5 / 2048.0, 1e6, -1e-9];
        let halves = [1.0, 1.0 + 2.0 / 1024.0, 1.0 + 1.0 / 1024.0, f32::INFINITY, -0.0];
        cache.write(0, 0, &exact, &exact);
        let (mut key, mut value) = ([0.0; 5], [0.0; 5]);
        cache.read(0, 0, 0, &mut key, &mut value);
        assert_eq!((key, value), (halves, halves));
    }

    #[test]
    fn a_prefix_is_copied_into_a_cache_of_another_context_and_no_more_than_it() {
        let mut from = KvCache::new(SHAPE).unwrap();
        let mut to = KvCache::new(KvShape { context: 33, ..SHAPE }).unwrap();
        for layer in 0..SHAPE.layers {
            (0..SHAPE.context).for_each(|position| write(&mut from, layer, position));
        }
        from.set_len(SHAPE.context);
        to.copy_prefix(&from, 18);
        assert_eq!(to.len(), 18);
        for layer in 0..SHAPE.layers {
            (0..18).for_each(|position| assert_holds(&to, layer, position));
            let mut value = [1.0; 40];
            to.read(layer, 1, 18, &mut [0.0; 80], &mut value);
            assert_eq!(value, [0.0; 40]);
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        for shape in [
            KvShape { layers: 0, ..SHAPE },
            KvShape { context: usize::MAX, ..SHAPE },
            KvShape { context: usize::MAX / 1000, ..SHAPE },
            KvShape { value_length: usize::MAX - 3, ..SHAPE },
            KvShape { kv_heads: 1 << 40, layers: 1 << 20, ..SHAPE },
        ] {
            assert_eq!(KvCache::new(shape).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{shape:?}");
        }
    }
}
