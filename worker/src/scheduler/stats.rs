//! Numbers about a worker that anybody may read at any time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters and gauges; each is on its own, no order between them is promised.
#[derive(Debug, Default)]
pub struct Stats {
    waiting: AtomicU64,
    running: AtomicU64,
    prompt_tokens: AtomicU64,
    reused_tokens: AtomicU64,
    generated_tokens: AtomicU64,
    finished: AtomicU64,
    canceled: AtomicU64,
    failed: AtomicU64,
    rejected: AtomicU64,
    last_request_unix_ms: AtomicU64,
}

/// The numbers at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests in the queue.
    pub waiting: u64,
    /// Requests in slots.
    pub running: u64,
    /// Tokens of prompts that were computed.
    pub prompt_tokens: u64,
    /// Tokens of prompts that were not computed, as a slot held them already.
    pub prompt_tokens_reused: u64,
    /// Tokens of answers.
    pub generated_tokens: u64,
    pub finished: u64,
    pub canceled: u64,
    pub failed: u64,
    /// Refused because the queue was full.
    pub rejected: u64,
    /// None before the first request.
    pub last_request_unix_ms: Option<u64>,
}

impl Stats {
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            waiting: self.waiting.load(Relaxed),
            running: self.running.load(Relaxed),
            prompt_tokens: self.prompt_tokens.load(Relaxed),
            prompt_tokens_reused: self.reused_tokens.load(Relaxed),
            generated_tokens: self.generated_tokens.load(Relaxed),
            finished: self.finished.load(Relaxed),
            canceled: self.canceled.load(Relaxed),
            failed: self.failed.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            last_request_unix_ms: Some(self.last_request_unix_ms.load(Relaxed)).filter(|&ms| ms > 0),
        }
    }

    /// Tokens computed so far, of prompts and answers.
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens.load(Relaxed) + self.generated_tokens.load(Relaxed)
    }

    /// A request arrived.
    pub fn request_at(&self, unix_ms: u64) {
        self.last_request_unix_ms.fetch_max(unix_ms, Relaxed);
    }

    pub(super) fn set_load(&self, waiting: usize, running: usize) {
        self.waiting.store(waiting as u64, Relaxed);
        self.running.store(running as u64, Relaxed);
    }

    pub(super) fn computed(&self, prompt: usize, generated: usize) {
        self.prompt_tokens.fetch_add(prompt as u64, Relaxed);
        self.generated_tokens.fetch_add(generated as u64, Relaxed);
    }

    pub(super) fn reused(&self, tokens: usize) {
        self.reused_tokens.fetch_add(tokens as u64, Relaxed);
    }

    pub(super) fn finished(&self) {
        self.finished.fetch_add(1, Relaxed);
    }

    pub(super) fn canceled(&self) {
        self.canceled.fetch_add(1, Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub(super) fn rejected(&self) {
        self.rejected.fetch_add(1, Relaxed);
    }
}
