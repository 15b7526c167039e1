//! Answers to one request while they are generated, with a watch on progress.

use crate::sampler::TokenLogprobs;
use crate::scheduler::{End, Event, Stats, Ticket};
use rbee_wire::openai::{FinishReason, Usage};
use rbee_wire::{ApiError, ErrorCode};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// What happens next.
pub enum Next {
    /// A choice has a token more. Its text may be empty while some is held back; `logprobs` are of the tokens that the text ends.
    Token { choice: usize, text: String, logprobs: Vec<TokenLogprobs> },
    /// A choice is complete.
    End { choice: usize, reason: FinishReason },
    /// All choices are; nothing follows.
    Done(Usage),
}

/// The choices of one request. Dropping it cancels them.
pub struct Running {
    /// `n` for the first prompt, then `n` for the next one.
    choices: Vec<Choice>,
    n: usize,
    stats: Arc<Stats>,
    stall: Duration,
    /// The choice that is asked first for its next event.
    turn: usize,
    pub since: Instant,
    /// When the first and the last token were chosen.
    pub generated: Option<(Instant, Instant)>,
    _request: TaskTrackerToken,
}

struct Choice {
    ticket: Ticket,
    started: bool,
    /// Once it is complete.
    usage: Option<Usage>,
}

impl Running {
    /// `stall`: the request ends when nothing is computed for so long.
    pub fn new(
        tickets: Vec<Ticket>,
        n: usize,
        stats: Arc<Stats>,
        stall: Duration,
        since: Instant,
        request: TaskTrackerToken,
    ) -> Self {
        let choices = tickets.into_iter().map(|ticket| Choice { ticket, started: false, usage: None }).collect();
        Self { choices, n, stats, stall, turn: 0, since, generated: None, _request: request }
    }

    /// Number of choices.
    pub fn count(&self) -> usize {
        self.choices.len()
    }

    /// Waits for what happens next. After an error nothing follows.
    pub async fn next(&mut self) -> Result<Next, ApiError> {
        loop {
            if let Some(usage) = self.usage() {
                return Ok(Next::Done(usage));
            }
            let before = self.progress();
            match tokio::time::timeout(self.stall, poll_fn(|context| self.poll(context))).await {
                Ok((choice, event)) => {
                    if let Some(next) = self.read(choice, event)? {
                        return Ok(next);
                    }
                }
                // A long prompt is no stall, and neither is waiting for a slot of an engine that works for others.
                Err(_) if self.progress() != before => {}
                Err(_) => {
                    self.choices.iter().for_each(|c| c.ticket.cancel());
                    let text = format!("no token was computed for {} s", self.stall.as_secs());
                    return Err(ApiError::new(ErrorCode::InferenceStalled, text));
                }
            }
        }
    }

    /// What happened already, if anything did.
    pub fn ready(&mut self) -> Result<Option<Next>, ApiError> {
        if let Some(usage) = self.usage() {
            return Ok(Some(Next::Done(usage)));
        }
        let count = self.choices.len();
        for at in (self.turn..self.turn + count).map(|at| at % count) {
            let choice = &mut self.choices[at];
            if choice.usage.is_none()
                && let Ok(event) = choice.ticket.events.try_recv()
            {
                self.turn = at + 1;
                return self.read(at, Some(event));
            }
        }
        Ok(None)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(usize, Option<Event>)> {
        let count = self.choices.len();
        for at in (self.turn..self.turn + count).map(|at| at % count) {
            let choice = &mut self.choices[at];
            if choice.usage.is_none()
                && let Poll::Ready(event) = choice.ticket.events.poll_recv(context)
            {
                self.turn = at + 1;
                return Poll::Ready((at, event));
            }
        }
        Poll::Pending
    }

    /// Grows while the engine works on this request, or on any as long as a choice of this one waits.
    fn progress(&self) -> u64 {
        if self.choices.iter().all(|c| c.started) {
            self.choices.iter().map(|c| c.ticket.progress()).sum()
        } else {
            self.stats.tokens()
        }
    }

    /// A prompt counts once, however many choices it has.
    fn usage(&self) -> Option<Usage> {
        let usages: Option<Vec<Usage>> = self.choices.iter().map(|c| c.usage).collect();
        let cached = |usage: &Usage| usage.prompt_tokens_details.map_or(0, |d| d.cached_tokens);
        let mut sum = Usage::new(0, 0, 0);
        for prompt in usages?.chunks(self.n) {
            let tokens = prompt.iter().map(|u| u.completion_tokens).fold(sum.completion_tokens, u32::saturating_add);
            let least_cached = prompt.iter().map(cached).min().unwrap_or(0);
            let prompt_tokens = sum.prompt_tokens.saturating_add(prompt[0].prompt_tokens);
            sum = Usage::new(prompt_tokens, tokens, cached(&sum).saturating_add(least_cached));
        }
        Some(sum)
    }

    fn read(&mut self, choice: usize, event: Option<Event>) -> Result<Option<Next>, ApiError> {
        match event {
            Some(Event::Started) => {
                self.choices[choice].started = true;
                Ok(None)
            }
            Some(Event::Token { text, logprobs, at }) => {
                // Those of several choices come in any order.
                let (first, last) = self.generated.unwrap_or((at, at));
                self.generated = Some((first.min(at), last.max(at)));
                Ok(Some(Next::Token { choice, text, logprobs }))
            }
            Some(Event::End(End::Finished { reason, prompt_tokens, cached_tokens, completion_tokens })) => {
                self.choices[choice].usage = Some(Usage::new(prompt_tokens, completion_tokens, cached_tokens));
                Ok(Some(Next::End { choice, reason }))
            }
            Some(Event::End(End::Failed(error))) => Err(error),
            None => Err(ApiError::new(ErrorCode::WorkerCrashed, "the engine ended in the middle of the answer")),
        }
    }
}
