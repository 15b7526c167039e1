//! The leader lease in the API: one task that holds it, and says for how long that is certain.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use rbee_crds::names;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::setup::chain;
use crate::{
    config::{Clock, Config, Periods},
    execute::Lead,
    plan::lease::{Candidate, Decision, decide, released},
};

/// One queen's way to the lease, and on it.
pub struct Campaign {
    leases: Api<Lease>,
    namespace: String,
    candidate: Candidate,
    clock: Clock,
    periods: Periods,
    lead: watch::Sender<Option<Lead>>,
    /// The last record of another holder, and since when it is unchanged.
    seen: Option<(Option<String>, Instant)>,
}

impl Campaign {
    pub fn new(config: &Config) -> (Self, watch::Receiver<Option<Lead>>) {
        let (lead, receiver) = watch::channel(None);
        let campaign = Self {
            leases: Api::namespaced(config.client.clone(), &config.system_namespace),
            namespace: config.system_namespace.clone(),
            candidate: Candidate { identity: config.identity.clone(), lease: config.periods.leader_lease, epoch: None },
            clock: config.clock.clone(),
            periods: config.periods,
            lead,
            seen: None,
        };
        (campaign, receiver)
    }

    /// Takes, keeps and takes again, until `resign`; then gives the lease up.
    pub async fn run(mut self, resign: CancellationToken) {
        loop {
            let wait = tokio::select! {
                wait = self.step() => wait,
                () = resign.cancelled() => break,
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = resign.cancelled() => break,
            }
        }
        let led = self.lead.send_replace(None).is_some();
        if led && tokio::time::timeout(Duration::from_secs(2), self.release()).await.is_err() {
            tracing::warn!("the leader lease could not be given up in time; it runs out by itself");
        }
    }

    /// One look at the lease; returns when to look again.
    async fn step(&mut self) -> Duration {
        let begun = Instant::now();
        let patience = self.periods.leader_renew;
        let wait = match tokio::time::timeout(patience, self.attempt(begun)).await {
            Ok(Ok(wait)) => return wait,
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => patience / 10,
            Ok(Err(error)) => {
                tracing::warn!("the leader lease could not be read or written: {}", chain(&error));
                patience / 4
            }
            Err(_) => {
                tracing::warn!(?patience, "the API server did not answer about the leader lease in time");
                patience / 4
            }
        };
        let until = self.lead.borrow().map(|l| l.until);
        if until.is_some_and(|until| Instant::now() >= until) {
            self.depose();
        }
        wait
    }

    async fn attempt(&mut self, begun: Instant) -> Result<Duration, kube::Error> {
        let stored = self.leases.get_opt(names::QUEEN_LEASE).await?;
        let record = stored.as_ref().and_then(|l| l.spec.as_ref());
        let version = stored.as_ref().and_then(|l| l.metadata.resource_version.clone());
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != version) {
            self.seen = Some((version, begun));
        }
        let unchanged_for = self.seen.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed());
        match decide(&self.candidate, record, unchanged_for, self.clock.now()) {
            Decision::Write { spec, epoch } => {
                let lease = Lease { spec: Some(*spec), metadata: self.metadata(stored.as_ref()) };
                self.write(stored.is_some(), &lease).await?;
                self.candidate.epoch = Some(epoch);
                // Certain from when the request went out, less a margin for clocks that do not run alike.
                let until = begun + self.periods.leader_lease.mul_f32(0.9);
                self.lead.send_replace(Some(Lead { epoch, until }));
                Ok(self.periods.leader_renew)
            }
            Decision::Wait { holder } => {
                tracing::debug!(holder, "another queen leads");
                Ok(self.periods.leader_renew / 2)
            }
            Decision::Lost { holder } => {
                tracing::warn!(holder, "another queen took the leader lease over");
                self.depose();
                Ok(self.periods.leader_renew)
            }
        }
    }

    fn depose(&mut self) {
        self.candidate.epoch = None;
        self.lead.send_replace(None);
    }

    async fn write(&self, exists: bool, lease: &Lease) -> Result<(), kube::Error> {
        let params = PostParams { field_manager: Some(names::MANAGER_QUEEN.into()), ..PostParams::default() };
        if exists {
            self.leases.replace(names::QUEEN_LEASE, &params, lease).await?;
        } else {
            self.leases.create(&params, lease).await?;
        }
        Ok(())
    }

    fn metadata(&self, stored: Option<&Lease>) -> ObjectMeta {
        stored.map_or_else(
            || ObjectMeta {
                name: Some(names::QUEEN_LEASE.to_owned()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            |lease| ObjectMeta { managed_fields: None, ..lease.metadata.clone() },
        )
    }

    async fn release(&self) {
        let Ok(Some(lease)) = self.leases.get_opt(names::QUEEN_LEASE).await else { return };
        let held = lease.spec.as_ref().filter(|s| {
            s.holder_identity.as_deref() == Some(self.candidate.identity.as_str())
                && s.lease_transitions.map(i64::from) == self.candidate.epoch
        });
        let Some(spec) = held.map(|s| released(s, self.clock.now())) else { return };
        let lease = Lease { metadata: self.metadata(Some(&lease)), spec: Some(spec) };
        if let Err(error) = self.write(true, &lease).await {
            tracing::warn!("the leader lease could not be given up: {}", chain(&error));
        }
    }
}

/// Waits until this queen leads; nothing if `shutdown` comes first.
pub async fn elected(lead: &mut watch::Receiver<Option<Lead>>, shutdown: &CancellationToken) -> Option<Lead> {
    let led = tokio::select! {
        led = lead.wait_for(Option::is_some) => led.ok().and_then(|l| *l),
        () = shutdown.cancelled() => None,
    };
    led.filter(|_| !shutdown.is_cancelled())
}

/// Waits until the term of `epoch` is over.
pub async fn deposed(mut lead: watch::Receiver<Option<Lead>>, epoch: i64) {
    // An error means that the campaign has ended, and the term with it.
    let _ = lead.wait_for(|l| l.is_none_or(|l| l.epoch != epoch)).await;
}
