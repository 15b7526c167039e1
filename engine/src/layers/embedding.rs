//! Token embeddings: rows of a matrix that stays as the file has it.

use super::weight::Weight;
use crate::backend::Backend;
use candle_core::{Result, Tensor};

/// Looks up rows and scales them.
pub struct Embedding {
    weight: Weight,
    length: usize,
    scale: f32,
}

impl Embedding {
    pub fn new(weight: Weight, length: usize, scale: f32) -> Self {
        Self { weight, length, scale }
    }

    /// `[tokens, length]`. Tokens are below the matrix' rows.
    pub fn forward(&self, backend: &Backend, tokens: &[u32]) -> Result<Tensor> {
        let rows = match &self.weight {
            Weight::Kernels(matrix) => {
                let mut rows = vec![0.0; tokens.len() * self.length];
                for (row, &token) in rows.chunks_exact_mut(self.length).zip(tokens) {
                    matrix.row(token as usize, row);
                    row.iter_mut().for_each(|value| *value *= self.scale);
                }
                return Tensor::from_vec(rows, (tokens.len(), self.length), backend.device());
            }
            Weight::Candle(weight) => weight.embedding(&Tensor::new(tokens, backend.device())?)?,
        };
        rows * f64::from(self.scale)
    }
}
