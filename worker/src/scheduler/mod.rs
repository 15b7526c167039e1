//! Sharing one engine between requests: a bounded queue in front of slots, one thread that computes.
//!
//! Every step has the next token of all running answers and, beside them, pieces of the prompts that are entering ([`plan`]), as much
//! as the time of a step allows ([`pace`]). What a slot holds stays after its request; a prompt that begins alike takes it from
//! there ([`slots`]), even while the other runs.

mod answer;
mod engine_loop;
mod pace;
mod plan;
mod pooling;
mod registry;
mod sequence;
mod slots;
mod stats;

pub use stats::{Snapshot, Stats};

use crate::constraint::{ConstraintError, Grammar, Grammars};
use crate::sampler::TokenLogprobs;
use rbee_engine::{Engine, Kind};
use rbee_tokenizer::Tokenizer;
use rbee_wire::openai::{Constraint, FinishReason, Sampling};
use rbee_wire::{ApiError, ErrorCode};
use registry::{Entry, Registry};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc as sync_mpsc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Requests that may wait while all slots are taken.
pub const QUEUE: usize = 512;

/// Events that wait for a client that reads slowly; then its slot pauses.
const EVENTS: usize = 256;

/// Seconds until a full queue is worth another try.
const RETRY_AFTER: u32 = 1;

/// One answer to be generated.
#[derive(Debug, Clone)]
pub struct Generation {
    /// The request's id; need not be unique.
    pub id: String,
    /// Not empty and shorter than the context.
    pub prompt: Vec<u32>,
    pub sampling: Sampling,
    /// The form that `sampling` asks for, as [`Scheduler::grammar`] made it; several answers of one request share it as clones.
    pub grammar: Option<Grammar>,
    /// A control token whose text is told like that of other tokens.
    pub told: Option<u32>,
    /// Used when the request has no seed of its own.
    pub seed: u64,
}

/// What happens to a request, in order: `Started`, one `Token` per token, one `End`.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It has a slot.
    Started,
    /// A token was chosen; its text may be empty while half a character or a possible stop string is held back.
    Token {
        text: String,
        /// Of the tokens whose text this is, when they were asked for. An end token has no bytes, but its log probability is told
        /// too. All of an answer's texts of tokens together are the answer's text.
        logprobs: Vec<TokenLogprobs>,
        /// When it was chosen: whoever reads may read late.
        at: Instant,
    },
    End(End),
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    Finished {
        reason: FinishReason,
        prompt_tokens: u32,
        /// Of the prompt's tokens those that were not computed again.
        cached_tokens: u32,
        completion_tokens: u32,
    },
    Failed(ApiError),
}

/// What the engine thread shares with whoever waits for a request.
#[derive(Debug, Default)]
struct Shared {
    canceled: AtomicBool,
    /// Grows with every computed step while this request has a slot.
    progress: AtomicU64,
}

/// A request as it lies in the queue.
struct Job {
    order: Order,
    shared: Arc<Shared>,
    /// Its place among slots and queue; free when the job is dropped.
    _place: OwnedSemaphorePermit,
}

enum Order {
    Answer(Box<Generation>, mpsc::Sender<Event>),
    Embedding(Vec<u32>, oneshot::Sender<Result<Vec<f32>, ApiError>>),
}

impl Job {
    fn canceled(&self) -> bool {
        let deserted = match &self.order {
            Order::Answer(_, events) => events.is_closed(),
            Order::Embedding(_, reply) => reply.is_closed(),
        };
        deserted || self.shared.canceled.load(Ordering::Relaxed)
    }

    fn fail(self, error: ApiError) {
        match self.order {
            Order::Answer(_, events) => {
                let _ = events.try_send(Event::End(End::Failed(error)));
            }
            Order::Embedding(_, reply) => {
                let _ = reply.send(Err(error));
            }
        }
    }
}

/// An answer that is on its way. Dropping it cancels the request.
pub struct Ticket {
    pub events: mpsc::Receiver<Event>,
    entry: Entry,
}

impl Ticket {
    /// A number that grows while the engine works on this request.
    pub fn progress(&self) -> u64 {
        self.entry.shared.progress.load(Ordering::Relaxed)
    }

    /// Ends the request at the next token.
    pub fn cancel(&self) {
        self.entry.shared.canceled.store(true, Ordering::Relaxed);
    }
}

/// A request before it is in the queue.
pub struct Preparation(Entry);

impl Preparation {
    /// Refuses to go on with what was canceled meanwhile.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.0.canceled() { Err(sequence::canceled()) } else { Ok(()) }
    }
}

/// Handle to the engine thread. The thread ends when every handle and ticket is gone.
#[derive(Clone)]
pub struct Scheduler {
    jobs: sync_mpsc::Sender<Job>,
    places: Arc<Semaphore>,
    registry: Arc<Registry>,
    grammars: Arc<Grammars>,
    stats: Arc<Stats>,
    kind: Kind,
    gives_hidden: bool,
    context_length: usize,
}

impl Scheduler {
    /// Starts the engine thread. `dead` is called if that thread ends by a panic.
    pub fn start(
        engine: Box<dyn Engine>,
        tokenizer: Arc<Tokenizer>,
        stats: Arc<Stats>,
        dead: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let places = Arc::new(Semaphore::new(engine.slots() + QUEUE));
        let (kind, gives_hidden, context_length) = (engine.kind(), engine.gives_hidden(), engine.context_length());
        let grammars = Arc::new(Grammars::new(tokenizer.clone()));
        let (jobs, receiver) = sync_mpsc::channel();
        let thread_stats = stats.clone();
        std::thread::Builder::new().name("engine".into()).spawn(move || {
            let alarm = Alarm(Some(dead));
            engine_loop::run(engine, &tokenizer, &receiver, &thread_stats);
            alarm.silence();
        })?;
        Ok(Self { jobs, places, registry: Arc::default(), grammars, stats, kind, gives_hidden, context_length })
    }

    /// How the engine's model reads a sequence.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether there are embeddings.
    pub fn gives_hidden(&self) -> bool {
        self.gives_hidden
    }

    /// Compiles the form that answers shall have, within about a second. Blocks: not for the async threads.
    pub fn grammar(&self, constraint: &Constraint) -> Result<Grammar, ConstraintError> {
        self.grammars.compile(constraint)
    }

    /// A request with this id is being prepared; from here on it can be canceled.
    pub fn prepare(&self, id: &str) -> Preparation {
        Preparation(Entry::new(&self.registry, id.to_owned()))
    }

    /// Puts a request into the queue.
    pub fn submit(&self, generation: Generation) -> Result<Ticket, ApiError> {
        self.submit_all(vec![generation]).and_then(|mut tickets| tickets.pop().ok_or_else(dead))
    }

    /// Puts the answers of one request into the queue, side by side, or none of them.
    pub fn submit_all(&self, generations: Vec<Generation>) -> Result<Vec<Ticket>, ApiError> {
        if self.kind == Kind::Encoder {
            let text = "this model gives embeddings only; ask /v1/embeddings";
            return Err(ApiError::invalid("model", text));
        }
        let mut places = self.places(generations.len())?;
        let mut tickets = Vec::with_capacity(generations.len());
        for generation in generations {
            let (sender, events) = mpsc::channel(EVENTS);
            let entry = Entry::new(&self.registry, generation.id.clone());
            let place = places.split(1).ok_or_else(dead)?;
            self.send(Order::Answer(Box::new(generation), sender), &entry, place)?;
            tickets.push(Ticket { events, entry });
        }
        Ok(tickets)
    }

    /// The embedding of a text: hidden states, pooled as the model's file says, of length 1. Dropping the future cancels it.
    pub async fn embed(&self, id: String, tokens: Vec<u32>) -> Result<Vec<f32>, ApiError> {
        if !self.gives_hidden {
            return Err(ApiError::invalid("model", "this model gives text only and no embeddings"));
        }
        if tokens.is_empty() {
            return Err(ApiError::invalid("input", "the text has no tokens"));
        }
        if tokens.len() > self.context_length {
            return Err(ApiError::context_length_exceeded("input", tokens.len(), self.context_length));
        }
        let (sender, reply) = oneshot::channel();
        let entry = Entry::new(&self.registry, id);
        self.send(Order::Embedding(tokens, sender), &entry, self.places(1)?)?;
        reply.await.unwrap_or_else(|_| Err(dead()))
    }

    fn places(&self, count: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        self.places.clone().try_acquire_many_owned(count as u32).map_err(|_| {
            self.stats.rejected();
            let text =
                format!("all slots are busy and the queue of {QUEUE} has no room for {count} more; try again later");
            ApiError::new(ErrorCode::AllSlotsBusy, text).with_retry_after(RETRY_AFTER)
        })
    }

    fn send(&self, order: Order, entry: &Entry, place: OwnedSemaphorePermit) -> Result<(), ApiError> {
        self.jobs.send(Job { order, shared: entry.shared.clone(), _place: place }).map_err(|_| dead())
    }

    /// Cancels every request with this id; none is fine too.
    pub fn cancel(&self, id: &str) {
        self.registry.cancel(id);
    }
}

fn dead() -> ApiError {
    ApiError::new(ErrorCode::WorkerCrashed, "the engine of this worker has ended")
}

/// Calls its function when the thread unwinds.
struct Alarm<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Alarm<F> {
    fn silence(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for Alarm<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

#[cfg(test)]
mod tests;
