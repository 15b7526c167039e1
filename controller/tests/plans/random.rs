//! Random worlds: whatever happens in whatever order, the world stays legal, a plan carried out leaves nothing to plan, and
//! once nothing happens any more everything comes to rest.

use std::sync::Arc;

use kube::{Resource, ResourceExt};
use proptest::prelude::*;
use rbee_controller::plan::{check, worker::choose};
use rbee_crds::{
    Assignment, AssignmentState, Hive, HiveStatus, Model, Time, Worker, condition,
    hive::{Cache, CacheState, CachedModel, Device, HiveBackend},
    worker::{READY, SCHEDULED},
};
use serde_json::json;

use super::world::{LOST_AFTER, NAMESPACE, World};

const HIVES: [&str; 3] = ["a", "b", "c"];
const WORKERS: [&str; 3] = ["one", "two", "six"];
const FILE: &str = "file:///m.gguf";
const ROUNDS: usize = 80;

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Declare {
        worker: usize,
        spec: Spec,
    },
    DeleteWorker {
        worker: usize,
        collected: bool,
    },
    DeclareModel {
        file: bool,
    },
    DeleteModel,
    FileChanges {
        hive: usize,
        state: Option<CacheState>,
    },
    HiveJoins {
        hive: usize,
    },
    HiveDies {
        hive: usize,
    },
    HiveForgotten {
        hive: usize,
    },
    HiveActs {
        hive: usize,
        fails: bool,
    },
    ReplicaCrashes {
        nth: usize,
    },
    Time {
        seconds: u64,
    },
    QueenRestarts,
    /// Nothing else happens for a while, and everybody does their work.
    Calm,
    PlanHives,
    PlanModel,
    PlanWorker {
        worker: usize,
    },
    PlanAssignment {
        nth: usize,
    },
}

#[derive(Clone, Debug)]
struct Spec {
    replicas: i64,
    slots: i64,
    memory: &'static str,
    pinned: Option<usize>,
    surge: i64,
    unavailable: i64,
    waits: bool,
    suspend: bool,
}

fn specs() -> impl Strategy<Value = Spec> {
    let memory = prop::sample::select(vec!["300M", "500M", "900M"]);
    let pinned = prop_oneof![4 => Just(None), 1 => (0..HIVES.len()).prop_map(Some)];
    (0..5_i64, 1..3_i64, memory, pinned, 0..3_i64, 0..3_i64, prop::bool::weighted(0.2), prop::bool::weighted(0.1))
        .prop_map(|(replicas, slots, memory, pinned, surge, unavailable, waits, suspend)| Spec {
            replicas,
            slots,
            memory,
            pinned,
            surge,
            unavailable,
            waits,
            suspend,
        })
}

fn events() -> impl Strategy<Value = Event> {
    let (hive, worker) = (0..HIVES.len(), 0..WORKERS.len());
    let state =
        prop::option::of(prop::sample::select(vec![CacheState::Available, CacheState::Missing, CacheState::Invalid]));
    prop_oneof![
        4 => (worker.clone(), specs()).prop_map(|(worker, spec)| Event::Declare { worker, spec }),
        1 => (worker.clone(), any::<bool>()).prop_map(|(worker, collected)| Event::DeleteWorker { worker, collected }),
        1 => any::<bool>().prop_map(|file| Event::DeclareModel { file }),
        1 => Just(Event::DeleteModel),
        2 => (hive.clone(), state).prop_map(|(hive, state)| Event::FileChanges { hive, state }),
        3 => hive.clone().prop_map(|hive| Event::HiveJoins { hive }),
        2 => hive.clone().prop_map(|hive| Event::HiveDies { hive }),
        1 => hive.clone().prop_map(|hive| Event::HiveForgotten { hive }),
        8 => (hive, prop::bool::weighted(0.2)).prop_map(|(hive, fails)| Event::HiveActs { hive, fails }),
        2 => any::<prop::sample::Index>().prop_map(|i| Event::ReplicaCrashes { nth: i.index(1000) }),
        5 => prop::sample::select(vec![1_u64, 20, 45, 200, 400]).prop_map(|seconds| Event::Time { seconds }),
        1 => Just(Event::QueenRestarts),
        4 => Just(Event::Calm),
        4 => Just(Event::PlanHives),
        3 => Just(Event::PlanModel),
        12 => worker.prop_map(|worker| Event::PlanWorker { worker }),
        6 => any::<prop::sample::Index>().prop_map(|i| Event::PlanAssignment { nth: i.index(1000) }),
    ]
}

fn declare(world: &mut World, name: &str, spec: &Spec) {
    let mut fields = json!({
        "modelRef": {"name": "bee"}, "replicas": spec.replicas, "slots": spec.slots, "suspend": spec.suspend,
        "resources": {"memory": spec.memory},
        "rolloutStrategy": {"maxSurge": spec.surge, "maxUnavailable": spec.unavailable},
        "onHiveLost": if spec.waits { "Wait" } else { "Replace" },
    });
    if let Some(hive) = spec.pinned {
        fields["hiveName"] = json!(HIVES[hive]);
    }
    let mut worker: Worker = serde_json::from_value(json!({
        "apiVersion": "rbee.dev/v1alpha1", "kind": "Worker", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": fields,
    }))
    .expect("a Worker");
    if let Some(old) = world.workers.get(name) {
        *worker.meta_mut() = old.metadata.clone();
        worker.metadata.generation = old.metadata.generation.map(|g| g + 1);
        worker.status.clone_from(&old.status);
    }
    let (name, worker) = world.put(worker);
    world.workers.insert(name, worker);
}

fn declare_model(world: &mut World, file: bool) {
    let uri = if file { FILE } else { "builtin:tinybee" };
    let mut model: Model = serde_json::from_value(json!({
        "apiVersion": "rbee.dev/v1alpha1", "kind": "Model", "metadata": {"name": "bee", "namespace": NAMESPACE}, "spec": {"uri": uri},
    }))
    .expect("a Model");
    if let Some(old) = world.models.get("bee") {
        *model.meta_mut() = old.metadata.clone();
        model.metadata.generation = old.metadata.generation.map(|g| g + 1);
        model.status.clone_from(&old.status);
    }
    let (name, model) = world.put(model);
    world.models.insert(name, model);
}

fn join(world: &mut World, name: &str) {
    if !world.hives.contains_key(name) {
        let device = Device { index: 0, name: "cpu".into(), memory_bytes: 2_000_000_000, memory_free_bytes: None };
        let mut hive = Hive::new(name, Default::default());
        hive.status = Some(HiveStatus {
            version: Some("0.1.0".into()),
            backends: vec![HiveBackend { name: rbee_crds::Backend::Cpu, devices: vec![device] }],
            ..HiveStatus::default()
        });
        let (name, hive) = world.put(hive);
        world.hives.insert(name, hive);
    }
    world.alive.insert(name.into(), true);
    world.beat();
}

fn file(world: &mut World, name: &str, state: Option<CacheState>) {
    let Some(hive) = world.hives.get_mut(name) else { return };
    let model = |state| CachedModel {
        uri: FILE.into(),
        revision: None,
        size_bytes: Some(1000 + i64::from(name.as_bytes()[0])),
        sha256: None,
        state,
        message: None,
        gguf: None,
        download: None,
    };
    let cache = Cache { models: state.map(model).into_iter().collect(), ..Cache::default() };
    Arc::make_mut(hive).status.get_or_insert_default().cache = Some(cache);
}

fn nth(world: &World, nth: usize) -> Option<String> {
    let names: Vec<&String> = world.assignments.keys().collect();
    (!names.is_empty()).then(|| names[nth % names.len()].clone())
}

fn happen(world: &mut World, event: &Event) -> Result<(), TestCaseError> {
    match event {
        Event::Declare { worker, spec } => declare(world, WORKERS[*worker], spec),
        Event::DeleteWorker { worker, collected } => {
            let gone = world.workers.remove(WORKERS[*worker]);
            let now = world.now;
            for assignment in world.assignments.values_mut().filter(|_| *collected) {
                if assignment
                    .owner_references()
                    .iter()
                    .any(|o| Some(&o.uid) == gone.as_ref().and_then(|w| w.metadata.uid.as_ref()))
                {
                    Arc::make_mut(assignment).metadata.deletion_timestamp.get_or_insert(Time(now));
                }
            }
        }
        Event::DeclareModel { file } => declare_model(world, *file),
        Event::DeleteModel => drop(world.models.remove("bee")),
        Event::FileChanges { hive, state } => file(world, HIVES[*hive], *state),
        Event::HiveJoins { hive } => join(world, HIVES[*hive]),
        Event::HiveDies { hive } => drop(world.alive.insert(HIVES[*hive].into(), false)),
        Event::HiveForgotten { hive } => {
            world.alive.insert(HIVES[*hive].into(), false);
            world.hives.remove(HIVES[*hive]);
        }
        Event::HiveActs { hive, fails } => {
            world.hive_acts(HIVES[*hive], |_| *fails);
        }
        Event::ReplicaCrashes { nth: n } => {
            if let Some(name) = nth(world, *n) {
                world.set_status(&name, |s| s.state = Some(AssignmentState::Pending));
            }
        }
        Event::Time { seconds } => world.advance(*seconds),
        Event::QueenRestarts => {
            world.epoch += 1;
            world.judge_from = world.now + LOST_AFTER;
        }
        Event::Calm => {
            for _ in 0..6 {
                world.advance(5);
                plan_everything(world)?;
                for hive in HIVES {
                    world.hive_acts(hive, |_| false);
                }
            }
        }
        Event::PlanHives => {
            for name in world.hives.keys().cloned().collect::<Vec<_>>() {
                let plan = world.plan_hive(&name);
                world.do_hive(&name, plan);
                prop_assert!(world.plan_hive(&name).is_empty(), "hive {name} is planned twice");
            }
        }
        Event::PlanModel => {
            if world.models.contains_key("bee") {
                let plan = world.plan_model("bee");
                world.do_model("bee", plan);
                prop_assert!(world.plan_model("bee").is_empty(), "the model is planned twice");
            }
        }
        Event::PlanWorker { worker } => plan_worker(world, WORKERS[*worker])?,
        Event::PlanAssignment { nth: n } => {
            // An orphan on a lost hive is deleted, then let go.
            let Some(name) = nth(world, *n) else { return Ok(()) };
            for _ in 0..2 {
                if world.assignments.contains_key(&name) {
                    let plan = world.plan_assignment(&name);
                    world.do_assignment(&name, plan);
                }
            }
            let quiet = !world.assignments.contains_key(&name) || world.plan_assignment(&name).is_empty();
            prop_assert!(quiet, "assignment {name} is planned three times");
        }
    }
    Ok(())
}

/// Every planner once.
fn plan_everything(world: &mut World) -> Result<(), TestCaseError> {
    happen(world, &Event::PlanHives)?;
    happen(world, &Event::PlanModel)?;
    (0..WORKERS.len()).try_for_each(|worker| happen(world, &Event::PlanWorker { worker }))?;
    (0..world.assignments.len()).rev().try_for_each(|nth| happen(world, &Event::PlanAssignment { nth }))
}

fn live<'a>(world: &'a World, worker: &'a Worker) -> impl Iterator<Item = &'a Arc<Assignment>> {
    world.assignments.values().filter(|a| {
        a.metadata.deletion_timestamp.is_none()
            && a.owner_references().iter().any(|o| Some(&o.uid) == worker.metadata.uid.as_ref())
    })
}

fn serving(world: &World, worker: &Worker) -> usize {
    let serves = |a: &&Arc<Assignment>| {
        a.status.as_ref().and_then(|s| s.state) == Some(AssignmentState::Ready)
            && world.fleet().is_heard(&a.spec.hive_name)
    };
    live(world, worker).filter(serves).count()
}

/// Plans, carries out, and holds the plan against what a Worker may expect.
fn plan_worker(world: &mut World, name: &str) -> Result<(), TestCaseError> {
    let Some(worker) = world.workers.get(name).cloned() else { return Ok(()) };
    let (before, lived) = (serving(world, &worker), live(world, &worker).count());
    let template = choose(&worker, world.models.get("bee").map(Arc::as_ref)).ok();
    let of_one_spec = template.is_none_or(|t| live(world, &worker).all(|a| a.spec.template_hash == t.hash));
    let plan = world.plan_worker(name);
    for created in &plan.create {
        let hive = world.hives.get(&created.spec.hive_name);
        prop_assert!(
            hive.is_some_and(|h| rbee_controller::plan::fleet::is_ready(h)),
            "{} is placed on no Ready hive",
            created.name_any()
        );
        prop_assert!(
            worker.spec.hive_name.as_ref().is_none_or(|h| *h == created.spec.hive_name),
            "a pinned worker went elsewhere"
        );
        prop_assert_eq!(created.spec.epoch, world.epoch);
    }
    world.do_worker(name, plan);
    let again = world.plan_worker(name);
    prop_assert!(
        again.is_empty(),
        "a plan was carried out, and the next one is not empty: {}",
        super::tell::worker(name, &again)
    );
    let worker = world.workers[name].clone();
    let broken = check::planned(&worker, &world.hives, &world.all_assignments());
    prop_assert!(broken.is_empty(), "{broken:?}");
    let wanted = usize::try_from(worker.spec.wanted_replicas()).unwrap_or(0);
    let strategy = worker.spec.rollout_strategy.unwrap_or_default();
    let unavailable = match (strategy.max_surge, strategy.max_unavailable) {
        (Some(0), Some(0)) => 1,
        (_, n) => usize::try_from(n.unwrap_or(0)).unwrap_or(0),
    };
    let least = before.min(wanted.saturating_sub(unavailable));
    let after = serving(world, &worker);
    prop_assert!(after >= least, "{before} served, at least {least} had to stay, {after} do");
    let lives = live(world, &worker).count();
    prop_assert!(
        !of_one_spec || lives >= lived.min(wanted),
        "of {lived} replicas {lives} are left, {wanted} are wanted"
    );
    Ok(())
}

/// Everybody lives and does as told; nothing else happens.
fn settle(world: &mut World) -> Result<(), TestCaseError> {
    declare_model(world, false);
    for hive in HIVES {
        join(world, hive);
    }
    for _ in 0..ROUNDS {
        world.advance(30);
        prop_assert!(world.plan_all(ROUNDS, |_| {}).is_some(), "the planners never come to rest");
        let broken = check::always(&world.hives, &world.all_assignments(), world.epoch);
        prop_assert!(broken.is_empty(), "{broken:?}");
        let acted: Vec<bool> = HIVES.iter().map(|hive| world.hive_acts(hive, |_| false)).collect();
        if !acted.contains(&true) {
            return Ok(());
        }
    }
    prop_assert!(false, "no rest within {ROUNDS} rounds");
    Ok(())
}

fn at_rest(world: &World) -> Result<(), TestCaseError> {
    for assignment in world.assignments.values() {
        prop_assert!(assignment.metadata.deletion_timestamp.is_none(), "{} still ends", assignment.name_any());
        let owner = world.workers.get(&assignment.spec.worker_name).and_then(|w| w.uid());
        prop_assert!(assignment.owner_references().iter().any(|o| Some(&o.uid) == owner.as_ref()), "an orphan stays");
    }
    for (name, worker) in &world.workers {
        let mine: Vec<_> = world.assignments.values().filter(|a| a.spec.worker_name == *name).collect();
        let wanted = usize::try_from(worker.spec.wanted_replicas()).unwrap_or(0);
        let conditions = &worker.status.as_ref().expect("a status").conditions;
        // A replica that cannot run holds its rollout up: those of the older spec go on serving.
        let stuck = mine.iter().any(|a| a.status.as_ref().and_then(|s| s.state) == Some(AssignmentState::Failed));
        if condition::is_true(conditions, SCHEDULED) && !stuck {
            prop_assert_eq!(mine.len(), wanted, "worker {} has its places", name);
            let hashes: std::collections::BTreeSet<_> = mine.iter().map(|a| &a.spec.template_hash).collect();
            prop_assert!(hashes.len() <= 1, "replicas of two specs are left");
        }
        let ready =
            mine.iter().filter(|a| a.status.as_ref().and_then(|s| s.state) == Some(AssignmentState::Ready)).count();
        prop_assert_eq!(
            condition::is_true(conditions, READY),
            wanted > 0 && ready >= wanted,
            "Ready of worker {}",
            name
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_world_stays_legal_and_comes_to_rest(events in prop::collection::vec(events(), 1..70)) {
        let mut world = World::new();
        declare_model(&mut world, false);
        for hive in HIVES {
            join(&mut world, hive);
        }
        for event in &events {
            happen(&mut world, event)?;
            let broken = check::always(&world.hives, &world.all_assignments(), world.epoch);
            prop_assert!(broken.is_empty(), "after {event:?}: {broken:?}");
        }
        settle(&mut world)?;
        at_rest(&world)?;
    }

    #[test]
    fn a_queen_who_restarts_in_a_world_at_rest_has_nothing_to_do(specs in prop::collection::vec(specs(), 1..4)) {
        let mut world = World::new();
        for (spec, name) in specs.iter().zip(WORKERS) {
            declare(&mut world, name, spec);
        }
        settle(&mut world)?;
        let before = world.assignments.clone();
        world.epoch += 1;
        world.now = world.now.checked_add(std::time::Duration::from_secs(3600)).expect("a time");
        world.judge_from = world.now + LOST_AFTER;
        let mut told = vec![];
        prop_assert!(world.plan_all(ROUNDS, |text| told.push(text)).is_some());
        prop_assert!(told.is_empty(), "an hour without the queen caused {told:?}");
        prop_assert_eq!(before, world.assignments);
    }
}
