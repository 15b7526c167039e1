//! Where a request goes: to the Ready replica with the least load, into the queue, on hold, or nowhere, and why.

use std::sync::Arc;

use rbee_wire::{ApiError, ErrorCode};

use crate::table::{ModelEntry, Replica, Table};

/// Seconds after which a client should try again.
pub const RETRY_AFTER_SECONDS: u32 = 5;

/// What to do with a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// This replica has a free slot.
    To(Arc<Replica>),
    /// Every replica has as many requests as slots.
    Busy,
    /// No replica is Ready, and one may become so. The text says for whom that is waited.
    Hold(String),
    /// Waiting would not help.
    Refuse(ApiError),
}

/// What routing knows of a replica beside the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Requests of this gateway that it answers at the moment.
    pub in_flight: u32,
    /// It failed a moment ago, or this request failed there.
    pub avoid: bool,
}

/// Decides for one request. Replicas are chosen by least load relative to their slots; equal ones by name.
pub fn route(table: &Table, model: &str, load: impl Fn(&Replica) -> Load) -> Decision {
    let Some(entry) = table.models.get(model) else { return Decision::Refuse(ApiError::model_not_found(model)) };
    if entry.workers.is_empty() {
        return Decision::Refuse(no_worker(model));
    }
    let usable: Vec<(&Arc<Replica>, Load)> =
        entry.replicas().map(|r| (r, load(r))).filter(|(_, load)| !load.avoid).collect();
    // a/m < b/n as a*n < b*m.
    let least = usable.iter().filter(|(r, l)| l.in_flight < r.slots).min_by(|(a, x), (b, y)| {
        let left = u64::from(x.in_flight) * u64::from(b.slots);
        let right = u64::from(y.in_flight) * u64::from(a.slots);
        left.cmp(&right).then_with(|| a.id.cmp(&b.id))
    });
    match least {
        Some((replica, _)) => Decision::To(Arc::clone(replica)),
        None if !usable.is_empty() => Decision::Busy,
        None => without_replica(model, entry),
    }
}

fn without_replica(model: &str, entry: &ModelEntry) -> Decision {
    if !entry.workers.values().any(|w| w.can_run) {
        let names = worker_names(entry);
        let text =
            format!("model '{model}' has no replica: its Worker {names} has 0 replicas or is suspended; scale it up");
        return Decision::Refuse(unavailable(text));
    }
    let hopeful = entry.workers.values().any(|w| w.can_run && (w.stuck.is_none() || !w.replicas.is_empty()));
    if entry.replicas().next().is_none() {
        if let Some(broken) = &entry.broken {
            return Decision::Refuse(unavailable(format!("model '{model}' cannot be loaded: {broken}")));
        }
        if !hopeful {
            let why = entry.workers.values().find_map(|w| w.stuck.as_deref()).unwrap_or_default();
            return Decision::Refuse(unavailable(format!("no replica of model '{model}' can run: {why}")));
        }
    }
    Decision::Hold(format!("no replica of model '{model}' (Worker {}) is Ready", worker_names(entry)))
}

/// A Model that nobody serves; what is missing is said.
pub fn no_worker(model: &str) -> ApiError {
    let name = model.rsplit('/').next().unwrap_or(model);
    let mut error = ApiError::model_not_found(model);
    error.message = format!(
        "the Model '{model}' exists, but no Worker serves it; apply a Worker with spec.modelRef.name: {name} in its namespace"
    );
    error
}

/// 503 that tells when to come back.
pub fn unavailable(message: String) -> ApiError {
    ApiError::new(ErrorCode::Unavailable, message).with_retry_after(RETRY_AFTER_SECONDS)
}

/// 503 because too many wait already, or waited too long for a slot.
pub fn all_busy(message: String) -> ApiError {
    ApiError::new(ErrorCode::AllSlotsBusy, message).with_retry_after(RETRY_AFTER_SECONDS)
}

/// 503 because the gateway stops.
pub fn draining() -> ApiError {
    ApiError::new(ErrorCode::Draining, "the gateway is stopping; try again").with_retry_after(1)
}

fn worker_names(entry: &ModelEntry) -> String {
    entry.workers.keys().map(|w| w.name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bee_table, replica, worker_entry, worker_id};
    use proptest::prelude::*;

    fn idle(_: &Replica) -> Load {
        Load { in_flight: 0, avoid: false }
    }

    fn refusal(decision: Decision) -> ApiError {
        match decision {
            Decision::Refuse(error) => error,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn the_least_loaded_replica_is_chosen_and_equal_ones_by_name() {
        let table = bee_table(vec![replica("a", "w", "u", 4), replica("b", "w", "u", 4), replica("c", "w", "u", 8)]);
        let choose = |loads: [u32; 3]| match route(&table, "bee", |r| Load {
            in_flight: loads[usize::from(r.id.as_bytes()[0] - b'a')],
            avoid: false,
        }) {
            Decision::To(replica) => replica.id.clone(),
            other => format!("{other:?}"),
        };
        assert_eq!(choose([0, 0, 0]), "a");
        assert_eq!(choose([1, 0, 0]), "b");
        assert_eq!(choose([1, 1, 1]), "c");
        assert_eq!(choose([4, 3, 8]), "b");
        assert_eq!(choose([4, 4, 8]), "Busy");
    }

    #[test]
    fn refusals_say_what_is_missing() {
        let table = bee_table(vec![]);
        let unknown = refusal(route(&table, "no-such", idle));
        assert_eq!((unknown.status, unknown.openai()["error"]["code"].as_str()), (404, Some("model_not_found")));
        assert!(unknown.message.contains("no-such"));

        let mut alone = table.clone();
        alone.models.get_mut("bee").unwrap().workers.clear();
        let error = refusal(route(&alone, "bee", idle));
        assert_eq!(error.status, 404);
        assert!(error.message.contains("no Worker") && error.message.contains("bee"), "{}", error.message);

        let mut zero = table.clone();
        zero.models.get_mut("bee").unwrap().workers.get_mut(&worker_id("w")).unwrap().can_run = false;
        let error = refusal(route(&zero, "bee", idle));
        assert_eq!((error.status, error.retry_after), (503, Some(RETRY_AFTER_SECONDS)));

        let mut stuck = table.clone();
        stuck.models.get_mut("bee").unwrap().workers.get_mut(&worker_id("w")).unwrap().stuck =
            Some("no backend metal".into());
        assert!(refusal(route(&stuck, "bee", idle)).message.contains("no backend metal"));
        stuck.models.get_mut("bee").unwrap().workers.insert(worker_id("x"), worker_entry(vec![]));
        assert!(matches!(route(&stuck, "bee", idle), Decision::Hold(_)));

        let mut broken = table;
        broken.models.get_mut("bee").unwrap().broken = Some("no file".into());
        assert!(refusal(route(&broken, "bee", idle)).message.contains("no file"));
    }

    #[test]
    fn a_replica_that_failed_is_avoided_and_waited_for() {
        let table = bee_table(vec![replica("a", "w", "u", 1), replica("b", "w", "u", 1)]);
        let without_a = route(&table, "bee", |r| Load { in_flight: 0, avoid: r.id == "a" });
        assert!(matches!(without_a, Decision::To(r) if r.id == "b"));
        assert!(matches!(route(&table, "bee", |_| Load { in_flight: 0, avoid: true }), Decision::Hold(_)));
    }

    proptest! {
        #[test]
        fn a_free_and_least_loaded_replica_if_there_is_one(replicas in prop::collection::vec((1u32..5, 0u32..6, any::<bool>()), 0..8)) {
            let table = bee_table(replicas.iter().enumerate().map(|(n, (slots, _, _))| replica(&n.to_string(), "w", "u", *slots)).collect());
            let load = |r: &Replica| {
                let (_, in_flight, avoid) = replicas[r.id.parse::<usize>().unwrap()];
                Load { in_flight, avoid }
            };
            let free: Vec<f64> = replicas.iter().filter(|(s, n, avoid)| !avoid && n < s).map(|(s, n, _)| f64::from(*n) / f64::from(*s)).collect();
            match route(&table, "bee", load) {
                Decision::To(r) => {
                    let chosen = load(&r);
                    prop_assert!(!chosen.avoid && chosen.in_flight < r.slots);
                    let share = f64::from(chosen.in_flight) / f64::from(r.slots);
                    prop_assert!(free.iter().all(|f| share <= *f + 1e-9));
                }
                Decision::Busy => prop_assert!(free.is_empty() && replicas.iter().any(|(_, _, avoid)| !avoid)),
                Decision::Hold(_) => prop_assert!(replicas.iter().all(|(_, _, avoid)| *avoid)),
                Decision::Refuse(e) => prop_assert!(false, "{}", e),
            }
        }
    }
}
