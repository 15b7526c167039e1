//! Causal attention of a ragged batch: one product for the queries, keys and values of all rows, then every row over its own slot's cache.

use super::cache::{Caches, TensorCache};
use super::linear::{Linear, Part};
use super::norm::RmsNorm;
use super::rope::{Angles, turn, turn_in_place};
use crate::LoadError;
use crate::backend::{Backend, Kernels, with_slice};
use crate::source::Source;
use crate::spec::{RopeStyle, Spec};
use candle_core::{D, DType, Device, Result, Tensor, bail};
use rbee_kernels::{HeadSpan, KvCache, Row, Strided};
use std::ops::Range;

/// The rows of one step: for each which slot's token it is, and where it stands in its sequence.
pub struct Batch {
    pub rows: Vec<Row>,
    pub sequences: Vec<Sequence>,
}

/// Consecutive rows of one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    pub slot: usize,
    /// Of the first row.
    pub position: usize,
    pub rows: Range<usize>,
}

/// The attention of one block.
pub struct Attention {
    qkv: Linear,
    output: Linear,
    qk_norms: Option<(RmsNorm, RmsNorm)>,
    block: usize,
    shape: rbee_kernels::Attention,
}

impl Attention {
    /// Takes the tensors of a block.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or not of its shape.
    pub fn take(
        backend: &Backend,
        source: &mut Source,
        spec: &Spec,
        block: usize,
    ) -> std::result::Result<Self, LoadError> {
        let name = |part: &str| format!("blk.{block}.{part}");
        let (q, k, v, qkv, o) = (name("attn_q"), name("attn_k"), name("attn_v"), name("attn_qkv"), name("attn_output"));
        let fused = [Part { name: &qkv, rows: spec.query_rows() + spec.key_rows() + spec.value_rows() }];
        let separate = [
            Part { name: &q, rows: spec.query_rows() },
            Part { name: &k, rows: spec.key_rows() },
            Part { name: &v, rows: spec.value_rows() },
        ];
        let parts: &[Part<'_>] = if source.has(&format!("{qkv}.weight")) { &fused } else { &separate };
        let qkv = Linear::take(backend, source, parts, spec.embedding)?;
        let output = [Part { name: &o, rows: spec.embedding }];
        let mut norm = |part: &str| RmsNorm::take(backend, source, &name(part), spec.key_length, spec.epsilon);
        let qk_norms = if spec.qk_norm { Some((norm("attn_q_norm")?, norm("attn_k_norm")?)) } else { None };
        Ok(Self {
            qkv,
            output: Linear::take(backend, source, &output, spec.heads * spec.value_length)?,
            qk_norms,
            block,
            shape: rbee_kernels::Attention {
                heads: spec.heads,
                kv_heads: spec.kv_heads,
                key_length: spec.key_length,
                value_length: spec.value_length,
                scale: spec.attention_scale,
                softcap: spec.attention_softcap,
                window: spec.layers[block].window,
            },
        })
    }

    /// `[rows, embedding]` to what every row's query sees, `[rows, heads * value_length]`. Writes the rows' keys and values.
    pub fn see(
        &self,
        backend: &Backend,
        x: &Tensor,
        caches: &mut Caches,
        batch: &Batch,
        angles: &Angles,
    ) -> Result<Tensor> {
        let qkv = self.qkv.forward(backend, x)?;
        match (backend, caches, angles) {
            (Backend::Kernels(kernels), Caches::Kernels(slots), Angles::Kernels(angles)) => {
                let rbee_kernels::Attention { heads, kv_heads, key_length, .. } = self.shape;
                let queries = HeadSpan { stride: qkv.dim(1)?, offset: 0, heads, head_length: key_length };
                let keys = HeadSpan { offset: heads * key_length, heads: kv_heads, ..queries };
                if let Some((query, key)) = &self.qk_norms {
                    query.forward_heads(kernels, &qkv, queries)?;
                    key.forward_heads(kernels, &qkv, keys)?;
                }
                turn_in_place(kernels, &qkv, HeadSpan { heads: heads + kv_heads, ..queries }, angles)?;
                let seen = self.see_by_kernels(kernels, &qkv, slots, batch)?;
                backend.recycle(qkv)?;
                Ok(seen)
            }
            (Backend::Candle(_), Caches::Candle(slots), Angles::Candle { style, cos, sin }) => {
                self.see_by_candle(backend, &qkv, slots, batch, (*style, cos, sin))
            }
            _ => bail!("caches or angles of another backend"),
        }
    }

    /// `[rows, heads * value_length]` to `[rows, embedding]`.
    pub fn combine(&self, backend: &Backend, seen: &Tensor) -> Result<Tensor> {
        self.output.forward(backend, seen)
    }

    fn see_by_kernels(&self, kernels: &Kernels, qkv: &Tensor, slots: &mut [KvCache], batch: &Batch) -> Result<Tensor> {
        let stride = qkv.dim(D::Minus1)?;
        let shape = &self.shape;
        let key = shape.heads * shape.key_length;
        let value = key + shape.kv_heads * shape.key_length;
        with_slice(qkv, |qkv| {
            for (row, numbers) in batch.rows.iter().zip(qkv.chunks_exact(stride)) {
                slots[row.cache].write(self.block, row.position, &numbers[key..value], &numbers[value..]);
            }
        })?;
        let caches: Vec<&KvCache> = slots.iter().collect();
        kernels.map("attention", qkv, (batch.rows.len(), shape.heads * shape.value_length), |qkv, out| {
            let queries = Strided { data: qkv, stride, offset: 0 };
            rbee_kernels::attention(&kernels.cpu, shape, &caches, self.block, &batch.rows, queries, out);
        })
    }

    fn see_by_candle(
        &self,
        backend: &Backend,
        qkv: &Tensor,
        slots: &[TensorCache],
        batch: &Batch,
        (style, cos, sin): (RopeStyle, &Tensor, &Tensor),
    ) -> Result<Tensor> {
        let shape = &self.shape;
        let rows = batch.rows.len();
        // [heads, rows, length]
        let heads = |offset: usize, count: usize, length: usize| -> Result<Tensor> {
            qkv.narrow(1, offset, count * length)?.reshape((rows, count, length))?.transpose(0, 1)?.contiguous()
        };
        let key_offset = shape.heads * shape.key_length;
        let value_offset = key_offset + shape.kv_heads * shape.key_length;
        let mut q = heads(0, shape.heads, shape.key_length)?;
        let mut k = heads(key_offset, shape.kv_heads, shape.key_length)?;
        let v = heads(value_offset, shape.kv_heads, shape.value_length)?.to_dtype(DType::F16)?;
        if let Some((query, key)) = &self.qk_norms {
            (q, k) = (query.forward(backend, &q)?, key.forward(backend, &k)?);
        }
        let q = turn(&q, style, cos, sin)?;
        let k = turn(&k, style, cos, sin)?.to_dtype(DType::F16)?;
        let mut seen = Vec::with_capacity(batch.sequences.len());
        for sequence in &batch.sequences {
            let of = |t: &Tensor| t.narrow(1, sequence.rows.start, sequence.rows.len())?.contiguous();
            let (keys, values) = &slots[sequence.slot].layers[self.block];
            keys.slice_set(&of(&k)?, 1, sequence.position)?;
            values.slice_set(&of(&v)?, 1, sequence.position)?;
            seen.push(self.see_one_by_candle(&of(&q)?, keys, values, sequence)?);
        }
        Tensor::cat(&seen, 0)
    }

    /// One sequence: queries `[heads, n, key_length]` over its cache, to `[n, heads * value_length]`.
    fn see_one_by_candle(&self, q: &Tensor, keys: &Tensor, values: &Tensor, sequence: &Sequence) -> Result<Tensor> {
        let shape = &self.shape;
        let (n, group) = (sequence.rows.len(), shape.heads / shape.kv_heads);
        let end = sequence.position + n;
        let start = shape.window.map_or(0, |window| (sequence.position + 1).saturating_sub(window));
        let past = |cache: &Tensor| cache.narrow(1, start, end - start)?.to_dtype(DType::F32)?.contiguous();
        let (keys, values) = (past(keys)?, past(values)?);
        let q = q.reshape((shape.kv_heads, group * n, shape.key_length))?;
        let mut scores = (q.matmul(&keys.transpose(1, 2)?.contiguous()?)? * f64::from(shape.scale))?;
        if let Some(cap) = shape.softcap {
            scores = ((scores / f64::from(cap))?.tanh()? * f64::from(cap))?;
        }
        let scores = scores.reshape((shape.kv_heads * group, n, end - start))?;
        let mask = mask(sequence.position, n, start, shape.window, q.device())?;
        let weights = candle_nn::ops::softmax_last_dim(&scores.broadcast_add(&mask)?)?;
        let weights = weights.reshape((shape.kv_heads, group * n, end - start))?;
        let seen = weights.matmul(&values)?.reshape((shape.heads, n, shape.value_length))?;
        seen.transpose(0, 1)?.contiguous()?.reshape((n, shape.heads * shape.value_length))
    }
}

/// `[n, positions from start on]`: 0 where the row sees, -infinity elsewhere.
fn mask(position: usize, n: usize, start: usize, window: Option<usize>, device: &Device) -> Result<Tensor> {
    let sees = |row: usize, at: usize| at <= row && window.is_none_or(|window| row - at < window);
    let end = position + n;
    let values: Vec<f32> = (position..end)
        .flat_map(|row| (start..end).map(move |at| if sees(row, at) { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    Tensor::from_vec(values, (n, end - start), device)
}
