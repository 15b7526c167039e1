//! What people want to know of a model, from its header.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Header, dtype};

/// The shape of a model. Lengths that the header does not state are 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    pub architecture: String,
    /// As llama.cpp names file types, for example `Q4_K_M`.
    pub quantization: String,
    /// Tokens that the model was made for.
    pub context_length: u64,
    pub layer_count: u64,
    /// Elements of all tensors.
    pub parameter_count: u64,
    pub embedding_length: u64,
    pub head_count: u64,
    pub head_count_kv: u64,
    /// Elements of a key of one head.
    pub key_length: u64,
    /// Elements of a value of one head.
    pub value_length: u64,
    pub feed_forward_length: u64,
    /// Tokens of the vocabulary.
    pub vocab_size: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// Bytes of all tensors as they are stored.
    pub tensor_bytes: u64,
}

pub(super) fn summary(header: &Header) -> Summary {
    let arch = |suffix: &str| {
        let key = format!("{}.{suffix}", header.architecture());
        let value = header.get(&key)?;
        // Where a layer has its own number, the largest speaks for all.
        value.as_u64().or_else(|| value.as_array()?.to_i64s()?.into_iter().max()?.try_into().ok())
    };
    let embedding_length = arch("embedding_length").unwrap_or(0);
    let head_count = arch("attention.head_count").unwrap_or(0);
    let key_length = arch("attention.key_length").or_else(|| embedding_length.checked_div(head_count)).unwrap_or(0);
    let vocab_size = header
        .get("tokenizer.ggml.tokens")
        .and_then(|tokens| tokens.array())
        .map(|(_, len)| len)
        .or_else(|| arch("vocab_size"))
        .or_else(|| header.tensor("token_embd.weight").and_then(|t| t.dims.get(1).copied()));
    Summary {
        architecture: header.architecture().to_owned(),
        quantization: quantization(header),
        context_length: arch("context_length").unwrap_or(0),
        layer_count: arch("block_count").unwrap_or(0),
        parameter_count: header.tensors.iter().fold(0, |sum, t| sum.saturating_add(t.elements())),
        embedding_length,
        head_count,
        head_count_kv: arch("attention.head_count_kv").unwrap_or(head_count),
        key_length,
        value_length: arch("attention.value_length").unwrap_or(key_length),
        feed_forward_length: arch("feed_forward_length").unwrap_or(0),
        vocab_size: vocab_size.unwrap_or(0),
        file_bytes: header.file_bytes,
        tensor_bytes: header.tensors.iter().map(|t| t.bytes).sum(),
    }
}

/// The stated file type, else the data type of most bytes.
fn quantization(header: &Header) -> String {
    if let Some(name) = header.u64("general.file_type").and_then(dtype::file_type_name) {
        return name.to_owned();
    }
    of_most_bytes(header.tensors.iter().map(|t| (t.dtype.name(), t.bytes)))
}

/// The name that most bytes have; empty if there are none.
pub(crate) fn of_most_bytes(parts: impl Iterator<Item = (&'static str, u64)>) -> String {
    let mut sums = BTreeMap::<&str, u64>::new();
    for (name, bytes) in parts {
        let sum = sums.entry(name).or_default();
        *sum = sum.saturating_add(bytes);
    }
    sums.into_iter().max_by_key(|&(_, sum)| sum).map_or_else(String::new, |(name, _)| name.to_owned())
}
