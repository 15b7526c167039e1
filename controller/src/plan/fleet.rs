//! What is known of the hives together: who is there, who is silent, and who is given up.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use rbee_crds::{ConditionStatus, Hive, condition, hive};

use super::later;

/// The hives, their heartbeats, and from when on they are judged.
#[derive(Clone, Debug)]
pub struct Fleet {
    pub hives: BTreeMap<String, Arc<Hive>>,
    /// When each hive's Lease was last renewed; also of hives whose object is gone.
    pub heartbeats: BTreeMap<String, Timestamp>,
    /// The queen was away before; silence counts from here at the earliest.
    pub judge_from: Timestamp,
    /// Silence of this length means lost.
    pub lost_after: Duration,
}

/// Whether replicas on a hive may still be believed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The hive is there, or is waited for without end.
    Keep,
    /// The hive is silent; at this time it is given up.
    Until(Timestamp),
    /// Nothing that ran there is waited for.
    Lost,
}

impl Fleet {
    /// Whether the hive's heartbeat is there as far as anybody knows.
    pub fn is_heard(&self, hive: &str) -> bool {
        self.hives.get(hive).is_some_and(|h| silent_since(h).is_none())
    }

    /// Hives that replicas can be placed on or asked for files.
    pub fn ready(&self) -> impl Iterator<Item = &Arc<Hive>> {
        self.hives.values().filter(|h| is_ready(h))
    }

    /// The verdict over a hive when a lost one is given up after `timeout`; a timeout of zero means never.
    pub fn verdict(&self, hive: &str, timeout: Duration, now: Timestamp) -> Verdict {
        let given_up_at = match self.hives.get(hive).map(|h| silent_since(h)) {
            Some(None) => return Verdict::Keep,
            Some(Some(_)) if timeout.is_zero() => return Verdict::Keep,
            Some(Some(since)) => later(since.max(self.judge_from), timeout),
            // The object is gone: that is final, unless the hive lives and is about to register again.
            None => {
                self.heartbeats.get(hive).map_or(self.judge_from, |at| later(*at, self.lost_after).max(self.judge_from))
            }
        };
        if given_up_at <= now { Verdict::Lost } else { Verdict::Until(given_up_at) }
    }
}

/// Whether the hive's Ready condition is True.
pub fn is_ready(hive: &Hive) -> bool {
    hive.status.as_ref().is_some_and(|s| condition::is_true(&s.conditions, hive::READY))
}

/// When the hive was found to be lost, if it is.
pub fn silent_since(hive: &Hive) -> Option<Timestamp> {
    let ready = condition::find(&hive.status.as_ref()?.conditions, hive::READY)?;
    (ready.status == ConditionStatus::Unknown).then_some(ready.last_transition_time.0)
}
