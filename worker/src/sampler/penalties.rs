//! What pushes tokens away that were there already.

use rbee_wire::openai::Sampling;
use std::collections::{HashMap, VecDeque};

/// Tokens back to which the repeat penalty looks, prompt included.
const WINDOW: usize = 64;

/// Penalties with what they have seen.
#[derive(Debug, Clone)]
pub(super) struct Penalties {
    repeat: f32,
    frequency: f32,
    presence: f32,
    /// The last tokens of prompt and answer.
    recent: VecDeque<u32>,
    /// How often the answer has a token.
    counts: HashMap<u32, u32>,
}

impl Penalties {
    pub fn new(sampling: &Sampling, prompt: &[u32]) -> Self {
        Self {
            repeat: sampling.repeat_penalty,
            frequency: sampling.frequency_penalty,
            presence: sampling.presence_penalty,
            recent: prompt[prompt.len().saturating_sub(WINDOW)..].iter().copied().collect(),
            counts: HashMap::new(),
        }
    }

    /// The answer has this token too.
    pub fn remember(&mut self, token: u32) {
        if self.repeat != 1.0 {
            if self.recent.len() >= WINDOW {
                self.recent.pop_front();
            }
            self.recent.push_back(token);
        }
        if self.frequency != 0.0 || self.presence != 0.0 {
            *self.counts.entry(token).or_default() += 1;
        }
    }

    /// Calls `change` with a token and what becomes of its logit.
    pub fn apply(&self, mut change: impl FnMut(u32, &dyn Fn(f32) -> f32)) {
        if self.repeat != 1.0 {
            let repeated = |logit: f32| if logit > 0.0 { logit / self.repeat } else { logit * self.repeat };
            for (at, &token) in self.recent.iter().enumerate() {
                if !self.recent.iter().take(at).any(|&before| before == token) {
                    change(token, &repeated);
                }
            }
        }
        for (&token, &count) in &self.counts {
            change(token, &|logit| logit - self.frequency * count as f32 - self.presence);
        }
    }
}
