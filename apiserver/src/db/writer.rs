//! The one writer: a thread that owns the store, takes what queued, makes it durable, then publishes and answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

use tokio::sync::{mpsc, oneshot, watch};

use super::state::{Limits, State};
use super::watch::Wakers;
use super::{Change, Expect, Key, OpenError, WriteError, Written};
use crate::store::export::Exports;
use crate::store::{Batch, Record, Store, StoreError, chain};

/// Writes that share one sync, at most.
const GROUP: usize = 256;

/// Bytes of JSON that share one sync; a single larger object is taken alone.
const GROUP_BYTES: usize = 4 << 20;

/// Writes between two exports of the whole content.
const EXPORT_EVERY: u64 = 5_000;

type Reply = oneshot::Sender<Result<Written, WriteError>>;

pub(super) enum Command {
    Write { key: Key, expect: Expect, change: Change, reply: Reply },
    Close { reply: oneshot::Sender<()> },
}

/// The writer's other ends.
pub(super) struct Started {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) state: watch::Receiver<Arc<State>>,
    pub(super) failed: watch::Receiver<Option<Arc<str>>>,
    pub(super) wakers: Arc<Wakers>,
    pub(super) notice: Option<String>,
}

/// Loads the store and starts the thread that owns it.
pub(super) async fn start(store: Box<dyn Store>, limits: Limits, queue: usize) -> Result<Started, OpenError> {
    let (ready, opened) = oneshot::channel();
    let run = move || match Writer::load(store, limits, queue) {
        Ok((writer, started)) => {
            if ready.send(Ok(started)).is_ok() {
                writer.run();
            }
        }
        Err(error) => {
            let _ = ready.send(Err(error));
        }
    };
    thread::Builder::new().name("store-writer".into()).spawn(run).map_err(OpenError::Thread)?;
    match opened.await {
        Ok(result) => Ok(result?),
        Err(_) => Err(OpenError::Thread(std::io::Error::other("the thread ended while it loaded the store"))),
    }
}

struct Writer {
    store: Box<dyn Store>,
    limits: Limits,
    commands: mpsc::Receiver<Command>,
    state: watch::Sender<Arc<State>>,
    failed: watch::Sender<Option<Arc<str>>>,
    wakers: Arc<Wakers>,
    exports: Option<Exports>,
    export: Option<thread::JoinHandle<()>>,
    exported: u64,
}

impl Writer {
    fn load(mut store: Box<dyn Store>, limits: Limits, queue: usize) -> Result<(Self, Started), StoreError> {
        let loaded = store.load()?;
        let notice = loaded.notice.clone();
        let exports = store.exports();
        let restored = State::restore(loaded).map_err(|reason| StoreError::Damaged {
            path: exports.as_ref().map(|exports| exports.of().to_path_buf()).unwrap_or_default(),
            reason,
        })?;
        let (state, state_seen) = watch::channel(Arc::new(restored));
        let (failed, failed_seen) = watch::channel(None);
        let (send, commands) = mpsc::channel(queue);
        let wakers = Arc::new(Wakers::default());
        let started =
            Started { commands: send, state: state_seen, failed: failed_seen, wakers: wakers.clone(), notice };
        let writer = Self { store, limits, commands, state, failed, wakers, exports, export: None, exported: 0 };
        Ok((writer, started))
    }

    fn run(mut self) {
        self.start_export();
        let mut close = None;
        while close.is_none() {
            let Some(first) = self.commands.blocking_recv() else { break };
            close = self.take_group(first);
        }
        self.commands.close();
        while let Some(command) = self.commands.blocking_recv() {
            let waiting = self.take_group(command);
            close = close.or(waiting);
        }
        self.stop();
        if let Some(reply) = close {
            let _ = reply.send(());
        }
    }

    /// Exports what there is and lets the store go, before anybody is told that it is closed.
    fn stop(self) {
        let Self { store, state, failed, wakers, exports, export, exported, .. } = self;
        if let Some(running) = export {
            let _ = running.join();
        }
        let last = state.borrow().clone();
        if let (Some(exports), None, true) = (exports, &*failed.borrow(), last.revision() > exported) {
            write_export(&exports, &last);
        }
        drop(store);
        wakers.close();
    }

    /// Carries out a first command and what queued behind it; returns the caller who wants the end, if any.
    fn take_group(&mut self, first: Command) -> Option<oneshot::Sender<()>> {
        let mut state = State::clone(&self.state.borrow());
        let mut records: Vec<Record> = Vec::new();
        let mut answers: Vec<(Reply, Result<Written, WriteError>)> = Vec::new();
        let mut close = None;
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(command) = next.take() {
            match command {
                Command::Close { reply } => close = Some(reply),
                Command::Write { key, expect, change, reply } => {
                    let result = state.write(&key, expect, change).map(|(written, record)| {
                        bytes += record.json.as_ref().map_or(0, bytes::Bytes::len);
                        records.push(record);
                        written
                    });
                    answers.push((reply, result));
                }
            }
            if answers.len() < GROUP && bytes < GROUP_BYTES && close.is_none() {
                next = self.commands.try_recv().ok();
            }
        }
        let stored = self.commit(state, &records);
        for (reply, result) in answers {
            let result = match &stored {
                Ok(()) => result,
                Err(reason) => Err(WriteError::Storage(reason.clone())),
            };
            let _ = reply.send(result);
        }
        self.maybe_export();
        close
    }

    /// Makes a group durable, then visible.
    fn commit(&mut self, mut state: State, records: &[Record]) -> Result<(), Arc<str>> {
        if let Some(reason) = self.failed.borrow().clone() {
            return Err(reason);
        }
        if records.is_empty() {
            return Ok(());
        }
        let forget = state.trim(self.limits);
        let batch = Batch { records, forget: &forget, floor: state.floor(), objects: state.len() as u64 };
        if let Err(error) = self.store.commit(batch) {
            let reason: Arc<str> = chain(&error).into();
            tracing::error!(%reason, "the store failed; no more writes are taken and the process has to stop");
            self.failed.send_replace(Some(reason.clone()));
            return Err(reason);
        }
        self.state.send_replace(Arc::new(state));
        let resources: BTreeSet<&str> = records.iter().map(|record| record.key.resource()).collect();
        self.wakers.wake(resources.into_iter());
        Ok(())
    }

    fn maybe_export(&mut self) {
        if self.state.borrow().revision() >= self.exported + EXPORT_EVERY {
            self.start_export();
        }
    }

    /// Exports the content as it is, on a thread of its own; writes go on meanwhile.
    fn start_export(&mut self) {
        let Some(exports) = self.exports.clone() else { return };
        if self.export.as_ref().is_some_and(|running| !running.is_finished()) {
            return;
        }
        let state = self.state.borrow().clone();
        self.exported = state.revision();
        let run = move || write_export(&exports, &state);
        match thread::Builder::new().name("store-export".into()).spawn(run) {
            Ok(handle) => self.export = Some(handle),
            Err(error) => tracing::warn!(%error, "cannot start the thread that exports the store"),
        }
    }
}

fn write_export(exports: &Exports, state: &State) {
    let objects = state.objects().map(|object| (object.key(), object.json()));
    if let Err(error) = exports.write(state.revision(), objects) {
        tracing::warn!(error = chain(&error), "the store was not exported; the exports before are kept");
    }
}
