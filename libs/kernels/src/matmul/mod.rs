//! Products of weight matrices, in GGUF's own blocks, with rows of activations.

mod blocks;
mod matrix;

pub use matrix::{Matrix, MatrixError};

use crate::Cpu;

/// `out[i] = weights * x[i]` for every row `i` of `x`.
///
/// `x`: `[m, cols]`. `out`: `[m, sum of the matrices' rows]`, every matrix' rows beside each other. All matrices have the
/// same number of columns. Panics when the lengths do not fit.
pub fn matmul(cpu: &Cpu, weights: &[&Matrix], x: &[f32], out: &mut [f32]) {
    let Some(cols) = weights.first().map(|w| w.cols()) else { return };
    let total: usize = weights.iter().map(|w| w.rows()).sum();
    assert!(weights.iter().all(|w| w.cols() == cols), "all matrices have the same number of columns");
    assert!(x.len().is_multiple_of(cols), "x consists of rows of {cols}");
    assert_eq!(out.len(), x.len() / cols * total, "out has a row for every row of x");
    if total == 0 {
        return;
    }
    cpu.pool.run_rows(out, total, &|i, out| {
        let x = &x[i * cols..][..cols];
        let mut row = vec![0.0; cols];
        let mut out = out.iter_mut();
        for w in weights {
            for (r, out) in (0..w.rows()).zip(&mut out) {
                w.row(r, &mut row);
                *out = row.iter().zip(x).map(|(w, x)| w * x).sum();
            }
        }
    });
}
