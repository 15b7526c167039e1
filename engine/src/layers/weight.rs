//! A matrix of weights, in the file's data type and never dequantized as a whole on the CPU.

use crate::LoadError;
use crate::backend::Backend;
use crate::source::{Source, Stored};
use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use rbee_kernels::Matrix;
use rbee_model::gguf::DType;
use std::borrow::Cow;
use std::sync::Arc;

/// A matrix `[rows, columns]` that tokens' rows are multiplied with, or whose rows are looked up. Clones share it.
#[derive(Clone)]
pub enum Weight {
    /// The file's blocks in place.
    Kernels(Arc<Matrix>),
    /// A copy on Candle's device.
    Candle(QMatMul),
}

impl Weight {
    /// Takes a matrix of a source.
    ///
    /// # Errors
    /// [`LoadError`] if it is missing, of another shape, or of a data type that is not computed.
    pub fn take(
        backend: &Backend,
        source: &mut Source,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Self, LoadError> {
        let stored = source.take(name, &[rows, columns])?;
        let unreadable = |message: String| LoadError::Read { name: name.to_owned(), message };
        match backend {
            Backend::Kernels(_) => match Matrix::new(stored.dtype, rows, columns, stored.bytes) {
                Ok(matrix) => Ok(Self::Kernels(Arc::new(matrix))),
                Err(error) => Err(unreadable(error.to_string())),
            },
            Backend::Candle(device) => {
                let Some(dtype) = candle_dtype(stored.dtype) else {
                    let name = name.to_owned();
                    return Err(LoadError::DType { name, dtype: stored.dtype, place: "by Candle's operations" });
                };
                let matmul = quantized(&stored, dtype, device).and_then(|t| QMatMul::from_arc(Arc::new(t)));
                matmul.map(Self::Candle).map_err(|e| unreadable(e.to_string()))
            }
        }
    }

    /// The matrix of rbee-kernels, if it is one.
    pub fn matrix(&self) -> Option<&Matrix> {
        match self {
            Self::Kernels(matrix) => Some(matrix),
            Self::Candle(_) => None,
        }
    }

    /// Candle's matrix, if it is one.
    pub fn candle(&self) -> Option<&QMatMul> {
        match self {
            Self::Kernels(_) => None,
            Self::Candle(matmul) => Some(matmul),
        }
    }
}

fn quantized(stored: &Stored, dtype: GgmlDType, device: &candle_core::Device) -> candle_core::Result<QTensor> {
    // Candle casts bytes to its blocks, which may lie at any even address at least; a map's tensors always do, other bytes are copied.
    let aligned = (stored.bytes.as_ptr() as usize).is_multiple_of(4);
    let bytes = if aligned { Cow::Borrowed(&*stored.bytes) } else { Cow::Owned(stored.bytes.to_vec()) };
    QTensor::new(QStorage::from_data(bytes, device, dtype)?, stored.shape.as_slice())
}

/// Candle's name of a data type.
pub(crate) fn candle_dtype(dtype: DType) -> Option<GgmlDType> {
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
