//! The tensors that a model must have, from the shape that its metadata states.

use std::collections::HashMap;

use super::check::Meta;
use super::{GgufError, Header, Tensor};
use crate::format;

/// The shape of a transformer, as its metadata states it. Lengths are numbers of elements.
pub(super) struct Shape {
    form: Form,
    layers: u64,
    embedding: u64,
    /// Of one head.
    key_length: u64,
    query: u64,
    key: u64,
    value: u64,
    output: u64,
    feed_forward: u64,
    context: u64,
    experts: u64,
    /// Dimensions of a head that are rotated.
    rotated: u64,
    vocabulary: Option<u64>,
}

/// Which parts a model has.
enum Form {
    Encoder,
    /// Attention, then feed-forward, with norms by the root mean square.
    Decoder,
    /// Attention and feed-forward side by side behind one layer norm, with biases everywhere: Phi 2's.
    Parallel,
}

impl Shape {
    pub(super) fn read(meta: &Meta<'_>, architecture: &str) -> Result<Self, GgufError> {
        let name = |suffix: &str| format!("{architecture}.{suffix}");
        let embedding = meta.required_range(&name("embedding_length"), 1, 1 << 20)?;
        let heads = meta.required_range(&name("attention.head_count"), 1, 1 << 14)?;
        let kv_heads = meta.range(&name("attention.head_count_kv"), 1, 1 << 14)?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(GgufError::Contradiction(format!("{heads} heads cannot share {kv_heads} key-value heads")));
        }
        let key_length = match meta.range(&name("attention.key_length"), 1, 1 << 14)? {
            Some(length) => length,
            None if embedding.is_multiple_of(heads) => embedding / heads,
            None => {
                return Err(GgufError::Contradiction(format!(
                    "the embedding length {embedding} is no multiple of {heads} heads"
                )));
            }
        };
        let value_length = meta.range(&name("attention.value_length"), 1, 1 << 14)?.unwrap_or(key_length);
        meta.range(&name("attention.sliding_window"), 0, 1 << 30)?;
        meta.range(&name("rope.scaling.original_context_length"), 0, 1 << 30)?;
        Ok(Self {
            form: match architecture {
                "phi2" => Form::Parallel,
                encoder if format::is_encoder(encoder) => Form::Encoder,
                _ => Form::Decoder,
            },
            layers: meta.required_range(&name("block_count"), 1, 1 << 12)?,
            embedding,
            key_length,
            query: heads * key_length,
            key: kv_heads * key_length,
            value: kv_heads * value_length,
            output: heads * value_length,
            feed_forward: meta.required_range(&name("feed_forward_length"), 1, 1 << 24)?,
            context: meta.required_range(&name("context_length"), 1, 1 << 30)?,
            experts: meta.range(&name("expert_count"), 0, 1 << 12)?.unwrap_or(0),
            rotated: rotated(meta, &name("rope.dimension_count"), key_length)?,
            vocabulary: vocabulary(meta, &name("vocab_size"))?,
        })
    }

    /// Every tensor that the shape asks for is there with that shape, and no block beyond the count.
    pub(super) fn check(&self, header: &Header) -> Result<(), GgufError> {
        let tensors = Tensors {
            by_name: header.tensors.iter().map(|t| (t.name.as_str(), t)).collect(),
            whole: !header.is_split(),
        };
        let vocabulary = match (self.vocabulary, tensors.by_name.get("token_embd.weight")) {
            (Some(vocabulary), _) => vocabulary,
            (None, Some(embedding)) => embedding.dims.get(1).copied().unwrap_or(1),
            (None, None) => 0,
        };
        tensors.required("token_embd.weight", &[self.embedding, vocabulary])?;
        match self.form {
            Form::Encoder => self.encoder(&tensors)?,
            Form::Decoder => {
                tensors.optional("output.weight", &[self.embedding, vocabulary])?;
                self.decoder(&tensors)?;
            }
            Form::Parallel => {
                tensors.required("output.weight", &[self.embedding, vocabulary])?;
                tensors.required("output.bias", &[vocabulary])?;
                self.parallel(&tensors)?;
            }
        }
        match header.tensors.iter().find(|t| block_of(&t.name).is_some_and(|block| block >= self.layers)) {
            Some(tensor) => Err(GgufError::Contradiction(format!(
                "there are {} blocks, and a tensor {:?}",
                self.layers, tensor.name
            ))),
            None => Ok(()),
        }
    }

    fn decoder(&self, tensors: &Tensors<'_>) -> Result<(), GgufError> {
        let (embedding, ff) = (self.embedding, self.feed_forward);
        tensors.required("output_norm.weight", &[embedding])?;
        for factors in ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"] {
            tensors.optional(factors, &[self.rotated / 2])?;
        }
        for layer in 0..self.layers {
            let name = |part: &str| format!("blk.{layer}.{part}");
            tensors.required(&name("attn_norm.weight"), &[embedding])?;
            self.attention_inputs(tensors, layer)?;
            tensors.required(&name("attn_output.weight"), &[self.output, embedding])?;
            for norm in ["attn_q_norm.weight", "attn_k_norm.weight"] {
                tensors.optional(&name(norm), &[self.key_length])?;
            }
            for vector in ["attn_output.bias", "post_attention_norm.weight", "post_ffw_norm.weight", "ffn_down.bias"] {
                tensors.optional(&name(vector), &[embedding])?;
            }
            tensors.required(&name("ffn_norm.weight"), &[embedding])?;
            if self.experts > 0 {
                continue;
            }
            if tensors.has(&name("ffn_gate.weight")) {
                tensors.required(&name("ffn_gate.weight"), &[embedding, ff])?;
                tensors.required(&name("ffn_up.weight"), &[embedding, ff])?;
            } else if tensors.shape_is(&name("ffn_up.weight"), &[embedding, ff]) {
                return Err(GgufError::MissingTensor(name("ffn_gate.weight")));
            } else {
                // Gate and up in one.
                tensors.required(&name("ffn_up.weight"), &[embedding, 2 * ff])?;
            }
            tensors.required(&name("ffn_down.weight"), &[ff, embedding])?;
        }
        Ok(())
    }

    fn encoder(&self, tensors: &Tensors<'_>) -> Result<(), GgufError> {
        let (embedding, ff) = (self.embedding, self.feed_forward);
        let layer_norm = |name: &str| self.layer_norm(tensors, name);
        tensors.required("position_embd.weight", &[embedding, self.context])?;
        layer_norm("token_embd_norm")?;
        for layer in 0..self.layers {
            let name = |part: &str| format!("blk.{layer}.{part}");
            self.attention_inputs(tensors, layer)?;
            tensors.required(&name("attn_output.weight"), &[self.output, embedding])?;
            tensors.optional(&name("attn_output.bias"), &[embedding])?;
            layer_norm(&name("attn_output_norm"))?;
            tensors.required(&name("ffn_up.weight"), &[embedding, ff])?;
            tensors.optional(&name("ffn_up.bias"), &[ff])?;
            tensors.required(&name("ffn_down.weight"), &[ff, embedding])?;
            tensors.optional(&name("ffn_down.bias"), &[embedding])?;
            layer_norm(&name("layer_output_norm"))?;
        }
        Ok(())
    }

    fn parallel(&self, tensors: &Tensors<'_>) -> Result<(), GgufError> {
        let (embedding, ff) = (self.embedding, self.feed_forward);
        self.layer_norm(tensors, "output_norm")?;
        for layer in 0..self.layers {
            let name = |part: &str| format!("blk.{layer}.{part}");
            self.layer_norm(tensors, &name("attn_norm"))?;
            self.attention_inputs(tensors, layer)?;
            for (part, columns, rows) in
                [("attn_output", self.output, embedding), ("ffn_up", embedding, ff), ("ffn_down", ff, embedding)]
            {
                tensors.required(&name(&format!("{part}.weight")), &[columns, rows])?;
                tensors.required(&name(&format!("{part}.bias")), &[rows])?;
            }
        }
        Ok(())
    }

    fn layer_norm(&self, tensors: &Tensors<'_>, name: &str) -> Result<(), GgufError> {
        tensors.required(&format!("{name}.weight"), &[self.embedding])?;
        tensors.required(&format!("{name}.bias"), &[self.embedding])
    }

    /// Queries, keys and values: one matrix each, or all in one.
    fn attention_inputs(&self, tensors: &Tensors<'_>, layer: u64) -> Result<(), GgufError> {
        let all = self.query + self.key + self.value;
        let fused = tensors.has(&format!("blk.{layer}.attn_qkv.weight"));
        let split = [("attn_q", self.query), ("attn_k", self.key), ("attn_v", self.value)];
        let parts: &[(&str, u64)] = if fused { &[("attn_qkv", all)] } else { &split };
        for &(part, rows) in parts {
            tensors.required(&format!("blk.{layer}.{part}.weight"), &[self.embedding, rows])?;
            tensors.optional(&format!("blk.{layer}.{part}.bias"), &[rows])?;
        }
        Ok(())
    }
}

/// How many dimensions of a head are rotated.
fn rotated(meta: &Meta<'_>, key: &str, key_length: u64) -> Result<u64, GgufError> {
    match meta.range(key, 0, 1 << 14)? {
        Some(rotated) if rotated > key_length || !rotated.is_multiple_of(2) => Err(GgufError::OutOfRange {
            key: key.to_owned(),
            value: rotated.to_string(),
            expected: format!("even and at most the length of a head, {key_length}"),
        }),
        stated => Ok(stated.unwrap_or(key_length)),
    }
}

/// The number of tokens, where the header says it.
fn vocabulary(meta: &Meta<'_>, key: &str) -> Result<Option<u64>, GgufError> {
    let tokens = meta.0.get("tokenizer.ggml.tokens").and_then(|tokens| tokens.array()).map(|(_, len)| len);
    let stated = meta.range(key, 1, 1 << 24)?;
    match (tokens, stated) {
        (Some(tokens), Some(stated)) if tokens != stated => {
            Err(GgufError::Contradiction(format!("{key} is {stated}, and there are {tokens} tokens")))
        }
        _ => Ok(tokens.or(stated)),
    }
}

struct Tensors<'a> {
    by_name: HashMap<&'a str, &'a Tensor>,
    /// Whether all tensors of the model are in this file.
    whole: bool,
}

impl Tensors<'_> {
    fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    fn shape_is(&self, name: &str, dims: &[u64]) -> bool {
        self.by_name.get(name).is_some_and(|t| t.dims == dims)
    }

    fn required(&self, name: &str, dims: &[u64]) -> Result<(), GgufError> {
        if self.whole && !self.has(name) {
            return Err(GgufError::MissingTensor(name.to_owned()));
        }
        self.optional(name, dims)
    }

    fn optional(&self, name: &str, dims: &[u64]) -> Result<(), GgufError> {
        match self.by_name.get(name) {
            Some(tensor) if tensor.dims != dims => Err(GgufError::ShapeMismatch {
                name: name.to_owned(),
                found: tensor.dims.clone(),
                expected: dims.to_vec(),
            }),
            _ => Ok(()),
        }
    }
}

/// The number of the block that a tensor belongs to.
fn block_of(name: &str) -> Option<u64> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}
