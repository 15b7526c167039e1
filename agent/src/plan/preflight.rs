//! What must hold before a process is started, and the memory that starts in the same moment share.

use std::collections::BTreeMap;

use rbee_crds::{Backend, hive::Download, hive::HiveBackend, reason};
use rbee_model::memory;

use crate::{
    plan::world::{Desired, Digest, FileState, World},
    supervise::state::{Hopeless, Phase, Replica, Stage},
};

/// Why a wanted replica has no process.
#[derive(Clone, Debug, PartialEq)]
pub enum Blocked {
    /// Something is about to be there.
    Waiting(String),
    Downloading(Download),
    /// It cannot run here as things are.
    Refused {
        reason: &'static str,
        message: String,
    },
    /// It failed, and the next try is due at this time.
    Backoff,
}

/// Free memory per device, less what processes that have not loaded yet will take.
#[derive(Clone, Debug)]
pub struct Budget(BTreeMap<(Backend, i32), i64>);

impl Budget {
    pub fn new(world: &World) -> Self {
        let mut free = BTreeMap::new();
        for backend in &world.backends {
            for device in &backend.devices {
                let bytes = device.memory_free_bytes.unwrap_or(device.memory_bytes);
                free.insert((backend.name, device.index), bytes);
            }
        }
        let mut budget = Self(free);
        for launched in world.replicas.values().filter(|r| is_loading(r)).filter_map(|r| r.launched.as_ref()) {
            budget.take(launched.backend, launched.device, launched.memory_bytes);
        }
        budget
    }

    /// Sets memory aside.
    pub fn take(&mut self, backend: Backend, device: i32, bytes: i64) {
        if let Some(free) = self.0.get_mut(&(backend, device)) {
            *free = free.saturating_sub(bytes);
        }
    }
}

/// Whether its memory does not show in what the device reports.
fn is_loading(replica: &Replica) -> bool {
    match &replica.phase {
        Phase::Spawning { .. } => true,
        Phase::Running(r) => matches!(r.stage, Stage::Starting | Stage::Loading { .. }),
        Phase::Idle | Phase::Ending(_) => false,
    }
}

/// The first thing that keeps a replica from being started.
pub fn check(desired: &Desired, world: &World, budget: &Budget) -> Option<Blocked> {
    match world.files.get(&desired.uri) {
        None => return Some(Blocked::Waiting(format!("looking for {}", desired.uri))),
        Some(FileState::Downloading(download)) => return Some(Blocked::Downloading(download.clone())),
        Some(FileState::Refused { reason, message }) => {
            return Some(Blocked::Refused { reason, message: message.clone() });
        }
        Some(FileState::Available { sha256, .. }) => {
            if let Some(blocked) = other_file(desired, sha256) {
                return Some(blocked);
            }
        }
    }
    let replica = world.replicas.get(&desired.key.uid);
    let same =
        |h: &&Hopeless| h.template_hash == desired.template_hash && h.file.as_ref() == world.files.get(&desired.uri);
    if let Some(hopeless) = replica.and_then(|r| r.hopeless.as_ref()).filter(same) {
        return Some(Blocked::Refused { reason: hopeless.reason, message: hopeless.message.clone() });
    }
    let missing = missing(desired.backend, Some(desired.device), &world.backends);
    missing.map(|(reason, message)| Blocked::Refused { reason, message }).or_else(|| {
        let have = u64::try_from(*budget.0.get(&(desired.backend, desired.device))?).unwrap_or(0);
        let need = u64::try_from(desired.memory_bytes).unwrap_or(0);
        let short = memory::check(need, have).err()?;
        let message = format!("{} on {} {}: {short}", desired.uri, desired.backend, desired.device);
        Some(Blocked::Refused { reason: reason::INSUFFICIENT_MEMORY, message })
    })
}

/// Another file than the one that is asked for is not loaded, and none before that is known.
fn other_file(desired: &Desired, sha256: &Digest) -> Option<Blocked> {
    let (uri, wanted) = (&desired.uri, desired.sha256.as_ref()?);
    match sha256 {
        Digest::Unknown => Some(Blocked::Waiting(format!("computing the sha256 of {uri}"))),
        Digest::Is(found) if found == wanted => None,
        Digest::Is(found) => {
            let message = format!("{uri} has the sha256 {found}, wanted is {wanted}");
            Some(Blocked::Refused { reason: reason::CHECKSUM_MISMATCH, message })
        }
        Digest::Not(why) => Some(Blocked::Refused { reason: reason::INVALID_REQUEST, message: why.clone() }),
    }
}

/// There is no fallback: a backend or a device that is not here is refused, with this reason and message.
pub fn missing(backend: Backend, device: Option<i32>, backends: &[HiveBackend]) -> Option<(&'static str, String)> {
    let Some(found) = backends.iter().find(|b| b.name == backend) else {
        let have: Vec<String> = backends.iter().map(|b| b.name.to_string()).collect();
        let message = format!("backend {backend} is not on this hive; it has: {}", have.join(", "));
        return Some((reason::BACKEND_NOT_AVAILABLE, message));
    };
    let device = device.filter(|wanted| found.devices.iter().all(|d| d.index != *wanted))?;
    let have: Vec<String> = found.devices.iter().map(|d| d.index.to_string()).collect();
    let message = format!("{backend} has no device {device}; it has: {}", have.join(", "));
    Some((reason::DEVICE_NOT_AVAILABLE, message))
}
