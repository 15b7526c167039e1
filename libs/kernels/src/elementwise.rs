//! What is done to every number by itself, and how such work is shared out.

use crate::{
    Cpu,
    vector::{self, Kernel, Map, MapInPlace, Simd, WIDTH, dispatch},
};

/// Numbers below which waking the other threads costs more than it gains.
const WORTH_THREADS: usize = 1 << 15;

/// Numbers of one task.
const PART: usize = 1 << 13;

/// Heads that lie beside each other inside of the rows of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadSpan {
    /// Floats from one row to the next.
    pub stride: usize,
    /// Floats before the first head of a row.
    pub offset: usize,
    pub heads: usize,
    pub head_length: usize,
}

impl HeadSpan {
    /// The heads of one row.
    pub(crate) fn of<'a>(&self, row: &'a mut [f32]) -> std::slice::ChunksExactMut<'a, f32> {
        row[self.offset..][..self.heads * self.head_length].chunks_exact_mut(self.head_length)
    }

    /// Rows of `x`.
    ///
    /// # Panics
    /// Where the heads do not fit into a row, or `x` does not consist of whole rows.
    pub(crate) fn rows(&self, x: &[f32]) -> usize {
        let HeadSpan { stride, offset, heads, head_length } = *self;
        assert!(head_length > 0 && offset + heads * head_length <= stride, "{self:?}: heads leave the row");
        assert!(x.len().is_multiple_of(stride), "{} floats are not rows of {stride}", x.len());
        x.len() / stride
    }
}

/// Calls `work` with parts of `data`, whole multiples of `unit`, and where each begins: on all threads when that is worth it.
pub(crate) fn in_parts(cpu: &Cpu, data: &mut [f32], unit: usize, work: &(dyn Fn(usize, &mut [f32]) + Sync)) {
    if data.len() < WORTH_THREADS || cpu.pool.threads() == 1 {
        return work(0, data);
    }
    let part = PART.div_ceil(unit) * unit;
    cpu.pool.run_rows(data, part, &|i, rows| work(i * part, rows));
}

/// x += y.
///
/// # Panics
/// Where the lengths differ.
pub fn add(cpu: &Cpu, x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len());
    in_parts(cpu, x, WIDTH, &|start, x| x.iter_mut().zip(&y[start..]).for_each(|(x, y)| *x += y));
}

/// Adds `bias` to every row of `x`: rows of `bias.len()`.
///
/// # Panics
/// Where `x` does not consist of whole rows.
pub fn add_bias(cpu: &Cpu, x: &mut [f32], bias: &[f32]) {
    assert!(!bias.is_empty() && x.len().is_multiple_of(bias.len()));
    in_parts(cpu, x, bias.len(), &|_, rows| {
        for row in rows.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
        }
    });
}

/// x *= factor.
pub fn scale(cpu: &Cpu, x: &mut [f32], factor: f32) {
    in_parts(cpu, x, WIDTH, &|_, x| x.iter_mut().for_each(|x| *x *= factor));
}

/// x = cap tanh(x / cap), with an absolute error below 3e-7 cap.
pub fn softcap(cpu: &Cpu, x: &mut [f32], cap: f32) {
    in_parts(cpu, x, WIDTH, &|_, x| dispatch(cpu.isa, MapInPlace(x, Cap(cap))));
}

#[derive(Clone, Copy)]
struct Cap(f32);

impl Map for Cap {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::V) -> S::V {
        vector::softcap(simd, x, self.0)
    }
}

/// ln of the sum of e^x: a logit minus this is its log-probability. -∞ of nothing.
pub fn log_sum_exp(cpu: &Cpu, logits: &[f32]) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if largest.is_infinite() {
        return largest;
    }
    largest + dispatch(cpu.isa, SumOfExp(logits, largest)).ln()
}

/// Sum of e^(x - largest).
struct SumOfExp<'a>(&'a [f32], f32);

impl Kernel for SumOfExp<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let SumOfExp(x, largest) = self;
        let (columns, rest) = x.as_chunks::<WIDTH>();
        let mut last = [f32::NEG_INFINITY; WIDTH];
        last[..rest.len()].copy_from_slice(rest);
        let mut sum = simd.splat(0.0);
        for column in columns.iter().chain([&last]) {
            // SAFETY: `column` has WIDTH floats.
            let x = unsafe { simd.load(column.as_ptr()) };
            sum = simd.add(sum, vector::exp(simd, simd.sub(x, simd.splat(largest))));
        }
        simd.sum(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Isa,
        testing::{Random, assert_close},
    };

    #[test]
    fn sums_and_factors_reach_every_number_in_small_and_large_matrices() {
        let mut random = Random::new(1);
        let cpu = Cpu::new(3).unwrap();
        for rows in [1, 3, 700] {
            let (x, y, bias) = (random.floats(rows * 77), random.floats(rows * 77), random.floats(77));
            let (mut sum, mut biased, mut scaled) = (x.clone(), x.clone(), x.clone());
            add(&cpu, &mut sum, &y);
            add_bias(&cpu, &mut biased, &bias);
            scale(&cpu, &mut scaled, 1.7);
            for i in 0..x.len() {
                assert_eq!((sum[i], biased[i], scaled[i]), (x[i] + y[i], x[i] + bias[i % 77], x[i] * 1.7));
            }
        }
    }

    #[test]
    fn a_soft_cap_is_a_scaled_tanh() {
        let mut random = Random::new(2);
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(2, isa).unwrap();
            let mut x: Vec<f32> = random.floats(40_003).iter().map(|x| x * 60.0).collect();
            x[..4].copy_from_slice(&[f32::INFINITY, f32::NEG_INFINITY, 0.0, 1e30]);
            let expected: Vec<f64> = x.iter().map(|x| 30.0 * (f64::from(*x) / 30.0).tanh()).collect();
            softcap(&cpu, &mut x, 30.0);
            assert_close(&x, &expected, 9e-6, &isa.to_string());
        }
    }

    #[test]
    fn log_sum_exp_equals_the_reference_and_survives_extremes() {
        let mut random = Random::new(3);
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(1, isa).unwrap();
            for count in [1, 16, 17, 32_003] {
                let x: Vec<f32> = random.floats(count).iter().map(|x| x * 10.0 + 500.0).collect();
                let expected = x.iter().map(|x| (f64::from(*x) - 500.0).exp()).sum::<f64>().ln() + 500.0;
                assert_close(&[log_sum_exp(&cpu, &x)], &[expected], 1e-6, &isa.to_string());
            }
            assert_eq!(log_sum_exp(&cpu, &[]), f32::NEG_INFINITY);
            assert_eq!(log_sum_exp(&cpu, &[f32::NEG_INFINITY; 3]), f32::NEG_INFINITY);
            assert_eq!(log_sum_exp(&cpu, &[1.0, f32::INFINITY]), f32::INFINITY);
            assert!(log_sum_exp(&cpu, &[1.0, f32::NAN]).is_nan());
        }
    }
}
