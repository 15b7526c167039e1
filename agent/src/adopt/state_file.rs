//! `state.json`: the processes that a hive has started, for the hive that comes after it.

use std::{io, path::Path, path::PathBuf};

use rbee_crds::{Backend, worker::Failure};
use serde::{Deserialize, Serialize};

use crate::{
    paths,
    plan::World,
    supervise::state::{Key, Launched, Nonce, Phase, Probe, ProcessId, Replica, Running, Stage, Tick, Uid},
};

/// The form that is written and read; another number is another form.
const FORM: u32 = 1;

/// What a hive leaves behind. It holds secrets: mode 0600, no Debug.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Saved {
    form: u32,
    pub highest_epoch: i64,
    /// Where running workers look for their hive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    #[serde(default)]
    pub replicas: Vec<SavedReplica>,
}

impl Default for Saved {
    fn default() -> Self {
        Self { form: FORM, highest_epoch: 0, socket: None, replicas: vec![] }
    }
}

/// One replica with its history and, if it has one, its process.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedReplica {
    pub key: Key,
    pub incarnation: i64,
    pub restarts: i32,
    #[serde(default)]
    pub failures: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<SavedProcess>,
}

/// A process that was made, or was about to be when nothing more was written.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedProcess {
    pub nonce: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ProcessId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    pub port: u16,
    pub template_hash: String,
    pub model_id: String,
    pub backend: Backend,
    pub device: i32,
    pub slots: i32,
    pub memory_bytes: i64,
}

/// What is worth keeping of a table.
pub fn save(world: &World, socket: Option<&Path>) -> Saved {
    let replicas = world.replicas.values().filter(|r| r.is_live() || r.restarts > 0 || r.last_failure.is_some());
    Saved {
        form: FORM,
        highest_epoch: world.highest_epoch,
        socket: socket.map(Path::to_owned),
        replicas: replicas.map(save_replica).collect(),
    }
}

fn save_replica(replica: &Replica) -> SavedReplica {
    let process = replica.launched.as_ref().filter(|_| replica.is_live()).map(|l| SavedProcess {
        nonce: l.nonce.reveal().to_owned(),
        id: replica.process(),
        url: replica.url().map(str::to_owned),
        port: l.port,
        template_hash: l.template_hash.clone(),
        model_id: l.model_id.clone(),
        backend: l.backend,
        device: l.device,
        slots: l.slots,
        memory_bytes: l.memory_bytes,
    });
    SavedReplica {
        key: replica.key.clone(),
        incarnation: replica.incarnation,
        restarts: replica.restarts,
        failures: replica.failures,
        last_failure: replica.last_failure.clone(),
        process,
    }
}

/// What became of a recorded process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Alive(ProcessId),
    Gone,
}

/// The table that a new hive begins with. `look` tells of a recorded process whether it is alive; one that was recorded
/// without a pid is looked for by its nonce.
pub fn restore(saved: Saved, now: Tick, mut look: impl FnMut(Option<ProcessId>, &Nonce) -> Found) -> World {
    let mut world = World { highest_epoch: saved.highest_epoch, ..World::default() };
    for one in saved.replicas {
        let mut replica = Replica::new(one.key);
        (replica.incarnation, replica.restarts, replica.failures) = (one.incarnation, one.restarts, one.failures);
        replica.last_failure = one.last_failure;
        if let Some(process) = one.process {
            adopt(&mut replica, process, now, &mut look);
        }
        world.replicas.insert(replica.key.uid.clone(), replica);
    }
    world
}

fn adopt(
    replica: &mut Replica,
    saved: SavedProcess,
    now: Tick,
    look: &mut impl FnMut(Option<ProcessId>, &Nonce) -> Found,
) {
    let nonce = Nonce::new(saved.nonce);
    match look(saved.id, &nonce) {
        Found::Alive(process) => {
            let stage = Stage::Adopted;
            replica.phase =
                Phase::Running(Running { process, url: saved.url, since: now, stage, probe: Probe::at(now) });
            replica.launched = Some(Launched {
                nonce,
                port: saved.port,
                template_hash: saved.template_hash,
                model_id: saved.model_id,
                backend: saved.backend,
                device: saved.device,
                slots: saved.slots,
                memory_bytes: saved.memory_bytes,
                file: None,
            });
        }
        // It ended while no hive was there; another one is started if it is still wanted.
        Found::Gone if saved.id.is_some() => replica.restarts = replica.restarts.saturating_add(1),
        Found::Gone => {}
    }
}

/// Why the file of an earlier hive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is damaged; it was set aside as {}", path.display(), aside.display())]
    Damaged { path: PathBuf, aside: PathBuf, source: serde_json::Error },
    #[error("{} was written by another version (form {form}); stop that version's hive first", path.display())]
    Form { path: PathBuf, form: u32 },
}

/// Reads the file; no file is an empty table.
///
/// # Errors
/// A damaged file is set aside, so that the next read finds none.
pub fn read(path: &Path) -> Result<Saved, StateError> {
    let bytes = match std::fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Saved::default()),
        Err(source) => return Err(StateError::Read { path: path.to_owned(), source }),
        Ok(bytes) => bytes,
    };
    let saved: Saved = serde_json::from_slice(&bytes).map_err(|source| {
        let aside = path.with_extension("json.damaged");
        if let Err(e) = std::fs::rename(path, &aside) {
            tracing::warn!(path = %path.display(), "cannot set the damaged file aside: {e}");
        }
        StateError::Damaged { path: path.to_owned(), aside, source }
    })?;
    if saved.form == FORM { Ok(saved) } else { Err(StateError::Form { path: path.to_owned(), form: saved.form }) }
}

/// Writes the file whole, or leaves the old one.
pub fn write(path: &Path, saved: &Saved) -> io::Result<()> {
    paths::write_private(path, &serde_json::to_vec(saved)?)
}

/// The uids of the replicas that have a process, for logs.
pub fn adopted(world: &World) -> Vec<&Uid> {
    world.replicas.iter().filter(|(_, r)| r.is_live()).map(|(uid, _)| uid).collect()
}
