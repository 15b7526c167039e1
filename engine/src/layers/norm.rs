//! Root mean square norms.

use crate::LoadError;
use crate::backend::{Backend, Change, Map};
use crate::source::Source;
use candle_core::{Result, Tensor};
use rbee_kernels::{Cpu, HeadSpan};

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
            Backend::Kernels(cpu) => {
                let run = |x: &[f32], out: &mut [f32]| {
                    rbee_kernels::rms_norm(cpu, x, self.weight.values(), self.epsilon, out);
                };
                x.apply_op1_no_bwd(&Map { name: "rms_norm", shape: x.shape().clone(), run })
            }
            Backend::Candle(_) => candle_nn::ops::rms_norm(&x.contiguous()?, self.weight.tensor(), self.epsilon),
        }
    }

    /// Norms heads in place, in every row of `x`, by rbee-kernels.
    pub fn forward_heads(&self, cpu: &Cpu, x: &Tensor, span: HeadSpan) -> Result<()> {
        let run = |x: &mut [f32]| rbee_kernels::rms_norm_heads(cpu, x, span, self.weight.values(), self.epsilon);
        x.inplace_op1(&Change { name: "rms_norm_heads", run })
    }
}
