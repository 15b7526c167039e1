//! Exponential, activations and soft caps of a column of lanes.

use super::Simd;

/// Below this the exponential is 0, so that no result is subnormal (which is slow on x86).
const EXP_LOW: f32 = -86.5;
/// Above this it is infinite.
const EXP_HIGH: f32 = 89.0;

/// e^x with a relative error below 3e-7 (Cephes' expf: x = n ln 2 + r, polynomial in r); 0 below -86.5; no number stays none.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.min(s.splat(EXP_HIGH), x);
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.mul_add(n, s.splat(-0.693_359_4), x);
    let r = s.mul_add(n, s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(1.987_569_1e-4);
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5, 1.0, 1.0] {
        p = s.mul_add(p, r, s.splat(coefficient));
    }
    s.zero_where_below(s.scale_by_power(p, n), x, EXP_LOW)
}

/// x / (1 + e^-x).
#[inline(always)]
pub(crate) fn silu<S: Simd>(s: S, x: S::V) -> S::V {
    s.div(x, s.add(s.splat(1.0), exp(s, s.sub(s.splat(0.0), x))))
}

/// x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))), which is x / (1 + e^(-2 √(2/π) (x + 0.044715 x³))).
#[inline(always)]
pub(crate) fn gelu_tanh<S: Simd>(s: S, x: S::V) -> S::V {
    let cubic = s.mul_add(s.mul(x, x), s.splat(0.044_715), s.splat(1.0));
    let twice = s.mul(s.mul(x, cubic), s.splat(-1.595_769));
    s.div(x, s.add(s.splat(1.0), exp(s, twice)))
}

/// cap tanh(x / cap), with an absolute error below 3e-7 cap.
#[inline(always)]
pub(crate) fn softcap<S: Simd>(s: S, x: S::V, cap: f32) -> S::V {
    let one = s.splat(1.0);
    let e = exp(s, s.mul(x, s.splat(2.0 / cap)));
    let tanh = s.sub(one, s.div(s.splat(2.0), s.add(e, one)));
    s.mul(tanh, s.splat(cap))
}
