//! The hive's heartbeat: its Lease, taken at the start, renewed as long as it lives, deleted when it stops in good order.
//! Whoever holds it is the hive of that name; there is no second one beside it.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, Preconditions},
};
use rbee_crds::{Hive, names};
use serde_json::json;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{
    report::cluster::{Cluster, ClusterError, limited},
    retry::Retry,
};

/// Seconds without a renewal after which a hive counts as lost.
const LEASE_SECONDS: i32 = 40;

/// Another hive of this name lives.
#[derive(Debug, thiserror::Error)]
#[error(
    "another hive named {hive} is alive{}: give this one a name of its own with --name (if the other one has just died, start again in {LEASE_SECONDS} s)",
    address.as_ref().map(|a| format!(" at {a}")).unwrap_or_default()
)]
pub struct NameTaken {
    hive: String,
    address: Option<String>,
}

/// Why the Lease was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error(transparent)]
    Taken(#[from] NameTaken),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// Whether somebody other than `me` holds the lease and has renewed it in time.
fn is_taken(spec: &LeaseSpec, me: &str, now: jiff::Timestamp) -> bool {
    let is_other = spec.holder_identity.as_deref().is_some_and(|holder| !holder.is_empty() && holder != me);
    let seconds = i64::from(spec.lease_duration_seconds.unwrap_or(LEASE_SECONDS));
    let is_fresh = |renewed: &MicroTime| now.duration_since(renewed.0) < jiff::SignedDuration::from_secs(seconds);
    is_other && spec.renew_time.as_ref().is_some_and(is_fresh)
}

/// Says that the hive lives.
///
/// # Errors
/// Another living hive has the name, or the API did not take it.
pub async fn renew(cluster: &Cluster, now: jiff::Timestamp) -> Result<(), LeaseError> {
    let api: Api<Lease> = Api::namespaced(cluster.client().clone(), names::SYSTEM_NAMESPACE);
    let name = names::hive_lease(cluster.hive());
    let found = limited(api.get_opt(&name)).await?;
    let spec = found.as_ref().and_then(|lease| lease.spec.as_ref());
    if spec.is_some_and(|spec| is_taken(spec, cluster.holder(), now)) {
        let hives: Api<Hive> = Api::all(cluster.client().clone());
        let hive = limited(hives.get_opt(cluster.hive())).await.ok().flatten();
        let address = hive.and_then(|h| h.status).and_then(|s| s.address);
        return Err(NameTaken { hive: cluster.hive().to_owned(), address }.into());
    }
    let mut body = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": names::SYSTEM_NAMESPACE},
        "spec": {
            "holderIdentity": cluster.holder(),
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": MicroTime(now),
        },
    });
    // Of two that take it over at once one comes too late.
    if let Some(version) = found.and_then(|lease| lease.metadata.resource_version) {
        body["metadata"]["resourceVersion"] = version.into();
    }
    limited(api.patch(&name, &cluster.apply(), &Patch::Apply(body))).await?;
    Ok(())
}

/// Says that the hive is gone for now, if the Lease is its own.
async fn delete(cluster: &Cluster) -> Result<(), ClusterError> {
    let api: Api<Lease> = Api::namespaced(cluster.client().clone(), names::SYSTEM_NAMESPACE);
    let name = names::hive_lease(cluster.hive());
    let Some(lease) = limited(api.get_opt(&name)).await? else { return Ok(()) };
    let holder = lease.spec.and_then(|spec| spec.holder_identity);
    if holder.as_deref() != Some(cluster.holder()) {
        return Ok(());
    }
    let preconditions = Preconditions { resource_version: lease.metadata.resource_version, uid: lease.metadata.uid };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match limited(api.delete(&name, &params)).await {
        Err(e) if !e.is_gone() => Err(e),
        _ => Ok(()),
    }
}

/// Renews every `interval` until `done`. `granted` is set off when the Lease is this hive's; when another hive has it, that
/// is sent to `lost` and nothing is renewed any more.
pub async fn run(
    cluster: Cluster,
    interval: Duration,
    granted: CancellationToken,
    lost: oneshot::Sender<NameTaken>,
    done: CancellationToken,
) {
    let mut retry = Retry::default();
    loop {
        let wait = match renew(&cluster, jiff::Timestamp::now()).await {
            Ok(()) => {
                if !retry.is_first() {
                    tracing::info!("the API answers again");
                }
                granted.cancel();
                retry.reset();
                interval
            }
            Err(LeaseError::Taken(taken)) => {
                // Nobody listens when the hive is about to end anyway.
                let _ = lost.send(taken);
                return;
            }
            Err(LeaseError::Cluster(e)) => {
                if retry.is_first() {
                    tracing::warn!("cannot renew the hive's lease, workers go on meanwhile: {e}");
                }
                retry.after_failure(rand::random()).min(interval)
            }
        };
        tokio::select! {
            () = done.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
    if let Err(e) = delete(&cluster).await {
        tracing::info!("the hive's lease stays until it runs out: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_holder_that_renews_keeps_a_hive_out() {
        let now: jiff::Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let spec = |holder: &str, renewed: &str| LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(MicroTime(renewed.parse().unwrap())),
            ..LeaseSpec::default()
        };
        for (holder, renewed, taken) in [
            ("vm_b", "2026-01-01T00:00:50Z", true),
            ("vm_b", "2026-01-01T00:00:21Z", true),
            ("vm_b", "2026-01-01T00:00:20Z", false),
            ("vm_b", "2026-01-01T00:01:05Z", true),
            ("vm_a", "2026-01-01T00:00:50Z", false),
            ("vm", "2026-01-01T00:00:50Z", true),
            ("", "2026-01-01T00:00:50Z", false),
        ] {
            assert_eq!(is_taken(&spec(holder, renewed), "vm_a", now), taken, "{holder} {renewed}");
        }
        assert!(!is_taken(&LeaseSpec::default(), "vm_a", now));
    }

    #[test]
    fn the_refusal_says_where_the_other_is_and_what_to_do() {
        let text = NameTaken { hive: "vm".into(), address: Some("http://10.0.0.1:9200".into()) }.to_string();
        for word in ["named vm", "http://10.0.0.1:9200", "--name"] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }
}
