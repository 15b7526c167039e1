//! The filters and the draw: top_k, typical_p, top_p, min_p, temperature, in this order, without sorting a whole vocabulary.

use super::rng::Rng;
use rbee_wire::openai::Sampling;
use std::cmp::Ordering;

/// Tokens whose logit lies further below the best are never drawn: all of a vocabulary together would weigh less than
/// e^-32 * 2^18 = 3e-9, which is below the rounding of one f32. Grows with the temperature.
const SPAN: f32 = 32.0;

/// Candidates that are put in order at once, at first.
const BLOCK: usize = 64;

/// A token that may be drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    logit: f32,
    /// e^(logit - best logit), a probability that is not normalized.
    weight: f32,
    id: u32,
}

/// Settings of the draw.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    temperature: f32,
    top_k: usize,
    typical_p: f32,
    top_p: f32,
    min_p: f32,
}

impl Chain {
    pub fn new(sampling: &Sampling) -> Self {
        Self {
            temperature: sampling.temperature,
            top_k: sampling.top_k as usize,
            typical_p: sampling.typical_p,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
        }
    }

    /// The next token, or None if no logit is finite. `candidates` is scratch.
    pub fn choose(&self, logits: &[f32], candidates: &mut Vec<Candidate>, rng: &mut Rng) -> Option<u32> {
        let top = highest(logits)?;
        if self.temperature <= 0.0 || self.top_k == 1 {
            return logits.iter().position(|&l| l == top).map(|id| id as u32);
        }
        collect(logits, top - SPAN * self.temperature.max(1.0), top, candidates);
        if self.top_k > 0 && self.top_k < candidates.len() {
            candidates.select_nth_unstable_by(self.top_k - 1, best_first);
            candidates.truncate(self.top_k);
        }
        self.filter(candidates, top);
        draw(candidates, self.temperature, rng)
    }

    fn filter(&self, candidates: &mut Vec<Candidate>, top: f32) {
        if self.typical_p >= 1.0 && self.top_p >= 1.0 && self.min_p <= 0.0 {
            return;
        }
        candidates.iter_mut().for_each(|c| c.weight = (c.logit - top).exp());
        if self.typical_p < 1.0 {
            keep_typical(candidates, top, self.typical_p);
        }
        if self.top_p < 1.0 {
            let wanted = sum(candidates) * f64::from(self.top_p);
            keep_mass(candidates, wanted, best_first);
        }
        if self.min_p > 0.0 {
            let least = self.min_p * candidates.iter().fold(0.0, |m: f32, c| m.max(c.weight));
            candidates.retain(|c| c.weight >= least);
        }
    }
}

/// The highest finite number. NaN and infinities are passed over.
pub(super) fn highest(logits: &[f32]) -> Option<f32> {
    const LANES: usize = 16;
    let higher = |a: f32, b: f32| if b.abs() < f32::INFINITY && b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane = higher(*lane, logit);
        }
    }
    let top = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |top, &logit| higher(top, logit));
    (top > f32::NEG_INFINITY).then_some(top)
}

/// All tokens from `cut` to `top`, in the order of their ids.
fn collect(logits: &[f32], cut: f32, top: f32, candidates: &mut Vec<Candidate>) {
    candidates.clear();
    let within = |logit: f32| logit >= cut && logit <= top;
    // Nearly all blocks of a trained model's logits hold nothing; asking for a block as a whole is a vector operation.
    for (block, part) in logits.chunks(32).enumerate() {
        if !part.iter().fold(false, |any, &logit| any | within(logit)) {
            continue;
        }
        for (at, &logit) in part.iter().enumerate() {
            if within(logit) {
                candidates.push(Candidate { logit, weight: 0.0, id: (block * 32 + at) as u32 });
            }
        }
    }
}

fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

fn sum(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|c| f64::from(c.weight)).sum()
}

/// Locally typical sampling (Meister et al., 2022): keeps the tokens whose information is nearest to the entropy.
fn keep_typical(candidates: &mut Vec<Candidate>, top: f32, share: f32) {
    let sum = sum(candidates);
    let information = |c: &Candidate| sum.ln() - f64::from(c.logit - top);
    let entropy: f64 = candidates.iter().map(|c| f64::from(c.weight) / sum * information(c)).sum();
    let distance = |c: &Candidate| (information(c) - entropy).abs();
    let order = |a: &Candidate, b: &Candidate| distance(a).total_cmp(&distance(b)).then(a.id.cmp(&b.id));
    keep_mass(candidates, sum * f64::from(share), order);
}

/// Keeps, in `order`, the fewest candidates whose weights together reach `wanted`; at least one.
fn keep_mass(candidates: &mut Vec<Candidate>, wanted: f64, order: impl Fn(&Candidate, &Candidate) -> Ordering) {
    let (mut sorted, mut block, mut mass) = (0, BLOCK, 0.0);
    while sorted < candidates.len() {
        let rest = &mut candidates[sorted..];
        let count = block.min(rest.len());
        if count < rest.len() {
            rest.select_nth_unstable_by(count - 1, &order);
        }
        rest[..count].sort_unstable_by(&order);
        for at in sorted..sorted + count {
            mass += f64::from(candidates[at].weight);
            if mass >= wanted {
                candidates.truncate(at + 1);
                return;
            }
        }
        sorted += count;
        block *= 4;
    }
}

/// Draws by the probabilities at a temperature.
fn draw(candidates: &mut [Candidate], temperature: f32, rng: &mut Rng) -> Option<u32> {
    let top = candidates.iter().fold(f32::NEG_INFINITY, |m, c| m.max(c.logit));
    candidates.iter_mut().for_each(|c| c.weight = ((c.logit - top) / temperature).exp());
    let mut left = rng.unit() * sum(candidates);
    let chosen = candidates.iter().find(|c| {
        left -= f64::from(c.weight);
        left < 0.0
    });
    chosen.or(candidates.last()).map(|c| c.id)
}
