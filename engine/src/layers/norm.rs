//! Root mean square norms.

use crate::LoadError;
use crate::backend::{Backend, Kernels};
use crate::source::Source;
use candle_core::{Result, Tensor};
use rbee_kernels::HeadSpan;

/// A vector of a model, as numbers and on the device.
pub struct Vector {
    values: Vec<f32>,
    tensor: Tensor,
}

impl Vector {
    /// # Errors
    /// [`LoadError::Device`].
    pub fn new(backend: &Backend, values: Vec<f32>) -> std::result::Result<Self, LoadError> {
        let tensor = Tensor::new(values.as_slice(), backend.device())?;
        Ok(Self { values, tensor })
    }

    pub fn values(&self) -> &[f32] {
        &self.values
    }

    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }
}

/// Divides rows by their root mean square and multiplies them with weights.
pub struct RmsNorm {
    weight: Vector,
    epsilon: f32,
}

impl RmsNorm {
    /// Takes `NAME.weight`.
    ///
    /// # Errors
    /// [`LoadError`] if it is missing, of another length, or not finite.
    pub fn take(
        backend: &Backend,
        source: &mut Source,
        name: &str,
        length: usize,
        epsilon: f32,
    ) -> std::result::Result<Self, LoadError> {
        let weight = Vector::new(backend, source.take_vector(&format!("{name}.weight"), length)?)?;
        Ok(Self { weight, epsilon })
    }

    /// `[n, length]` to the same shape.
    pub fn forward(&self, backend: &Backend, x: &Tensor) -> Result<Tensor> {
        match backend {
            Backend::Kernels(kernels) => kernels.map("rms_norm", x, x.shape(), |x, out| {
                rbee_kernels::rms_norm(&kernels.cpu, x, self.weight.values(), self.epsilon, out);
            }),
            Backend::Candle(_) => candle_nn::ops::rms_norm(&x.contiguous()?, self.weight.tensor(), self.epsilon),
        }
    }

    /// Norms heads in place, in every row of `x`, by rbee-kernels.
    pub fn forward_heads(&self, kernels: &Kernels, x: &Tensor, span: HeadSpan) -> Result<()> {
        kernels.change("rms_norm_heads", x, |x| {
            rbee_kernels::rms_norm_heads(&kernels.cpu, x, span, self.weight.values(), self.epsilon);
        })
    }
}
