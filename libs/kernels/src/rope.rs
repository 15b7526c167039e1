//! Rotary position embedding: pairs of a head's numbers are turned by an angle that grows with the position.

use crate::{
    Cpu, HeadSpan,
    elementwise::in_parts,
    vector::{Kernel, Simd, dispatch},
};

/// Which numbers of a head are a pair, for n of them that are turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// 2i and 2i + 1 (GGUF's llama).
    Interleaved,
    /// i and i + n/2 (GPT-NeoX and most others).
    Halves,
}

/// How fast each pair turns.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeTable {
    style: RopeStyle,
    frequencies: Vec<f64>,
    magnitude: f32,
}

impl RopeTable {
    /// `frequencies`: radians per position of each pair, all scaling for long contexts included. `magnitude`: factor of the turned
    /// numbers (YaRN's attention factor), usually 1.
    pub fn new(style: RopeStyle, frequencies: Vec<f64>, magnitude: f32) -> Self {
        Self { style, frequencies, magnitude }
    }

    /// Numbers of a head that are turned: the first ones; those behind stay.
    pub fn turned(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// The angles of the rows of a step, computed once for all its layers.
    pub fn angles(&self, positions: &[usize]) -> Angles {
        let turns = positions.iter().flat_map(|&position| {
            self.frequencies.iter().map(move |frequency| {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                (cos as f32 * self.magnitude, sin as f32 * self.magnitude)
            })
        });
        let (cos, sin) = turns.unzip();
        Angles { style: self.style, pairs: self.frequencies.len(), rows: positions.len(), cos, sin }
    }
}

/// Cosines and sines of the angles of every row and pair.
#[derive(Debug, Clone)]
pub struct Angles {
    style: RopeStyle,
    pairs: usize,
    rows: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Turns the heads of every row of `x` by the row's angles, in place: (a, b) becomes (a cos - b sin, a sin + b cos).
///
/// # Panics
/// Where `angles` are of another number of rows, the span does not fit `x`, or more is turned than a head has.
pub fn rope(cpu: &Cpu, x: &mut [f32], span: HeadSpan, angles: &Angles) {
    assert_eq!(span.rows(x), angles.rows, "rows of x and of the angles");
    assert!(2 * angles.pairs <= span.head_length, "{} pairs in a head of {}", angles.pairs, span.head_length);
    in_parts(cpu, x, span.stride, &|start, rows| {
        let first = start / span.stride * angles.pairs;
        let (cos, sin) = (&angles.cos[first..], &angles.sin[first..]);
        dispatch(cpu.isa, Rope { rows, span, style: angles.style, pairs: angles.pairs, cos, sin });
    });
}

struct Rope<'a> {
    rows: &'a mut [f32],
    span: HeadSpan,
    style: RopeStyle,
    pairs: usize,
    /// `[rows][pairs]`, as `sin`.
    cos: &'a [f32],
    sin: &'a [f32],
}

impl Kernel for Rope<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (i, row) in self.rows.chunks_exact_mut(self.span.stride).enumerate() {
            let of_row = i * self.pairs..(i + 1) * self.pairs;
            let (cos, sin) = (&self.cos[of_row.clone()], &self.sin[of_row]);
            for head in self.span.of(row) {
                let turned = &mut head[..2 * self.pairs];
                match self.style {
                    RopeStyle::Interleaved => {
                        for ((pair, &cos), &sin) in turned.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
                            *pair = turn(*pair, cos, sin);
                        }
                    }
                    RopeStyle::Halves => {
                        let (low, high) = turned.split_at_mut(self.pairs);
                        for (((a, b), &cos), &sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                            [*a, *b] = turn([*a, *b], cos, sin);
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn turn([a, b]: [f32; 2], cos: f32, sin: f32) -> [f32; 2] {
    [a * cos - b * sin, a * sin + b * cos]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Isa,
        testing::{Random, assert_close},
    };

    fn frequencies(pairs: usize) -> Vec<f64> {
        (0..pairs).map(|i| 10_000f64.powf(-(i as f64) / pairs as f64)).collect()
    }

    #[test]
    fn both_styles_equal_the_reference_with_part_of_a_head_turned() {
        let mut random = Random::new(1);
        for (heads, head_length, pairs) in [(32, 64, 32), (4, 80, 16), (3, 10, 5), (1, 256, 128)] {
            let span = HeadSpan { stride: heads * head_length + 9, offset: 4, heads, head_length };
            for style in [RopeStyle::Interleaved, RopeStyle::Halves] {
                let table = RopeTable::new(style, frequencies(pairs), 1.25);
                assert_eq!(table.turned(), 2 * pairs);
                let positions: Vec<usize> = (0..40).map(|i| i * 811).collect();
                let x = random.floats(positions.len() * span.stride);
                let mut expected: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
                for (row, position) in positions.iter().enumerate() {
                    for head in 0..heads {
                        for (i, frequency) in frequencies(pairs).iter().enumerate() {
                            let start = row * span.stride + 4 + head * head_length;
                            let (a, b) = match style {
                                RopeStyle::Interleaved => (start + 2 * i, start + 2 * i + 1),
                                RopeStyle::Halves => (start + i, start + i + pairs),
                            };
                            let (sin, cos) = (*position as f64 * frequency).sin_cos();
                            let (p, q) = (expected[a] * 1.25, expected[b] * 1.25);
                            (expected[a], expected[b]) = (p * cos - q * sin, p * sin + q * cos);
                        }
                    }
                }
                for isa in Isa::available() {
                    let cpu = Cpu::with_isa(2, isa).unwrap();
                    let mut found = x.clone();
                    rope(&cpu, &mut found, span, &table.angles(&positions));
                    assert_close(&found, &expected, 1e-6, &format!("{isa} {span:?} {style:?}"));
                    let mut last = x[39 * span.stride..].to_vec();
                    rope(&cpu, &mut last, span, &table.angles(&positions[39..]));
                    assert_eq!(last, found[39 * span.stride..], "a row alone");
                }
            }
        }
    }
}
