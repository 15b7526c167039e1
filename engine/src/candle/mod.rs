//! Llama on the CPU: Candle's quantized matrix products, our own forward over ragged batches with one cache per slot.

mod attention;
mod math;
mod rope;
mod weights;

use crate::{Chunk, Engine, EngineError, Output};
use attention::{Attention, Cache};
use candle_core::{Device, Tensor};
use math::{add, rms_norm, silu_mul};
use rbee_model::gguf::Header;
use rope::Rope;
use weights::{Linear, Weights};
pub use weights::{LoadError, Progress};

/// How weights are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightMode {
    /// As the file has them.
    #[default]
    AsStored,
    /// As F32: slow and large, exact.
    F32,
}

/// Shape of a Llama model, in numbers of elements.
#[derive(Debug, Clone, Copy)]
struct Shape {
    embedding: usize,
    heads: usize,
    kv_heads: usize,
    head: usize,
    layers: usize,
    vocabulary: usize,
    context: usize,
    epsilon: f32,
}

impl Shape {
    fn read(header: &Header, context: usize) -> Self {
        let s = header.summary();
        Self {
            embedding: s.embedding_length as usize,
            heads: s.head_count as usize,
            kv_heads: s.head_count_kv as usize,
            head: s.key_length as usize,
            layers: s.layer_count as usize,
            vocabulary: s.vocab_size as usize,
            context,
            epsilon: header.arch_f64("attention.layer_norm_rms_epsilon").unwrap_or(1e-5) as f32,
        }
    }
}

/// The engine.
pub struct CandleEngine {
    shape: Shape,
    weights: Weights,
    rope: Rope,
    attention: Attention,
    slots: Vec<Cache>,
    memory_bytes: u64,
    pool: rayon::ThreadPool,
}

/// What an engine is made of besides the file.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub slots: usize,
    /// Most tokens of one sequence.
    pub context_length: usize,
    pub weights: WeightMode,
    /// Threads for attention; the matrix products use Candle's own pool.
    pub threads: usize,
}

impl CandleEngine {
    /// Reads the weights of a checked file. `file` are its bytes, `progress` is told after each layer.
    pub fn load(
        header: &Header,
        file: &[u8],
        options: Options,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, LoadError> {
        let shape = Shape::read(header, options.context_length);
        let weights = Weights::load(header, file, shape, options.weights, progress)?;
        let rope = Rope::read(header, file, shape.head, options.context_length)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads.max(1)).build();
        let pool = pool.map_err(|e| LoadError::Threads(e.to_string()))?;
        let attention = Attention::new(shape.heads, shape.kv_heads, shape.head);
        let slots: Vec<Cache> =
            (0..options.slots).map(|_| Cache::new(shape.layers, shape.kv_heads * shape.head)).collect();
        let kv = (options.slots * options.context_length * shape.layers * shape.kv_heads * shape.head) as u64 * 2 * 4;
        let memory_bytes = weights.bytes() + kv;
        Ok(Self { shape, weights, rope, attention, slots, memory_bytes, pool })
    }

    fn check(&self, chunks: &[Chunk<'_>]) -> Result<(), EngineError> {
        for chunk in chunks {
            let (slot, held) = (chunk.slot, self.slots[chunk.slot].len());
            if held != chunk.position {
                return Err(EngineError::Position { slot, held, position: chunk.position });
            }
            let wanted = held + chunk.tokens.len();
            if wanted > self.shape.context {
                return Err(EngineError::ContextFull { slot, wanted, context_length: self.shape.context });
            }
            if let Some(&token) = chunk.tokens.iter().find(|&&t| t as usize >= self.shape.vocabulary) {
                return Err(EngineError::Token(token));
            }
        }
        Ok(())
    }

    fn forward(&mut self, chunks: &[Chunk<'_>]) -> Result<Vec<Vec<f32>>, EngineError> {
        let Self { shape, weights, rope, attention, slots, pool, .. } = self;
        let tokens: Vec<u32> = chunks.iter().flat_map(|c| c.tokens).copied().collect();
        // (slot, position) of every row.
        let rows: Vec<(usize, usize)> =
            chunks.iter().flat_map(|c| (0..c.tokens.len()).map(|i| (c.slot, c.position + i))).collect();
        let mut x = weights.embed(&tokens)?;
        for (index, layer) in weights.layers.iter().enumerate() {
            let normed = matrix(rms_norm(&x, &layer.attention_norm, shape.epsilon), shape.embedding)?;
            let mut q = layer.query.apply(&normed)?;
            let mut k = layer.key.apply(&normed)?;
            let v = layer.value.apply(&normed)?;
            for (row, &(slot, position)) in rows.iter().enumerate() {
                let (q_width, kv_width) = (shape.heads * shape.head, shape.kv_heads * shape.head);
                rope.turn(&mut q[row * q_width..][..q_width], position);
                rope.turn(&mut k[row * kv_width..][..kv_width], position);
                let span = row * kv_width..(row + 1) * kv_width;
                slots[slot].push(index, &k[span.clone()], &v[span]);
            }
            let seen = attention.run(pool, slots, index, &rows, &q);
            add(&mut x, &layer.output.apply(&matrix(seen, shape.heads * shape.head)?)?);
            let normed = matrix(rms_norm(&x, &layer.feed_forward_norm, shape.epsilon), shape.embedding)?;
            let mut gate = layer.gate.apply(&normed)?;
            silu_mul(&mut gate, &layer.up.apply(&normed)?);
            let width = gate.len() / rows.len();
            add(&mut x, &layer.down.apply(&matrix(gate, width)?)?);
        }
        let mut last = Vec::new();
        let mut end = 0;
        for chunk in chunks {
            end += chunk.tokens.len();
            if chunk.output == Output::Logits {
                last.extend_from_slice(&x[(end - 1) * shape.embedding..end * shape.embedding]);
            }
        }
        if last.is_empty() {
            return Ok(Vec::new());
        }
        let normed = matrix(rms_norm(&last, &weights.norm, shape.epsilon), shape.embedding)?;
        let logits = weights.head.apply(&normed)?;
        Ok(logits.chunks_exact(shape.vocabulary).map(<[f32]>::to_vec).collect())
    }
}

impl Engine for CandleEngine {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn context_length(&self) -> usize {
        self.shape.context
    }

    fn vocab_size(&self) -> usize {
        self.shape.vocabulary
    }

    fn embedding_length(&self) -> usize {
        self.shape.embedding
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn step(&mut self, chunks: &[Chunk<'_>]) -> Result<Vec<Vec<f32>>, EngineError> {
        self.check(chunks)?;
        let result = self.forward(chunks);
        if result.is_err() {
            chunks.iter().for_each(|c| self.slots[c.slot].truncate(c.position));
        }
        result
    }

    fn truncate(&mut self, slot: usize, length: usize) {
        self.slots[slot].truncate(length);
    }

    fn copy(&mut self, from: usize, to: usize, length: usize) {
        let (low, high) = self.slots.split_at_mut(from.max(to));
        match from < to {
            true => high[0].copy_from(&low[from], length),
            false => low[to].copy_from(&high[0], length),
        }
    }
}

impl Linear {
    /// Rows of the input times the weights.
    fn apply(&self, rows: &Tensor) -> Result<Vec<f32>, EngineError> {
        self.forward(rows).and_then(|t| t.flatten_all()?.to_vec1()).map_err(compute)
    }
}

fn matrix(values: Vec<f32>, width: usize) -> Result<Tensor, EngineError> {
    let rows = values.len() / width;
    Tensor::from_vec(values, (rows, width), &Device::Cpu).map_err(compute)
}

fn compute(error: candle_core::Error) -> EngineError {
    EngineError::Compute(error.to_string())
}

#[cfg(test)]
mod tests;
