//! Matrices, biases and layer norms as Candle's tensors.

use crate::LoadError;
use crate::source::{Source, Stored};
use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{Device, Module, Result, Tensor};
use rbee_model::gguf::DType;
use std::borrow::Cow;
use std::sync::Arc;

/// `x W^T + b`. Rows of W stay quantized if they are; floats are held as F32.
pub struct Linear {
    weight: QMatMul,
    bias: Option<Tensor>,
}

impl Linear {
    /// Reads `NAME.weight` of `[rows, columns]` and, if there is one, `NAME.bias`.
    pub fn load(source: &mut Source, name: &str, rows: usize, columns: usize, device: &Device) -> Load<Self> {
        let weight = matrix(source, &format!("{name}.weight"), rows, columns, device)?;
        let bias = source.take_optional_vector(&format!("{name}.bias"), rows)?;
        let bias = bias.map(|bias| Tensor::from_vec(bias, rows, device)).transpose()?;
        Ok(Self { weight, bias })
    }

    /// `[tokens, columns]` to `[tokens, rows]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let product = self.weight.forward(x)?;
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }
}

/// A layer norm with weight and bias.
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

impl LayerNorm {
    /// Reads `NAME.weight` and `NAME.bias`.
    pub fn load(source: &mut Source, name: &str, length: usize, epsilon: f32, device: &Device) -> Load<Self> {
        let weight = source.take_vector(&format!("{name}.weight"), length)?;
        let bias = source.take_vector(&format!("{name}.bias"), length)?;
        let tensor = |values| Tensor::from_vec(values, length, device);
        Ok(Self { weight: tensor(weight)?, bias: tensor(bias)?, epsilon })
    }

    /// Each row of `x` alone.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::layer_norm(&x.contiguous()?, &self.weight, &self.bias, self.epsilon)
    }
}

type Load<T> = std::result::Result<T, LoadError>;

/// Reads a matrix of `[rows, columns]`.
pub fn matrix(source: &mut Source, name: &str, rows: usize, columns: usize, device: &Device) -> Load<QMatMul> {
    let stored = source.take(name, &[rows, columns])?;
    if let Some(values) = stored.floats() {
        return Ok(QMatMul::Tensor(Tensor::from_vec(values, (rows, columns), device)?));
    }
    Ok(QMatMul::from_arc(Arc::new(quantized(name, &stored, device)?))?)
}

fn quantized(name: &str, stored: &Stored, device: &Device) -> Load<QTensor> {
    let place = "in an encoder";
    let dtype = ggml(stored.dtype);
    let dtype = dtype.ok_or_else(|| LoadError::DType { name: name.to_owned(), dtype: stored.dtype, place })?;
    // Candle reads blocks where they lie and insists on their alignment.
    let aligned = (stored.bytes.as_ptr() as usize).is_multiple_of(4);
    let data = if aligned { Cow::Borrowed(&stored.bytes[..]) } else { Cow::Owned(stored.bytes.to_vec()) };
    Ok(QTensor::new(QStorage::from_data(data, device, dtype)?, stored.shape.clone())?)
}

/// Candle's name of a data type of blocks.
fn ggml(dtype: DType) -> Option<GgmlDType> {
    Some(match dtype {
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
