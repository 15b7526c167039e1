//! The engine thread: admits requests to slots, computes one step for all of them, hands out tokens.

use super::sequence::{Said, Sequence, canceled};
use super::{Event, Job, Stats};
use crate::scheduler::End;
use rbee_engine::{Chunk, Engine, Output};
use rbee_tokenizer::Tokenizer;
use rbee_wire::{ApiError, ErrorCode};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Tokens of prompts per step. A cancel waits for one step, so this bounds its delay; larger steps gain little on a CPU.
const PROMPT_STEP: usize = 32;

/// Pause when every running request waits for its client to read.
const BLOCKED_PAUSE: Duration = Duration::from_millis(5);

struct Loop<'a> {
    engine: Box<dyn Engine>,
    tokenizer: &'a Tokenizer,
    stats: &'a Stats,
    waiting: VecDeque<Job>,
    running: Vec<Sequence>,
    free: Vec<usize>,
}

/// Serves until every sender is gone and nothing is left to do.
pub(super) fn run(engine: Box<dyn Engine>, tokenizer: &Tokenizer, jobs: &Receiver<Job>, stats: &Stats) {
    let free = (0..engine.slots()).rev().collect();
    let mut state = Loop { engine, tokenizer, stats, waiting: VecDeque::new(), running: Vec::new(), free };
    loop {
        if state.running.is_empty() && state.waiting.is_empty() {
            match jobs.recv() {
                Ok(job) => state.waiting.push_back(job),
                Err(_) => return,
            }
        }
        while let Ok(job) = jobs.try_recv() {
            state.waiting.push_back(job);
        }
        state.drop_canceled();
        state.admit();
        if !state.running.is_empty() && !state.step() {
            std::thread::sleep(BLOCKED_PAUSE);
        }
        state.stats.set_load(state.waiting.len(), state.running.len());
    }
}

impl Loop<'_> {
    fn drop_canceled(&mut self) {
        let gone = |job: &Job| job.shared.canceled.load(Ordering::Relaxed) || job.events.is_closed();
        let before = self.waiting.len();
        self.waiting.retain(|job| {
            if gone(job) {
                let _ = job.events.try_send(Event::End(End::Failed(canceled())));
            }
            !gone(job)
        });
        (self.waiting.len()..before).for_each(|_| self.stats.canceled());
        let (ended, running) = std::mem::take(&mut self.running).into_iter().partition(Sequence::canceled);
        self.running = running;
        let ended: Vec<Sequence> = ended;
        for sequence in ended {
            self.release(sequence.slot);
            self.stats.canceled();
            sequence.fail(canceled());
        }
    }

    fn admit(&mut self) {
        while !self.free.is_empty()
            && let Some(job) = self.waiting.pop_front()
            && let Some(slot) = self.free.pop()
        {
            self.running.push(Sequence::start(job, slot, self.engine.context_length()));
        }
        self.stats.set_load(self.waiting.len(), self.running.len());
    }

    fn release(&mut self, slot: usize) {
        self.engine.truncate(slot, 0);
        self.free.push(slot);
    }

    /// One step for everybody who can take a token, with a piece of the oldest prompt. False if nobody could.
    fn step(&mut self) -> bool {
        let now = Instant::now();
        let mut prompt_taken = false;
        let members: Vec<usize> = (0..self.running.len())
            .filter(|&at| {
                let sequence = &mut self.running[at];
                let prompt = sequence.in_prompt();
                if !sequence.has_room(now) || (prompt && prompt_taken) {
                    return false;
                }
                prompt_taken |= prompt;
                true
            })
            .collect();
        if members.is_empty() {
            return false;
        }
        let chunks: Vec<Chunk<'_>> = members
            .iter()
            .map(|&at| {
                let sequence = &self.running[at];
                let (tokens, logits) = sequence.due(PROMPT_STEP);
                let output = if logits { Output::Logits } else { Output::None };
                Chunk { slot: sequence.slot, position: sequence.position, tokens, output }
            })
            .collect();
        let counts: Vec<(usize, bool)> = chunks.iter().map(|c| (c.tokens.len(), c.output == Output::Logits)).collect();
        let computed = self.engine.step(&chunks);
        drop(chunks);
        match computed {
            Ok(rows) => self.take_rows(&members, &counts, rows),
            Err(error) => {
                tracing::error!(%error, "a step of the engine failed");
                let text = format!("the engine failed: {error}");
                self.end_all(members, |_| ApiError::new(ErrorCode::Internal, text.clone()));
            }
        }
        true
    }

    fn take_rows(&mut self, members: &[usize], counts: &[(usize, bool)], rows: Vec<Vec<f32>>) {
        let mut rows = rows.into_iter();
        let mut ended = Vec::new();
        for (&at, &(count, logits)) in members.iter().zip(counts) {
            let sequence = &mut self.running[at];
            let prompt = if sequence.in_prompt() { count } else { 0 };
            sequence.advance(count);
            self.stats.computed(prompt, 0);
            if !logits {
                continue;
            }
            let said = rows.next().map(|mut row| sequence.choose(&mut row, self.tokenizer));
            self.stats.computed(0, 1);
            match said {
                Some(Ok(Said::More)) => {}
                Some(Ok(Said::End(reason))) => ended.push((at, Ok(reason))),
                Some(Err(error)) => ended.push((at, Err(ApiError::new(ErrorCode::Internal, error.to_string())))),
                None => ended.push((at, Err(ApiError::new(ErrorCode::Internal, "the engine gave too few logits")))),
            }
        }
        // From behind, so that the positions of the others stay.
        for (at, end) in ended.into_iter().rev() {
            let sequence = self.running.remove(at);
            self.release(sequence.slot);
            match end {
                Ok(reason) => {
                    self.stats.finished();
                    sequence.finish(reason);
                }
                Err(error) => {
                    self.stats.failed();
                    sequence.fail(error);
                }
            }
        }
    }

    fn end_all(&mut self, members: Vec<usize>, error: impl Fn(&Sequence) -> ApiError) {
        for at in members.into_iter().rev() {
            let sequence = self.running.remove(at);
            self.release(sequence.slot);
            self.stats.failed();
            let error = error(&sequence);
            sequence.fail(error);
        }
    }
}
