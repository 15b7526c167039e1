//! Writes into the table that an action is being carried out.

use crate::{
    plan::{Action, World},
    supervise::state::{Ending, Launched, Nonce, Phase, Tick},
};
use rbee_crds::{Time, worker::Failure};

/// Marks `action` as begun at `now`; `at` is the time of day, `nonce` the secret of a process that is about to be made.
pub fn record(world: &mut World, action: &Action, now: Tick, at: &Time, nonce: impl FnOnce() -> Nonce) {
    match action {
        Action::Start { uid, port } => start(world, uid, *port, nonce()),
        Action::Probe { uid } => {
            if let Some(Phase::Running(running)) = world.replicas.get_mut(uid).map(|r| &mut r.phase) {
                running.probe.in_flight = true;
            }
        }
        Action::Stop { uid, cause } | Action::Kill { uid, cause } => {
            let Some(replica) = world.replicas.get_mut(uid) else { return };
            let killed = matches!(action, Action::Kill { .. }).then_some(now);
            match &mut replica.phase {
                Phase::Running(r) => {
                    let (process, url, cause) = (r.process, r.url.take(), cause.clone());
                    replica.phase = Phase::Ending(Ending { process, url, since: now, cause, killed });
                }
                Phase::Ending(ending) => ending.killed = killed.or(ending.killed),
                Phase::Idle | Phase::Spawning { .. } => {}
            }
        }
        Action::Refuse { uid, reason, message } => {
            let Some(replica) = world.replicas.get_mut(uid) else { return };
            replica.refused = Some((*reason).to_owned());
            let (reason, message) = ((*reason).to_owned(), message.clone());
            replica.last_failure = Some(Failure { reason, message, exit_code: None, time: Some(at.clone()) });
        }
        Action::Release { uid } => {
            if let Some(replica) = world.replicas.get_mut(uid) {
                replica.release_after = now + Tick::from_secs(10);
            }
        }
        Action::Forget { uid } => {
            world.replicas.remove(uid);
        }
    }
}

fn start(world: &mut World, uid: &str, port: u16, nonce: Nonce) {
    let (Some(desired), Some(replica)) = (world.desired.get(uid), world.replicas.get_mut(uid)) else { return };
    if replica.is_live() {
        return;
    }
    replica.incarnation += 1;
    replica.refused = None;
    replica.hopeless = None;
    replica.phase = Phase::Spawning { url: None };
    replica.launched = Some(Launched {
        nonce,
        port,
        template_hash: desired.template_hash.clone(),
        model_id: desired.model_id.clone(),
        backend: desired.backend,
        device: desired.device,
        slots: desired.slots,
        memory_bytes: desired.memory_bytes,
        file: world.files.get(&desired.uri).cloned(),
    });
}
