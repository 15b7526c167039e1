//! Layer norms.

use crate::LoadError;
use crate::backend::Backend;
use crate::source::Source;
use candle_core::{Result, Tensor};

/// Shifts and divides rows so that their mean is 0 and their variance 1, then applies weight and bias.
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

impl LayerNorm {
    /// Takes `NAME.weight` and `NAME.bias`.
    ///
    /// # Errors
    /// [`LoadError`] if one is missing, of another length, or not finite.
    pub fn take(
        backend: &Backend,
        source: &mut Source,
        name: &str,
        length: usize,
        epsilon: f32,
    ) -> std::result::Result<Self, LoadError> {
        let mut vector = |part: &str| {
            let values = source.take_vector(&format!("{name}.{part}"), length)?;
            Ok::<_, LoadError>(Tensor::from_vec(values, length, backend.device())?)
        };
        Ok(Self { weight: vector("weight")?, bias: vector("bias")?, epsilon })
    }

    /// `[n, length]` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::layer_norm(&x.contiguous()?, &self.weight, &self.bias, self.epsilon)
    }
}
