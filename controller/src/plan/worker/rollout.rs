//! How many replicas to make and which to end: scaling, rolling replacement, and what lost hives leave open.

use rbee_crds::WorkerSpec;

use super::replicas::{Replica, Replicas, victims};

/// What can be decided before places are looked for.
#[derive(Clone, Debug, Default)]
pub struct Moves {
    pub delete: Vec<Replica>,
    /// How many new replicas there may be at once.
    pub create: usize,
}

/// Decides about replicas whose hives are not lost. `known` says whether the newest template is known; without it nothing is made.
pub fn first(replicas: &Replicas, wanted: usize, spec: &WorkerSpec, known: bool) -> Moves {
    let good: Vec<Replica> = replicas.live.iter().filter(|r| !r.lost).cloned().collect();
    if wanted == 0 {
        return Moves { delete: replicas.live.clone(), create: 0 };
    }
    let (new, old): (Vec<Replica>, Vec<Replica>) = good.into_iter().partition(|r| r.updated);
    let (surge, unavailable) = limits(spec);

    let (serving, mut delete): (Vec<Replica>, Vec<Replica>) = old.into_iter().partition(|r| r.ready);
    let excess = victims(&new, new.len().saturating_sub(wanted));
    let new_left = new.len() - excess.len();
    let new_ready = new.iter().filter(|r| r.ready).count() - excess.iter().filter(|r| r.ready).count();
    delete.extend(excess);
    let may_go = (new_ready + serving.len()).saturating_sub(wanted.saturating_sub(unavailable));
    let going = victims(&serving, may_go);
    let old_left = serving.len() - going.len();
    delete.extend(going);

    let room = (wanted + surge).saturating_sub(new_left + old_left);
    let create = if known { wanted.saturating_sub(new_left).min(room) } else { 0 };
    Moves { delete, create }
}

/// Adds replicas on lost hives: each goes when another has its place, or when it is one too many.
pub fn with_lost(replicas: &Replicas, mut delete: Vec<Replica>, created: usize, wanted: usize) -> Vec<Replica> {
    let lost: Vec<Replica> = replicas.live.iter().filter(|r| r.lost).cloned().collect();
    if wanted == 0 || lost.is_empty() {
        return delete;
    }
    let good = replicas.live.len() - lost.len() - delete.len();
    let excess = (good + created + lost.len()).saturating_sub(wanted);
    delete.extend(victims(&lost, excess));
    delete
}

/// maxSurge and maxUnavailable. Both zero would stand still for ever: then one may be unavailable, as with Deployments.
fn limits(spec: &WorkerSpec) -> (usize, usize) {
    let strategy = spec.rollout_strategy.unwrap_or_default();
    let number = |n: Option<i32>, default| n.map_or(default, |n| usize::try_from(n).unwrap_or(0));
    match (number(strategy.max_surge, 1), number(strategy.max_unavailable, 0)) {
        (0, 0) => (0, 1),
        limits => limits,
    }
}
