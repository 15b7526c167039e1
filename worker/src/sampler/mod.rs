//! Choosing the next token from its logits. Pure: the seed is an argument.

mod logprobs;
mod rng;

pub use logprobs::{TokenLogprob, TokenLogprobs};

use rbee_wire::openai::Sampling;
use rng::Rng;
use std::collections::HashMap;

/// Tokens back to which the repeat penalty looks.
const REPEAT_WINDOW: usize = 64;

/// The engine gave nothing to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the model gave no finite logit; the file may be damaged")]
pub struct NoFiniteLogit;

/// Chooses the tokens of one answer.
#[derive(Debug)]
pub struct Sampler {
    temperature: f32,
    top_p: f32,
    top_k: usize,
    repeat_penalty: f32,
    frequency_penalty: f32,
    presence_penalty: f32,
    rng: Rng,
    /// The last tokens of prompt and answer.
    recent: Vec<u32>,
    /// How often the answer has a token.
    counts: HashMap<u32, u32>,
    candidates: Vec<(f32, u32)>,
}

impl Sampler {
    /// `seed` is used when the request has none.
    pub fn new(sampling: &Sampling, seed: u64, prompt: &[u32]) -> Self {
        Self {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: sampling.top_k as usize,
            repeat_penalty: sampling.repeat_penalty,
            frequency_penalty: sampling.frequency_penalty,
            presence_penalty: sampling.presence_penalty,
            rng: Rng::new(sampling.seed.map_or(seed, |s| s as u64)),
            recent: prompt[prompt.len().saturating_sub(REPEAT_WINDOW)..].to_vec(),
            counts: HashMap::new(),
            candidates: Vec::new(),
        }
    }

    /// Chooses a token; `logits` are changed by the penalties.
    pub fn sample(&mut self, logits: &mut [f32]) -> Result<u32, NoFiniteLogit> {
        self.penalize(logits);
        let token = if self.temperature <= 0.0 || self.top_k == 1 { best(logits)? } else { self.draw(logits)? };
        self.remember(token);
        Ok(token)
    }

    fn remember(&mut self, token: u32) {
        if self.repeat_penalty != 1.0 {
            if self.recent.len() >= REPEAT_WINDOW {
                self.recent.remove(0);
            }
            self.recent.push(token);
        }
        if self.frequency_penalty != 0.0 || self.presence_penalty != 0.0 {
            *self.counts.entry(token).or_default() += 1;
        }
    }

    fn penalize(&self, logits: &mut [f32]) {
        if self.repeat_penalty != 1.0 {
            let mut done = std::collections::HashSet::new();
            for &token in self.recent.iter().filter(|t| done.insert(**t)) {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit = if *logit > 0.0 { *logit / self.repeat_penalty } else { *logit * self.repeat_penalty };
                }
            }
        }
        for (&token, &count) in &self.counts {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit -= self.frequency_penalty * count as f32 + self.presence_penalty;
            }
        }
    }

    fn draw(&mut self, logits: &[f32]) -> Result<u32, NoFiniteLogit> {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        candidates.extend(logits.iter().enumerate().filter(|(_, l)| l.is_finite()).map(|(id, &l)| (l, id as u32)));
        let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if candidates.is_empty() {
            return Err(NoFiniteLogit);
        }
        if self.top_k > 0 && self.top_k < candidates.len() {
            candidates.select_nth_unstable_by(self.top_k - 1, order);
            candidates.truncate(self.top_k);
        }
        let top = candidates.iter().fold(f32::NEG_INFINITY, |m, c| m.max(c.0));
        let mut sum = 0.0f64;
        for candidate in &mut candidates {
            candidate.0 = ((candidate.0 - top) / self.temperature).exp();
            sum += f64::from(candidate.0);
        }
        if self.top_p < 1.0 {
            candidates.sort_unstable_by(order);
            let wanted = sum * f64::from(self.top_p);
            let mut mass = 0.0f64;
            let kept = candidates.iter().position(|c| {
                mass += f64::from(c.0);
                mass >= wanted
            });
            candidates.truncate(kept.map_or(candidates.len(), |at| at + 1));
            sum = candidates.iter().map(|c| f64::from(c.0)).sum();
        }
        let mut left = self.rng.unit() * sum;
        let chosen = candidates.iter().find(|c| {
            left -= f64::from(c.0);
            left < 0.0
        });
        let token = chosen.or(candidates.last()).map(|c| c.1).ok_or(NoFiniteLogit);
        self.candidates = candidates;
        token
    }
}

/// The token with the highest logit; of equal ones the first.
fn best(logits: &[f32]) -> Result<u32, NoFiniteLogit> {
    let mut found: Option<(usize, f32)> = None;
    for (id, &logit) in logits.iter().enumerate() {
        if logit.is_finite() && found.is_none_or(|(_, high)| logit > high) {
            found = Some((id, logit));
        }
    }
    found.map(|(id, _)| id as u32).ok_or(NoFiniteLogit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(sampling: &Sampling, logits: &[f32], times: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling, 1, &[]);
        (0..times).map(|_| sampler.sample(&mut logits.to_vec()).unwrap()).collect()
    }

    #[test]
    fn greedy_takes_the_best_and_survives_nonsense() {
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        assert_eq!(draw(&greedy, &[0.0, 3.0, f32::NAN, 3.0, f32::INFINITY], 2), [1, 1]);
        let mut sampler = Sampler::new(&greedy, 1, &[]);
        assert_eq!(sampler.sample(&mut [f32::NAN]), Err(NoFiniteLogit));
        let hot = Sampling { temperature: 2.0, top_k: 1, ..Sampling::default() };
        assert_eq!(draw(&hot, &[0.0, 0.1], 20), vec![1; 20]);
    }

    #[test]
    fn a_seed_repeats_itself_and_others_differ() {
        let with = |seed| draw(&Sampling { seed: Some(seed), ..Sampling::default() }, &[0.0; 50], 20);
        assert_eq!(with(7), with(7));
        assert_ne!(with(7), with(8));
        assert_ne!(with(-1), with(1));
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let drawn = draw(&Sampling::default(), &logits, 20_000);
        let share = |id| drawn.iter().filter(|&&t| t == id).count() as f64 / 20_000.0;
        assert!((share(0) - 0.5).abs() < 0.02 && (share(2) - 0.2).abs() < 0.02);
        let p = draw(&Sampling { top_p: 0.79, ..Sampling::default() }, &logits, 2_000);
        assert!(p.iter().all(|&t| t < 2) && p.contains(&1));
        let tiny = draw(&Sampling { top_p: 0.0, ..Sampling::default() }, &logits, 100);
        assert!(tiny.iter().all(|&t| t == 0));
        let k = draw(&Sampling { top_k: 2, ..Sampling::default() }, &logits, 2_000);
        assert!(k.iter().all(|&t| t < 2) && k.contains(&1));
    }

    #[test]
    fn penalties_push_away_what_was_there() {
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        let repeat = Sampling { repeat_penalty: 2.0, ..greedy.clone() };
        let mut sampler = Sampler::new(&repeat, 1, &[0]);
        assert_eq!(sampler.sample(&mut [1.0, 0.9, -1.0]), Ok(1), "the prompt counts");
        let presence = Sampling { presence_penalty: 1.0, ..greedy };
        assert_eq!(draw(&presence, &[1.0, 0.5], 3), [0, 1, 0]);
    }
}
