//! The leader lease: take it, keep it, or wait.
//!
//! As in client-go, another's lease is over when its record has not changed for its whole duration by the watcher's own
//! clock; times of other machines are not compared. Every taking counts `leaseTransitions` up, also by a queen of the same
//! name: that number is the epoch of what she writes, and a twin that still believes in the old one finds out at her renewal.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime};

/// A queen who wants to lead, or leads.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub identity: String,
    pub lease: Duration,
    /// Her epoch while she leads.
    pub epoch: Option<i64>,
}

/// What to do about the lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Write this; it makes or keeps her the leader with this epoch.
    Write { spec: Box<LeaseSpec>, epoch: i64 },
    /// Somebody else leads.
    Wait { holder: String },
    /// She led, and somebody else took over.
    Lost { holder: String },
}

/// Decides from the record as stored and how long it has been seen unchanged.
pub fn decide(me: &Candidate, record: Option<&LeaseSpec>, unchanged_for: Duration, now: Timestamp) -> Decision {
    let spec = |transitions: i64, acquired: Option<MicroTime>| {
        Box::new(LeaseSpec {
            holder_identity: Some(me.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(me.lease.as_secs()).unwrap_or(i32::MAX).max(1)),
            lease_transitions: Some(i32::try_from(transitions).unwrap_or(i32::MAX)),
            acquire_time: Some(acquired.unwrap_or(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        })
    };
    let Some(record) = record else {
        return Decision::Write { spec: spec(0, None), epoch: 0 };
    };
    let holder = record.holder_identity.clone().unwrap_or_default();
    let transitions = i64::from(record.lease_transitions.unwrap_or(0));
    if let Some(epoch) = me.epoch {
        return if holder == me.identity && transitions == epoch {
            Decision::Write { spec: spec(epoch, record.acquire_time.clone()), epoch }
        } else {
            Decision::Lost { holder }
        };
    }
    let duration = Duration::from_secs(record.lease_duration_seconds.unwrap_or(0).try_into().unwrap_or(0));
    if holder.is_empty() || holder == me.identity || unchanged_for >= duration {
        Decision::Write { spec: spec(transitions + 1, None), epoch: transitions + 1 }
    } else {
        Decision::Wait { holder }
    }
}

/// The record of a leader who goes: nobody holds it, the count stays.
pub fn released(record: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        renew_time: Some(MicroTime(now)),
        ..record.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).expect("a time")
    }

    fn candidate(identity: &str, epoch: Option<i64>) -> Candidate {
        Candidate { identity: identity.into(), lease: LEASE, epoch }
    }

    fn written(decision: Decision) -> (LeaseSpec, i64) {
        match decision {
            Decision::Write { spec, epoch } => (*spec, epoch),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_lease_is_taken_kept_lost_and_taken_over() {
        let (record, epoch) = written(decide(&candidate("a", None), None, Duration::ZERO, now()));
        assert_eq!(epoch, 0);
        let (kept, epoch) = written(decide(&candidate("a", Some(0)), Some(&record), Duration::ZERO, now()));
        assert_eq!((epoch, kept.lease_transitions), (0, Some(0)));
        let waiting = decide(&candidate("b", None), Some(&kept), Duration::from_secs(14), now());
        assert_eq!(waiting, Decision::Wait { holder: "a".into() });
        let (taken, epoch) = written(decide(&candidate("b", None), Some(&kept), LEASE, now()));
        assert_eq!((epoch, taken.lease_transitions), (1, Some(1)));
        assert_eq!(
            decide(&candidate("a", Some(0)), Some(&taken), Duration::ZERO, now()),
            Decision::Lost { holder: "b".into() }
        );
    }

    #[test]
    fn a_queen_restarted_leads_at_once_and_her_older_twin_does_not() {
        let (record, _) = written(decide(&candidate("a", None), None, Duration::ZERO, now()));
        let (again, epoch) = written(decide(&candidate("a", None), Some(&record), Duration::ZERO, now()));
        assert_eq!(epoch, 1);
        assert_eq!(
            decide(&candidate("a", Some(0)), Some(&again), Duration::ZERO, now()),
            Decision::Lost { holder: "a".into() }
        );
    }

    #[test]
    fn a_released_lease_is_free() {
        let (record, _) = written(decide(&candidate("a", None), None, Duration::ZERO, now()));
        let (_, epoch) = written(decide(&candidate("b", None), Some(&released(&record, now())), Duration::ZERO, now()));
        assert_eq!(epoch, 1);
    }
}
