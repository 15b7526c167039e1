//! The gated feed-forward of a block.

use super::linear::{Linear, Part};
use crate::LoadError;
use crate::backend::Backend;
use crate::source::Source;
use crate::spec::{Activation, Spec};
use candle_core::{Result, Tensor};

/// down(activation(gate(x)) * up(x))
pub struct Mlp {
    gate_up: Linear,
    down: Linear,
    feed_forward: usize,
    activation: Activation,
}

impl Mlp {
    /// Takes the matrices of a block.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or not of its shape.
    pub fn take(
        backend: &Backend,
        source: &mut Source,
        spec: &Spec,
        block: usize,
    ) -> std::result::Result<Self, LoadError> {
        let name = |part: &str| format!("blk.{block}.{part}");
        let (gate, up, down) = (name("ffn_gate"), name("ffn_up"), name("ffn_down"));
        let rows = spec.feed_forward;
        let fused = [Part { name: &up, rows: 2 * rows }];
        let separate = [Part { name: &gate, rows }, Part { name: &up, rows }];
        let parts: &[Part<'_>] = if spec.fused_gate_up { &fused } else { &separate };
        Ok(Self {
            gate_up: Linear::take(backend, source, parts, spec.embedding)?,
            down: Linear::take(backend, source, &[Part { name: &down, rows: spec.embedding }], rows)?,
            feed_forward: rows,
            activation: spec.activation,
        })
    }

    /// `[n, embedding]` to the same shape.
    pub fn forward(&self, backend: &Backend, x: &Tensor) -> Result<Tensor> {
        let gate_up = self.gate_up.forward(backend, x)?;
        let hidden = match backend {
            Backend::Kernels(kernels) => kernels.map("gated", &gate_up, (x.dim(0)?, self.feed_forward), |x, out| {
                rbee_kernels::gated(&kernels.cpu, x, self.feed_forward, self.activation, out);
            })?,
            Backend::Candle(_) => {
                let (gate, up) = (
                    gate_up.narrow(1, 0, self.feed_forward)?,
                    gate_up.narrow(1, self.feed_forward, self.feed_forward)?,
                );
                let gate = match self.activation {
                    Activation::Silu => gate.silu()?,
                    Activation::GeluTanh => gate.gelu()?,
                };
                (gate * up)?
            }
        };
        backend.recycle(gate_up)?;
        let out = self.down.forward(backend, &hidden)?;
        backend.recycle(hidden)?;
        Ok(out)
    }
}
