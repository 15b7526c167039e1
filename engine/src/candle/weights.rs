//! Tensors of a checked GGUF file as Candle's matrices.

use super::{EngineError, Shape, WeightMode, compute};
use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{Device, Module, Tensor};
use rbee_model::gguf::{DType, Header};
use std::borrow::Cow;
use std::sync::Arc;

/// Why a checked file cannot be served by this engine.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("GGUF tensor {0:?} is missing")]
    MissingTensor(String),
    #[error("GGUF tensor {0:?} is not used by this engine, so the model would answer wrongly")]
    UnknownTensor(String),
    #[error("GGUF tensor {name:?} has {found} elements, {expected} are needed")]
    Elements { name: String, found: u64, expected: usize },
    #[error("GGUF tensor {name:?} has the data type {dtype}, which is not supported")]
    DType { name: String, dtype: DType },
    #[error("GGUF key {key:?} is {value}, which is not supported: {why}")]
    Unsupported { key: String, value: String, why: &'static str },
    #[error("GGUF tensor {name:?} cannot be read: {message}")]
    Read { name: String, message: String },
    #[error("GGUF tensor {0:?} is damaged: it holds numbers that are not finite")]
    NotFinite(String),
    #[error("cannot start threads: {0}")]
    Threads(String),
}

/// How far loading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub layers_loaded: usize,
    pub layers_total: usize,
    /// Bytes of weights.
    pub bytes: u64,
    pub bytes_total: u64,
}

/// A matrix that rows are multiplied with.
pub struct Linear(QMatMul);

impl Linear {
    pub(super) fn forward(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        self.0.forward(rows)
    }
}

/// One block.
pub struct Layer {
    pub attention_norm: Vec<f32>,
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    pub output: Linear,
    pub feed_forward_norm: Vec<f32>,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

/// The whole model.
pub struct Weights {
    embedding: Arc<QTensor>,
    pub layers: Vec<Layer>,
    pub norm: Vec<f32>,
    pub head: Linear,
    bytes: u64,
}

impl Weights {
    pub(super) fn load(
        header: &Header,
        file: &[u8],
        shape: Shape,
        mode: WeightMode,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, LoadError> {
        refuse_what_is_not_computed(header, shape)?;
        let mut reader = Reader { header, file, mode, bytes: 0 };
        let bytes_total = header.tensors().iter().map(|t| t.bytes).sum();
        let embedding = Arc::new(reader.tensor("token_embd.weight")?);
        let norm = reader.vector("output_norm.weight", shape.embedding)?;
        let head = match header.tensor("output.weight") {
            Some(_) => reader.linear("output.weight")?,
            None => reader.matrix(embedding.clone())?,
        };
        let mut layers = Vec::with_capacity(shape.layers);
        for index in 0..shape.layers {
            let loaded =
                Progress { layers_loaded: index, layers_total: shape.layers, bytes: reader.bytes, bytes_total };
            progress(loaded);
            let name = |part: &str| format!("blk.{index}.{part}.weight");
            layers.push(Layer {
                attention_norm: reader.vector(&name("attn_norm"), shape.embedding)?,
                query: reader.linear(&name("attn_q"))?,
                key: reader.linear(&name("attn_k"))?,
                value: reader.linear(&name("attn_v"))?,
                output: reader.linear(&name("attn_output"))?,
                feed_forward_norm: reader.vector(&name("ffn_norm"), shape.embedding)?,
                gate: reader.linear(&name("ffn_gate"))?,
                up: reader.linear(&name("ffn_up"))?,
                down: reader.linear(&name("ffn_down"))?,
            });
        }
        progress(Progress { layers_loaded: shape.layers, layers_total: shape.layers, bytes: bytes_total, bytes_total });
        Ok(Self { embedding, layers, norm, head, bytes: reader.bytes })
    }

    /// Bytes as stored.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// One row of the embedding per token.
    pub fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        let ids = Tensor::new(tokens, &Device::Cpu).map_err(compute)?;
        self.embedding.embedding(&ids).and_then(|t| t.flatten_all()?.to_vec1()).map_err(compute)
    }
}

/// Tensors and settings that this forward would silently leave out.
fn refuse_what_is_not_computed(header: &Header, shape: Shape) -> Result<(), LoadError> {
    const PARTS: [&str; 9] =
        ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"];
    const WHOLE: [&str; 4] = ["token_embd.weight", "output_norm.weight", "output.weight", "rope_freqs.weight"];
    for tensor in header.tensors() {
        let part = tensor.name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
        let part = part.and_then(|(_, name)| name.strip_suffix(".weight"));
        if !WHOLE.contains(&tensor.name.as_str()) && !part.is_some_and(|p| PARTS.contains(&p)) {
            return Err(LoadError::UnknownTensor(tensor.name.clone()));
        }
    }
    let key = "llama.attention.value_length";
    match header.u64(key) {
        Some(length) if length != shape.head as u64 => Err(LoadError::Unsupported {
            key: key.to_owned(),
            value: length.to_string(),
            why: "keys and values must have the same length",
        }),
        _ => Ok(()),
    }
}

/// Reads tensors out of the file's bytes.
pub(super) struct Reader<'a> {
    pub header: &'a Header,
    pub file: &'a [u8],
    pub mode: WeightMode,
    pub bytes: u64,
}

impl Reader<'_> {
    fn tensor(&mut self, name: &str) -> Result<QTensor, LoadError> {
        let tensor = self.header.tensor(name).ok_or_else(|| LoadError::MissingTensor(name.to_owned()))?;
        let unreadable = |message: String| LoadError::Read { name: name.to_owned(), message };
        let dtype =
            ggml(tensor.dtype).ok_or_else(|| LoadError::DType { name: name.to_owned(), dtype: tensor.dtype })?;
        let start = self.header.data_offset() + tensor.offset;
        let span = start as usize..(start + tensor.bytes) as usize;
        let data = self.file.get(span).ok_or_else(|| unreadable("it lies outside of the file".into()))?;
        // Candle reads blocks in place and wants them where their type may lie.
        let data =
            if (data.as_ptr() as usize).is_multiple_of(4) { Cow::Borrowed(data) } else { Cow::Owned(data.to_vec()) };
        let dims: Vec<usize> = tensor.dims.iter().rev().map(|&d| d as usize).collect();
        self.bytes += tensor.bytes;
        let storage = QStorage::from_data(data, &Device::Cpu, dtype).map_err(|e| unreadable(e.to_string()))?;
        QTensor::new(storage, dims).map_err(|e| unreadable(e.to_string()))
    }

    fn linear(&mut self, name: &str) -> Result<Linear, LoadError> {
        let tensor = self.tensor(name)?;
        self.matrix(Arc::new(tensor))
    }

    fn matrix(&self, tensor: Arc<QTensor>) -> Result<Linear, LoadError> {
        let inner = match self.mode {
            WeightMode::AsStored => QMatMul::from_arc(tensor),
            WeightMode::F32 => tensor.dequantize(&Device::Cpu).map(QMatMul::Tensor),
        };
        inner.map(Linear).map_err(|e| LoadError::Read { name: "matrix".into(), message: e.to_string() })
    }

    pub(super) fn vector(&mut self, name: &str, expected: usize) -> Result<Vec<f32>, LoadError> {
        let tensor = self.tensor(name)?;
        let values: Vec<f32> = tensor
            .dequantize(&Device::Cpu)
            .and_then(|t| t.flatten_all()?.to_vec1())
            .map_err(|e| LoadError::Read { name: name.to_owned(), message: e.to_string() })?;
        if values.len() != expected {
            return Err(LoadError::Elements { name: name.to_owned(), found: values.len() as u64, expected });
        }
        if values.iter().any(|v| !v.is_finite()) {
            return Err(LoadError::NotFinite(name.to_owned()));
        }
        Ok(values)
    }
}

/// Candle's name of a data type.
pub(super) fn ggml(dtype: DType) -> Option<GgmlDType> {
    Some(match dtype {
        DType::F32 => GgmlDType::F32,
        DType::F16 => GgmlDType::F16,
        DType::BF16 => GgmlDType::BF16,
        DType::Q4_0 => GgmlDType::Q4_0,
        DType::Q4_1 => GgmlDType::Q4_1,
        DType::Q5_0 => GgmlDType::Q5_0,
        DType::Q5_1 => GgmlDType::Q5_1,
        DType::Q8_0 => GgmlDType::Q8_0,
        DType::Q2_K => GgmlDType::Q2K,
        DType::Q3_K => GgmlDType::Q3K,
        DType::Q4_K => GgmlDType::Q4K,
        DType::Q5_K => GgmlDType::Q5K,
        DType::Q6_K => GgmlDType::Q6K,
        _ => return None,
    })
}
