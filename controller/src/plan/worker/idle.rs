//! Workers that a command declared for itself go when nobody asks any more, and their Model with them.

use jiff::Timestamp;
use rbee_crds::names;

use super::{Observed, Retire};
use crate::plan::{Target, later};

/// The value of the created-by label that `rbee infer` sets.
const INFER: &str = "infer";

/// Whether the Worker idles out.
#[derive(Clone, Debug, PartialEq)]
pub enum Idle {
    /// It stays until somebody deletes it.
    Never,
    /// It goes at this time unless a request comes before.
    At(Timestamp),
    /// It goes.
    Over(Retire),
}

impl Idle {
    /// When to look again.
    pub fn due(&self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(*at),
            Self::Never | Self::Over(_) => None,
        }
    }
}

/// Looks at the newest request that any gateway or replica knows of.
pub fn judge(observed: &Observed, now: Timestamp) -> Idle {
    let worker = &observed.worker;
    let timeout = worker.spec.idle_timeout();
    let labelled = |labels: Option<&std::collections::BTreeMap<String, String>>| {
        labels.and_then(|l| l.get(names::LABEL_CREATED_BY)).is_some_and(|v| v == INFER)
    };
    if timeout.is_zero() || worker.metadata.deletion_timestamp.is_some() || !labelled(worker.metadata.labels.as_ref()) {
        return Idle::Never;
    }
    let mine = || {
        observed.assignments.iter().filter(|a| super::replicas::is_of(a, observed)).filter_map(|a| a.status.as_ref())
    };
    let gateways = || worker.status.iter().flat_map(|s| &s.gateways);
    let busy = gateways().any(|g| g.in_flight > 0 || g.waiting > 0)
        || mine().any(|s| s.slots.is_some_and(|slots| slots.free < slots.total));
    let ready_since = worker.status.iter().flat_map(|s| &s.conditions).map(|c| c.last_transition_time.0);
    let last = gateways()
        .filter_map(|g| g.last_request_time.as_ref().map(|t| t.0))
        .chain(mine().filter_map(|s| s.last_request_time.as_ref().map(|t| t.0)))
        .chain(worker.metadata.creation_timestamp.as_ref().map(|t| t.0))
        .chain(ready_since)
        .chain([observed.fleet.judge_from].into_iter().filter(|at| *at > now))
        .max();
    let Some(last) = last else { return Idle::Never };
    let at = later(if busy { last.max(now) } else { last }, timeout.get());
    if at > now {
        return Idle::At(at);
    }
    let model = observed.model.as_ref().filter(|m| !observed.model_is_shared && labelled(m.metadata.labels.as_ref()));
    Idle::Over(Retire { worker: Target::of(worker.as_ref()), model: model.map(|m| Target::of(m.as_ref())) })
}
