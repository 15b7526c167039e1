//! Log probabilities of a model's own distribution: before bias, penalties, temperature and filters.

use super::chain::highest;

/// A chosen token and the likeliest ones in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// What the token added to the text: half a character counts to the token that completes it, and of a token that begins a
    /// stop string only what lies before. All of an answer's together are its text.
    pub text: String,
    /// It ended the answer, and is no part of it.
    pub end: bool,
    pub token: TokenLogprob,
    /// The likeliest first; as many as were asked for.
    pub top: Vec<TokenLogprob>,
}

/// A token's bytes, which need not be whole characters, and the natural logarithm of its probability.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    pub bytes: Vec<u8>,
    /// How a control token, which has no bytes, is written.
    pub special: Option<String>,
    pub logprob: f32,
}

/// What the model thought of the token that was chosen, and its own best ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// Natural logarithm of the chosen token's probability.
    pub chosen: f32,
    /// The most probable tokens with theirs, best first.
    pub top: Vec<(u32, f32)>,
}

/// The distribution of one row of logits, taken before the row is changed.
pub(super) struct Distribution {
    log_sum: f64,
    top: Vec<(u32, f32)>,
}

impl Distribution {
    /// None if no logit is finite.
    pub fn of(logits: &[f32], count: usize) -> Option<Self> {
        let top = highest(logits)?;
        let weight = |&logit: &f32| if logit <= top { f64::from((logit - top).exp()) } else { 0.0 };
        let sum: f64 = logits.iter().map(weight).sum();
        Some(Self { log_sum: f64::from(top) + sum.ln(), top: best(logits, top, count) })
    }

    /// With the chosen token's own logit.
    pub fn with(self, chosen: f32) -> Logprobs {
        let log = |logit: f32| (f64::from(logit) - self.log_sum) as f32;
        Logprobs { chosen: log(chosen), top: self.top.iter().map(|&(id, logit)| (id, log(logit))).collect() }
    }
}

/// The `count` highest logits up to `top`, highest first, of equal ones the first.
fn best(logits: &[f32], top: f32, count: usize) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    let mut least = f32::NEG_INFINITY;
    for (id, &logit) in logits.iter().enumerate() {
        if count == 0 || !(logit > least && logit <= top) {
            continue;
        }
        let at = best.partition_point(|&(_, better)| better >= logit);
        best.insert(at, (id as u32, logit));
        best.truncate(count);
        if best.len() == count {
            least = best[count - 1].1;
        }
    }
    best
}
