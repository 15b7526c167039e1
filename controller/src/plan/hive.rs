//! Hive: from heartbeats to the Ready condition.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use rbee_crds::{Condition, ConditionStatus, Hive, Time, condition, condition::Wanted, hive, reason};

use super::{Note, just_after, later, until};

/// The reason of a hive whose version does not fit the queen's.
pub const VERSION_MISMATCH: &str = "VersionMismatch";
/// The reason of a hive that said goodbye.
pub const HIVE_STOPPED: &str = "HiveStopped";

/// What is known of one hive.
#[derive(Clone, Debug)]
pub struct Observed {
    pub hive: Arc<Hive>,
    pub heartbeat: Option<Heartbeat>,
    /// Version of the queen.
    pub version: String,
    /// No hive is found lost before this.
    pub judge_from: Timestamp,
    pub lost_after: Duration,
}

/// A hive's Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub renewed: Timestamp,
    /// The hive gave the Lease up when it ended.
    pub released: bool,
}

/// What to write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub ready: Option<Condition>,
    pub notes: Vec<Note>,
    /// When to look again, if nothing happens before.
    pub again: Option<Duration>,
}

impl Plan {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.ready.is_none() && self.notes.is_empty()
    }
}

/// Judges the hive at `now`.
pub fn plan(observed: &Observed, now: Timestamp, seed: u64) -> Plan {
    let conditions = observed.hive.status.as_ref().map_or(&[][..], |s| &s.conditions);
    let current = condition::find(conditions, hive::READY);
    let (wanted, change_at) = judge(observed, now);
    let again = change_at.map(|at| just_after(until(now, at), seed));
    let Some(wanted) = wanted else { return Plan { again, ..Plan::default() } };
    let generation = observed.hive.metadata.generation;
    let ready = condition::set(conditions, &[wanted], generation, &Time(now)).into_iter().next();
    let Some(ready) = ready.filter(|r| current != Some(r)) else { return Plan { again, ..Plan::default() } };
    let notes = note(current.map(|c| c.status), &ready).into_iter().collect();
    Plan { ready: Some(ready), notes, again }
}

/// The condition that holds, if it can be told, and when time alone will change that.
fn judge(observed: &Observed, now: Timestamp) -> (Option<Wanted>, Option<Timestamp>) {
    let is = |status, reason: &str, message: String| Some(Wanted::new(hive::READY, status, reason, message));
    if let Some(message) = version_problem(observed) {
        // A hive that does not fit is refused, and when it goes silent that is worth knowing all the same.
        let alive = observed.heartbeat.is_some_and(|b| later(b.renewed, observed.lost_after) > now);
        if alive {
            return (is(ConditionStatus::False, VERSION_MISMATCH, message), None);
        }
    }
    let created = observed.hive.metadata.creation_timestamp.as_ref().map_or(now, |t| t.0);
    let last = observed.heartbeat.map_or(created, |b| b.renewed);
    let silent_at = later(last, observed.lost_after);
    match observed.heartbeat {
        Some(Heartbeat { released: true, .. }) if silent_at > now => {
            (is(ConditionStatus::False, HIVE_STOPPED, "the hive was stopped".into()), Some(silent_at))
        }
        Some(_) if silent_at > now => {
            (is(ConditionStatus::True, reason::READY, "its heartbeat is fresh".into()), Some(silent_at))
        }
        None if silent_at > now => {
            (is(ConditionStatus::False, reason::PENDING, "waiting for its first heartbeat".into()), Some(silent_at))
        }
        _ if now < observed.judge_from => (None, Some(observed.judge_from)),
        _ => {
            let message = match observed.heartbeat {
                Some(_) => format!(
                    "no heartbeat since {last:.0}; check that `rbee hive` runs there and reaches the API server"
                ),
                None => {
                    "it has no heartbeat: it was stopped, or never began; start `rbee hive` there, and see that it reaches the API server".into()
                }
            };
            (is(ConditionStatus::Unknown, reason::HIVE_LOST, message), None)
        }
    }
}

fn version_problem(observed: &Observed) -> Option<String> {
    let theirs = observed.hive.status.as_ref()?.version.as_deref()?;
    let (a, b) = (major_minor(theirs)?, major_minor(&observed.version)?);
    (a != b).then(|| {
        let older = if a < b { "the hive" } else { "the queen" };
        format!("the hive is of version {theirs}, the queen of {}: install the same MAJOR.MINOR on both; {older} is the older", observed.version)
    })
}

fn major_minor(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn note(before: Option<ConditionStatus>, ready: &Condition) -> Option<Note> {
    if before == Some(ready.status) {
        return None;
    }
    match ready.status {
        ConditionStatus::True => Some(Note::normal("HiveReady", "Judge", ready.message.clone())),
        ConditionStatus::Unknown => Some(Note::warning(reason::HIVE_LOST, "Judge", ready.message.clone())),
        ConditionStatus::False if ready.reason == VERSION_MISMATCH => {
            Some(Note::warning(VERSION_MISMATCH, "Judge", ready.message.clone()))
        }
        ConditionStatus::False => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbee_crds::HiveStatus;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
    }

    fn observed(renewed: Option<i64>, judge_from: i64) -> Observed {
        let mut hive = Hive::new("a", Default::default());
        hive.metadata.creation_timestamp = Some(Time(at(0)));
        hive.status = Some(HiveStatus { version: Some("0.1.3".into()), ..Default::default() });
        Observed {
            hive: Arc::new(hive),
            heartbeat: renewed.map(|s| Heartbeat { renewed: at(s), released: false }),
            version: "0.1.0".into(),
            judge_from: at(judge_from),
            lost_after: Duration::from_secs(40),
        }
    }

    fn carried_out(mut observed: Observed, plan: &Plan) -> Observed {
        let mut hive = (*observed.hive).clone();
        if let (Some(status), Some(ready)) = (&mut hive.status, &plan.ready) {
            status.conditions = vec![ready.clone()];
        }
        observed.hive = Arc::new(hive);
        observed
    }

    #[test]
    fn a_heartbeat_makes_ready_and_its_absence_unknown_after_40_seconds() {
        let fresh = observed(Some(100), 0);
        let plan_fresh = plan(&fresh, at(110), 0);
        assert_eq!(plan_fresh.ready.as_ref().map(|c| c.status), Some(ConditionStatus::True));
        let next = carried_out(fresh, &plan_fresh);
        assert!(plan(&next, at(139), 0).is_empty(), "nothing changes while the heartbeat is fresh");
        let lost = plan(&next, at(140), 0);
        let condition = lost.ready.clone().expect("a condition");
        assert_eq!((condition.status, condition.reason.as_str()), (ConditionStatus::Unknown, "HiveLost"));
        assert_eq!(lost.notes.len(), 1);
        assert!(plan(&carried_out(next, &lost), at(150), 0).is_empty());
    }

    #[test]
    fn a_queen_that_was_away_does_not_judge_before_her_grace_is_over() {
        let stale = observed(Some(0), 640);
        let first = plan(&stale, at(601), 0);
        assert!(first.is_empty() && first.again.is_some_and(|w| w >= Duration::from_secs(39)), "{first:?}");
        assert_eq!(plan(&stale, at(640), 0).ready.map(|c| c.status), Some(ConditionStatus::Unknown));
    }

    #[test]
    fn a_hive_of_another_minor_version_is_refused_and_told_which_is_older() {
        let mut other = observed(Some(100), 0);
        other.version = "0.2.0".into();
        let condition = plan(&other, at(101), 0).ready.expect("a condition");
        assert_eq!((condition.status, condition.reason.as_str()), (ConditionStatus::False, "VersionMismatch"));
        assert!(
            condition.message.contains("0.1.3") && condition.message.contains("the hive is the older"),
            "{}",
            condition.message
        );
    }
}
