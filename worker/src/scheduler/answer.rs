//! The answer of one request as it grows: chooses tokens, says their text, knows when it ends.

use super::{End, Event, Generation};
use crate::constraint::{Grammar, Stuck};
use crate::sampler::{Chosen, Logprobs, NoFiniteLogit, Sampler, TokenLogprob, TokenLogprobs};
use rbee_tokenizer::{TextStream, Tokenizer};
use rbee_wire::openai::FinishReason;
use rbee_wire::{ApiError, ErrorCode};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// A client may leave its events unread for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why no token could be chosen.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unable {
    #[error(transparent)]
    Logits(#[from] NoFiniteLogit),
    #[error(transparent)]
    Grammar(#[from] Stuck),
}

impl Unable {
    /// What the client is told, who asked for a form in `field`.
    pub fn to_api(&self, field: &str) -> ApiError {
        match self {
            Self::Logits(error) => ApiError::new(ErrorCode::Internal, error.to_string()),
            Self::Grammar(stuck) => ApiError::invalid(field, stuck),
        }
    }
}

/// What a chosen token means for its answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    More,
    End(FinishReason),
}

/// Whether a client leaves room for the next token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    Free,
    Full,
    /// It has been full for so long that the client is given up.
    Abandoned,
}

pub(super) struct Answer {
    /// The token chosen last, not yet given to the engine.
    pub next: u32,
    generated: usize,
    budget: usize,
    sampler: Sampler,
    grammar: Option<Grammar>,
    told: Option<u32>,
    /// The request's field that asked for the form.
    pub field: &'static str,
    text: TextStream,
    logprobs: Option<Held>,
    events: mpsc::Sender<Event>,
    blocked_since: Option<Instant>,
}

impl Answer {
    /// The answer to a prompt in an engine with this context. Says that it has started.
    pub fn start(generation: Generation, events: mpsc::Sender<Event>, context_length: usize) -> Self {
        let Generation { prompt, sampling, seed, grammar, told, id: _ } = generation;
        let room = context_length.saturating_sub(prompt.len());
        let sampler = Sampler::new(&sampling, seed, &prompt);
        // The channel is fresh: there is room for the first event.
        let _ = events.try_send(Event::Started);
        Self {
            next: 0,
            generated: 0,
            budget: sampling.max_tokens.map_or(room, |n| (n as usize).min(room)),
            sampler,
            grammar,
            told,
            field: sampling.constraint_field,
            logprobs: sampling.logprobs.map(|_| Held::default()),
            text: TextStream::new(sampling.stop),
            events,
            blocked_since: None,
        }
    }

    /// Nobody listens any more.
    pub fn is_deserted(&self) -> bool {
        self.events.is_closed()
    }

    /// Whether there is room for the events of a token.
    pub fn room(&mut self, now: Instant) -> Room {
        // A token, and the end with what was held back.
        if self.events.capacity() >= 3 {
            self.blocked_since = None;
            return Room::Free;
        }
        let since = *self.blocked_since.get_or_insert(now);
        if now.duration_since(since) > PATIENCE { Room::Abandoned } else { Room::Full }
    }

    /// Chooses a token from logits, which it changes, and says it.
    pub fn choose(&mut self, logits: &mut [f32], tokenizer: &Tokenizer) -> Result<Said, Unable> {
        let mask = match &mut self.grammar {
            Some(grammar) => Some(grammar.mask()?),
            None => None,
        };
        let Chosen { token, logprobs } = self.sampler.sample(logits, mask)?;
        let ends = tokenizer.is_end(token);
        if let (Some(held), Some(logprobs)) = (&mut self.logprobs, logprobs) {
            held.push(token, logprobs, tokenizer, self.told);
        }
        if ends {
            let rest = self.text.finish().text;
            if !rest.is_empty() || self.logprobs.is_some() {
                self.say(rest, true);
            }
            return Ok(Said::End(FinishReason::Stop));
        }
        self.next = token;
        self.generated += 1;
        let complete = match &mut self.grammar {
            Some(grammar) => grammar.accept(token)?,
            None => false,
        };
        let mut piece = self.text.push(text(token, tokenizer, self.told));
        let full = self.generated >= self.budget;
        if (full || complete) && !piece.stopped {
            let rest = self.text.finish();
            piece.text += &rest.text;
            piece.stopped = rest.stopped;
        }
        self.say(piece.text, piece.stopped || full || complete);
        Ok(match (piece.stopped || complete, full) {
            (true, _) => Said::End(FinishReason::Stop),
            (false, true) => Said::End(FinishReason::Length),
            (false, false) => Said::More,
        })
    }

    fn say(&mut self, text: String, last: bool) {
        let logprobs = self.logprobs.as_mut().map(|held| held.release(&text, last)).unwrap_or_default();
        // Room was checked before the step; a closed channel shows as deserted before the next.
        let _ = self.events.try_send(Event::Token { text, logprobs, at: Instant::now() });
    }

    /// The answer is over.
    pub fn finish(self, reason: FinishReason, prompt_tokens: usize, cached_tokens: usize) {
        let _ = self.events.try_send(Event::End(End::Finished {
            reason,
            prompt_tokens: prompt_tokens as u32,
            cached_tokens: cached_tokens as u32,
            completion_tokens: self.generated as u32,
        }));
    }

    /// The answer is lost.
    pub fn fail(self, error: ApiError) {
        let _ = self.events.try_send(Event::End(End::Failed(error)));
    }
}

/// The bytes that a token adds to the answer.
fn text(token: u32, tokenizer: &Tokenizer, told: Option<u32>) -> &[u8] {
    match tokenizer.special_text(token) {
        Some(text) if told == Some(token) => text.as_bytes(),
        _ => tokenizer.bytes(token),
    }
}

/// Log probabilities of tokens whose text has not left yet.
struct Held {
    /// The text without stop strings: what each token adds to it.
    plain: TextStream,
    waiting: VecDeque<TokenLogprobs>,
    /// Bytes of text that left ahead of the token that waits first.
    ahead: usize,
}

impl Default for Held {
    fn default() -> Self {
        Self { plain: TextStream::new(Vec::new()), waiting: VecDeque::new(), ahead: 0 }
    }
}

impl Held {
    fn push(&mut self, token: u32, logprobs: Logprobs, tokenizer: &Tokenizer, told: Option<u32>) {
        let of = |id: u32, logprob: f32| {
            let bytes = tokenizer.bytes(id).to_vec();
            let special = tokenizer.special_text(id).filter(|_| bytes.is_empty()).map(str::to_owned);
            TokenLogprob { bytes, special, logprob }
        };
        let end = tokenizer.is_end(token);
        let text = if end { String::new() } else { self.plain.push(text(token, tokenizer, told)).text };
        let top = logprobs.top.iter().map(|&(id, logprob)| of(id, logprob)).collect();
        self.waiting.push_back(TokenLogprobs { text, end, token: of(token, logprobs.chosen), top });
    }

    /// The tokens whose whole text has left with `text`; with the last text also what a stop string left of one.
    fn release(&mut self, text: &str, last: bool) -> Vec<TokenLogprobs> {
        self.ahead += text.len();
        let mut out = Vec::new();
        // A token without text may be the last one before the end, to which half a character counts.
        while (last || self.waiting.iter().any(|token| !token.text.is_empty()))
            && self.waiting.front().is_some_and(|first| first.text.len() <= self.ahead)
            && let Some(first) = self.waiting.pop_front()
        {
            self.ahead -= first.text.len();
            out.push(first);
        }
        if last && self.ahead > 0 {
            match self.waiting.pop_front() {
                Some(mut cut) => {
                    cut.text.truncate(cut.text.floor_char_boundary(self.ahead));
                    out.push(cut);
                }
                // Half a character at the very end became U+FFFD.
                None => {
                    if let Some(half) = out.iter_mut().rfind(|token| !token.end) {
                        half.text.push_str(&text[text.len() - self.ahead..]);
                    }
                }
            }
        }
        out
    }
}
