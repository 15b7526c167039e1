//! Linear layers: several matrices with the same input, their results beside each other.

use super::norm::Vector;
use super::weight::Weight;
use crate::LoadError;
use crate::backend::Backend;
use crate::source::Source;
use candle_core::{D, Module, Result, Tensor};
use rbee_kernels::Matrix;

/// `[rows, columns]` times matrices, plus a bias.
pub struct Linear {
    weights: Vec<Weight>,
    /// Rows of all matrices.
    rows: usize,
    bias: Option<Vector>,
}

/// One matrix of a [`Linear`]: its name without `.weight`, and its rows.
pub struct Part<'a> {
    pub name: &'a str,
    pub rows: usize,
}

impl Linear {
    /// Takes `NAME.weight` of every part, and `NAME.bias` where there is one.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or not of its shape.
    pub fn take(
        backend: &Backend,
        source: &mut Source,
        parts: &[Part<'_>],
        columns: usize,
    ) -> std::result::Result<Self, LoadError> {
        let mut weights = Vec::with_capacity(parts.len());
        for part in parts {
            weights.push(Weight::take(backend, source, &format!("{}.weight", part.name), part.rows, columns)?);
        }
        let bias = bias(source, parts)?;
        Self::new(backend, weights, parts.iter().map(|p| p.rows).sum(), bias)
    }

    /// A layer of a matrix that is used elsewhere too.
    ///
    /// # Errors
    /// [`LoadError::Device`].
    pub fn new(
        backend: &Backend,
        weights: Vec<Weight>,
        rows: usize,
        bias: Option<Vec<f32>>,
    ) -> std::result::Result<Self, LoadError> {
        let bias = bias.map(|values| Vector::new(backend, values)).transpose()?;
        Ok(Self { weights, rows, bias })
    }

    /// `[n, columns]` to `[n, rows of all matrices]`.
    pub fn forward(&self, backend: &Backend, x: &Tensor) -> Result<Tensor> {
        match backend {
            Backend::Kernels(kernels) => {
                let matrices: Vec<&Matrix> = self.weights.iter().filter_map(Weight::matrix).collect();
                let out = kernels.map("matmul", x, (x.dim(0)?, self.rows), |x, out| {
                    rbee_kernels::matmul(&kernels.cpu, &matrices, x, out);
                })?;
                if let Some(bias) = &self.bias {
                    kernels.change("add_bias", &out, |out| rbee_kernels::add_bias(&kernels.cpu, out, bias.values()))?;
                }
                Ok(out)
            }
            Backend::Candle(_) => {
                let parts =
                    self.weights.iter().filter_map(Weight::candle).map(|w| w.forward(x)).collect::<Result<Vec<_>>>()?;
                let out = Tensor::cat(&parts, D::Minus1)?;
                match &self.bias {
                    Some(bias) => out.broadcast_add(bias.tensor()),
                    None => Ok(out),
                }
            }
        }
    }
}

/// The biases of all parts beside each other, 0 where a part has none; None if no part has one.
fn bias(source: &mut Source, parts: &[Part<'_>]) -> std::result::Result<Option<Vec<f32>>, LoadError> {
    let name = |part: &Part<'_>| format!("{}.bias", part.name);
    if !parts.iter().any(|part| source.has(&name(part))) {
        return Ok(None);
    }
    let mut bias = Vec::new();
    for part in parts {
        let own = source.take_optional_vector(&name(part), part.rows)?;
        bias.extend(own.unwrap_or_else(|| vec![0.0; part.rows]));
    }
    Ok(Some(bias))
}
