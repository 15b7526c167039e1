//! The Hive object: declared at the start and again when somebody deletes it; its status written when it changed.

use std::{collections::BTreeMap, time::Duration};

use rbee_crds::{
    Condition, Hive, HiveStatus, Time,
    condition::{self, Wanted},
    hive::{Cache, CachedModel, DISK_PRESSURE, HiveBackend, MEMORY_PRESSURE},
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    report::cluster::{Cluster, ClusterError},
    retry::Retry,
    sync::Mirror,
};

/// Free memory is told in steps of so many bytes, so that its noise is not news.
const STEP: i64 = 64 << 20;
/// Models that are told at most; the schema takes no more.
const MAX_MODELS: usize = 1000;

/// What is told of the hive.
pub struct Reporter {
    pub cluster: Cluster,
    pub labels: BTreeMap<String, String>,
    pub address: String,
    pub hostname: String,
    pub backends: watch::Receiver<Vec<HiveBackend>>,
    pub cache: watch::Receiver<CacheReport>,
    /// The Hive object itself, to notice when somebody deletes it.
    pub own: watch::Receiver<Mirror<Hive>>,
    /// At least so long between two writes of free memory alone.
    pub interval: Duration,
}

/// The models on this hive's disk, for its status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CacheReport {
    pub models: Vec<CachedModel>,
    /// Bytes of the models that the hive itself keeps.
    pub used_bytes: i64,
    /// Free bytes of the disk they are on.
    pub disk_free_bytes: Option<u64>,
}

impl Reporter {
    /// Reports until `done`.
    pub async fn run(mut self, done: CancellationToken) {
        let mut retry = Retry::default();
        let mut told: Option<(HiveStatus, Instant)> = None;
        let (mut declared, mut seen) = (false, false);
        loop {
            let there = !self.own.borrow_and_update().objects.is_empty();
            declared &= there || !std::mem::replace(&mut seen, there);
            let wait = match self.report(&mut told, &mut declared).await {
                Ok(wait) => {
                    retry.reset();
                    wait
                }
                Err(e) => {
                    declared &= !e.is_gone();
                    if retry.is_first() {
                        tracing::warn!("cannot write the Hive's status, trying again: {e}");
                    }
                    retry.after_failure(rand::random())
                }
            };
            tokio::select! {
                () = done.cancelled() => return,
                Ok(()) = self.backends.changed() => {}
                Ok(()) = self.cache.changed() => {}
                Ok(()) = self.own.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Writes what is due; the answer is how long to wait before the next look.
    async fn report(
        &mut self,
        told: &mut Option<(HiveStatus, Instant)>,
        declared: &mut bool,
    ) -> Result<Duration, ClusterError> {
        if !*declared {
            self.cluster.apply_hive(&self.labels).await?;
            *declared = true;
            *told = None;
        }
        let before = match told {
            Some((status, _)) => status.conditions.clone(),
            None => self.conditions_at_the_api().await?,
        };
        let status = self.status(&before);
        if let Some((old, at)) = told {
            let wait = self.interval.saturating_sub(at.elapsed());
            if *old == status || (without_free(old) == without_free(&status) && !wait.is_zero()) {
                return Ok(wait.max(Duration::from_secs(1)));
            }
        }
        self.cluster.apply_hive_status(&status).await?;
        *told = Some((status, Instant::now()));
        Ok(self.interval)
    }

    async fn conditions_at_the_api(&self) -> Result<Vec<Condition>, ClusterError> {
        let api: kube::Api<Hive> = kube::Api::all(self.cluster.client().clone());
        let found = api.get_opt(self.cluster.hive()).await?;
        Ok(found.and_then(|h| h.status).map(|s| s.conditions).unwrap_or_default())
    }

    fn status(&mut self, conditions: &[Condition]) -> HiveStatus {
        let backends = self.backends.borrow_and_update().clone();
        let cache = self.cache.borrow_and_update().clone();
        let now = Time(jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap_or_default());
        let wanted = [disk(cache.disk_free_bytes), memory(&backends)];
        HiveStatus {
            version: Some(env!("CARGO_PKG_VERSION").into()),
            address: Some(self.address.clone()),
            hostname: Some(self.hostname.clone()),
            backends: rounded(backends),
            cache: Some(Cache {
                budget_bytes: None,
                used_bytes: Some(cache.used_bytes),
                models: cache.models.into_iter().take(MAX_MODELS).collect(),
            }),
            conditions: condition::set(conditions, &wanted, None, &now),
        }
    }
}

fn rounded(mut backends: Vec<HiveBackend>) -> Vec<HiveBackend> {
    for device in backends.iter_mut().flat_map(|b| &mut b.devices) {
        device.memory_free_bytes = device.memory_free_bytes.map(|free| free / STEP * STEP);
    }
    backends
}

fn without_free(status: &HiveStatus) -> HiveStatus {
    let mut status = status.clone();
    for device in status.backends.iter_mut().flat_map(|b| &mut b.devices) {
        device.memory_free_bytes = None;
    }
    status
}

fn disk(free: Option<u64>) -> Wanted {
    const LOW: u64 = 1 << 30;
    match free {
        Some(free) if free < LOW => {
            Wanted::new(DISK_PRESSURE, true, "DiskLow", "less than 1 GiB of the models' disk is free")
        }
        _ => Wanted::new(DISK_PRESSURE, false, "DiskSufficient", "the models' disk has room"),
    }
}

fn memory(backends: &[HiveBackend]) -> Wanted {
    let low = |d: &rbee_crds::hive::Device| d.memory_free_bytes.is_some_and(|free| free < d.memory_bytes / 20);
    let short: Vec<String> = backends
        .iter()
        .flat_map(|b| b.devices.iter().filter(|d| low(d)).map(move |d| format!("{} {}", b.name, d.index)))
        .collect();
    if short.is_empty() {
        return Wanted::new(MEMORY_PRESSURE, false, "MemorySufficient", "every device has memory left");
    }
    let message = format!("less than a twentieth of the memory is free on {}", short.join(", "));
    Wanted::new(MEMORY_PRESSURE, true, "MemoryLow", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbee_crds::{Backend, ConditionStatus, hive::Device};

    fn cpu(free: i64) -> Vec<HiveBackend> {
        let device = Device { index: 0, name: "cpu".into(), memory_bytes: 100 << 30, memory_free_bytes: Some(free) };
        vec![HiveBackend { name: Backend::Cpu, devices: vec![device] }]
    }

    #[test]
    fn noise_of_free_memory_is_no_news() {
        assert_eq!(rounded(cpu((5 << 30) + 1)), rounded(cpu((5 << 30) + STEP - 1)));
        assert_ne!(rounded(cpu(5 << 30)), rounded(cpu((5 << 30) - 1)));
        let status = |free| HiveStatus { backends: rounded(cpu(free)), ..HiveStatus::default() };
        assert_eq!(without_free(&status(5 << 30)), without_free(&status(50 << 30)));
    }

    #[test]
    fn pressure_names_the_device() {
        assert_eq!(memory(&cpu(50 << 30)).status, ConditionStatus::False);
        let short = memory(&cpu(1 << 30));
        assert!(short.status == ConditionStatus::True && short.message.contains("cpu 0"), "{short:?}");
        assert_eq!(disk(Some(1)).status, ConditionStatus::True);
        assert_eq!(disk(None).status, ConditionStatus::False);
    }
}
