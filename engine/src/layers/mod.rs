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

use crate::backend::{Backend, ChangeBy};
use candle_core::{Result, Tensor};

/// Adds `y` to `x`, of the same shape.
pub fn add(backend: &Backend, x: Tensor, y: &Tensor) -> Result<Tensor> {
    match backend {
        Backend::Kernels(cpu) => {
            let run = |x: &mut [f32], y: &[f32]| rbee_kernels::add(cpu, x, y);
            x.inplace_op2(y, &ChangeBy { name: "add", run })?;
            Ok(x)
        }
        Backend::Candle(_) => x + y,
    }
}
