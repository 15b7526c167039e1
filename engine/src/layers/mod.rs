//! The parts that decoders are made of. Each computes with rbee-kernels or with Candle's own operations, whatever its [`Backend`] is, and
//! takes and gives tensors of f32 in which a row belongs to one token.
//!
//! [`Backend`]: crate::backend::Backend

pub mod attention;
pub mod cache;
pub mod embedding;
pub mod linear;
pub mod mlp;
pub mod norm;
pub mod rope;
pub mod weight;

use crate::backend::Backend;
use candle_core::{Result, Tensor};

/// Adds `y` to `x`, of the same shape. Nothing else may refer to either.
pub fn add(backend: &Backend, x: Tensor, y: Tensor) -> Result<Tensor> {
    match backend {
        Backend::Kernels(kernels) => {
            kernels.change_by("add", &x, &y, |x, y| rbee_kernels::add(&kernels.cpu, x, y))?;
            backend.recycle(y)?;
            Ok(x)
        }
        Backend::Candle(_) => x + y,
    }
}
