//! Root-mean-square and layer normalization.

use crate::{
    Cpu, HeadSpan,
    elementwise::in_parts,
    vector::{Kernel, Simd, WIDTH, dispatch},
};

/// Every row of `weight.len()` becomes x / √(mean of x² + eps) · weight.
///
/// # Panics
/// Where `x` does not consist of whole rows, or `out` has another length.
pub fn rms_norm(cpu: &Cpu, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let length = check(x, weight, out);
    in_parts(cpu, out, length, &|start, out| {
        for (x, out) in x[start..].chunks_exact(length).zip(out.chunks_exact_mut(length)) {
            out.copy_from_slice(x);
            dispatch(cpu.isa, RmsNorm { x: out, weight, eps });
        }
    });
}

/// [`rms_norm`] of every head by itself, in place.
///
/// # Panics
/// Where `weight` has not the length of a head, or the span does not fit `x`.
pub fn rms_norm_heads(cpu: &Cpu, x: &mut [f32], span: HeadSpan, weight: &[f32], eps: f32) {
    span.rows(x);
    assert_eq!(weight.len(), span.head_length, "weights of a head");
    in_parts(cpu, x, span.stride, &|_, rows| {
        for x in rows.chunks_exact_mut(span.stride).flat_map(|row| span.of(row)) {
            dispatch(cpu.isa, RmsNorm { x, weight, eps });
        }
    });
}

/// Every row of `weight.len()` becomes (x - mean) / √(variance + eps) · weight + bias.
///
/// # Panics
/// Where `x` does not consist of whole rows, or `out` or `bias` has another length.
pub fn layer_norm(cpu: &Cpu, x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    let length = check(x, weight, out);
    assert!(bias.is_none_or(|bias| bias.len() == length), "bias of a row");
    in_parts(cpu, out, length, &|start, out| {
        for (x, out) in x[start..].chunks_exact(length).zip(out.chunks_exact_mut(length)) {
            out.copy_from_slice(x);
            dispatch(cpu.isa, LayerNorm { x: out, weight, bias, eps });
        }
    });
}

fn check(x: &[f32], weight: &[f32], out: &[f32]) -> usize {
    assert!(!weight.is_empty() && x.len().is_multiple_of(weight.len()), "x consists of rows of {}", weight.len());
    assert_eq!(x.len(), out.len(), "out has a row for every row of x");
    weight.len()
}

struct RmsNorm<'a> {
    x: &'a mut [f32],
    weight: &'a [f32],
    eps: f32,
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mean = sum_of_squares(simd, self.x, 0.0) / self.x.len() as f32;
        let factor = 1.0 / (mean + self.eps).sqrt();
        for (x, weight) in self.x.iter_mut().zip(self.weight) {
            *x = *x * factor * weight;
        }
    }
}

struct LayerNorm<'a> {
    x: &'a mut [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    eps: f32,
}

impl Kernel for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let count = self.x.len() as f32;
        let mean = sum(simd, self.x) / count;
        let variance = sum_of_squares(simd, self.x, mean) / count;
        let factor = 1.0 / (variance + self.eps).sqrt();
        for (x, weight) in self.x.iter_mut().zip(self.weight) {
            *x = (*x - mean) * factor * weight;
        }
        if let Some(bias) = self.bias {
            self.x.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
        }
    }
}

#[inline(always)]
fn sum<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let (columns, rest) = x.as_chunks::<WIDTH>();
    let mut last = [0.0; WIDTH];
    last[..rest.len()].copy_from_slice(rest);
    let mut sum = simd.splat(0.0);
    for column in columns.iter().chain([&last]) {
        // SAFETY: `column` has WIDTH floats.
        sum = simd.add(sum, unsafe { simd.load(column.as_ptr()) });
    }
    simd.sum(sum)
}

/// Sum of (x - centre)².
#[inline(always)]
fn sum_of_squares<S: Simd>(simd: S, x: &[f32], centre: f32) -> f32 {
    let (columns, rest) = x.as_chunks::<WIDTH>();
    let mut last = [centre; WIDTH];
    last[..rest.len()].copy_from_slice(rest);
    let mut sum = simd.splat(0.0);
    for column in columns.iter().chain([&last]) {
        // SAFETY: `column` has WIDTH floats.
        let x = simd.sub(unsafe { simd.load(column.as_ptr()) }, simd.splat(centre));
        sum = simd.mul_add(x, x, sum);
    }
    simd.sum(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Isa,
        testing::{Random, assert_close},
    };

    fn reference(row: &[f32], weight: &[f32], bias: &[f32], eps: f64, centred: bool) -> Vec<f64> {
        let count = row.len() as f64;
        let mean = if centred { row.iter().map(|x| f64::from(*x)).sum::<f64>() / count } else { 0.0 };
        let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / count;
        let normal = row.iter().map(|x| (f64::from(*x) - mean) / (variance + eps).sqrt());
        normal.zip(weight).zip(bias).map(|((x, w), b)| x * f64::from(*w) + f64::from(*b)).collect()
    }

    #[test]
    fn rows_equal_the_reference_and_have_the_same_bits_alone() {
        let mut random = Random::new(1);
        for isa in Isa::available() {
            let (cpu, one) = (Cpu::with_isa(3, isa).unwrap(), Cpu::with_isa(1, isa).unwrap());
            for (rows, length) in [(1, 1), (3, 64), (5, 77), (300, 260)] {
                let (x, weight, bias) = (random.floats(rows * length), random.floats(length), random.floats(length));
                let (mut rms, mut layer, mut plain) = (x.clone(), x.clone(), x.clone());
                rms_norm(&cpu, &x, &weight, 1e-5, &mut rms);
                layer_norm(&cpu, &x, &weight, Some(&bias), 1e-5, &mut layer);
                layer_norm(&cpu, &x, &weight, None, 1e-5, &mut plain);
                let zero = vec![0.0; length];
                for (i, row) in x.chunks_exact(length).enumerate() {
                    let what = format!("{isa}, {length}");
                    let range = i * length..(i + 1) * length;
                    assert_close(&rms[range.clone()], &reference(row, &weight, &zero, 1e-5, false), 2e-6, &what);
                    assert_close(&layer[range.clone()], &reference(row, &weight, &bias, 1e-5, true), 4e-6, &what);
                    assert_close(&plain[range.clone()], &reference(row, &weight, &zero, 1e-5, true), 4e-6, &what);
                    let mut alone = vec![0.0; length];
                    rms_norm(&one, row, &weight, 1e-5, &mut alone);
                    assert_eq!(alone, rms[range.clone()]);
                    layer_norm(&one, row, &weight, Some(&bias), 1e-5, &mut alone);
                    assert_eq!(alone, layer[range]);
                }
            }
        }
    }

    #[test]
    fn heads_are_normalized_where_they_lie_and_nothing_else_is_touched() {
        let mut random = Random::new(2);
        let cpu = Cpu::new(2).unwrap();
        let span = HeadSpan { stride: 200, offset: 30, heads: 4, head_length: 40 };
        let (x, weight) = (random.floats(5 * 200), random.floats(40));
        let mut found = x.clone();
        rms_norm_heads(&cpu, &mut found, span, &weight, 1e-6);
        for (x, found) in x.chunks_exact(200).zip(found.chunks_exact(200)) {
            assert_eq!((&x[..30], &x[190..]), (&found[..30], &found[190..]));
            let mut heads = vec![0.0; 160];
            rms_norm(&cpu, &x[30..190], &weight, 1e-6, &mut heads);
            assert_eq!(heads, found[30..190]);
        }
    }
}
