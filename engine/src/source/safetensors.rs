//! A checkpoint of transformers as a [`Source`]: tensors under GGUF's names, mapped and not copied.
//!
//! What differs from GGUF is told apart here: Gemma's norms are stored without the 1 that is added to them, Llama 3's and
//! Phi 3's rotary factors come from the configuration, and rows of queries and keys are in transformers' order.

mod folder;
mod names;
#[cfg(test)]
mod tests;

pub use folder::{Checkpoint, CheckpointError};

use super::{RowOrder, Settings, Source, Stored};
use crate::spec::ROPE_FACTORS;
use crate::{LoadError, Pooling};
use bytes::Bytes;
use names::Name;
use rbee_model::checkpoint::Config;
use rbee_model::gguf::{DType, Value};
use rbee_model::safetensors::{Header, Tensor};

impl Source {
    /// The tensors of checked files: each header with the whole file. `pooling` is what the checkpoint says of embeddings.
    ///
    /// # Errors
    /// [`LoadError::Read`] if a tensor lies outside of its file, is there twice, or has a data type that cannot be computed
    /// with; [`LoadError::MissingTensor`] if the output is not tied to the embedding and not there.
    pub fn safetensors(
        config: &Config,
        files: &[(Header, Bytes)],
        pooling: Option<Pooling>,
    ) -> Result<Self, LoadError> {
        let mut tensors: Vec<(String, Stored)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (header, file) in files {
            for tensor in header.tensors() {
                let name = match names::gguf(config, &tensor.name) {
                    Name::Ignored => continue,
                    Name::Is(name) => name,
                    // Kept under its own name, so that it is named when it is found to be unused.
                    Name::Unknown => tensor.name.clone(),
                };
                if !seen.insert(name.clone()) {
                    return Err(read_error(&tensor.name, "the checkpoint has it twice"));
                }
                tensors.push((name.clone(), read(config, header, file, tensor, &name)?));
            }
        }
        if !config.tied && config.rope.is_some() && !seen.contains("output.weight") {
            return Err(LoadError::MissingTensor("lm_head.weight".to_owned()));
        }
        if let Some(factors) = config.rope_factors() {
            tensors.push(("rope_freqs.weight".to_owned(), floats(factors)));
        }
        if let Some((long, short)) = config.long_factors() {
            let [long_name, short_name] = ROPE_FACTORS.map(str::to_owned);
            tensors.extend([(long_name, floats(long.to_vec())), (short_name, floats(short.to_vec()))]);
        }
        Ok(Self::new(config.architecture, RowOrder::HuggingFace, settings(config, pooling), tensors))
    }
}

fn settings(config: &Config, pooling: Option<Pooling>) -> Settings {
    let prefix = format!("{}.", config.architecture);
    let bare = |key: String| key.strip_prefix(&prefix).map(str::to_owned).unwrap_or(key);
    let mut values: Vec<(String, Value)> = config.metadata().into_iter().map(|(k, v)| (bare(k), v)).collect();
    let code = pooling.map(|pooling| match pooling {
        Pooling::Mean => 1,
        Pooling::Cls => 2,
        Pooling::Last => 3,
    });
    values.extend(code.map(|code| ("pooling_type".to_owned(), Value::U32(code))));
    Settings::new(config.architecture, values)
}

fn read_error(name: &str, message: impl Into<String>) -> LoadError {
    LoadError::Read { name: name.to_owned(), message: message.into() }
}

fn read(config: &Config, header: &Header, file: &Bytes, tensor: &Tensor, name: &str) -> Result<Stored, LoadError> {
    let start = header.data_offset() + tensor.offset;
    let end = start.checked_add(tensor.bytes).filter(|&end| end <= file.len() as u64);
    let end = end.ok_or_else(|| read_error(&tensor.name, "it lies outside of the file"))?;
    let dtype = tensor.element_type.dtype().ok_or_else(|| {
        let found = tensor.element_type;
        read_error(&tensor.name, format!("its data type {found} is not supported; supported: F32, F16, BF16"))
    })?;
    let shape: Vec<usize> = match tensor.shape.as_slice() {
        [] => vec![1],
        shape => shape.iter().map(|&d| d as usize).collect(),
    };
    let stored = Stored { dtype, shape, bytes: file.slice(start as usize..end as usize) };
    if !(config.architecture.starts_with("gemma") && name.ends_with("norm.weight")) {
        return Ok(stored);
    }
    let shifted = stored.floats().map(|values| values.into_iter().map(|w| w + 1.0).collect());
    shifted.map(floats).ok_or_else(|| read_error(&tensor.name, "its length does not fit its shape"))
}

fn floats(values: Vec<f32>) -> Stored {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Stored { dtype: DType::F32, shape: vec![values.len()], bytes: Bytes::from(bytes) }
}
