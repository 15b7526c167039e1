//! A decoder: embeddings, blocks, a last norm and logits, for the rows of one ragged batch.

use crate::LoadError;
use crate::backend::Backend;
use crate::layers::add;
use crate::layers::attention::{Attention, Batch};
use crate::layers::cache::Caches;
use crate::layers::embedding::Embedding;
use crate::layers::linear::Linear;
use crate::layers::mlp::Mlp;
use crate::layers::norm::RmsNorm;
use crate::layers::rope::Rope;
use crate::layers::weight::Weight;
use crate::load::Progress;
use crate::source::Source;
use crate::spec::{RopeSpec, Spec};
use candle_core::{Result, Tensor};

/// The model.
pub struct Decoder {
    embedding: Embedding,
    blocks: Vec<Block>,
    ropes: Vec<Rope>,
    norm: RmsNorm,
    head: Linear,
    final_softcap: Option<f32>,
}

struct Block {
    attention_norm: RmsNorm,
    attention: Attention,
    attention_post_norm: Option<RmsNorm>,
    mlp_norm: RmsNorm,
    mlp: Mlp,
    mlp_post_norm: Option<RmsNorm>,
    /// Index into the decoder's ropes.
    rope: usize,
}

impl Decoder {
    /// Takes all tensors of a source. `progress` is told before each block and at the end.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing, not of its shape, not finite where it must be, or not used.
    pub fn take(
        backend: &Backend,
        mut source: Source,
        spec: &Spec,
        progress: &mut dyn FnMut(Progress),
    ) -> std::result::Result<Self, LoadError> {
        let token_embedding = Weight::take(backend, &mut source, "token_embd.weight", spec.vocabulary, spec.embedding)?;
        let head = match source.has("output.weight") {
            true => Weight::take(backend, &mut source, "output.weight", spec.vocabulary, spec.embedding)?,
            false => token_embedding.clone(),
        };
        let head_bias = source.take_optional_vector("output.bias", spec.vocabulary)?;
        let norm = RmsNorm::take(backend, &mut source, "output_norm", spec.embedding, spec.epsilon)?;
        let mut ropes: Vec<&RopeSpec> = Vec::new();
        let mut blocks = Vec::with_capacity(spec.layers.len());
        let mut tell = |layers_loaded: usize, source: &Source| {
            let (bytes, bytes_total) = (source.bytes_taken(), source.bytes_total());
            progress(Progress { layers_loaded, layers_total: spec.layers.len(), bytes, bytes_total });
        };
        for (index, layer) in spec.layers.iter().enumerate() {
            tell(index, &source);
            let rope = ropes.iter().position(|&rope| *rope == layer.rope).unwrap_or_else(|| {
                ropes.push(&layer.rope);
                ropes.len() - 1
            });
            blocks.push(Block::take(backend, &mut source, spec, index, rope)?);
        }
        tell(spec.layers.len(), &source);
        source.finish()?;
        Ok(Self {
            embedding: Embedding::new(token_embedding, spec.embedding, spec.embedding_scale),
            blocks,
            ropes: ropes.into_iter().map(|rope| Rope::new(rope, spec.rope_style)).collect(),
            norm,
            head: Linear::new(backend, vec![head], spec.vocabulary, head_bias)?,
            final_softcap: spec.final_softcap,
        })
    }

    /// Hidden states, normed, of the `wanted` rows of a batch: `[wanted, embedding]`; None if none is wanted. Writes all rows' keys
    /// and values.
    pub fn hidden(
        &self,
        backend: &Backend,
        tokens: &[u32],
        batch: &Batch,
        wanted: &[u32],
        caches: &mut Caches,
    ) -> Result<Option<Tensor>> {
        let positions: Vec<usize> = batch.rows.iter().map(|row| row.position).collect();
        let angles = self.ropes.iter().map(|rope| rope.angles(backend, &positions)).collect::<Result<Vec<_>>>()?;
        let mut x = self.embedding.forward(backend, tokens)?;
        let last = self.blocks.len() - 1;
        for (index, block) in self.blocks.iter().enumerate() {
            let normed = block.attention_norm.forward(backend, &x)?;
            let mut seen = block.attention.see(backend, &normed, caches, batch, &angles[block.rope])?;
            backend.recycle(normed)?;
            // Behind the last cache only the wanted rows matter.
            if index == last && wanted.is_empty() {
                return Ok(None);
            }
            if index == last && wanted.len() < tokens.len() {
                let wanted = Tensor::new(wanted, backend.device())?;
                let (of_x, of_seen) = (x.index_select(&wanted, 0)?, seen.index_select(&wanted, 0)?);
                backend.recycle(std::mem::replace(&mut x, of_x))?;
                backend.recycle(std::mem::replace(&mut seen, of_seen))?;
            }
            x = block.finish(backend, x, seen)?;
        }
        let hidden = self.norm.forward(backend, &x)?;
        backend.recycle(x)?;
        Ok(Some(hidden))
    }

    /// `[n, embedding]` to `[n, vocabulary]`.
    pub fn logits(&self, backend: &Backend, hidden: &Tensor) -> Result<Tensor> {
        let logits = self.head.forward(backend, hidden)?;
        match (self.final_softcap, backend) {
            (None, _) => Ok(logits),
            (Some(cap), Backend::Kernels(kernels)) => {
                kernels.change("softcap", &logits, |logits| rbee_kernels::softcap(&kernels.cpu, logits, cap))?;
                Ok(logits)
            }
            (Some(cap), Backend::Candle(_)) => (logits / f64::from(cap))?.tanh()? * f64::from(cap),
        }
    }
}

impl Block {
    fn take(
        backend: &Backend,
        source: &mut Source,
        spec: &Spec,
        index: usize,
        rope: usize,
    ) -> std::result::Result<Self, LoadError> {
        let mut norm =
            |part: &str| RmsNorm::take(backend, source, &format!("blk.{index}.{part}"), spec.embedding, spec.epsilon);
        let (attention_norm, mlp_norm) = (norm("attn_norm")?, norm("ffn_norm")?);
        let (attention_post_norm, mlp_post_norm) = match spec.post_norms {
            true => (Some(norm("post_attention_norm")?), Some(norm("post_ffw_norm")?)),
            false => (None, None),
        };
        Ok(Self {
            attention_norm,
            attention: Attention::take(backend, source, spec, index)?,
            attention_post_norm,
            mlp_norm,
            mlp: Mlp::take(backend, source, spec, index)?,
            mlp_post_norm,
            rope,
        })
    }

    /// What follows the attention: `x` and what was seen, both of the same rows.
    fn finish(&self, backend: &Backend, x: Tensor, seen: Tensor) -> Result<Tensor> {
        let post = |norm: &Option<RmsNorm>, y: Tensor| -> Result<Tensor> {
            let Some(norm) = norm else { return Ok(y) };
            let normed = norm.forward(backend, &y)?;
            backend.recycle(y)?;
            Ok(normed)
        };
        let attended = post(&self.attention_post_norm, self.attention.combine(backend, &seen)?)?;
        backend.recycle(seen)?;
        let x = add(backend, x, attended)?;
        let normed = self.mlp_norm.forward(backend, &x)?;
        let fed = post(&self.mlp_post_norm, self.mlp.forward(backend, &normed)?)?;
        backend.recycle(normed)?;
        add(backend, x, fed)
    }
}
