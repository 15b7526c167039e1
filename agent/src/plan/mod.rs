//! The hive's decisions: what is wanted and what runs go in, what has to be done comes out. Pure.
//!
//! An action that was recorded ([`record`]) is not planned again, so planning twice in one moment yields nothing the
//! second time.

pub mod preflight;
mod record;
#[cfg(test)]
mod simulation;
#[cfg(test)]
pub(crate) mod tests;
pub mod world;

use std::collections::{BTreeMap, BTreeSet};

use rbee_crds::reason;

use crate::{
    config::Timing,
    supervise::state::{Cause, Ending, Phase, Replica, Running, Stage, Tick, Uid},
};
pub use preflight::{Blocked, Budget};
pub use record::record;
pub use world::{Desired, Digest, FileState, World};

use world::sooner;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make a process; it is told to listen on `port` or one of the next.
    Start { uid: Uid, port: u16 },
    /// Ask the process how it is.
    Probe { uid: Uid },
    /// Ask the process to drain and end.
    Stop { uid: Uid, cause: Cause },
    /// End the process and all that it started, now.
    Kill { uid: Uid, cause: Cause },
    /// Say, once, that it cannot run here.
    Refuse { uid: Uid, reason: &'static str, message: String },
    /// Take the finalizer off the Assignment: no process is left.
    Release { uid: Uid },
    /// Drop what is known of it.
    Forget { uid: Uid },
}

/// What to do now, and when to look again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// Why wanted replicas have no process.
    pub blocked: BTreeMap<Uid, Blocked>,
    /// The next moment at which something falls due by itself.
    pub wake: Option<Tick>,
}

/// Decides at `now`. `first_port` is the lowest port that a worker is given.
pub fn plan(world: &World, now: Tick, timing: &Timing, first_port: u16) -> Plan {
    let mut starts = Starts { budget: Budget::new(world), ports: used_ports(world), first_port };
    let mut plan = Plan::default();
    for (uid, replica) in &world.replicas {
        let step = match &replica.phase {
            Phase::Idle => idle(world, replica, now, &mut starts),
            Phase::Spawning { .. } => Step::default(),
            Phase::Running(running) => keep(world, replica, running, now, timing),
            Phase::Ending(ending) => end(uid, ending, now, timing),
        };
        plan.actions.extend(step.action);
        plan.wake = sooner(plan.wake, step.wake);
        if let Some(blocked) = step.blocked {
            plan.blocked.insert(uid.clone(), blocked);
        }
    }
    plan
}

#[derive(Default)]
struct Step {
    action: Option<Action>,
    wake: Option<Tick>,
    blocked: Option<Blocked>,
}

impl Step {
    fn act(action: Action) -> Self {
        Self { action: Some(action), ..Self::default() }
    }

    fn wait(until: Tick) -> Self {
        Self { wake: Some(until), ..Self::default() }
    }
}

/// What the starts of one plan share.
struct Starts {
    budget: Budget,
    ports: BTreeSet<u16>,
    first_port: u16,
}

impl Starts {
    fn port(&mut self) -> u16 {
        let port = (self.first_port..=u16::MAX).find(|p| !self.ports.contains(p)).unwrap_or(0);
        self.ports.insert(port);
        port
    }
}

fn used_ports(world: &World) -> BTreeSet<u16> {
    let live = world.replicas.values().filter(|r| r.is_live());
    live.flat_map(|r| [r.launched.as_ref().map(|l| l.port), r.url().and_then(port_of)]).flatten().collect()
}

fn port_of(url: &str) -> Option<u16> {
    url.trim_end_matches('/').rsplit(':').next()?.parse().ok()
}

fn idle(world: &World, replica: &Replica, now: Tick, starts: &mut Starts) -> Step {
    let uid = replica.key.uid.clone();
    let Some(desired) = world.wanted(&uid) else {
        return match world.desired.get(&uid) {
            Some(d) if d.deleting && d.held && now >= replica.release_after => Step::act(Action::Release { uid }),
            Some(d) if d.deleting && d.held => Step::wait(replica.release_after),
            Some(_) => Step::default(),
            None if world.synced => Step::act(Action::Forget { uid }),
            None => Step::default(),
        };
    };
    match preflight::check(desired, world, &starts.budget) {
        Some(Blocked::Refused { reason, message }) => {
            let action = (replica.refused.as_deref() != Some(reason)).then(|| {
                let message = message.clone();
                Action::Refuse { uid, reason, message }
            });
            Step { action, wake: None, blocked: Some(Blocked::Refused { reason, message }) }
        }
        Some(blocked) => Step { blocked: Some(blocked), ..Step::default() },
        None if now < replica.not_before => {
            Step { wake: Some(replica.not_before), blocked: Some(Blocked::Backoff), action: None }
        }
        None => {
            starts.budget.take(desired.backend, desired.device, desired.memory_bytes);
            Step::act(Action::Start { uid, port: starts.port() })
        }
    }
}

fn keep(world: &World, replica: &Replica, running: &Running, now: Tick, timing: &Timing) -> Step {
    let uid = replica.key.uid.clone();
    if world.stopping {
        return Step::act(Action::Stop { uid, cause: Cause::HiveStops });
    }
    match world.wanted(&uid) {
        None if world.desired.contains_key(&uid) || world.synced => {
            return Step::act(Action::Stop { uid, cause: Cause::Unwanted });
        }
        Some(d) if replica.launched.as_ref().is_some_and(|l| l.template_hash != d.template_hash) => {
            return Step::act(Action::Stop { uid, cause: Cause::Replaced });
        }
        _ => {}
    }
    if let Some((reason, message)) = broken(running, now, timing) {
        return Step::act(Action::Kill { uid, cause: Cause::Broken { reason, message } });
    }
    let deadline = deadline(running, timing);
    if running.url.is_none() || running.probe.in_flight {
        return Step { wake: deadline, ..Step::default() };
    }
    if now >= running.probe.due {
        return Step { wake: deadline, ..Step::act(Action::Probe { uid }) };
    }
    Step::wait(deadline.map_or(running.probe.due, |d| d.min(running.probe.due)))
}

/// The moment at which a process that does not come on is given up.
fn deadline(running: &Running, timing: &Timing) -> Option<Tick> {
    match running.stage {
        Stage::Starting => Some(running.since + timing.start_limit),
        Stage::Loading { .. } => Some(running.since + timing.load_limit),
        Stage::Adopted => Some(running.since + timing.adopt_limit),
        Stage::Leaving { since } => Some(since + timing.stop_limit),
        Stage::Ready { .. } => None,
    }
}

/// What is wrong with a process, if that is enough to end it.
fn broken(running: &Running, now: Tick, timing: &Timing) -> Option<(&'static str, String)> {
    let probe = &running.probe;
    let over = deadline(running, timing).is_some_and(|d| now >= d);
    match &running.stage {
        Stage::Starting if over => {
            let message = format!("did not say within {} s where it listens", timing.start_limit.as_secs());
            Some((reason::WORKER_START_FAILED, message))
        }
        Stage::Loading { layers_loaded, layers_total } if over => {
            let limit = timing.load_limit.as_secs();
            Some((
                reason::LOADING_TIMEOUT,
                format!("not loaded within {limit} s: at layer {layers_loaded} of {layers_total}"),
            ))
        }
        Stage::Adopted if over => {
            let why = if probe.last_error.is_empty() { "it said nothing" } else { &probe.last_error };
            let limit = timing.adopt_limit.as_secs();
            Some((
                reason::WORKER_UNRESPONSIVE,
                format!("an earlier hive's worker did not answer within {limit} s: {why}"),
            ))
        }
        Stage::Leaving { .. } if over => {
            let limit = timing.stop_limit.as_secs();
            Some((reason::WORKER_UNRESPONSIVE, format!("said {limit} s ago that it ends, and is still there")))
        }
        Stage::Ready { health, .. } => {
            let silent = now.saturating_sub(probe.last_good);
            let busy = health.in_flight > 0;
            // One missed answer is forgiven, unless the process table says that none can come.
            let frozen = probe.frozen && probe.failures > 0;
            if frozen || probe.failures >= 2 && (busy || silent >= timing.silence_idle) {
                let why = if frozen { "a signal has stopped it" } else { &probe.last_error };
                let message = format!("no health check was answered for {} s: {why}", silent.as_secs());
                return Some((reason::WORKER_UNRESPONSIVE, message));
            }
            let stalled = now.saturating_sub(probe.tokens.1);
            (health.in_flight > 0 && stalled >= timing.stall).then(|| {
                let message =
                    format!("{} requests in flight and no token for {} s", health.in_flight, stalled.as_secs());
                (reason::WORKER_UNRESPONSIVE, message)
            })
        }
        _ => None,
    }
}

fn end(uid: &str, ending: &Ending, now: Tick, timing: &Timing) -> Step {
    let due = match ending.killed {
        None => ending.since + timing.stop_limit,
        // A process that cannot die at once (it waits for a disk) dies later; saying it again does no harm.
        Some(killed) => killed + timing.stop_limit,
    };
    if now >= due {
        return Step::act(Action::Kill { uid: uid.to_owned(), cause: ending.cause.clone() });
    }
    Step::wait(due)
}
