//! BERT: embeddings of tokens, positions and types, then blocks of full attention and feed-forward with norms after them.
//!
//! Source: <https://arxiv.org/abs/1810.04805>; GELU is the exact one, by the error function.

use super::linear::{LayerNorm, Linear, matrix};
use crate::LoadError;
use crate::source::Source;
use candle_core::quantized::QMatMul;
use candle_core::{Device, Result, Tensor};

/// No size of a model is larger; products of two still fit in 64 bits.
const MAX_SIZE: usize = 1 << 24;

pub struct Bert {
    tokens: QMatMul,
    /// `[positions, embedding]`, with the embedding of the first token type added: every text is of that type.
    positions: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
    heads: usize,
    vocabulary: usize,
    embedding: usize,
    context_length: usize,
    bytes: u64,
    device: Device,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    output_norm: LayerNorm,
}

impl Bert {
    pub fn load(source: &mut Source, device: &Device) -> std::result::Result<Self, LoadError> {
        let settings = source.settings();
        let size = |name: &str| match settings.size(name)? {
            n if n <= MAX_SIZE => Ok(n),
            n => Err(settings.refuse(name, n, format!("at most {MAX_SIZE} is possible"))),
        };
        let (embedding, heads, feed_forward) =
            (size("embedding_length")?, size("attention.head_count")?, size("feed_forward_length")?);
        if !embedding.is_multiple_of(heads) {
            return Err(settings.refuse("embedding_length", embedding, format!("{heads} heads cannot share it")));
        }
        if settings.flag("attention.causal")? == Some(true) {
            return Err(settings.refuse("attention.causal", true, "this engine lets every token see all others"));
        }
        let (layers, epsilon) =
            (size("block_count")?, settings.positive("attention.layer_norm_epsilon")?.unwrap_or(1e-12) as f32);
        let rows = |name: &str| source.shape(name).and_then(|s| s.first().copied());
        let missing = |name: &str| LoadError::MissingTensor(name.to_owned());
        let vocabulary = rows("token_embd.weight").ok_or_else(|| missing("token_embd.weight"))?;
        let context_length = rows("position_embd.weight").ok_or_else(|| missing("position_embd.weight"))?;
        Ok(Self {
            tokens: matrix(source, "token_embd.weight", vocabulary, embedding, device)?,
            positions: positions(source, context_length, embedding, device)?,
            norm: LayerNorm::load(source, "token_embd_norm", embedding, epsilon, device)?,
            layers: (0..layers)
                .map(|index| Layer::load(source, index, embedding, feed_forward, epsilon, device))
                .collect::<std::result::Result<_, _>>()?,
            heads,
            vocabulary,
            embedding,
            context_length,
            bytes: source.bytes_taken(),
            device: device.clone(),
        })
    }

    pub fn vocab_size(&self) -> usize {
        self.vocabulary
    }

    pub fn embedding_length(&self) -> usize {
        self.embedding
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
    pub fn forward(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        let ids = Tensor::new(tokens, &self.device)?;
        let x = (self.tokens.embedding(&ids)? + self.positions.narrow(0, 0, tokens.len())?)?;
        let x = self.layers.iter().try_fold(self.norm.forward(&x)?, |x, layer| layer.forward(&x, self.heads))?;
        x.flatten_all()?.to_vec1()
    }
}

fn positions(
    source: &mut Source,
    count: usize,
    embedding: usize,
    device: &Device,
) -> std::result::Result<Tensor, LoadError> {
    let positions = matrix(source, "position_embd.weight", count, embedding, device)?;
    let rows = |matrix: &QMatMul, ids: Vec<u32>| matrix.embedding(&Tensor::new(ids, device)?);
    let positions = rows(&positions, (0..count as u32).collect())?;
    let Some(&[types, _]) = source.shape("token_types.weight") else { return Ok(positions) };
    let first = rows(&matrix(source, "token_types.weight", types, embedding, device)?, vec![0])?;
    Ok(positions.broadcast_add(&first)?)
}

impl Layer {
    fn load(
        source: &mut Source,
        index: usize,
        embedding: usize,
        feed_forward: usize,
        epsilon: f32,
        device: &Device,
    ) -> std::result::Result<Self, LoadError> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let mut linear = |part: &str, rows, columns| Linear::load(source, &name(part), rows, columns, device);
        let (query, key) = (linear("attn_q", embedding, embedding)?, linear("attn_k", embedding, embedding)?);
        let (value, output) = (linear("attn_v", embedding, embedding)?, linear("attn_output", embedding, embedding)?);
        let (up, down) = (linear("ffn_up", feed_forward, embedding)?, linear("ffn_down", embedding, feed_forward)?);
        let mut norm = |part: &str| LayerNorm::load(source, &name(part), embedding, epsilon, device);
        let (attention_norm, output_norm) = (norm("attn_output_norm")?, norm("layer_output_norm")?);
        Ok(Self { query, key, value, output, attention_norm, up, down, output_norm })
    }

    /// `x`: `[tokens, embedding]`.
    fn forward(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let attended = self.attention(x, heads)?;
        let x = self.attention_norm.forward(&(x + attended)?)?;
        let fed = self.down.forward(&self.up.forward(&x)?.gelu_erf()?)?;
        self.output_norm.forward(&(x + fed)?)
    }

    fn attention(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let (tokens, embedding) = x.dims2()?;
        let head = embedding / heads;
        // [heads, tokens, head]
        let split = |x: Tensor| x.reshape((tokens, heads, head))?.transpose(0, 1)?.contiguous();
        let (q, k) = (split(self.query.forward(x)?)?, split(self.key.forward(x)?)?);
        let v = split(self.value.forward(x)?)?;
        let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? / (head as f64).sqrt())?;
        let seen = candle_nn::ops::softmax_last_dim(&scores)?.matmul(&v)?;
        self.output.forward(&seen.transpose(0, 1)?.contiguous()?.reshape((tokens, embedding))?)
    }
}
