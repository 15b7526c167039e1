//! The engine thread: admits requests to slots, computes one step for all of them, hands out tokens.

use super::answer::{Room, Said, Unable};
use super::pace::Pace;
use super::plan::{self, Need};
use super::sequence::{Sequence, Work, canceled};
use super::slots::Slots;
use super::{Job, Order, Stats};
use rbee_engine::{Chunk, Engine, Output};
use rbee_tokenizer::Tokenizer;
use rbee_wire::openai::FinishReason;
use rbee_wire::{ApiError, ErrorCode};
use std::collections::VecDeque;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Pause when every running request waits for its client to read.
const BLOCKED_PAUSE: Duration = Duration::from_millis(5);

struct Loop<'a> {
    engine: Box<dyn Engine>,
    tokenizer: &'a Tokenizer,
    stats: &'a Stats,
    waiting: VecDeque<Job>,
    /// Oldest first.
    running: Vec<Sequence>,
    slots: Slots,
    pace: Pace,
    admitted: u64,
}

/// What a sequence got of a step.
#[derive(Clone, Copy)]
struct Share {
    /// Index in `running`.
    at: usize,
    tokens: usize,
    prompt: bool,
    output: Output,
}

/// How a sequence ended within a step.
enum Ended {
    Answered(FinishReason),
    Embedded,
    /// With what the client is told.
    Unable(Unable, ApiError),
    Failed(&'static str),
}

/// Serves until every sender is gone and nothing is left to do.
pub(super) fn run(engine: Box<dyn Engine>, tokenizer: &Tokenizer, jobs: &Receiver<Job>, stats: &Stats) {
    let mut state = Loop {
        slots: Slots::new(engine.slots()),
        engine,
        tokenizer,
        stats,
        waiting: VecDeque::new(),
        running: Vec::new(),
        pace: Pace::default(),
        admitted: 0,
    };
    loop {
        if state.running.is_empty() && state.waiting.is_empty() {
            match jobs.recv() {
                Ok(job) => state.waiting.push_back(job),
                Err(_) => return,
            }
        }
        state.waiting.extend(jobs.try_iter());
        state.drop_canceled();
        // Before a slot that ended is given away, and again for those that are new.
        state.share_beginnings();
        state.admit();
        state.share_beginnings();
        if !state.running.is_empty() && !state.step() {
            std::thread::sleep(BLOCKED_PAUSE);
        }
        state.set_load();
    }
}

impl Loop<'_> {
    fn set_load(&self) {
        self.stats.set_load(self.waiting.len(), self.running.len());
    }

    fn drop_canceled(&mut self) {
        for _ in 0..self.waiting.len() {
            match self.waiting.pop_front() {
                Some(job) if job.canceled() => {
                    self.stats.canceled();
                    job.fail(canceled());
                }
                Some(job) => self.waiting.push_back(job),
                None => break,
            }
        }
        for at in (0..self.running.len()).rev().filter(|&at| self.running[at].canceled()).collect::<Vec<_>>() {
            let sequence = self.remove(at);
            self.stats.canceled();
            sequence.fail(canceled());
        }
    }

    fn admit(&mut self) {
        while self.slots.any_free()
            && let Some(job) = self.waiting.pop_front()
        {
            // An embedding needs every token's state, so that nothing of its prompt can stay.
            let prompt = match &job.order {
                Order::Answer(generation, _) => &generation.prompt[..],
                Order::Embedding(..) => &[],
            };
            let Some((slot, kept)) = self.slots.take(prompt) else { break };
            self.engine.truncate(slot, kept);
            self.stats.reused(kept);
            self.admitted += 1;
            let sequence = Sequence::start(job, self.admitted, (slot, kept), &*self.engine, &self.running);
            self.running.push(sequence);
        }
        self.set_load();
    }

    /// Copies beginnings of prompts from slots that hold more of them.
    fn share_beginnings(&mut self) {
        for at in 0..self.running.len() {
            let (older, rest) = self.running.split_at_mut(at);
            let sequence = &mut rest[0];
            if !sequence.can_share() || sequence.waits(older) {
                continue;
            }
            if let Some((from, length)) = self.slots.donor(&sequence.prompt, sequence.position)
                && from != sequence.slot
            {
                if self.engine.copy(from, sequence.slot, length) {
                    self.slots.copy(from, sequence.slot, length);
                    self.stats.reused(length - sequence.position);
                    sequence.copied(length);
                } else {
                    self.slots.forget(sequence.slot);
                    sequence.begin_anew();
                }
            }
        }
    }

    /// Takes a sequence out. Its slot is free and keeps its tokens.
    fn remove(&mut self, at: usize) -> Sequence {
        let sequence = self.running.remove(at);
        self.slots.release(sequence.slot);
        sequence
    }

    /// What a sequence holds is not to be trusted.
    fn forget(&mut self, slot: usize) {
        self.slots.forget(slot);
        self.engine.truncate(slot, 0);
    }

    /// One step for everybody who can take part. False if nobody could.
    fn step(&mut self) -> bool {
        let needs = self.needs();
        let answers = needs.iter().filter(|&&need| need == Need::Token).count();
        let prompts = needs.iter().filter(|need| need.rows() > 0).count();
        let left = needs.iter().map(Need::rows).sum();
        let budget = if left > 0 { self.pace.rows(answers, prompts, left) } else { 0 };
        let given = plan::tokens(&needs, budget);
        let mut shares = Vec::with_capacity(needs.len());
        let mut chunks = Vec::with_capacity(needs.len());
        for (at, sequence) in self.running.iter().enumerate().filter(|(at, _)| given[*at] > 0) {
            let (tokens, output) = sequence.due(given[at]);
            shares.push(Share { at, tokens: tokens.len(), prompt: sequence.in_prompt(), output });
            chunks.push(Chunk { slot: sequence.slot, position: sequence.position, tokens, output });
        }
        if chunks.is_empty() {
            return false;
        }
        let began = Instant::now();
        let computed = self.engine.step(&chunks);
        let rows = shares.iter().filter(|s| s.prompt).map(|s| s.tokens).sum();
        match computed {
            Ok(results) => {
                self.pace.observe(answers, rows, began.elapsed());
                // Whoever had no part in it has not stalled: it waits for others.
                self.running.iter().for_each(Sequence::touch);
                self.take(&shares, results);
            }
            Err(error) => {
                tracing::error!(%error, "a step of the engine failed");
                // One that cannot be computed is nobody else's loss: the next step is without it.
                let guilty =
                    error.slot().and_then(|slot| shares.iter().find(|s| self.running[s.at].slot == slot)).copied();
                let lost = guilty.as_ref().map_or(&shares[..], std::slice::from_ref);
                self.lose(lost, &format!("the engine failed: {error}"));
            }
        }
        true
    }

    /// What each running sequence could compute, oldest first.
    fn needs(&mut self) -> Vec<Need> {
        let now = Instant::now();
        (0..self.running.len())
            .map(|at| {
                let (older, rest) = self.running.split_at_mut(at);
                let sequence = &mut rest[0];
                if let Work::Answer(answer) = &mut sequence.work {
                    match answer.room(now) {
                        Room::Free => {}
                        Room::Full => return Need::Nothing,
                        Room::Abandoned => {
                            sequence.cancel();
                            return Need::Nothing;
                        }
                    }
                }
                if sequence.waits(older) { Need::Nothing } else { sequence.need() }
            })
            .collect()
    }

    /// Hands the results of a step to its sequences and ends those that are over.
    fn take(&mut self, shares: &[Share], results: Vec<Vec<f32>>) {
        let mut results = results.into_iter();
        let mut ended = Vec::new();
        for &Share { at, tokens, prompt, output } in shares {
            let sequence = &mut self.running[at];
            if sequence.leaves_tokens() {
                self.slots.extend(sequence.slot, sequence.due(tokens).0);
            }
            sequence.advance(tokens);
            self.stats.computed(if prompt { tokens } else { 0 }, usize::from(output == Output::Logits));
            if output == Output::None {
                continue;
            }
            let end = match (results.next(), &mut sequence.work) {
                (None, _) => Some(Ended::Failed("the engine gave too few results")),
                (Some(mut logits), Work::Answer(answer)) => match answer.choose(&mut logits, self.tokenizer) {
                    Ok(Said::More) => None,
                    Ok(Said::End(reason)) => Some(Ended::Answered(reason)),
                    Err(unable) => {
                        let told = unable.to_api(answer.field);
                        Some(Ended::Unable(unable, told))
                    }
                },
                (Some(states), Work::Embedding(pool, _)) => {
                    pool.push(&states);
                    (!sequence.in_prompt()).then_some(Ended::Embedded)
                }
            };
            ended.extend(end.map(|end| (at, end)));
        }
        // From behind, so that the positions of the others stay.
        for (at, end) in ended.into_iter().rev() {
            self.end(at, end);
        }
    }

    fn end(&mut self, at: usize, end: Ended) {
        let sequence = self.remove(at);
        let slot = sequence.slot;
        match end {
            Ended::Answered(reason) => {
                self.stats.finished();
                sequence.finish(reason);
            }
            Ended::Embedded => {
                let finite = sequence.embed();
                if finite {
                    self.stats.finished()
                } else {
                    self.stats.failed()
                }
                if !finite {
                    self.forget(slot);
                }
            }
            Ended::Unable(unable, told) => {
                self.stats.failed();
                if matches!(unable, Unable::Logits(_)) {
                    self.forget(slot);
                }
                sequence.fail(told);
            }
            Ended::Failed(text) => {
                self.stats.failed();
                self.forget(slot);
                sequence.fail(ApiError::new(ErrorCode::Internal, text));
            }
        }
    }

    /// A step failed: these sequences are lost.
    fn lose(&mut self, shares: &[Share], text: &str) {
        for share in shares.iter().rev() {
            let sequence = self.remove(share.at);
            self.forget(sequence.slot);
            self.stats.failed();
            sequence.fail(ApiError::new(ErrorCode::Internal, text));
        }
    }
}
