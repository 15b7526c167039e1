//! One request in a slot: its prompt, how far it is, and what it is for.

use super::answer::Answer;
use super::plan::Need;
use super::pooling::Pool;
use super::slots::common;
use super::{Job, Order, Shared};
use rbee_engine::{Engine, Kind, Output};
use rbee_wire::openai::FinishReason;
use rbee_wire::{ApiError, ErrorCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A sequence waits for another that computes the same beginning, if so many tokens can be taken from it at least.
const WORTH_WAITING: usize = 32;

/// A request that holds a slot.
pub(super) struct Sequence {
    /// Grows from sequence to sequence.
    pub number: u64,
    pub slot: usize,
    /// Tokens that the engine holds.
    pub position: usize,
    /// Tokens of the prompt that were there already.
    pub cached: usize,
    pub prompt: Vec<u32>,
    pub work: Work,
    /// An older sequence whose prompt begins alike.
    leader: Option<Leader>,
    /// Whether its prompt is computed as a whole, and leaves nothing behind.
    whole: bool,
    /// Whether it computes all of its prompt itself.
    alone: bool,
    shared: Arc<Shared>,
    /// Held until the sequence ends.
    _place: OwnedSemaphorePermit,
}

/// What a sequence is computed for.
pub(super) enum Work {
    Answer(Box<Answer>),
    Embedding(Pool, oneshot::Sender<Result<Vec<f32>, ApiError>>),
}

#[derive(Debug, Clone, Copy)]
struct Leader {
    number: u64,
    common: usize,
}

impl Sequence {
    /// Gives a job a slot that holds the first `cached` tokens of its prompt. `others` are those that are older.
    pub fn start(job: Job, number: u64, (slot, cached): (usize, usize), engine: &dyn Engine, others: &[Self]) -> Self {
        let Job { order, shared, _place } = job;
        let (prompt, work) = match order {
            Order::Answer(generation, events) => {
                let prompt = generation.prompt.clone();
                (prompt, Work::Answer(Box::new(Answer::start(*generation, events, engine.context_length()))))
            }
            Order::Embedding(prompt, reply) => {
                (prompt, Work::Embedding(Pool::new(engine.pooling(), engine.embedding_length()), reply))
            }
        };
        let whole = engine.kind() == Kind::Encoder;
        let mut sequence = Self {
            number,
            slot,
            position: cached,
            cached,
            prompt,
            work,
            leader: None,
            whole,
            alone: false,
            shared,
            _place,
        };
        sequence.find_leader(others);
        sequence
    }

    pub fn canceled(&self) -> bool {
        let deserted = match &self.work {
            Work::Answer(answer) => answer.is_deserted(),
            Work::Embedding(_, reply) => reply.is_closed(),
        };
        deserted || self.shared.canceled.load(Ordering::Relaxed)
    }

    /// Ends it at the next look.
    pub fn cancel(&self) {
        self.shared.canceled.store(true, Ordering::Relaxed);
    }

    pub fn in_prompt(&self) -> bool {
        self.position < self.prompt.len()
    }

    /// Whether the beginning of its prompt may be taken from others: an embedding needs every token's state.
    pub fn can_share(&self) -> bool {
        matches!(self.work, Work::Answer(_)) && self.in_prompt() && !self.alone
    }

    /// Whether others may take what its slot holds.
    pub fn leaves_tokens(&self) -> bool {
        !self.whole
    }

    /// What it could compute next, apart from what its client allows.
    pub fn need(&self) -> Need {
        match self.prompt.len() - self.position.min(self.prompt.len()) {
            0 => Need::Token,
            left if self.whole => Need::Whole(left),
            left => Need::Prompt(left),
        }
    }

    /// The next `count` tokens, and what is wanted of them.
    pub fn due(&self, count: usize) -> (&[u32], Output) {
        let end = self.prompt.len().min(self.position + count);
        match &self.work {
            Work::Embedding(..) => (&self.prompt[self.position..end], Output::Hidden),
            Work::Answer(answer) if !self.in_prompt() => (std::slice::from_ref(&answer.next), Output::Logits),
            Work::Answer(_) if end == self.prompt.len() => (&self.prompt[self.position..end], Output::Logits),
            Work::Answer(_) => (&self.prompt[self.position..end], Output::None),
        }
    }

    /// The engine computed `count` tokens of this sequence.
    pub fn advance(&mut self, count: usize) {
        self.position += count;
    }

    /// Tells who waits for this sequence that the engine works.
    pub fn touch(&self) {
        self.shared.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Its slot holds `length` tokens of its prompt, from another slot.
    pub fn copied(&mut self, length: usize) {
        self.cached += length - self.position;
        self.position = length;
    }

    /// Its slot lost what it held to a copy that failed; another try might fail as well.
    pub fn begin_anew(&mut self) {
        (self.position, self.cached, self.alone) = (0, 0, true);
    }

    /// Whether it is better to wait until an older sequence has computed what both begin with. `older` are those.
    pub fn waits(&mut self, older: &[Self]) -> bool {
        let Some(leader) = self.leader.filter(|_| self.can_share()) else { return false };
        match older.iter().find(|s| s.number == leader.number) {
            Some(found) => found.position < leader.common && leader.common >= self.position + WORTH_WAITING,
            None => {
                self.find_leader(older);
                self.leader.is_some()
            }
        }
    }

    /// The oldest of those that have most in common with it and have not computed that yet.
    fn find_leader(&mut self, older: &[Self]) {
        self.leader = None;
        if !self.can_share() {
            return;
        }
        for other in older.iter().filter(|s| s.in_prompt() && s.leaves_tokens()) {
            let common = common(&other.prompt, &self.prompt);
            let best = self.leader.map_or(self.position + WORTH_WAITING - 1, |l| l.common);
            if common > best.max(other.position) {
                self.leader = Some(Leader { number: other.number, common });
            }
        }
    }

    /// The answer is over.
    pub fn finish(self, reason: FinishReason) {
        if let Work::Answer(answer) = self.work {
            answer.finish(reason, self.prompt.len(), self.cached);
        }
    }

    /// The embedding is complete. False if the model gave no numbers.
    pub fn embed(self) -> bool {
        let Work::Embedding(pool, reply) = self.work else { return true };
        let embedding = pool.finish().ok_or_else(|| {
            ApiError::new(ErrorCode::Internal, "the model gave no finite embedding; the file may be damaged")
        });
        let finite = embedding.is_ok();
        let _ = reply.send(embedding);
        finite
    }

    /// The sequence is lost.
    pub fn fail(self, error: ApiError) {
        match self.work {
            Work::Answer(answer) => answer.fail(error),
            Work::Embedding(_, reply) => {
                let _ = reply.send(Err(error));
            }
        }
    }
}

/// What a canceled request is told, if somebody still listens.
pub(super) fn canceled() -> ApiError {
    ApiError::new(ErrorCode::RequestCanceled, "the request was canceled")
}
