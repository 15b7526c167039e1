//! From the hidden states of a sequence to its embedding.

use crate::Pooling;

impl Pooling {
    /// The embedding of a sequence: its hidden states, `width` numbers per token, pooled and scaled to the length 1.
    /// Zeros stay zeros; no tokens give zeros.
    pub fn embedding(self, hidden: &[f32], width: usize) -> Vec<f32> {
        let tokens = hidden.len().checked_div(width).unwrap_or(0);
        let token = |index: usize| hidden[index * width..(index + 1) * width].iter().map(|&x| f64::from(x)).collect();
        let mut sum: Vec<f64> = match self {
            _ if tokens == 0 => vec![0.0; width],
            Self::Cls => token(0),
            Self::Last => token(tokens - 1),
            Self::Mean => hidden.chunks_exact(width).fold(vec![0.0; width], |mut sum, row| {
                sum.iter_mut().zip(row).for_each(|(s, &x)| *s += f64::from(x));
                sum
            }),
        };
        // The number of tokens divides all alike, and so does the length.
        let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        if length > 0.0 {
            sum.iter_mut().for_each(|x| *x /= length);
        }
        sum.into_iter().map(|x| x as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embeddings_have_length_1_and_come_from_the_right_tokens() {
        let hidden = [3.0, 0.0, 0.0, 4.0, 0.0, 0.0];
        assert_eq!(Pooling::Mean.embedding(&hidden, 2), [0.6, 0.8]);
        assert_eq!(Pooling::Cls.embedding(&hidden, 2), [1.0, 0.0]);
        assert_eq!(Pooling::Last.embedding(&hidden, 2), [0.0, 0.0]);
        assert_eq!(Pooling::Last.embedding(&hidden[..4], 2), [0.0, 1.0]);
        assert_eq!(Pooling::Mean.embedding(&[], 2), [0.0, 0.0]);
    }
}
