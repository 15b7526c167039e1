//! Products of weight matrices, in GGUF's own blocks, with rows of activations.
//!
//! Weights are never repacked as a whole: 16 rows at a time are unpacked into a small panel ([`unpack`]) in which their
//! columns lie beside each other, and multiplied with all rows of activations ([`kernel`]); or, where these are few and blocks have 32
//! columns, multiplied as they are unpacked ([`fused`]). Activations are rounded to 8 bits with a scale for every 32 where the weights are
//! quantized, and stay f32 where they are floats ([`activations`]). Where sums are pairs of 16 bits (AVX2 alone), types with blocks of 256 keep
//! their integer scales, and activations have one scale for 256 columns ([`integers`]).

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocks;
mod dispatch;
#[allow(clippy::needless_range_loop, reason = "an index counts through several arrays and addresses at once")]
mod fused;
#[allow(clippy::needless_range_loop, reason = "an index counts through several arrays and addresses at once")]
mod integers;
#[allow(clippy::needless_range_loop, reason = "an index counts through several arrays and addresses at once")]
mod kernel;
mod matrix;
#[cfg(target_arch = "aarch64")]
mod neon;
mod panel;
mod portable;
mod product;
mod rows;
mod simd;
#[cfg(test)]
mod tests;
#[allow(clippy::needless_range_loop, reason = "an index counts through several arrays and addresses at once")]
mod unpack;

pub use matrix::{Matrix, MatrixError};

use crate::Cpu;
use crate::pool::SendPtr;
use dispatch::Kernels;
use product::Product;

/// `out[i] = weights * x[i]` for every row `i` of `x`.
///
/// `x`: `[m, cols]`. `out`: `[m, sum of the matrices' rows]`, every matrix' rows beside each other. All matrices have the
/// same number of columns. Panics when the lengths do not fit. A NaN or an infinity in a row of `x` gives NaN in that row
/// of `out`.
pub fn matmul(cpu: &Cpu, weights: &[&Matrix], x: &[f32], out: &mut [f32]) {
    let Some(cols) = weights.first().map(|w| w.cols()) else { return };
    let out_cols: usize = weights.iter().map(|w| w.rows()).sum();
    assert!(weights.iter().all(|w| w.cols() == cols), "all matrices have the same number of columns");
    assert!(x.len().is_multiple_of(cols), "x consists of rows of {cols}");
    assert_eq!(out.len(), x.len() / cols * out_cols, "out has a row for every row of x");
    assert!(cpu.isa.is_available(), "this processor has no {}", cpu.isa);
    if out.is_empty() {
        return;
    }
    let out = SendPtr(out.as_mut_ptr());
    Product { kernels: Kernels::of(cpu.isa), weights, cols, x, out, out_cols }.run(&cpu.pool);
}
