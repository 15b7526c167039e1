//! Tells the API how busy each Worker is, as this gateway sees it: that wakes a Worker that was scaled down and feeds its
//! scaling.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use rbee_crds::worker::GatewayLoad;
use rbee_crds::{Time, Worker, names};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::dispatch::Dispatcher;
use crate::load::Loads;
use crate::table::{Table, WorkerId};

/// How often a Worker is told of at most.
const EVERY: Duration = Duration::from_secs(1);
/// How often a time alone is told.
const TIMES_EVERY: Duration = Duration::from_secs(10);

/// What was told of a Worker.
#[derive(Debug, Clone)]
struct Told {
    load: GatewayLoad,
    at: Instant,
}

/// Applies `status.gateways[]` of every Worker when it changed, until shutdown; then that nothing is in flight.
pub async fn run(client: kube::Client, gateway: String, dispatcher: Dispatcher, shutdown: CancellationToken) {
    let mut told: BTreeMap<WorkerId, Told> = BTreeMap::new();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut gauged = BTreeSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let table = dispatcher.table();
        let loads = dispatcher.loads();
        set_gauges(&table, loads, &mut gauged);
        let wanted = wanted(&table, loads, &gateway);
        loads.forget(|id| wanted.contains_key(id));
        told.retain(|id, _| wanted.contains_key(id));
        for (id, (load, reported)) in wanted {
            if !is_due(&load, reported.as_ref(), told.get(&id).map(|t| (&t.load, t.at.elapsed()))) {
                continue;
            }
            match apply(&client, &id, &load).await {
                Ok(()) => {
                    told.insert(id, Told { load, at: Instant::now() });
                }
                Err(error) => {
                    tracing::debug!(worker = id.name, %error, "cannot write the load of a Worker; trying again")
                }
            }
        }
    }
}

/// For every Worker what is true, and what the API has.
fn wanted(table: &Table, loads: &Loads, gateway: &str) -> BTreeMap<WorkerId, (GatewayLoad, Option<GatewayLoad>)> {
    let counted = loads.workers();
    let mut wanted = BTreeMap::new();
    for (model, entry) in &table.models {
        let waiting = i32::try_from(loads.waiting(model)).unwrap_or(i32::MAX);
        for (id, worker) in &entry.workers {
            let load = counted.get(id).copied().unwrap_or_default();
            let load = GatewayLoad {
                name: gateway.to_owned(),
                in_flight: i32::try_from(load.in_flight).unwrap_or(i32::MAX),
                waiting: if worker.can_run { waiting } else { 0 },
                last_request_time: load
                    .last_request
                    .map(whole_seconds)
                    .map(Time)
                    .or_else(|| worker.last_request.clone()),
            };
            wanted.insert(id.clone(), (load, worker.reported.clone()));
        }
    }
    wanted
}

/// The API keeps whole seconds.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Whether a load is to be written: numbers at once, a time alone at most every ten seconds, nothing where nothing was or is.
fn is_due(load: &GatewayLoad, reported: Option<&GatewayLoad>, told: Option<(&GatewayLoad, Duration)>) -> bool {
    // What was written shows in `reported` only after a while.
    let (known, age) = match told {
        Some((told, age)) if age < TIMES_EVERY => (Some(told), age),
        _ => (reported, TIMES_EVERY),
    };
    let Some(known) = known else {
        return load.in_flight > 0 || load.waiting > 0 || load.last_request_time.is_some();
    };
    let numbers = (load.in_flight, load.waiting) != (known.in_flight, known.waiting);
    numbers || (load.last_request_time != known.last_request_time && age >= TIMES_EVERY)
}

async fn apply(client: &kube::Client, id: &WorkerId, load: &GatewayLoad) -> Result<(), kube::Error> {
    let api: Api<Worker> = Api::namespaced(client.clone(), &id.namespace);
    let patch = json!({
        "apiVersion": format!("{}/{}", rbee_crds::GROUP, rbee_crds::VERSION),
        "kind": "Worker",
        "metadata": {"name": id.name, "namespace": id.namespace},
        "status": {"gateways": [load]},
    });
    let params = PatchParams::apply(names::MANAGER_GATEWAY).force();
    match api.patch_status(&id.name, &params, &Patch::Apply(patch)).await {
        Ok(_) => Ok(()),
        // It was deleted meanwhile.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

/// `gauged` are the models that have gauges: one that is gone counts nothing any more.
fn set_gauges(table: &Table, loads: &Loads, gauged: &mut BTreeSet<String>) {
    let counted = loads.workers();
    gauged.extend(table.models.keys().cloned());
    for id in &*gauged {
        let entry = table.models.get(id);
        let load = |w| counted.get(w).map_or(0, |w| w.in_flight);
        let in_flight: u32 = entry.map_or(0, |e| e.workers.keys().map(load).sum());
        let replicas = entry.map_or(0, |e| u32::try_from(e.replicas().count()).unwrap_or(u32::MAX));
        metrics::gauge!("rbee_gateway_in_flight", "model" => id.clone()).set(in_flight);
        metrics::gauge!("rbee_gateway_waiting", "model" => id.clone()).set(loads.waiting(id));
        metrics::gauge!("rbee_gateway_replicas_ready", "model" => id.clone()).set(replicas);
    }
    gauged.retain(|id| table.models.contains_key(id));
    metrics::gauge!("rbee_gateway_models").set(u32::try_from(table.models.len()).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bee_table, worker_id};

    fn load(in_flight: i32, waiting: i32, second: Option<i64>) -> GatewayLoad {
        let last_request_time = second.map(|s| Time(Timestamp::from_second(s).unwrap()));
        GatewayLoad { name: "g".into(), in_flight, waiting, last_request_time }
    }

    #[test]
    fn only_what_changed_is_told() {
        let ago = |seconds| Duration::from_secs(seconds);
        assert!(!is_due(&load(0, 0, None), None, None), "nothing happened yet");
        assert!(is_due(&load(0, 1, None), None, None), "somebody waits");
        assert!(!is_due(&load(1, 0, Some(5)), Some(&load(1, 0, Some(5))), None));
        assert!(!is_due(&load(1, 0, Some(5)), None, Some((&load(1, 0, Some(5)), ago(2)))), "told, not seen yet");
        assert!(is_due(&load(0, 0, Some(5)), None, Some((&load(1, 0, Some(5)), ago(2)))));
        assert!(!is_due(&load(0, 0, Some(7)), None, Some((&load(0, 0, Some(5)), ago(2)))), "a time alone can wait");
        assert!(is_due(&load(0, 0, Some(27)), Some(&load(0, 0, Some(5))), Some((&load(0, 0, Some(5)), ago(12)))));
        assert!(is_due(&load(0, 0, Some(5)), Some(&load(3, 0, Some(5))), None), "left by a gateway that died");
    }

    #[test]
    fn who_waits_for_a_model_is_told_of_its_workers_and_times_survive_a_restart() {
        let mut table = bee_table(vec![]);
        let entry = table.models.get_mut("bee").unwrap().workers.get_mut(&worker_id("w")).unwrap();
        entry.reported = Some(load(4, 0, Some(9)));
        entry.last_request = load(4, 0, Some(9)).last_request_time;
        let loads = Loads::default();
        let _ticket = loads.enqueue("bee").unwrap();
        let wanted = wanted(&table, &loads, "g");
        assert_eq!(wanted[&worker_id("w")], (load(0, 1, Some(9)), Some(load(4, 0, Some(9)))));
    }
}
