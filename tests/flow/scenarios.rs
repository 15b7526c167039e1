//! Stories with a beginning and an end; each ends with a legal world at rest.

use std::time::Duration;

use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use rbee_crds::{Assignment, Backend, ConditionStatus, Hive, Model, Worker, hive::CacheState, model, reason, worker};
use serde_json::json;
use tokio::time::sleep;

use super::{hive::Happening, link::Fuse, machine::Machine, world::World};

const FILE: &str = "file:///models/story.gguf";

async fn builtin(world: &World) {
    world.model("bee", json!({"uri": "builtin:tinybee"})).await;
}

#[tokio::test(start_paused = true)]
async fn a_model_and_a_worker_become_a_ready_replica() {
    let mut world = World::with_hives(&["a"]).await;
    builtin(&world).await;
    world.worker("story", json!({"modelRef": {"name": "bee"}})).await;
    let view = world.settled("story", 1).await;
    let replica = view.replicas("story")[0];
    assert_eq!(replica.spec.hive_name, "a");
    let url = replica.status.as_ref().and_then(|s| s.url.as_deref());
    assert!(url.is_some_and(|u| u.starts_with("http://127.0.0.1:")), "{url:?}");
    let ready = view.model_condition("bee", model::READY).expect("a condition");
    assert_eq!((ready.status, ready.reason.as_str()), (ConditionStatus::True, reason::AVAILABLE));
    let told: Vec<&str> = view.events.iter().filter_map(|e| e.reason.as_deref()).collect();
    assert!(told.contains(&"Scheduled") && told.contains(&"SuccessfulCreate"), "{told:?}");
    world.comes_to_rest().await;
}

#[tokio::test(start_paused = true)]
async fn replicas_spread_over_hives_and_scale() {
    let mut world = World::with_hives(&["a", "b"]).await;
    world.until("two Ready hives", |v| all_ready(v, 2)).await;
    builtin(&world).await;
    let scale = async |world: &World, replicas: i32| {
        let workers: Api<Worker> = world.api();
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        workers.patch_scale("story", &PatchParams::default(), &patch).await.expect("a scale");
    };
    world.worker("story", json!({"modelRef": {"name": "bee"}, "replicas": 1})).await;
    let one = world.settled("story", 1).await;
    scale(&world, 4).await;
    let four = world.settled("story", 4).await;
    assert_eq!(four.hives_of("story"), ["a", "a", "b", "b"]);
    assert!(one.uids("story").is_subset(&four.uids("story")), "scaling up replaced a good replica");
    scale(&world, 2).await;
    let two = world.settled("story", 2).await;
    assert_eq!(two.hives_of("story"), ["a", "b"]);
    assert!(two.uids("story").is_subset(&four.uids("story")), "scaling down made a new replica");
    scale(&world, 0).await;
    let none = world.settled("story", 0).await;
    let ready = none.worker_condition("story", worker::READY).expect("a condition");
    assert_eq!(ready.reason, reason::SCALED_TO_ZERO);
    scale(&world, 3).await;
    world.settled("story", 3).await;
    world.comes_to_rest().await;
}

fn all_ready(view: &super::view::View, count: usize) -> Result<(), String> {
    let ready = view.hives.values().filter(|h| rbee_controller::plan::fleet::is_ready(h)).count();
    if ready == count { Ok(()) } else { Err(format!("{ready} hives are Ready")) }
}

#[tokio::test(start_paused = true)]
async fn a_changed_template_rolls_without_serving_less() {
    let mut world = World::with_hives(&["a", "b"]).await;
    builtin(&world).await;
    world.worker("story", json!({"modelRef": {"name": "bee"}, "replicas": 3})).await;
    let old = world.settled("story", 3).await;
    let mark = world.witness.moments();
    world.worker("story", json!({"modelRef": {"name": "bee"}, "replicas": 3, "slots": 2})).await;
    let new = world
        .until("all replaced", |v| {
            v.settled("story", 3)?;
            let slots: Vec<i32> = v.replicas("story").iter().map(|a| a.spec.slots).collect();
            if slots == [2, 2, 2] { Ok(()) } else { Err(format!("slots {slots:?}")) }
        })
        .await;
    assert!(old.uids("story").is_disjoint(&new.uids("story")));
    assert_eq!(world.witness.fewest("story", mark), Some(3), "replicas that served at the worst moment");
    world.comes_to_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_hive_is_replaced_after_its_timeout_and_comes_back_to_nothing() {
    let mut world = World::with_hives(&["a", "b"]).await;
    world.until("two Ready hives", |v| all_ready(v, 2)).await;
    builtin(&world).await;
    world.worker("story", json!({"modelRef": {"name": "bee"}, "replicas": 2, "hiveLostTimeout": "2m"})).await;
    let before = world.settled("story", 2).await;
    assert_eq!(before.hives_of("story"), ["a", "b"]);
    world.lose("a").await;

    // It is silent, then lost, and nothing moves before the timeout.
    world
        .until("the hive is lost", |v| {
            let status = v.hives["a"].status.clone().unwrap_or_default();
            let ready = rbee_crds::condition::find(&status.conditions, rbee_crds::hive::READY).cloned();
            match ready {
                Some(c) if c.status == ConditionStatus::Unknown && c.reason == reason::HIVE_LOST => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    sleep(Duration::from_secs(100)).await;
    assert_eq!(world.look().await.uids("story"), before.uids("story"), "replaced before its timeout");
    let after = world
        .until("replaced", |v| {
            v.settled("story", 2)?;
            if v.hives_of("story") == ["b", "b"] { Ok(()) } else { Err(format!("{:?}", v.hives_of("story"))) }
        })
        .await;

    world.back("a");
    world.until("two Ready hives", |v| all_ready(v, 2)).await;
    let again = world.settled("story", 2).await;
    assert_eq!(again.uids("story"), after.uids("story"), "a hive that came back moved replicas");
    world.comes_to_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_hive_that_is_back_in_time_keeps_its_replicas() {
    let mut world = World::with_hives(&["a", "b"]).await;
    world.until("two Ready hives", |v| all_ready(v, 2)).await;
    builtin(&world).await;
    world.worker("story", json!({"modelRef": {"name": "bee"}, "replicas": 2})).await;
    let before = world.settled("story", 2).await;
    for away in [30, 200] {
        world.lose("a").await;
        sleep(Duration::from_secs(away)).await;
        world.back("a");
        sleep(Duration::from_secs(30)).await;
        let after = world.settled("story", 2).await;
        assert_eq!(after.uids("story"), before.uids("story"), "after {away} s away");
    }
    world.comes_to_rest().await;
}

#[tokio::test(start_paused = true)]
async fn replicas_that_wait_for_their_hive_are_not_replaced() {
    let mut world = World::with_hives(&["a", "b"]).await;
    world.until("two Ready hives", |v| all_ready(v, 2)).await;
    builtin(&world).await;
    world.worker("story", json!({"modelRef": {"name": "bee"}, "replicas": 2, "onHiveLost": "Wait"})).await;
    let before = world.settled("story", 2).await;
    world.lose("a").await;
    sleep(Duration::from_secs(3000)).await;
    let meanwhile = world.look().await;
    assert_eq!(meanwhile.uids("story"), before.uids("story"));
    let ready = meanwhile.worker_condition("story", worker::READY).expect("a condition");
    assert_eq!((ready.status, ready.reason.as_str()), (ConditionStatus::False, reason::HIVE_LOST), "{ready:?}");
    world.back("a");
    world.settled("story", 2).await;
    world.comes_to_rest().await;
}

/// The story that a queen is killed in, at each of her writes: with the write carried out, and without.
#[tokio::test(start_paused = true)]
async fn a_queen_killed_at_any_write_leaves_nothing_twice() {
    for arrives in [true, false] {
        let mut write = 0;
        loop {
            write += 1;
            let mut world = World::empty().await;
            world.hive(Machine::new("a"));
            world.hive(Machine::new("b"));
            world.crown_with(Fuse::at_write(write, arrives));
            builtin(&world).await;
            world.worker("story", json!({"modelRef": {"name": "bee"}, "replicas": 3})).await;
            let died = world.queen_dies(Duration::from_secs(60)).await;
            if !died {
                world.settled("story", 3).await;
                assert!(write > 8, "the queen needed only {write} writes");
                break;
            }
            world.kill_queen().await;
            let before = world.look().await;
            world.crown();
            let after = world.settled("story", 3).await;
            let told = format!("killed at write {write}, which {}", if arrives { "arrived" } else { "did not arrive" });
            assert!(before.uids("story").is_subset(&after.uids("story")), "{told}: a replica was replaced");
            assert_eq!(after.secrets.len(), 1, "{told}");
            world.comes_to_rest().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_missing_then_broken_then_there() {
    let mut world = World::with_hives(&["a", "b"]).await;
    world.model("story", json!({"uri": FILE})).await;
    world.worker("story", json!({"modelRef": {"name": "story"}, "replicas": 2})).await;
    let resolved = |wanted: &'static str| {
        move |v: &super::view::View| match v.model_condition("story", model::RESOLVED) {
            Some(c) if c.reason == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    let view = world.until("it is missing", resolved(reason::MODEL_NOT_FOUND)).await;
    let message = &view.model_condition("story", model::RESOLVED).expect("a condition").message;
    assert!(message.contains("/models/story.gguf"), "{message}");
    let view = world
        .until("the worker says so", |v| match v.worker_condition("story", worker::SCHEDULED) {
            Some(c) if c.reason == reason::MODEL_NOT_READY && c.message.contains("/models/story.gguf") => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    assert!(view.assignments.is_empty());

    world.happens("a", Happening::File(FILE.into(), CacheState::Invalid)).await;
    let view = world.until("it is invalid", resolved(reason::INVALID_MODEL_FILE)).await;
    let message = &view.model_condition("story", model::RESOLVED).expect("a condition").message;
    assert!(message.contains("hive a") && message.contains("PK"), "{message}");

    world.happens("a", Happening::File(FILE.into(), CacheState::Available)).await;
    let view = world.settled("story", 2).await;
    assert_eq!(view.hives_of("story"), ["a", "a"], "where the file is");
    world.comes_to_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_nowhere_is_refused_and_no_other_is_taken() {
    let mut world = World::with_hives(&["a", "b"]).await;
    world.until("two Ready hives", |v| all_ready(v, 2)).await;
    builtin(&world).await;
    world.worker("story", json!({"modelRef": {"name": "bee"}, "backend": "cuda"})).await;
    let view = world
        .until("it has no place", |v| match v.worker_condition("story", worker::SCHEDULED) {
            Some(c) if c.status == ConditionStatus::False && c.reason == reason::BACKEND_NOT_AVAILABLE => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    let message = &view.worker_condition("story", worker::SCHEDULED).expect("a condition").message;
    assert!(message.contains("cuda") && message.contains("cpu"), "{message}");
    sleep(Duration::from_secs(600)).await;
    assert!(world.look().await.assignments.is_empty(), "it fell back");

    // A hive with that backend joins.
    world.hive(Machine { backends: vec![Backend::Cpu, Backend::Cuda], ..Machine::new("c") });
    let view = world.settled("story", 1).await;
    assert_eq!(view.replicas("story")[0].spec.backend, Backend::Cuda);
    world.comes_to_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_worker_goes_with_all_that_it_owns_once_the_processes_are_gone() {
    let mut world = World::with_hives(&["a"]).await;
    builtin(&world).await;
    world.worker("story", json!({"modelRef": {"name": "bee"}, "replicas": 2})).await;
    let before = world.settled("story", 2).await;
    world.delete::<Worker>("story").await;
    let ending = world
        .until("its assignments are asked to end", |v| {
            let ends = v.assignments.iter().filter(|a| a.metadata.deletion_timestamp.is_some()).count();
            if ends == 2 { Ok(()) } else { Err(format!("{ends} of {}", v.assignments.len())) }
        })
        .await;
    assert!(ending.assignments.iter().all(|a| !a.finalizers().is_empty()), "held until the process is gone");
    let gone = |v: &super::view::View| match (v.assignments.len(), v.secrets.len()) {
        (0, 0) => Ok(()),
        other => Err(format!("{other:?} assignments and secrets are left")),
    };
    world.until("all is gone", gone).await;

    // One of the same name is another Worker: another key, other replicas.
    world.worker("story", json!({"modelRef": {"name": "bee"}, "replicas": 2})).await;
    let after = world.settled("story", 2).await;
    assert!(before.uids("story").is_disjoint(&after.uids("story")));
    assert_ne!(before.secrets[0].data, after.secrets[0].data);
    world.comes_to_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_deleted_while_its_hive_is_lost_is_let_go() {
    let mut world = World::with_hives(&["a"]).await;
    builtin(&world).await;
    world.worker("story", json!({"modelRef": {"name": "bee"}})).await;
    world.settled("story", 1).await;
    world.lose("a").await;
    world.delete::<Worker>("story").await;
    world
        .until("let go", |v| if v.assignments.is_empty() { Ok(()) } else { Err(format!("{:?}", v.assignments)) })
        .await;
    world.back("a");
    world.comes_to_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_told_and_the_replica_starts_again() {
    let mut world = World::with_hives(&["a"]).await;
    builtin(&world).await;
    world.worker("story", json!({"modelRef": {"name": "bee"}})).await;
    let before = world.settled("story", 1).await;
    let name = before.replicas("story")[0].name_any();
    world.happens("a", Happening::Crash(name)).await;
    world
        .until("the crash is told", |v| {
            let status = v.workers["story"].status.clone().unwrap_or_default();
            match &status.last_failure {
                Some(f) if f.reason == reason::WORKER_CRASHED && f.exit_code == Some(139) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    let after = world
        .until("it serves again", |v| {
            v.settled("story", 1)?;
            let status = v.replicas("story")[0].status.clone().unwrap_or_default();
            if status.incarnation == Some(2) { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
    assert_eq!(after.uids("story"), before.uids("story"));
    let failure = after.workers["story"].status.as_ref().and_then(|s| s.last_failure.as_ref());
    assert!(failure.is_some(), "the last failure is kept");
    world.comes_to_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_write_of_an_older_epoch_is_refused() {
    let mut world = World::with_hives(&["a"]).await;
    builtin(&world).await;
    // Terms of leadership go by.
    world.until("a Ready hive", |v| all_ready(v, 1)).await;
    world.end_queen().await;
    world.crown();
    world.worker("story", json!({"modelRef": {"name": "bee"}})).await;
    let view = world.settled("story", 1).await;
    let replica = view.replicas("story")[0];
    assert!(replica.spec.epoch >= 1, "{:?}", replica.spec.epoch);
    let api: Api<Assignment> = world.api();
    let stale = Patch::Merge(json!({"spec": {"epoch": replica.spec.epoch - 1}}));
    let refusal = api.patch(&replica.name_any(), &PatchParams::default(), &stale).await.expect_err("a refusal");
    let kube::Error::Api(status) = refusal else { panic!("{refusal}") };
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert!(status.message.contains("the writer is no longer the leader"), "{}", status.message);
    world.comes_to_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_hive_that_is_unschedulable_takes_nothing_and_keeps_what_it_has() {
    let mut world = World::with_hives(&["a", "b"]).await;
    world.until("two Ready hives", |v| all_ready(v, 2)).await;
    builtin(&world).await;
    world.worker("story", json!({"modelRef": {"name": "bee"}, "replicas": 2})).await;
    let before = world.settled("story", 2).await;
    let hives: Api<Hive> = Api::all(world.client.clone());
    let cordon = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    hives.patch("a", &PatchParams::default(), &cordon).await.expect("a patch");
    world.worker("story", json!({"modelRef": {"name": "bee"}, "replicas": 4})).await;
    let after = world.settled("story", 4).await;
    assert_eq!(after.hives_of("story"), ["a", "b", "b", "b"]);
    assert!(before.uids("story").is_subset(&after.uids("story")));
    world.comes_to_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_hive_object_that_somebody_deletes_is_declared_again_and_keeps_its_replicas() {
    let mut world = World::with_hives(&["a"]).await;
    builtin(&world).await;
    world.worker("story", json!({"modelRef": {"name": "bee"}})).await;
    let before = world.settled("story", 1).await;
    let hives: Api<Hive> = Api::all(world.client.clone());
    hives.delete("a", &Default::default()).await.expect("a deletion");
    world.until("it is back", |v| all_ready(v, 1)).await;
    let after = world.settled("story", 1).await;
    assert_eq!(after.uids("story"), before.uids("story"));
    world.comes_to_rest().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_command_declared_idles_out_with_its_model() {
    let mut world = World::with_hives(&["a"]).await;
    let label = json!({"rbee.dev/created-by": "infer"});
    builtin(&world).await;
    world.worker("story", json!({"modelRef": {"name": "bee"}, "idleTimeout": "5m"})).await;
    world.settled("story", 1).await;
    let labelled = Patch::Merge(json!({"metadata": {"labels": label}}));
    let (models, workers): (Api<Model>, Api<Worker>) = (world.api(), world.api());
    models.patch("bee", &PatchParams::default(), &labelled).await.expect("a label");
    workers.patch("story", &PatchParams::default(), &labelled).await.expect("a label");
    world
        .until("all is gone", |v| match (v.models.len(), v.workers.len(), v.assignments.len()) {
            (0, 0, 0) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    world.comes_to_rest().await;
}
