//! One request in a slot: what it has, what it needs next, what it says.

use super::{Generation, Job, Shared};
use crate::sampler::{NoFiniteLogit, Sampler, TokenLogprobs};
use rbee_tokenizer::{TextStream, Tokenizer};
use rbee_wire::openai::FinishReason;
use rbee_wire::{ApiError, ErrorCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// What happens to a request, in order: `Started`, one `Token` per token, one `End`.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It has a slot.
    Started,
    /// A token was chosen; its text may be empty while half a character or a possible stop string is held back.
    Token {
        text: String,
        /// Of the chosen token, when they were asked for; an end token has no bytes but its log probability is told too.
        logprobs: Option<TokenLogprobs>,
    },
    End(End),
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    Finished { reason: FinishReason, prompt_tokens: u32, completion_tokens: u32 },
    Failed(ApiError),
}

/// A client may leave its events unread for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request that holds a slot.
pub(super) struct Sequence {
    pub slot: usize,
    /// Tokens that the engine holds.
    pub position: usize,
    prompt: Vec<u32>,
    /// The token chosen last, not yet given to the engine.
    next: u32,
    generated: usize,
    budget: usize,
    sampler: Sampler,
    text: TextStream,
    events: mpsc::Sender<Event>,
    shared: Arc<Shared>,
    blocked_since: Option<Instant>,
    /// Held until the sequence ends.
    _job_place: tokio::sync::OwnedSemaphorePermit,
}

/// What a chosen token means for its sequence.
pub(super) enum Said {
    More,
    End(FinishReason),
}

impl Sequence {
    /// Gives a job a slot of an engine with this context.
    pub fn start(job: Job, slot: usize, context_length: usize) -> Self {
        let Job { generation, events, shared, _place } = job;
        let Generation { prompt, sampling, seed, .. } = generation;
        let room = context_length.saturating_sub(prompt.len());
        let budget = sampling.max_tokens.map_or(room, |n| (n as usize).min(room));
        let sampler = Sampler::new(&sampling, seed, &prompt);
        // The channel is fresh: there is room for the first event.
        let _ = events.try_send(Event::Started);
        Self {
            slot,
            position: 0,
            prompt,
            next: 0,
            generated: 0,
            budget,
            sampler,
            text: TextStream::new(sampling.stop),
            events,
            shared,
            blocked_since: None,
            _job_place: _place,
        }
    }

    pub fn canceled(&self) -> bool {
        self.shared.canceled.load(Ordering::Relaxed) || self.events.is_closed()
    }

    pub fn in_prompt(&self) -> bool {
        self.position < self.prompt.len()
    }

    /// Tokens to compute next, at most `limit` of the prompt; whether they reach the point where a token is chosen.
    pub fn due(&self, limit: usize) -> (&[u32], bool) {
        if !self.in_prompt() {
            return (std::slice::from_ref(&self.next), true);
        }
        let end = self.prompt.len().min(self.position + limit);
        (&self.prompt[self.position..end], end == self.prompt.len())
    }

    /// Whether there is room for the events of a token. A client that leaves no room for too long loses its request.
    pub fn has_room(&mut self, now: Instant) -> bool {
        // A token, and the end with what was held back.
        if self.events.capacity() >= 3 {
            self.blocked_since = None;
            return true;
        }
        let since = *self.blocked_since.get_or_insert(now);
        if now.duration_since(since) > PATIENCE {
            self.shared.canceled.store(true, Ordering::Relaxed);
        }
        false
    }

    /// The engine computed `count` tokens of this sequence.
    pub fn advance(&mut self, count: usize) {
        self.position += count;
        self.shared.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Chooses a token from logits and says it.
    pub fn choose(&mut self, logits: &mut [f32], tokenizer: &Tokenizer) -> Result<Said, NoFiniteLogit> {
        let token = self.sampler.sample(logits)?;
        if tokenizer.is_end(token) {
            let rest = self.text.finish();
            if !rest.text.is_empty() {
                self.say(rest.text);
            }
            return Ok(Said::End(FinishReason::Stop));
        }
        self.next = token;
        self.generated += 1;
        let mut piece = self.text.push(tokenizer.bytes(token));
        let full = self.generated >= self.budget;
        if full && !piece.stopped {
            let rest = self.text.finish();
            piece.text += &rest.text;
            piece.stopped = rest.stopped;
        }
        self.say(piece.text);
        Ok(match (piece.stopped, full) {
            (true, _) => Said::End(FinishReason::Stop),
            (false, true) => Said::End(FinishReason::Length),
            (false, false) => Said::More,
        })
    }

    fn say(&self, text: String) {
        // Room was checked before the step; a closed channel shows as canceled before the next.
        let _ = self.events.try_send(Event::Token { text, logprobs: None });
    }

    /// The sequence is over.
    pub fn finish(self, reason: FinishReason) {
        let (prompt_tokens, completion_tokens) = (self.prompt.len() as u32, self.generated as u32);
        let _ = self.events.try_send(Event::End(End::Finished { reason, prompt_tokens, completion_tokens }));
    }

    /// The sequence is lost.
    pub fn fail(self, error: ApiError) {
        let _ = self.events.try_send(Event::End(End::Failed(error)));
    }
}

/// What a canceled request is told, if somebody still listens.
pub(super) fn canceled() -> ApiError {
    ApiError::new(ErrorCode::RequestCanceled, "the request was canceled")
}
