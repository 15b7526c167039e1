//! Random sequences of what can happen to a world. Whatever came before, once everybody is there again it comes to rest as wanted.
//!
//! A failure names its seed and its events; `RBEE_FLOW_SEED=N` runs that one alone.

use std::{panic::AssertUnwindSafe, thread, time::Duration};

use futures::FutureExt;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use rbee_crds::{Hive, Model, Worker, hive::CacheState, worker};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{hive::Happening, link::Fuse, world::World};

const SEEDS: u64 = 200;
const HIVES: [&str; 3] = ["a", "b", "c"];
const WORKERS: [&str; 3] = ["one", "two", "six"];
const FILE: &str = "file:///m.gguf";

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    Declare(&'static str, Value),
    DeleteWorker(&'static str),
    Model {
        file: bool,
    },
    DeleteModel,
    File(&'static str, CacheState),
    Lose(&'static str),
    Back(&'static str),
    ForgetHive(&'static str),
    Cordon(&'static str, bool),
    Crash(usize),
    /// The queen is killed at her nth write from here, or at once when she does not write.
    KillQueen {
        write: i64,
        arrives: bool,
    },
    EndQueen,
    Crown,
    Wait(Duration),
}

fn step(rng: &mut StdRng) -> Step {
    let hive = *HIVES.choose(rng).expect("a hive");
    let worker = *WORKERS.choose(rng).expect("a worker");
    match rng.random_range(0..100) {
        0..20 => Step::Declare(worker, spec(rng)),
        20..25 => Step::DeleteWorker(worker),
        25..29 => Step::Model { file: rng.random() },
        29..31 => Step::DeleteModel,
        31..36 => {
            let states = [CacheState::Available, CacheState::Missing, CacheState::Invalid];
            Step::File(hive, *states.choose(rng).expect("a state"))
        }
        36..42 => Step::Lose(hive),
        42..50 => Step::Back(hive),
        50..52 => Step::ForgetHive(hive),
        52..56 => Step::Cordon(hive, rng.random()),
        56..62 => Step::Crash(rng.random_range(0..100)),
        62..70 => Step::KillQueen { write: rng.random_range(0..12), arrives: rng.random() },
        70..73 => Step::EndQueen,
        73..80 => Step::Crown,
        _ => Step::Wait(Duration::from_millis(match rng.random_range(0..4) {
            0 => rng.random_range(1..400),
            1 => rng.random_range(400..5_000),
            2 => rng.random_range(5_000..60_000),
            _ => rng.random_range(60_000..400_000),
        })),
    }
}

fn spec(rng: &mut StdRng) -> Value {
    let memory = *["300M", "900M", "2G"].choose(rng).expect("a size");
    let mut spec = json!({
        "modelRef": {"name": "bee"}, "replicas": rng.random_range(0..5), "slots": rng.random_range(1..3),
        "resources": {"memory": memory}, "hiveLostTimeout": "90s",
        "rolloutStrategy": {"maxSurge": rng.random_range(0..3), "maxUnavailable": rng.random_range(0..3)},
        "suspend": rng.random_bool(0.1), "onHiveLost": if rng.random_bool(0.2) { "Wait" } else { "Replace" },
    });
    if rng.random_bool(0.2) {
        spec["hiveName"] = json!(HIVES.choose(rng).expect("a hive"));
    }
    spec
}

async fn happen(world: &mut World, step: &Step) {
    match step {
        Step::Declare(name, spec) => world.worker(name, spec.clone()).await,
        Step::DeleteWorker(name) => world.delete::<Worker>(name).await,
        Step::Model { file } => {
            world.model("bee", json!({"uri": if *file { FILE } else { "builtin:tinybee" }})).await;
        }
        Step::DeleteModel => world.delete::<Model>("bee").await,
        Step::File(hive, state) => world.happens(hive, Happening::File(FILE.into(), *state)).await,
        Step::Lose(hive) => world.lose(hive).await,
        Step::Back(hive) => world.back(hive),
        Step::ForgetHive(hive) => {
            let hives: Api<Hive> = Api::all(world.client.clone());
            let _ = hives.delete(hive, &Default::default()).await;
        }
        Step::Cordon(hive, on) => cordon(world, hive, *on).await,
        Step::Crash(nth) => {
            let view = world.look().await;
            if let Some(victim) = view.assignments.get(nth % view.assignments.len().max(1)) {
                world.happens(&victim.spec.hive_name, Happening::Crash(victim.name_any())).await;
            }
        }
        Step::KillQueen { write, arrives } => {
            world.kill_queen().await;
            if *write > 0 {
                world.crown_with(Fuse::at_write(*write, *arrives));
                world.queen_dies(Duration::from_secs(20)).await;
                world.kill_queen().await;
            }
        }
        Step::EndQueen => world.end_queen().await,
        Step::Crown if world.has_queen() => {}
        Step::Crown => world.crown(),
        Step::Wait(time) => sleep(*time).await,
    }
}

async fn cordon(world: &World, hive: &str, on: bool) {
    let hives: Api<Hive> = Api::all(world.client.clone());
    let patch = Patch::Merge(json!({"spec": {"unschedulable": on}}));
    let _ = hives.patch(hive, &PatchParams::default(), &patch).await;
}

/// Everybody is there again, and there is room for all.
async fn heal(world: &mut World) {
    if !world.has_queen() {
        world.crown();
    }
    world.model("bee", json!({"uri": "builtin:tinybee"})).await;
    for hive in world.lost() {
        world.back(&hive);
    }
    world
        .until("all hives are Ready", |v| {
            let ready = v.hives.values().filter(|h| rbee_controller::plan::fleet::is_ready(h)).count();
            if ready == HIVES.len() { Ok(()) } else { Err(format!("{ready} hives")) }
        })
        .await;
    for hive in HIVES {
        cordon(world, hive, false).await;
    }
}

async fn live(steps: &[Step]) {
    let mut world = World::with_hives(&HIVES).await;
    world.model("bee", json!({"uri": "builtin:tinybee"})).await;
    for step in steps {
        happen(&mut world, step).await;
    }
    heal(&mut world).await;
    world
        .until("every worker that has places has its replicas", |view| {
            for (name, worker) in &view.workers {
                let wanted = usize::try_from(worker.spec.wanted_replicas()).unwrap_or(0);
                let scheduled = view.worker_condition(name, worker::SCHEDULED);
                if scheduled.is_none_or(|c| c.status == rbee_crds::ConditionStatus::True) {
                    view.settled(name, wanted)?;
                }
            }
            Ok(())
        })
        .await;
    world.comes_to_rest().await;
}

fn run(seed: u64) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let count = rng.random_range(4..25);
    let steps: Vec<Step> = (0..count).map(|_| step(&mut rng)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let outcome = runtime.expect("a runtime").block_on(AssertUnwindSafe(live(&steps)).catch_unwind());
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
        format!("RBEE_FLOW_SEED={seed}: {text}\nevents: {steps:#?}")
    })
}

#[test]
fn whatever_happens_the_world_comes_to_rest_as_wanted() {
    if let Some(seed) = std::env::var("RBEE_FLOW_SEED").ok().and_then(|s| s.parse().ok()) {
        return run(seed).unwrap_or_else(|failure| panic!("{failure}"));
    }
    let threads = thread::available_parallelism().map_or(2, |n| u64::try_from(n.get()).unwrap_or(2));
    let failures: Vec<String> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..threads)
            .map(|lane| {
                scope.spawn(move || {
                    (0..SEEDS).filter(|seed| seed % threads == lane).filter_map(|s| run(s).err()).collect::<Vec<_>>()
                })
            })
            .collect();
        lanes.into_iter().flat_map(|lane| lane.join().expect("a lane")).collect()
    });
    assert!(failures.is_empty(), "{} of {SEEDS} seeds fail; the first: {}", failures.len(), failures[0]);
}
