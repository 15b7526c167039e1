//! The activations of feed-forward layers.

use crate::{
    Cpu,
    elementwise::in_parts,
    vector::{self, Kernel, Map, MapInPlace, Simd, WIDTH, dispatch},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x / (1 + e^-x).
    Silu,
    /// x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))).
    GeluTanh,
}

#[derive(Clone, Copy)]
struct Silu;

impl Map for Silu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::V) -> S::V {
        vector::silu(simd, x)
    }
}

#[derive(Clone, Copy)]
struct GeluTanh;

impl Map for GeluTanh {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::V) -> S::V {
        vector::gelu_tanh(simd, x)
    }
}

/// x = activation(x).
pub fn activate(cpu: &Cpu, x: &mut [f32], activation: Activation) {
    in_parts(cpu, x, WIDTH, &|_, x| match activation {
        Activation::Silu => dispatch(cpu.isa, MapInPlace(x, Silu)),
        Activation::GeluTanh => dispatch(cpu.isa, MapInPlace(x, GeluTanh)),
    });
}

/// out = activation(gate) * up.
///
/// `gate_up`: `[rows, 2 * ff]`, in each row first the gate, then up. `out`: `[rows, ff]`.
///
/// # Panics
/// Where the lengths do not fit.
pub fn gated(cpu: &Cpu, gate_up: &[f32], ff: usize, activation: Activation, out: &mut [f32]) {
    assert!(ff > 0 && out.len().is_multiple_of(ff), "out consists of rows of {ff}");
    assert_eq!(gate_up.len(), 2 * out.len(), "gate and up");
    in_parts(cpu, out, WIDTH, &|start, mut out| {
        let mut start = start;
        while !out.is_empty() {
            let (row, column) = (start / ff, start % ff);
            let count = out.len().min(ff - column);
            let (gate, up) = gate_up[row * 2 * ff..][..2 * ff].split_at(ff);
            let (gate, up) = (&gate[column..][..count], &up[column..][..count]);
            let (part, rest) = out.split_at_mut(count);
            match activation {
                Activation::Silu => dispatch(cpu.isa, Gated { gate, up, out: part, map: Silu }),
                Activation::GeluTanh => dispatch(cpu.isa, Gated { gate, up, out: part, map: GeluTanh }),
            }
            (start, out) = (start + count, rest);
        }
    });
}

/// out = map(gate) * up; all have one length.
struct Gated<'a, M> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
    map: M,
}

impl<M: Map> Kernel for Gated<'_, M> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.out.copy_from_slice(self.gate);
        MapInPlace(&mut *self.out, self.map).run(simd);
        self.out.iter_mut().zip(self.up).for_each(|(out, up)| *out *= up);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Isa,
        testing::{Random, assert_close},
    };

    fn reference(x: f32, activation: Activation) -> f64 {
        let x = f64::from(x);
        match activation {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::GeluTanh => {
                0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
            }
        }
    }

    #[test]
    fn activations_equal_the_reference_in_rows_of_any_length_and_have_the_same_bits_alone() {
        let mut random = Random::new(1);
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(3, isa).unwrap();
            for (rows, ff) in [(1, 5), (3, 77), (30, 2003), (1, 40_000)] {
                for activation in [Activation::Silu, Activation::GeluTanh] {
                    let gate_up: Vec<f32> = random.floats(rows * 2 * ff).iter().map(|x| x * 5.0).collect();
                    let mut out = vec![0.0; rows * ff];
                    gated(&cpu, &gate_up, ff, activation, &mut out);
                    for (row, out) in gate_up.chunks_exact(2 * ff).zip(out.chunks_exact(ff)) {
                        let (gate, up) = row.split_at(ff);
                        let expected: Vec<f64> =
                            gate.iter().zip(up).map(|(g, u)| reference(*g, activation) * f64::from(*u)).collect();
                        assert_close(out, &expected, 1e-6, &format!("{isa} {activation:?}"));
                        let mut alone = vec![0.0; ff];
                        gated(&cpu, row, ff, activation, &mut alone);
                        assert_eq!(alone, out);
                        let mut plain = gate.to_vec();
                        activate(&cpu, &mut plain, activation);
                        plain.iter_mut().zip(up).for_each(|(x, up)| *x *= up);
                        assert_eq!(plain, out);
                    }
                }
            }
        }
    }

    #[test]
    fn large_and_missing_numbers_stay_what_they_are() {
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(1, isa).unwrap();
            for activation in [Activation::Silu, Activation::GeluTanh] {
                let mut x = [100.0, -100.0, 1e20, -1e12, f32::NAN, 0.0, f32::INFINITY];
                activate(&cpu, &mut x, activation);
                assert_eq!((x[0], x[1], x[2], x[3], x[5]), (100.0, 0.0, 1e20, 0.0, 0.0), "{isa} {activation:?}");
                assert!(x[4].is_nan() && x[6] == f32::INFINITY, "{isa} {activation:?}");
            }
        }
    }
}
