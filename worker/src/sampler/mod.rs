//! Choosing the next token from its logits. Pure: the seed is an argument.
//!
//! The order is that of llama.cpp's usual chain: logit_bias, penalties and the mask of a grammar change the logits; then at
//! temperature 0 the best token is taken, else top_k, typical_p, top_p and min_p filter what the model gave at temperature 1, and one
//! of the rest is drawn at the wanted temperature.

mod chain;
mod logprobs;
mod penalties;
mod rng;

pub use logprobs::{Logprobs, TokenLogprob, TokenLogprobs};

use chain::{Candidate, Chain};
use logprobs::Distribution;
use penalties::Penalties;
use rbee_wire::openai::Sampling;
use rng::Rng;

/// The engine gave nothing to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the model gave no finite logit; the file may be damaged")]
pub struct NoFiniteLogit;

/// A token that was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    pub token: u32,
    /// Where the request asks for them.
    pub logprobs: Option<Logprobs>,
}

/// Chooses the tokens of one answer.
#[derive(Debug)]
pub struct Sampler {
    chain: Chain,
    bias: Vec<(u32, f32)>,
    penalties: Penalties,
    /// How many of the best tokens are told.
    logprobs: Option<usize>,
    rng: Rng,
    candidates: Vec<Candidate>,
    /// Logits that were changed, as the model gave them.
    originals: Vec<(u32, f32)>,
}

impl Sampler {
    /// `seed` is used when the request has none.
    pub fn new(sampling: &Sampling, seed: u64, prompt: &[u32]) -> Self {
        Self {
            chain: Chain::new(sampling),
            bias: sampling.logit_bias.clone(),
            penalties: Penalties::new(sampling, prompt),
            logprobs: sampling.logprobs.map(|n| n as usize),
            rng: Rng::new(sampling.seed.map_or(seed, |s| s as u64)),
            candidates: Vec::new(),
            originals: Vec::new(),
        }
    }

    /// Chooses a token among those in `mask` (bit n % 32 of word n / 32 for token n; None is all). Changes `logits`.
    pub fn sample(&mut self, logits: &mut [f32], mask: Option<&[u32]>) -> Result<Chosen, NoFiniteLogit> {
        let distribution = match self.logprobs {
            Some(count) => Some(Distribution::of(logits, count).ok_or(NoFiniteLogit)?),
            None => None,
        };
        self.bend(logits);
        if let Some(mask) = mask {
            forbid(logits, mask);
        }
        let token = self.chain.choose(logits, &mut self.candidates, &mut self.rng).ok_or(NoFiniteLogit)?;
        self.penalties.remember(token);
        let original = self.originals.iter().find(|o| o.0 == token).map_or(logits[token as usize], |o| o.1);
        Ok(Chosen { token, logprobs: distribution.map(|d| d.with(original)) })
    }

    /// Bias and penalties.
    fn bend(&mut self, logits: &mut [f32]) {
        self.originals.clear();
        let mut change = |token: u32, by: &dyn Fn(f32) -> f32| {
            if let Some(logit) = logits.get_mut(token as usize) {
                self.originals.push((token, *logit));
                *logit = by(*logit);
            }
        };
        for &(token, bias) in &self.bias {
            change(token, &|logit| logit + bias);
        }
        self.penalties.apply(change);
    }
}

/// Takes away what is not in the mask.
fn forbid(logits: &mut [f32], mask: &[u32]) {
    let mut parts = logits.chunks_mut(32);
    for (&word, part) in mask.iter().zip(&mut parts) {
        match word {
            u32::MAX => {}
            0 => part.fill(f32::NEG_INFINITY),
            _ => {
                for (bit, logit) in part.iter_mut().enumerate() {
                    if word >> bit & 1 == 0 {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
    parts.for_each(|part| part.fill(f32::NEG_INFINITY));
}

#[cfg(test)]
mod tests;
