//! Small loops over rows of f32, written so that the compiler uses wide registers, with AVX2 and FMA where the CPU has them.

/// Lanes of partial sums; they are added in the same order on every CPU.
const LANES: usize = 16;

/// Sum of products.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}

/// Adds `factor` times `b` to `a`.
#[inline(always)]
pub fn add_scaled(a: &mut [f32], factor: f32, b: &[f32]) {
    for (x, y) in a.iter_mut().zip(b) {
        *x += factor * y;
    }
}

/// Adds `b` to `a`.
pub fn add(a: &mut [f32], b: &[f32]) {
    add_scaled(a, 1.0, b);
}

/// Every row divided by its root mean square, times the weights.
pub fn rms_norm(rows: &[f32], weights: &[f32], epsilon: f32) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(weights.len()) {
        let scale = 1.0 / (dot(row, row) / row.len() as f32 + epsilon).sqrt();
        out.extend(row.iter().zip(weights).map(|(x, w)| x * scale * w));
    }
    out
}

/// gate = silu(gate) * up
pub fn silu_mul(gate: &mut [f32], up: &[f32]) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g = *g / (1.0 + (-*g).exp()) * u;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_right_for_any_length() {
        for n in [0, 1, 15, 16, 17, 100] {
            let a: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let expected: f32 = (0..n).map(|i| (i * i) as f32).sum();
            assert_eq!(dot(&a, &a), expected, "{n}");
        }
    }

    #[test]
    fn norm_and_gate_follow_their_formulas() {
        let normed = rms_norm(&[3.0, 4.0, 0.0, 0.0], &[1.0, 2.0], 0.0);
        let rms = (12.5f32).sqrt();
        assert!((normed[0] - 3.0 / rms).abs() < 1e-6 && (normed[1] - 8.0 / rms).abs() < 1e-6);
        let mut gate = [0.0, 2.0];
        silu_mul(&mut gate, &[5.0, 3.0]);
        assert_eq!(gate[0], 0.0);
        assert!((gate[1] - 6.0 / (1.0 + (-2f32).exp())).abs() < 1e-6);
    }
}
