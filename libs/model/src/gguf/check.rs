//! Whether a header is possible: tensors lie in the file, and the metadata agrees with itself and with them.

use super::{Array, GgufError, Header, Value};
use crate::format;

/// Every tensor is aligned, lies in the file and shares no byte with another.
pub(super) fn tensors(header: &Header) -> Result<(), GgufError> {
    let data_bytes = header.file_bytes.saturating_sub(header.data_offset);
    let mut spans = Vec::with_capacity(header.tensors.len());
    for tensor in &header.tensors {
        let (name, offset, bytes) = (tensor.name.clone(), tensor.offset, tensor.bytes);
        if !offset.is_multiple_of(header.alignment) {
            return Err(GgufError::Misaligned { name, offset, alignment: header.alignment });
        }
        match offset.checked_add(bytes) {
            Some(end) if end <= data_bytes => spans.push((offset, end, &tensor.name)),
            _ => return Err(GgufError::OutsideFile { name, offset, bytes, data_bytes }),
        }
    }
    spans.sort_unstable();
    for pair in spans.windows(2) {
        if pair[1].0 < pair[0].1 {
            return Err(GgufError::Overlap { first: pair[0].2.clone(), second: pair[1].2.clone() });
        }
    }
    Ok(())
}

/// The metadata describes a model that can exist; for architectures that are served also: the one in the tensors.
pub(super) fn metadata(header: &Header) -> Result<(), GgufError> {
    let meta = Meta(header);
    let architecture = meta.required_str("general.architecture")?;
    let key = |suffix: &str| format!("{architecture}.{suffix}");
    meta.range(&key("block_count"), 1, 1 << 12)?;
    meta.range(&key("embedding_length"), 1, 1 << 20)?;
    meta.range(&key("context_length"), 1, 1 << 30)?;
    meta.positive_float(&key("rope.freq_base"))?;
    meta.positive_float(&key("attention.layer_norm_rms_epsilon"))?;
    meta.vocabulary()?;
    if format::ARCHITECTURES.contains(&architecture) {
        Shape::read(&meta, architecture)?.check(header)?;
    }
    Ok(())
}

struct Meta<'a>(&'a Header);

impl Meta<'_> {
    fn required_str(&self, key: &str) -> Result<&str, GgufError> {
        match self.0.get(key) {
            None => Err(GgufError::MissingKey(key.to_owned())),
            Some(Value::String(s)) if !s.is_empty() => Ok(s),
            Some(other) => Err(wrong_type(key, other, "a string that is not empty")),
        }
    }

    /// An integer in a range, if the key is there.
    fn range(&self, key: &str, min: u64, max: u64) -> Result<Option<u64>, GgufError> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        match value.as_u64() {
            Some(n) if (min..=max).contains(&n) => Ok(Some(n)),
            // A few architectures give one value per layer.
            None if value.as_array().is_some() && !is_served(self.0) => Ok(None),
            None if matches!(
                value,
                Value::String(_) | Value::Array(_) | Value::Bool(_) | Value::F32(_) | Value::F64(_)
            ) =>
            {
                Err(wrong_type(key, value, "an integer"))
            }
            _ => Err(GgufError::OutOfRange {
                key: key.to_owned(),
                value: value.to_string(),
                expected: format!("from {min} to {max}"),
            }),
        }
    }

    fn required_range(&self, key: &str, min: u64, max: u64) -> Result<u64, GgufError> {
        self.range(key, min, max)?.ok_or_else(|| GgufError::MissingKey(key.to_owned()))
    }

    fn positive_float(&self, key: &str) -> Result<Option<f64>, GgufError> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        match value.as_f64() {
            Some(x) if x.is_finite() && x > 0.0 => Ok(Some(x)),
            Some(x) => Err(GgufError::OutOfRange {
                key: key.to_owned(),
                value: x.to_string(),
                expected: "a finite number above 0".to_owned(),
            }),
            None => Err(wrong_type(key, value, "a float")),
        }
    }

    /// Token lists have one length, and special tokens are in the list.
    fn vocabulary(&self) -> Result<(), GgufError> {
        let Some(tokens) = self.0.get("tokenizer.ggml.tokens") else { return Ok(()) };
        let Value::Array(Array::String(tokens)) = tokens else {
            return Err(wrong_type("tokenizer.ggml.tokens", tokens, "an array of strings"));
        };
        let size = tokens.len();
        if size == 0 {
            return Err(GgufError::Contradiction("tokenizer.ggml.tokens is empty".to_owned()));
        }
        for key in ["tokenizer.ggml.scores", "tokenizer.ggml.token_type"] {
            let Some(value) = self.0.get(key) else { continue };
            let Value::Array(array) = value else { return Err(wrong_type(key, value, "an array")) };
            if array.len() != size {
                return Err(GgufError::Contradiction(format!("{key} has {} elements for {size} tokens", array.len())));
            }
        }
        for kind in ["bos", "eos", "eot", "eom", "unknown", "seperator", "padding", "mask", "cls"] {
            let key = format!("tokenizer.ggml.{kind}_token_id");
            let Some(value) = self.0.get(&key) else { continue };
            match value {
                // -1 is how some writers say that there is none.
                Value::I32(-1) | Value::U32(u32::MAX) => {}
                _ if value.as_u64().is_some_and(|id| id < size as u64) => {}
                _ => {
                    let expected = format!("below the number of tokens, {size}");
                    return Err(GgufError::OutOfRange { key, value: value.to_string(), expected });
                }
            }
        }
        Ok(())
    }
}

fn is_served(header: &Header) -> bool {
    format::ARCHITECTURES.contains(&header.architecture())
}

fn wrong_type(key: &str, value: &Value, expected: &'static str) -> GgufError {
    GgufError::WrongType { key: key.to_owned(), found: value.value_type(), expected }
}

/// The shape of a Llama-like model, as its metadata states it.
struct Shape {
    layers: u64,
    embedding: u64,
    query: u64,
    key: u64,
    value: u64,
    output: u64,
    feed_forward: u64,
    experts: u64,
    vocabulary: Option<u64>,
}

impl Shape {
    fn read(meta: &Meta<'_>, architecture: &str) -> Result<Self, GgufError> {
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
        if let Some(rope) = meta.range(&name("rope.dimension_count"), 0, 1 << 14)?
            && (rope > key_length || !rope.is_multiple_of(2))
        {
            return Err(GgufError::OutOfRange {
                key: name("rope.dimension_count"),
                value: rope.to_string(),
                expected: format!("even and at most the length of a head, {key_length}"),
            });
        }
        let tokens = meta.0.strings("tokenizer.ggml.tokens").map(|t| t.len() as u64);
        let stated = meta.range(&name("vocab_size"), 1, 1 << 24)?;
        if let (Some(tokens), Some(stated)) = (tokens, stated)
            && tokens != stated
        {
            return Err(GgufError::Contradiction(format!(
                "{} is {stated}, and there are {tokens} tokens",
                name("vocab_size")
            )));
        }
        meta.required_range(&name("context_length"), 1, 1 << 30)?;
        Ok(Self {
            layers: meta.required_range(&name("block_count"), 1, 1 << 12)?,
            embedding,
            query: heads * key_length,
            key: kv_heads * key_length,
            value: kv_heads * value_length,
            output: heads * value_length,
            feed_forward: meta.required_range(&name("feed_forward_length"), 1, 1 << 24)?,
            experts: meta.range(&name("expert_count"), 0, 1 << 12)?.unwrap_or(0),
            vocabulary: tokens.or(stated),
        })
    }

    /// Every tensor the shape asks for is there with that shape, and no block beyond the count.
    fn check(&self, header: &Header) -> Result<(), GgufError> {
        let by_name: std::collections::HashMap<&str, &super::Tensor> =
            header.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
        let expect = |name: String, dims: &[u64], required: bool| match by_name.get(name.as_str()) {
            Some(tensor) if tensor.dims == dims => Ok(()),
            Some(tensor) => Err(GgufError::ShapeMismatch { name, found: tensor.dims.clone(), expected: dims.to_vec() }),
            None if required && !header.is_split() => Err(GgufError::MissingTensor(name)),
            None => Ok(()),
        };
        if let Some(vocabulary) = self.vocabulary {
            expect("token_embd.weight".into(), &[self.embedding, vocabulary], true)?;
            expect("output.weight".into(), &[self.embedding, vocabulary], false)?;
        } else if !by_name.contains_key("token_embd.weight") && !header.is_split() {
            return Err(GgufError::MissingTensor("token_embd.weight".into()));
        }
        expect("output_norm.weight".into(), &[self.embedding], true)?;
        for layer in 0..self.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            expect(name("attn_norm"), &[self.embedding], true)?;
            expect(name("attn_q"), &[self.embedding, self.query], true)?;
            expect(name("attn_k"), &[self.embedding, self.key], true)?;
            expect(name("attn_v"), &[self.embedding, self.value], true)?;
            expect(name("attn_output"), &[self.output, self.embedding], true)?;
            expect(name("ffn_norm"), &[self.embedding], true)?;
            let dense = self.experts == 0;
            expect(name("ffn_gate"), &[self.embedding, self.feed_forward], dense)?;
            expect(name("ffn_up"), &[self.embedding, self.feed_forward], dense)?;
            expect(name("ffn_down"), &[self.feed_forward, self.embedding], dense)?;
        }
        let beyond = header.tensors.iter().find(|t| block_of(&t.name).is_some_and(|block| block >= self.layers));
        match beyond {
            Some(tensor) => Err(GgufError::Contradiction(format!(
                "there are {} blocks, and a tensor {:?}",
                self.layers, tensor.name
            ))),
            None => Ok(()),
        }
    }
}

/// The number of the block that a tensor belongs to.
fn block_of(name: &str) -> Option<u64> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}
