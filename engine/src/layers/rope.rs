//! Rotary position embedding: heads' pairs are turned by angles that grow with the position.

use crate::backend::{Backend, Kernels};
use crate::spec::{RopeSpec, RopeStyle};
use candle_core::{D, Result, Tensor};
use rbee_kernels::{HeadSpan, RopeTable};

/// A rotary embedding that layers share.
pub struct Rope {
    style: RopeStyle,
    frequencies: Vec<f64>,
    magnitude: f64,
    table: RopeTable,
}

/// The angles of a step's tokens, made once per step and used by all layers that turn alike.
pub enum Angles {
    Kernels(rbee_kernels::Angles),
    /// `[tokens, pairs]` each.
    Candle {
        style: RopeStyle,
        cos: Tensor,
        sin: Tensor,
    },
}

impl Rope {
    pub fn new(spec: &RopeSpec, style: RopeStyle) -> Self {
        let frequencies = spec.frequencies();
        let table = RopeTable::new(style, frequencies.clone(), spec.magnitude as f32);
        Self { style, frequencies, magnitude: spec.magnitude, table }
    }

    /// The angles of tokens at these positions.
    pub fn angles(&self, backend: &Backend, positions: &[usize]) -> Result<Angles> {
        let Backend::Candle(device) = backend else { return Ok(Angles::Kernels(self.table.angles(positions))) };
        let angles = || positions.iter().flat_map(|&p| self.frequencies.iter().map(move |f| p as f64 * f));
        let tensor = |values: Vec<f32>| Tensor::from_vec(values, (positions.len(), self.frequencies.len()), device);
        Ok(Angles::Candle {
            style: self.style,
            cos: tensor(angles().map(|a| (a.cos() * self.magnitude) as f32).collect())?,
            sin: tensor(angles().map(|a| (a.sin() * self.magnitude) as f32).collect())?,
        })
    }
}

/// Turns heads in place, in every row of `x`, by rbee-kernels.
pub fn turn_in_place(kernels: &Kernels, x: &Tensor, span: HeadSpan, angles: &rbee_kernels::Angles) -> Result<()> {
    kernels.change("rope", x, |x| rbee_kernels::rope(&kernels.cpu, x, span, angles))
}

/// Turns `[heads, tokens, length]` by Candle's operations.
pub fn turn(x: &Tensor, style: RopeStyle, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (length, turned) = (x.dim(D::Minus1)?, 2 * cos.dim(D::Minus1)?);
    let part = x.narrow(D::Minus1, 0, turned)?.unsqueeze(0)?.contiguous()?;
    let part = match style {
        RopeStyle::Interleaved => candle_nn::rotary_emb::rope_i(&part, cos, sin)?,
        RopeStyle::Halves => candle_nn::rotary_emb::rope(&part, cos, sin)?,
    };
    let part = part.squeeze(0)?;
    match length == turned {
        true => Ok(part),
        false => Tensor::cat(&[&part, &x.narrow(D::Minus1, turned, length - turned)?], D::Minus1),
    }
}
