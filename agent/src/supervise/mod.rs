//! The one task that owns the table of processes. It hears what happens, plans, records, saves, and lets effects run
//! beside it; what they find comes back as observations.

pub mod backoff;
pub mod effects;
pub mod failure;
pub mod launch;
pub mod logs;
pub mod machine;
pub mod observe;
pub mod process;
pub mod state;
#[cfg(test)]
mod tests;
pub mod view;

use std::{path::PathBuf, sync::Arc};

use rbee_crds::{Assignment, Time, hive::HiveBackend};
use rbee_wire::worker::{Hello, ReadyCallback};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    adopt::state_file::{self, Saved},
    config::Timing,
    plan::{self, Action, FileState, World},
    sync::Mirror,
};
use effects::{Effects, StartOrder, StopOrder};
use observe::{Moment, Notice, Observation, observe};
use state::{ProcessId, Tick, Uid};
use view::ReplicaView;

/// Messages that may wait for the task.
const QUEUE: usize = 1024;

/// Where the supervisor learns what is wanted, and where it says what is.
pub struct Ports {
    pub assignments: watch::Receiver<Mirror<Assignment>>,
    pub files: watch::Receiver<Arc<std::collections::BTreeMap<String, FileState>>>,
    pub backends: watch::Receiver<Vec<HiveBackend>>,
    pub views: watch::Sender<Arc<Vec<ReplicaView>>>,
    pub notices: mpsc::Sender<Notice>,
}

enum Message {
    Seen(Observation),
    Hello(Hello, oneshot::Sender<bool>),
    SaysReady { nonce: String, callback: ReadyCallback, known: oneshot::Sender<bool> },
}

/// The way to the task from outside.
#[derive(Clone)]
pub struct Handle(mpsc::Sender<Message>);

impl Handle {
    /// A worker introduced itself. False: nobody knows it, and it is being ended.
    pub async fn hello(&self, hello: Hello) -> bool {
        let (answer, known) = oneshot::channel();
        self.0.send(Message::Hello(hello, answer)).await.is_ok() && known.await.unwrap_or(false)
    }

    /// A worker called back. False: its secret is not one of ours.
    pub async fn says_ready(&self, nonce: String, callback: ReadyCallback) -> bool {
        let (known, answer) = oneshot::channel();
        self.0.send(Message::SaysReady { nonce, callback, known }).await.is_ok() && answer.await.unwrap_or(false)
    }
}

/// The task's own data.
pub struct Supervisor<E> {
    effects: Arc<E>,
    world: World,
    timing: Timing,
    first_port: u16,
    socket: Option<PathBuf>,
    saved: Option<Saved>,
    ports: Ports,
    sender: mpsc::Sender<Message>,
    inbox: mpsc::Receiver<Message>,
    /// Effects that are under way; they end with the supervisor.
    tasks: JoinSet<()>,
}

impl<E: Effects> Supervisor<E> {
    /// A supervisor that begins with `world`, the table of the hive before it.
    pub fn new(
        effects: Arc<E>,
        world: World,
        timing: Timing,
        first_port: u16,
        socket: Option<PathBuf>,
        ports: Ports,
    ) -> (Self, Handle) {
        let (sender, inbox) = mpsc::channel(QUEUE);
        let handle = Handle(sender.clone());
        let tasks = JoinSet::new();
        (Self { effects, world, timing, first_port, socket, saved: None, ports, sender, inbox, tasks }, handle)
    }

    /// Runs until `shutdown`; then, with `stop_workers`, until no process is left.
    pub async fn run(mut self, shutdown: CancellationToken, stop_workers: bool) {
        self.take_inputs();
        let watched: Vec<_> =
            self.world.replicas.values().filter_map(|r| Some((r.key.clone(), r.process()?))).collect();
        for (key, process) in watched {
            self.watch_end(key, process);
        }
        loop {
            let wake = self.step().await;
            if shutdown.is_cancelled() && (!stop_workers || (self.world.stopping && !self.world.has_processes())) {
                break;
            }
            let sleep = wake.map(|at| at.saturating_sub(self.effects.now()));
            tokio::select! {
                Some(message) = self.inbox.recv() => self.hear(message),
                Some(done) = self.tasks.join_next() => said(done),
                Ok(()) = self.ports.assignments.changed() => self.take_inputs(),
                Ok(()) = self.ports.files.changed() => self.take_inputs(),
                Ok(()) = self.ports.backends.changed() => self.take_inputs(),
                () = tokio::time::sleep(sleep.unwrap_or_default()), if sleep.is_some() => {}
                () = shutdown.cancelled(), if !self.world.stopping => self.world.stopping = stop_workers,
            }
        }
    }

    /// Plans and carries out, once. The answer is when to look again.
    async fn step(&mut self) -> Option<Tick> {
        let now = self.effects.now();
        let plan = plan::plan(&self.world, now, &self.timing, self.first_port);
        let at = Time(self.effects.wall());
        let mut notices = vec![];
        let mut orders = vec![];
        for action in plan.actions {
            if let Action::Refuse { uid, reason, message } = &action
                && let Some(replica) = self.world.replicas.get(uid)
            {
                let message = format!("{}: {message}", replica.key.name);
                notices.push(Notice { key: replica.key.clone(), warning: true, reason: (*reason).into(), message });
            }
            // Before the action is recorded, as that takes the process out of the replica.
            let before = self.order_before(&action);
            plan::record(&mut self.world, &action, now, &at, || self.effects.nonce());
            orders.extend(before.or_else(|| self.order_after(&action)));
        }
        self.save().await;
        // Nothing is left to do in this moment; what is blocked and when to wake is as of after the actions.
        let after = plan::plan(&self.world, now, &self.timing, self.first_port);
        self.publish(&after.blocked, notices);
        for order in orders {
            self.carry_out(order);
        }
        if after.actions.is_empty() { after.wake } else { Some(now) }
    }

    fn order_before(&self, action: &Action) -> Option<Order> {
        let (Action::Stop { uid, .. } | Action::Kill { uid, .. }) = action else { return None };
        let replica = self.world.replicas.get(uid)?;
        let process = replica.process()?;
        if matches!(action, Action::Kill { .. }) {
            return Some(Order::Kill(process));
        }
        let url = replica.url().map(str::to_owned);
        Some(Order::Stop(StopOrder { key: replica.key.clone(), process, url }))
    }

    fn order_after(&self, action: &Action) -> Option<Order> {
        match action {
            Action::Start { uid, port } => {
                let (desired, replica) = (self.world.desired.get(uid)?, self.world.replicas.get(uid)?);
                let FileState::Available { path, mark, .. } = self.world.files.get(&desired.uri)? else { return None };
                let mark = mark.filter(|_| desired.sha256.is_some());
                let nonce = replica.launched.as_ref()?.nonce.clone();
                let order = StartOrder { desired: desired.clone(), model: path.clone(), mark, port: *port, nonce };
                Some(Order::Start(replica.incarnation, Box::new(order)))
            }
            Action::Probe { uid } => {
                let replica = self.world.replicas.get(uid)?;
                Some(Order::Probe(uid.clone(), replica.process()?, replica.url()?.to_owned()))
            }
            Action::Release { uid } => Some(Order::Release(self.world.replicas.get(uid)?.key.clone())),
            Action::Stop { .. } | Action::Kill { .. } | Action::Refuse { .. } | Action::Forget { .. } => None,
        }
    }

    fn carry_out(&mut self, order: Order) {
        let (effects, sender) = (self.effects.clone(), self.sender.clone());
        match order {
            Order::Kill(process) => effects.kill(process),
            Order::Stop(order) => drop(self.tasks.spawn(async move { effects.ask_to_stop(order).await })),
            Order::Probe(uid, process, url) => drop(self.tasks.spawn(async move {
                let answer = effects.health(&url, process).await;
                tell(&sender, Observation::Probed { uid, process, answer }).await;
            })),
            Order::Release(key) => drop(self.tasks.spawn(async move {
                if let Err(why) = effects.release(&key).await {
                    tracing::warn!(assignment = key.name, "cannot take the finalizer away, trying again: {why}");
                    tell(&sender, Observation::NotReleased { uid: key.uid }).await;
                }
            })),
            Order::Start(incarnation, order) => drop(self.tasks.spawn(async move {
                let key = order.desired.key.clone();
                let uid = key.uid.clone();
                match effects.start(*order).await {
                    Err(why) => tell(&sender, Observation::NotSpawned { uid, incarnation, why }).await,
                    Ok(process) => {
                        tell(&sender, Observation::Spawned { uid: uid.clone(), incarnation, process }).await;
                        let ended = effects.ended(&key, process).await;
                        tell(&sender, Observation::Ended { uid, process, ended }).await;
                    }
                }
            })),
        }
    }

    /// Waits beside the loop for the end of a process that another hive started.
    fn watch_end(&mut self, key: state::Key, process: ProcessId) {
        let (effects, sender) = (self.effects.clone(), self.sender.clone());
        self.tasks.spawn(async move {
            let ended = effects.ended(&key, process).await;
            tell(&sender, Observation::Ended { uid: key.uid, process, ended }).await;
        });
    }

    fn take_inputs(&mut self) {
        let mirror = self.ports.assignments.borrow_and_update().clone();
        self.world.set_desired(mirror.lists, mirror.objects.values().map(Arc::as_ref));
        self.world.files = self.ports.files.borrow_and_update().as_ref().clone();
        self.world.backends = self.ports.backends.borrow_and_update().clone();
    }

    fn hear(&mut self, message: Message) {
        let seen = match message {
            Message::Seen(seen) => seen,
            Message::Hello(hello, answer) => {
                let uid = self.world.by_nonce(&hello.nonce).map(|r| r.key.uid.clone());
                // The one who asked may be gone; what it said counts all the same.
                let _ = answer.send(uid.is_some());
                let Some(uid) = uid else {
                    tracing::warn!(
                        pid = hello.pid,
                        worker = hello.worker_id,
                        "an unknown worker said hello: it is ended"
                    );
                    let effects = self.effects.clone();
                    self.tasks.spawn(async move { effects.end_stray(hello.pid).await });
                    return;
                };
                Observation::Located { uid, url: hello.url }
            }
            Message::SaysReady { nonce, callback, known } => {
                let uid = self.world.by_nonce(&nonce).map(|r| r.key.uid.clone());
                let _ = known.send(uid.is_some());
                let Some(uid) = uid else { return };
                Observation::SaysReady { uid, url: callback.url }
            }
        };
        let moment = Moment { now: self.effects.now(), at: self.effects.wall(), timing: &self.timing };
        for notice in observe(&mut self.world, seen, moment) {
            self.notice(notice);
        }
    }

    fn notice(&self, notice: Notice) {
        if notice.warning {
            tracing::warn!(reason = notice.reason, "{}", notice.message);
        } else {
            tracing::info!(reason = notice.reason, "{}", notice.message);
        }
        if self.ports.notices.try_send(notice).is_err() {
            tracing::warn!("too many events wait for the API; this one stays in the log only");
        }
    }

    async fn save(&mut self) {
        let saved = state_file::save(&self.world, self.socket.as_deref());
        if self.saved.as_ref() != Some(&saved) {
            self.effects.save(saved.clone()).await;
            self.saved = Some(saved);
        }
    }

    fn publish(&self, blocked: &std::collections::BTreeMap<Uid, plan::Blocked>, notices: Vec<Notice>) {
        for notice in notices {
            self.notice(notice);
        }
        let views = view::views(&self.world, blocked);
        self.ports.views.send_if_modified(|old| {
            let changed = **old != views;
            if changed {
                *old = Arc::new(views);
            }
            changed
        });
    }
}

enum Order {
    Start(i64, Box<StartOrder>),
    Probe(Uid, ProcessId, String),
    Stop(StopOrder),
    Kill(ProcessId),
    Release(state::Key),
}

/// A panic of an effect is a defect of the hive; it is told, and the others go on.
fn said(done: Result<(), tokio::task::JoinError>) {
    if let Err(e) = done {
        tracing::error!("an effect failed: {e}");
    }
}

async fn tell(sender: &mpsc::Sender<Message>, seen: Observation) {
    // The supervisor is gone only when the hive ends; then nobody needs to know.
    let _ = sender.send(Message::Seen(seen)).await;
}
