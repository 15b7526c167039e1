//! Random numbers that are the same on every machine.

/// SplitMix64.
pub(super) struct Random(u64);

impl Random {
    /// Numbers for one thing of that name; other names give unrelated numbers.
    pub(super) fn new(seed: u64, name: &str) -> Self {
        // FNV-1a.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        Self(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// About normal with mean 0 and standard deviation 1: four uniform numbers of 16 bits, added.
    pub(super) fn normal(&mut self) -> f32 {
        let sum: u64 =
            self.next().to_le_bytes().as_chunks::<2>().0.iter().map(|b| u64::from(u16::from_le_bytes(*b))).sum();
        // The standard deviation of one is 65536 / sqrt(12), that of the sum twice as large.
        const DEVIATION: f32 = 37_837.23;
        (sum as f32 - 131_070.0) / DEVIATION
    }

    pub(super) fn sign(&mut self) -> f32 {
        if self.next() & 1 == 0 { -1.0 } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_0_and_deviation_1_and_names_are_unrelated() {
        let draw = |name: &str| -> Vec<f32> {
            let mut random = Random::new(7, name);
            (0..100_000).map(|_| random.normal()).collect()
        };
        let (a, b) = (draw("a"), draw("b"));
        let mean = |v: &[f32]| v.iter().map(|&x| f64::from(x)).sum::<f64>() / v.len() as f64;
        let products: Vec<f32> = a.iter().zip(&b).map(|(x, y)| x * y).collect();
        let squares: Vec<f32> = a.iter().map(|x| x * x).collect();
        assert!(mean(&a).abs() < 0.02 && (mean(&squares) - 1.0).abs() < 0.02 && mean(&products).abs() < 0.02);
        assert_eq!(a, draw("a"));
    }
}
