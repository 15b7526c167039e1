//! Columns of every instruction set against plain arithmetic.

use half::f16;

use super::*;
use crate::testing::Random;

#[derive(Clone, Copy)]
struct Exp;

impl Map for Exp {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::V) -> S::V {
        exp(simd, x)
    }
}

#[test]
fn the_exponential_is_close_over_its_whole_range() {
    let mut random = Random::new(1);
    let x: Vec<f32> = (0..200_000).map(|_| random.float() * 44.2).chain([0.0, -0.0, -86.5, 88.7]).collect();
    for isa in Isa::available() {
        let mut found = x.clone();
        dispatch(isa, MapInPlace(&mut found, Exp));
        for (&x, &found) in x.iter().zip(&found) {
            let expected = if x < -86.5 { 0.0 } else { f64::from(x).exp() };
            assert!((f64::from(found) - expected).abs() <= expected * 3e-7, "{isa}: e^{x} is {expected}, not {found}");
        }
        assert_eq!(found[200_000..200_002], [1.0, 1.0]);
    }
}

#[test]
fn the_exponential_of_extremes_is_0_infinite_or_no_number() {
    for isa in Isa::available() {
        let mut x = [f32::NEG_INFINITY, f32::MIN, -200.0, -87.0, 89.0, 1e9, f32::INFINITY, f32::NAN];
        dispatch(isa, MapInPlace(&mut x, Exp));
        assert_eq!(x[..4], [0.0; 4], "{isa}");
        assert_eq!(x[4..7], [f32::INFINITY; 3], "{isa}");
        assert!(x[7].is_nan(), "{isa}");
    }
}

#[test]
fn every_half_is_widened_exactly() {
    let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).chain([f16::ONE; 5]).collect();
    for isa in Isa::available() {
        let mut found = vec![0.0; halves.len()];
        dispatch(isa, Widen { from: &halves, to: &mut found });
        for (half, found) in halves.iter().zip(&found) {
            let expected = half.to_f32();
            assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(), "{isa}: {half:?}");
        }
    }
}

struct Reduce([f32; WIDTH]);

impl Kernel for Reduce {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f32, f32) {
        // SAFETY: there are WIDTH floats.
        let v = unsafe { simd.load(self.0.as_ptr()) };
        (simd.sum(v), simd.largest(v))
    }
}

#[test]
fn sums_have_the_same_bits_on_every_instruction_set() {
    let mut random = Random::new(2);
    for _ in 0..100 {
        let x: [f32; WIDTH] = std::array::from_fn(|_| random.float());
        let expected = dispatch(Isa::Portable, Reduce(x));
        assert_eq!(expected.1, x.into_iter().fold(f32::MIN, f32::max));
        for isa in Isa::available() {
            assert_eq!(dispatch(isa, Reduce(x)), expected, "{isa}");
        }
    }
}
