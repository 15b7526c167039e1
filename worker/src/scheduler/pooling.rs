//! Hidden states become one embedding. Pure.

use rbee_engine::Pooling;

/// The hidden states of a sequence, as they come in pieces.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    pooling: Pooling,
    width: usize,
    sum: Vec<f64>,
    tokens: usize,
}

impl Pool {
    /// `width` is the length of a hidden state.
    pub fn new(pooling: Pooling, width: usize) -> Self {
        Self { pooling, width, sum: vec![0.0; width], tokens: 0 }
    }

    /// Takes the states of the next tokens, one after the other.
    pub fn push(&mut self, states: &[f32]) {
        for state in states.chunks_exact(self.width.max(1)) {
            match self.pooling {
                Pooling::Mean => self.sum.iter_mut().zip(state).for_each(|(sum, &x)| *sum += f64::from(x)),
                Pooling::Cls if self.tokens > 0 => {}
                Pooling::Cls | Pooling::Last => {
                    self.sum.iter_mut().zip(state).for_each(|(sum, &x)| *sum = f64::from(x))
                }
            }
            self.tokens += 1;
        }
    }

    /// The embedding, of length 1 in Euclid's norm; None if a number is not finite. A zero stays zero.
    pub fn finish(self) -> Option<Vec<f32>> {
        let norm = self.sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
        norm.is_finite().then(|| self.sum.iter().map(|x| (x * scale) as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooled(pooling: Pooling, pieces: &[&[f32]]) -> Option<Vec<f32>> {
        let mut pool = Pool::new(pooling, 2);
        pieces.iter().for_each(|piece| pool.push(piece));
        pool.finish()
    }

    #[test]
    fn pieces_make_one_vector_of_length_one() {
        let states: &[f32] = &[3.0, 0.0, 0.0, 8.0, 3.0, 4.0];
        assert_eq!(pooled(Pooling::Mean, &[states]), Some(vec![6.0 / 180f32.sqrt(), 12.0 / 180f32.sqrt()]));
        assert_eq!(pooled(Pooling::Cls, &[states]), Some(vec![1.0, 0.0]));
        assert_eq!(pooled(Pooling::Last, &[states]), Some(vec![0.6, 0.8]));
        for pooling in [Pooling::Mean, Pooling::Cls, Pooling::Last] {
            assert_eq!(pooled(pooling, &[states]), pooled(pooling, &[&states[..2], &states[2..]]));
        }
    }

    #[test]
    fn nonsense_is_no_embedding() {
        assert_eq!(pooled(Pooling::Mean, &[&[f32::NAN, 1.0]]), None);
        assert_eq!(pooled(Pooling::Last, &[&[f32::INFINITY, 1.0]]), None);
        assert_eq!(pooled(Pooling::Mean, &[&[0.0, 0.0]]), Some(vec![0.0, 0.0]));
    }
}
