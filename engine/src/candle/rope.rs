//! Rotary position embedding as Llama files want it: pairs of neighbours are turned by an angle that grows with the position.

use super::WeightMode;
use super::weights::{LoadError, Reader};
use rbee_model::gguf::Header;

/// Sines and cosines of every position.
pub struct Rope {
    head: usize,
    /// Elements of a head that are turned; the others stay.
    turned: usize,
    /// (cos, sin) per position and pair.
    table: Vec<(f32, f32)>,
}

impl Rope {
    /// Reads base, dimensions and scaling. `rope_freqs.weight` (Llama 3.1 and later) divides the frequencies.
    pub(super) fn read(header: &Header, file: &[u8], head: usize, context: usize) -> Result<Self, LoadError> {
        let turned = header.arch_u64("rope.dimension_count").filter(|&n| n > 0).map_or(head, |n| n as usize).min(head);
        let base = header.arch_f64("rope.freq_base").unwrap_or(10_000.0);
        let key = format!("{}.rope.scaling.type", header.architecture());
        let scale = match header.str(&key) {
            None | Some("none") => 1.0,
            Some("linear") => {
                header.arch_f64("rope.scaling.factor").filter(|f| f.is_finite() && *f > 0.0).unwrap_or(1.0)
            }
            Some(other) => {
                let why = "only none and linear are";
                return Err(LoadError::Unsupported { key, value: format!("{other:?}"), why });
            }
        };
        let factors = match header.tensor("rope_freqs.weight") {
            None => vec![1.0; turned / 2],
            Some(_) => {
                Reader { header, file, mode: WeightMode::AsStored, bytes: 0 }.vector("rope_freqs.weight", turned / 2)?
            }
        };
        Ok(Self::new(head, turned, base, scale, &factors, context))
    }

    fn new(head: usize, turned: usize, base: f64, scale: f64, factors: &[f32], context: usize) -> Self {
        let frequency = |pair: usize| {
            let exponent = (2 * pair) as f64 / turned as f64;
            1.0 / base.powf(exponent) / f64::from(factors[pair]) / scale
        };
        let frequencies: Vec<f64> = (0..turned / 2).map(frequency).collect();
        let angle = |position: usize, f: f64| {
            let (sin, cos) = (position as f64 * f).sin_cos();
            (cos as f32, sin as f32)
        };
        let table = (0..context).flat_map(|p| frequencies.iter().map(move |&f| angle(p, f))).collect();
        Self { head, turned, table }
    }

    /// Turns all heads of one row, in place.
    pub fn turn(&self, row: &mut [f32], position: usize) {
        let pairs = self.turned / 2;
        let angles = &self.table[position * pairs..(position + 1) * pairs];
        for head in row.chunks_exact_mut(self.head) {
            for (pair, &(cos, sin)) in head[..self.turned].chunks_exact_mut(2).zip(angles) {
                let (a, b) = (pair[0], pair[1]);
                pair[0] = a * cos - b * sin;
                pair[1] = a * sin + b * cos;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_turn_by_their_angle_and_keep_their_length() {
        let rope = Rope::new(4, 4, 10_000.0, 1.0, &[1.0, 1.0], 8);
        let mut row = [1.0, 0.0, 0.0, 2.0, 3.0, 4.0, 0.0, 0.0];
        rope.turn(&mut row, 2);
        assert!((row[0] - 2f32.cos()).abs() < 1e-6 && (row[1] - 2f32.sin()).abs() < 1e-6);
        assert!((row[2] + 2.0 * 0.02f32.sin()).abs() < 1e-6);
        assert!((row[4].hypot(row[5]) - 5.0).abs() < 1e-5);
        let before = row;
        rope.turn(&mut row, 0);
        assert_eq!(row, before, "position 0 changes nothing");
    }

    #[test]
    fn factors_scale_and_partial_turns_are_used() {
        let slow = Rope::new(4, 2, 10_000.0, 2.0, &[4.0], 9);
        let mut row = [1.0, 0.0, 5.0, 6.0];
        slow.turn(&mut row, 8);
        assert!((row[0] - 1f32.cos()).abs() < 1e-6);
        assert_eq!(row[2..], [5.0, 6.0]);
    }
}
