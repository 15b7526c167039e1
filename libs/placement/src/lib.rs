//! Pure: which hive a replica goes to, and why not the others.
//!
//! A hive must fit and be allowed; among those: fewest replicas of this Worker, then the model file is there, then most free
//! memory, then the name. A replica never goes to another backend than the one asked for.

mod convert;
mod need;
mod reason;
mod view;

pub use need::{QuantityError, memory_need, parse_memory};
pub use reason::{Misfit, NoPlace};
pub use view::{BackendView, DeviceView, FileState, HiveView, Placed, Request};

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Where a replica goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub hive: String,
    /// Index of the device within the backend.
    pub device: u32,
}

/// Chooses a hive and a device for one replica. `placed` are all replicas that hold or will hold memory, of every Worker.
/// The order of `hives` and `placed` does not matter.
///
/// # Errors
/// [`NoPlace`] with a reason for conditions and one reason per hive.
pub fn place(request: &Request, hives: &[HiveView], placed: &[Placed]) -> Result<Choice, NoPlace> {
    let mut misfits = BTreeMap::new();
    let mut best = None;
    for hive in hives {
        match fit(request, hive, placed) {
            Ok(candidate) => {
                if best.as_ref().is_none_or(|b: &Candidate<'_>| candidate.rank() < b.rank()) {
                    best = Some(candidate);
                }
            }
            Err(misfit) => {
                misfits.insert(hive.name.clone(), misfit);
            }
        }
    }
    match best {
        Some(candidate) => Ok(Choice { hive: candidate.hive.to_owned(), device: candidate.device }),
        None => Err(NoPlace::new(request, misfits)),
    }
}

/// A hive that would do.
struct Candidate<'a> {
    hive: &'a str,
    device: u32,
    replicas: usize,
    has_file: bool,
    free_bytes: u64,
}

impl Candidate<'_> {
    fn rank(&self) -> (usize, bool, Reverse<u64>, &str) {
        (self.replicas, !self.has_file, Reverse(self.free_bytes), self.hive)
    }
}

fn fit<'a>(request: &Request, hive: &'a HiveView, placed: &[Placed]) -> Result<Candidate<'a>, Misfit> {
    if request.hive_name.as_ref().is_some_and(|name| *name != hive.name) {
        return Err(Misfit::OtherHive);
    }
    if !hive.ready {
        return Err(Misfit::HiveNotReady);
    }
    if hive.unschedulable {
        return Err(Misfit::Unschedulable);
    }
    let missing: BTreeMap<String, String> = request
        .hive_selector
        .iter()
        .filter(|(key, value)| hive.labels.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if !missing.is_empty() {
        return Err(Misfit::SelectorMismatch { missing });
    }
    let has_file = has_file(request, hive);
    if request.model_uri.starts_with("file:") && !has_file {
        let (uri, sha256) = (request.model_uri.clone(), request.model_sha256.clone());
        return Err(match hive.files.get(&uri) {
            Some(FileState::Available { sha256: None }) => Misfit::ModelUnverified { uri },
            _ => Misfit::ModelNotOnHive { uri, sha256 },
        });
    }
    let (device, free_bytes) = device(request, hive, placed)?;
    let replicas = placed.iter().filter(|p| p.hive == hive.name && p.worker == request.worker).count();
    Ok(Candidate { hive: &hive.name, device, replicas, has_file, free_bytes })
}

/// Whether the very file that is asked for lies there.
fn has_file(request: &Request, hive: &HiveView) -> bool {
    match hive.files.get(&request.model_uri) {
        Some(FileState::Available { sha256 }) => request.model_sha256.is_none() || request.model_sha256 == *sha256,
        Some(FileState::NotAvailable) | None => false,
    }
}

/// The device asked for, else the one with most free memory; and how much that is.
fn device(request: &Request, hive: &HiveView, placed: &[Placed]) -> Result<(u32, u64), Misfit> {
    let Some(backend) = hive.backends.iter().find(|b| b.name == request.backend) else {
        let available = hive.backends.iter().map(|b| b.name).collect();
        return Err(Misfit::BackendNotAvailable { wanted: request.backend, available });
    };
    let (free, index) = backend
        .devices
        .iter()
        .filter(|d| request.device.is_none_or(|wanted| wanted == d.index))
        .map(|d| (free_bytes(hive, backend, d, placed), Reverse(d.index)))
        .max()
        .ok_or_else(|| Misfit::DeviceNotAvailable {
            backend: request.backend,
            wanted: request.device,
            available: backend.devices.iter().map(|d| d.index).collect(),
        })?;
    rbee_model::memory::check(request.memory_bytes, free).map_err(Misfit::InsufficientMemory)?;
    Ok((index.0, free))
}

/// What a device has left once every replica placed there holds what was set aside for it. What the device reports as free
/// counts too: others use memory as well. Replicas that have loaded are in that number already.
fn free_bytes(hive: &HiveView, backend: &BackendView, device: &DeviceView, placed: &[Placed]) -> u64 {
    let here =
        || placed.iter().filter(|p| p.hive == hive.name && p.backend == backend.name && p.device == device.index);
    let sum = |bytes: &mut dyn Iterator<Item = u64>| bytes.fold(0u64, u64::saturating_add);
    let unreserved = device.memory_bytes.saturating_sub(sum(&mut here().map(|p| p.memory_bytes)));
    let Some(reported) = device.free_bytes else { return unreserved };
    unreserved.min(reported.saturating_sub(sum(&mut here().filter(|p| !p.loaded).map(|p| p.memory_bytes))))
}

#[cfg(test)]
mod tests;
