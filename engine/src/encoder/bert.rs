//! BERT: embeddings of tokens, positions and types, then blocks of full attention and feed-forward with norms after them.
//!
//! Source: <https://arxiv.org/abs/1810.04805>; GELU is the exact one, by the error function.

use super::norm::LayerNorm;
use crate::LoadError;
use crate::backend::Backend;
use crate::layers::embedding::Embedding;
use crate::layers::linear::{Linear, Part};
use crate::layers::weight::Weight;
use crate::source::Source;
use candle_core::{Result, Tensor};

/// No size of a model is larger; products of two still fit in 64 bits.
const MAX_SIZE: usize = 1 << 24;

pub struct Bert {
    tokens: Embedding,
    /// `[positions, embedding]`, with the embedding of the first token type added: every text is of that type.
    positions: Tensor,
    norm: LayerNorm,
    blocks: Vec<Block>,
    sizes: Sizes,
    vocabulary: usize,
    context_length: usize,
    bytes: u64,
}

#[derive(Clone, Copy)]
struct Sizes {
    embedding: usize,
    heads: usize,
    feed_forward: usize,
    epsilon: f32,
}

struct Block {
    query_key_value: Linear,
    output: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    output_norm: LayerNorm,
}

impl Bert {
    /// Takes the tensors of a source.
    ///
    /// # Errors
    /// [`LoadError`] if a setting or a tensor is missing or impossible.
    pub fn take(backend: &Backend, source: &mut Source) -> std::result::Result<Self, LoadError> {
        let sizes = Sizes::read(source)?;
        let embedding = sizes.embedding;
        let blocks = source.settings().size("block_count")?;
        let rows = |name: &str| {
            let shape = source.shape(name).and_then(|shape| shape.first().copied());
            shape.ok_or_else(|| LoadError::MissingTensor(name.to_owned()))
        };
        let (vocabulary, context_length) = (source.vocabulary()?, rows("position_embd.weight")?);
        let tokens = Weight::take(backend, source, "token_embd.weight", vocabulary, embedding)?;
        Ok(Self {
            tokens: Embedding::new(tokens, embedding, 1.0),
            positions: positions(backend, source, context_length, embedding)?,
            norm: LayerNorm::take(backend, source, "token_embd_norm", embedding, sizes.epsilon)?,
            blocks: (0..blocks)
                .map(|index| Block::take(backend, source, index, sizes))
                .collect::<std::result::Result<_, _>>()?,
            sizes,
            vocabulary,
            context_length,
            bytes: source.bytes_taken(),
        })
    }

    pub fn vocab_size(&self) -> usize {
        self.vocabulary
    }

    pub fn embedding_length(&self) -> usize {
        self.sizes.embedding
    }

    /// Most tokens of a sequence.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// Bytes of the weights as stored.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The last hidden state of every token, one after the other. `tokens` are known and no more than the context.
    pub fn forward(&self, backend: &Backend, tokens: &[u32]) -> Result<Vec<f32>> {
        let x = (self.tokens.forward(backend, tokens)? + self.positions.narrow(0, 0, tokens.len())?)?;
        let mut x = self.norm.forward(&x)?;
        for block in &self.blocks {
            x = block.forward(backend, &x, self.sizes.heads)?;
        }
        x.flatten_all()?.to_vec1()
    }
}

impl Sizes {
    fn read(source: &Source) -> std::result::Result<Self, LoadError> {
        let settings = source.settings();
        settings.check(source.architecture())?;
        let size = |name: &str| match settings.size(name)? {
            n if n <= MAX_SIZE => Ok(n),
            n => Err(settings.refuse(name, n, format!("at most {MAX_SIZE} is possible"))),
        };
        let (embedding, heads) = (size("embedding_length")?, size("attention.head_count")?);
        if !embedding.is_multiple_of(heads) {
            return Err(settings.refuse("embedding_length", embedding, format!("{heads} heads cannot share it")));
        }
        let epsilon = settings.float("attention.layer_norm_epsilon")?.unwrap_or(1e-12) as f32;
        Ok(Self { embedding, heads, feed_forward: size("feed_forward_length")?, epsilon })
    }
}

fn positions(
    backend: &Backend,
    source: &mut Source,
    count: usize,
    embedding: usize,
) -> std::result::Result<Tensor, LoadError> {
    let types = match source.shape("token_types.weight") {
        Some(shape) => shape[0],
        None => 0,
    };
    let mut rows = |name: &str, rows: usize, ids: &[u32]| {
        let weight = Weight::take(backend, source, name, rows, embedding)?;
        Ok::<_, LoadError>(Embedding::new(weight, embedding, 1.0).forward(backend, ids)?)
    };
    let ids: Vec<u32> = (0..count as u32).collect();
    let positions = rows("position_embd.weight", count, &ids)?;
    if types == 0 {
        return Ok(positions);
    }
    let first = rows("token_types.weight", types, &[0])?;
    Ok(positions.broadcast_add(&first)?)
}

impl Block {
    fn take(
        backend: &Backend,
        source: &mut Source,
        index: usize,
        sizes: Sizes,
    ) -> std::result::Result<Self, LoadError> {
        let Sizes { embedding, feed_forward, epsilon, .. } = sizes;
        let name = |part: &str| format!("blk.{index}.{part}");
        let mut linear = |parts: &[&str], rows: usize, columns: usize| {
            let names: Vec<String> = parts.iter().map(|part| name(part)).collect();
            let parts: Vec<Part<'_>> = names.iter().map(|name| Part { name, rows }).collect();
            Linear::take(backend, source, &parts, columns)
        };
        let query_key_value = linear(&["attn_q", "attn_k", "attn_v"], embedding, embedding)?;
        let output = linear(&["attn_output"], embedding, embedding)?;
        let (up, down) =
            (linear(&["ffn_up"], feed_forward, embedding)?, linear(&["ffn_down"], embedding, feed_forward)?);
        let mut norm = |part: &str| LayerNorm::take(backend, source, &name(part), embedding, epsilon);
        let (attention_norm, output_norm) = (norm("attn_output_norm")?, norm("layer_output_norm")?);
        Ok(Self { query_key_value, output, attention_norm, up, down, output_norm })
    }

    /// `[tokens, embedding]` to the same shape.
    fn forward(&self, backend: &Backend, x: &Tensor, heads: usize) -> Result<Tensor> {
        let attended = self.output.forward(backend, &self.attention(backend, x, heads)?)?;
        let x = self.attention_norm.forward(&(x + attended)?)?;
        let fed = self.down.forward(backend, &self.up.forward(backend, &x)?.gelu_erf()?)?;
        self.output_norm.forward(&(x + fed)?)
    }

    fn attention(&self, backend: &Backend, x: &Tensor, heads: usize) -> Result<Tensor> {
        let (tokens, embedding) = x.dims2()?;
        let head = embedding / heads;
        // [3, heads, tokens, head]
        let all = self.query_key_value.forward(backend, x)?.reshape((tokens, 3, heads, head))?;
        let all = all.permute((1, 2, 0, 3))?.contiguous()?;
        let (q, k, v) = (all.get(0)?, all.get(1)?, all.get(2)?);
        let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? / (head as f64).sqrt())?;
        let seen = candle_nn::ops::softmax_last_dim(&scores)?.matmul(&v)?;
        seen.transpose(0, 1)?.contiguous()?.reshape((tokens, embedding))
    }
}
