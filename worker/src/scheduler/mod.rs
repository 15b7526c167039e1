//! Sharing one engine between requests: a bounded queue in front of slots, one thread that computes.

mod engine_loop;
mod sequence;
mod stats;

pub use sequence::{End, Event};
pub use stats::{Snapshot, Stats};

use rbee_engine::Engine;
use rbee_tokenizer::Tokenizer;
use rbee_wire::openai::Sampling;
use rbee_wire::{ApiError, ErrorCode};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc as sync_mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

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
    /// Used when the request has no seed of its own.
    pub seed: u64,
}

/// What the engine thread shares with whoever waits for an answer.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    canceled: AtomicBool,
    /// Grows with every computed step of this request.
    progress: AtomicU64,
}

/// A request as it lies in the queue.
struct Job {
    generation: Generation,
    events: mpsc::Sender<Event>,
    shared: Arc<Shared>,
    /// Its place among slots and queue; free when the job is dropped.
    _place: OwnedSemaphorePermit,
}

/// An answer that is on its way. Dropping it cancels the request.
pub struct Ticket {
    pub events: mpsc::Receiver<Event>,
    shared: Arc<Shared>,
    id: String,
    registry: Arc<Registry>,
}

impl Ticket {
    /// A number that grows while the engine works on this request.
    pub fn progress(&self) -> u64 {
        self.shared.progress.load(Ordering::Relaxed)
    }

    /// Ends the request at the next token.
    pub fn cancel(&self) {
        self.shared.canceled.store(true, Ordering::Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cancel();
        self.registry.remove(&self.id, &self.shared);
    }
}

/// Requests by id, for cancelling from outside.
#[derive(Default)]
struct Registry(Mutex<HashMap<String, Vec<Arc<Shared>>>>);

impl Registry {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<String, Vec<Arc<Shared>>>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, id: &str, shared: &Arc<Shared>) {
        self.with(|map| map.entry(id.to_owned()).or_default().push(shared.clone()));
    }

    fn remove(&self, id: &str, shared: &Arc<Shared>) {
        self.with(|map| {
            if let Some(list) = map.get_mut(id) {
                list.retain(|s| !Arc::ptr_eq(s, shared));
                if list.is_empty() {
                    map.remove(id);
                }
            }
        });
    }

    fn cancel(&self, id: &str) {
        self.with(|map| map.get(id).into_iter().flatten().for_each(|s| s.canceled.store(true, Ordering::Relaxed)));
    }
}

/// Handle to the engine thread. The thread ends when every handle and ticket is gone.
#[derive(Clone)]
pub struct Scheduler {
    jobs: sync_mpsc::Sender<Job>,
    places: Arc<Semaphore>,
    registry: Arc<Registry>,
    stats: Arc<Stats>,
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
        let (jobs, receiver) = sync_mpsc::channel();
        let thread_stats = stats.clone();
        std::thread::Builder::new().name("engine".into()).spawn(move || {
            let alarm = Alarm(Some(dead));
            engine_loop::run(engine, &tokenizer, &receiver, &thread_stats);
            alarm.silence();
        })?;
        Ok(Self { jobs, places, registry: Arc::default(), stats })
    }

    /// Puts a request into the queue.
    pub fn submit(&self, generation: Generation) -> Result<Ticket, ApiError> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.stats.rejected();
            let text = format!("all slots are busy and {QUEUE} requests wait; try again later");
            return Err(ApiError::new(ErrorCode::AllSlotsBusy, text).with_retry_after(RETRY_AFTER));
        };
        let (sender, events) = mpsc::channel(EVENTS);
        let shared = Arc::new(Shared::default());
        let id = generation.id.clone();
        self.registry.add(&id, &shared);
        let ticket = Ticket { events, shared: shared.clone(), id, registry: self.registry.clone() };
        let job = Job { generation, events: sender, shared, _place: place };
        if self.jobs.send(job).is_err() {
            return Err(ApiError::new(ErrorCode::WorkerCrashed, "the engine of this worker has ended"));
        }
        Ok(ticket)
    }

    /// Cancels every request with this id; none is fine too.
    pub fn cancel(&self, id: &str) {
        self.registry.cancel(id);
    }
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
