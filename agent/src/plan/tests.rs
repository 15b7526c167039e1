//! The rules one by one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rbee_crds::{
    Backend, Time,
    hive::{Device, HiveBackend},
};
use rbee_wire::worker::{Health, WorkerState};

use super::*;
use crate::supervise::{
    failure::{Ended, Exit},
    observe::{Moment, Observation, Silence, observe},
    state::{Key, Nonce, ProcessId},
};

pub(crate) fn desired(uid: &str) -> Desired {
    Desired {
        key: Key {
            uid: uid.into(),
            namespace: "default".into(),
            name: format!("story-{uid}"),
            worker_name: "story".into(),
            worker_uid: None,
        },
        deleting: false,
        held: true,
        template_hash: "h1".into(),
        model_id: "bee".into(),
        uri: "builtin:tinybee".into(),
        sha256: None,
        backend: Backend::Cpu,
        device: 0,
        slots: 2,
        context_length: None,
        memory_bytes: 100,
        epoch: 1,
        incarnation: 0,
        restarts: 0,
    }
}

pub(crate) fn health(state: WorkerState, in_flight: u32) -> Health {
    Health {
        status: "ok".into(),
        version: "0".into(),
        state,
        in_flight,
        slots_total: 2,
        slots_free: 2,
        tokens_total: 0,
        last_request_unix_ms: None,
        layers_loaded: 1,
        layers_total: 4,
    }
}

pub(crate) fn cpu(free: i64) -> Vec<HiveBackend> {
    let device = Device { index: 0, name: "cpu".into(), memory_bytes: 1_000_000, memory_free_bytes: Some(free) };
    vec![HiveBackend { name: Backend::Cpu, devices: vec![device] }]
}

pub(crate) fn available() -> BTreeMap<String, FileState> {
    BTreeMap::from([(
        "builtin:tinybee".into(),
        FileState::Available { path: "/models/bee.gguf".into(), mark: None, sha256: Digest::Unknown },
    )])
}

pub(crate) fn world(uids: &[&str]) -> World {
    let mut world = World { synced: true, files: available(), backends: cpu(1_000_000), ..World::default() };
    for uid in uids {
        let desired = desired(uid);
        world.replicas.insert((*uid).into(), Replica::new(desired.key.clone()));
        world.desired.insert((*uid).into(), desired);
    }
    world
}

const TIMING: fn() -> Timing = Timing::default;

pub(crate) fn moment(now: Tick, timing: &Timing) -> Moment<'_> {
    Moment { now, at: Timestamp::UNIX_EPOCH, timing }
}

pub(crate) fn secs(n: u64) -> Tick {
    Tick::from_secs(n)
}

fn actions(world: &World, now: Tick) -> Vec<Action> {
    plan(world, now, &TIMING(), 8001).actions
}

fn carry(world: &mut World, now: Tick) -> Vec<Action> {
    let actions = actions(world, now);
    for action in &actions {
        record(world, action, now, &Time(Timestamp::UNIX_EPOCH), || Nonce::new("n"));
    }
    actions
}

fn see(world: &mut World, seen: Observation, now: Tick) {
    observe(world, seen, moment(now, &TIMING()));
}

fn process(pid: u32) -> ProcessId {
    ProcessId { pid, start_time: 1 }
}

/// A world with one replica that is Ready since `now`.
fn ready(now: Tick) -> World {
    let mut world = world(&["a"]);
    carry(&mut world, now);
    see(&mut world, Observation::Spawned { uid: "a".into(), incarnation: 1, process: process(7) }, now);
    see(&mut world, Observation::Located { uid: "a".into(), url: "http://127.0.0.1:8001".into() }, now);
    answer(&mut world, Ok(health(WorkerState::Ready, 0)), now);
    world
}

fn answer(world: &mut World, answer: Result<Health, Silence>, now: Tick) {
    see(world, Observation::Probed { uid: "a".into(), process: process(7), answer }, now);
}

pub(crate) fn silence() -> Result<Health, Silence> {
    Err(Silence { error: "timed out".into(), frozen: false })
}

/// Lets probes fail, one a second, until something else than a probe is planned; the answer is when.
fn silent_until_killed(world: &mut World, from: Tick) -> Tick {
    for second in 0..200 {
        let now = from + secs(second);
        let planned = carry(world, now);
        if planned.iter().any(|a| matches!(a, Action::Kill { .. })) {
            return now;
        }
        if planned.iter().any(|a| matches!(a, Action::Probe { .. })) {
            answer(world, silence(), now);
        }
    }
    panic!("never killed");
}

#[test]
fn ports_are_given_once_each() {
    let planned = actions(&world(&["a", "b", "c"]), Tick::ZERO);
    let ports: Vec<_> = planned.iter().map(|a| if let Action::Start { port, .. } = a { *port } else { 0 }).collect();
    assert_eq!(ports, [8001, 8002, 8003]);
}

#[test]
fn starts_of_one_moment_share_the_memory() {
    let mut world = world(&["a", "b", "c"]);
    world.backends = cpu(250);
    let plan = plan(&world, Tick::ZERO, &TIMING(), 8001);
    let started = plan.actions.iter().filter(|a| matches!(a, Action::Start { .. })).count();
    assert_eq!(started, 2);
    assert!(
        matches!(&plan.blocked["c"], Blocked::Refused { reason: "InsufficientMemory", message } if message.contains("MB")),
        "{:?}",
        plan.blocked
    );
    world.backends = cpu(100);
    world.replicas.retain(|uid, _| uid == "a");
    assert_eq!(actions(&world, Tick::ZERO).len(), 1, "equal numbers fit");
}

#[test]
fn a_backend_that_is_not_here_is_refused_once_and_never_replaced() {
    let mut world = world(&["a"]);
    world.desired.get_mut("a").unwrap().backend = Backend::Cuda;
    let first = carry(&mut world, Tick::ZERO);
    assert!(
        matches!(&first[..], [Action::Refuse { reason: "BackendNotAvailable", message, .. }] if message.contains("cpu"))
    );
    assert_eq!(actions(&world, secs(1)), []);
    world.desired.get_mut("a").unwrap().backend = Backend::Cpu;
    world.desired.get_mut("a").unwrap().device = 3;
    assert!(matches!(&actions(&world, secs(1))[..], [Action::Refuse { reason: "DeviceNotAvailable", .. }]));
}

#[test]
fn a_file_with_another_sha256_is_never_started() {
    let mut world = world(&["a"]);
    world.desired.get_mut("a").unwrap().sha256 = Some("aa".into());
    let with = |sha256: Digest| FileState::Available { path: "/m.gguf".into(), mark: None, sha256 };
    world.files.insert("builtin:tinybee".into(), with(Digest::Unknown));
    assert!(matches!(plan(&world, Tick::ZERO, &TIMING(), 1).blocked["a"], Blocked::Waiting(_)));
    world.files.insert("builtin:tinybee".into(), with(Digest::Is("bb".into())));
    let refused = carry(&mut world, Tick::ZERO);
    assert!(
        matches!(&refused[..], [Action::Refuse { reason: "ChecksumMismatch", message, .. }] if message.contains("bb"))
    );
    world.files.insert("builtin:tinybee".into(), with(Digest::Not("a checkpoint has none".into())));
    let refused = carry(&mut world, secs(1));
    assert!(
        matches!(&refused[..], [Action::Refuse { reason: "InvalidRequest", message, .. }] if message.contains("has none"))
    );
    world.files.insert("builtin:tinybee".into(), with(Digest::Is("aa".into())));
    assert!(matches!(&actions(&world, Tick::ZERO)[..], [Action::Start { .. }]));
}

#[test]
fn a_missing_file_is_waited_for_and_then_used() {
    let mut world = world(&["a"]);
    world.files.clear();
    assert!(matches!(plan(&world, Tick::ZERO, &TIMING(), 1).blocked["a"], Blocked::Waiting(_)));
    let message = "/m.gguf: there is no such file".to_owned();
    world.files.insert("builtin:tinybee".into(), FileState::Refused { reason: "ModelNotFound", message });
    assert!(matches!(&carry(&mut world, Tick::ZERO)[..], [Action::Refuse { reason: "ModelNotFound", .. }]));
    world.files = available();
    assert!(matches!(&actions(&world, Tick::ZERO)[..], [Action::Start { .. }]));
}

#[test]
fn before_the_api_was_listed_nothing_is_ended() {
    let mut world = ready(Tick::ZERO);
    world.desired.clear();
    world.synced = false;
    assert!(!actions(&world, secs(1)).iter().any(|a| matches!(a, Action::Stop { .. } | Action::Forget { .. })));
    world.synced = true;
    assert_eq!(actions(&world, secs(1)), [Action::Stop { uid: "a".into(), cause: Cause::Unwanted }]);
}

#[test]
fn a_worker_that_ignores_the_request_is_killed_after_35_seconds() {
    let mut world = ready(Tick::ZERO);
    world.desired.get_mut("a").unwrap().deleting = true;
    assert!(matches!(&carry(&mut world, secs(1))[..], [Action::Stop { .. }]));
    assert_eq!(plan(&world, secs(2), &TIMING(), 1).wake, Some(secs(36)));
    assert_eq!(actions(&world, secs(35)), []);
    assert!(matches!(&carry(&mut world, secs(36))[..], [Action::Kill { .. }]));
    let ended = Ended { exit: Exit::Signal(9), out_of_memory: false, log_tail: String::new(), said: None };
    let seen = Observation::Ended { uid: "a".into(), process: process(7), ended };
    let notices = observe(&mut world, seen, moment(secs(37), &TIMING()));
    assert!(notices.len() == 1 && notices[0].warning && notices[0].reason == "WorkerKilled", "{notices:?}");
    assert_eq!(carry(&mut world, secs(37)), [Action::Release { uid: "a".into() }]);
    assert_eq!(actions(&world, secs(38)), []);
}

#[test]
fn a_silent_worker_is_killed_in_15_seconds_with_requests_and_in_90_without() {
    let mut busy = ready(Tick::ZERO);
    answer(&mut busy, Ok(health(WorkerState::Ready, 1)), secs(10));
    let killed = silent_until_killed(&mut busy, secs(10));
    assert!(killed <= secs(10 + 15 - 4), "{killed:?}: a probe may take 4 s more");
    let mut idle = ready(Tick::ZERO);
    let killed = silent_until_killed(&mut idle, Tick::ZERO);
    assert!(killed > secs(30) && killed <= secs(86), "{killed:?}");
    let mut frozen = ready(Tick::ZERO);
    answer(&mut frozen, Err(Silence { error: "timed out".into(), frozen: true }), secs(14));
    assert!(matches!(&actions(&frozen, secs(14))[..], [Action::Kill { .. }]));
}

#[test]
fn one_missed_answer_is_forgiven() {
    let mut world = ready(Tick::ZERO);
    answer(&mut world, silence(), secs(10));
    assert_eq!(actions(&world, secs(11)), [Action::Probe { uid: "a".into() }]);
    answer(&mut world, Ok(health(WorkerState::Ready, 3)), secs(11));
    answer(&mut world, silence(), secs(16));
    assert!(!actions(&world, secs(17)).iter().any(|a| matches!(a, Action::Kill { .. })));
}

#[test]
fn requests_without_progress_are_a_hang() {
    let mut world = ready(Tick::ZERO);
    for second in 0..75 {
        answer(&mut world, Ok(health(WorkerState::Ready, 1)), secs(second));
        assert!(!actions(&world, secs(second)).iter().any(|a| matches!(a, Action::Kill { .. })), "{second}");
    }
    let killed = actions(&world, secs(76));
    assert!(
        matches!(&killed[..], [Action::Kill { cause: Cause::Broken { message, .. }, .. }] if message.contains("no token")),
        "{killed:?}"
    );
}

#[test]
fn loading_ends_after_five_minutes_and_says_where_it_hung() {
    let mut world = world(&["a"]);
    carry(&mut world, Tick::ZERO);
    see(&mut world, Observation::Located { uid: "a".into(), url: "http://127.0.0.1:8001".into() }, Tick::ZERO);
    see(&mut world, Observation::Spawned { uid: "a".into(), incarnation: 1, process: process(7) }, Tick::ZERO);
    answer(&mut world, Ok(health(WorkerState::Loading, 0)), secs(1));
    assert!(!actions(&world, secs(299)).iter().any(|a| matches!(a, Action::Kill { .. })));
    let killed = actions(&world, secs(300));
    let [Action::Kill { cause: Cause::Broken { reason, message }, .. }] = &killed[..] else { panic!("{killed:?}") };
    assert_eq!(*reason, "LoadingTimeout");
    assert!(message.contains("layer 1 of 4"), "{message}");
}

#[test]
fn a_crash_is_followed_by_a_start_after_the_backoff() {
    let mut world = ready(Tick::ZERO);
    let ended = Ended { exit: Exit::Signal(9), out_of_memory: false, log_tail: String::new(), said: None };
    let notices = observe(
        &mut world,
        Observation::Ended { uid: "a".into(), process: process(7), ended },
        moment(secs(5), &TIMING()),
    );
    assert!(notices[0].message.contains("story-a") && notices[0].message.contains("SIGKILL"), "{notices:?}");
    let replica = &world.replicas["a"];
    assert_eq!((replica.restarts, replica.last_failure.as_ref().unwrap().exit_code), (1, Some(137)));
    let waiting = plan(&world, secs(5), &TIMING(), 8001);
    assert_eq!((waiting.actions.len(), waiting.wake), (0, Some(secs(6))));
    assert!(matches!(&carry(&mut world, secs(6))[..], [Action::Start { .. }]));
    assert_eq!(world.replicas["a"].incarnation, 2);
}

#[test]
fn a_file_that_no_worker_can_serve_is_tried_once_until_it_changes() {
    let mut world = world(&["a"]);
    carry(&mut world, Tick::ZERO);
    see(&mut world, Observation::Spawned { uid: "a".into(), incarnation: 1, process: process(7) }, Tick::ZERO);
    let said = Some(rbee_wire::ErrorCode::InvalidModelFile);
    let ended = Ended { exit: Exit::Code(1), out_of_memory: false, log_tail: "no tensor".into(), said };
    see(&mut world, Observation::Ended { uid: "a".into(), process: process(7), ended }, secs(1));
    let replica = &world.replicas["a"];
    let failure = replica.last_failure.as_ref().unwrap();
    assert_eq!((failure.reason.as_str(), replica.restarts), ("InvalidModelFile", 0));
    let later = plan(&world, secs(100_000), &TIMING(), 8001);
    assert!(later.actions.is_empty() && later.wake.is_none(), "{later:?}");
    let blocked = &later.blocked["a"];
    assert!(
        matches!(blocked, Blocked::Refused { reason: "InvalidModelFile", message } if message.contains("no tensor"))
    );
    world.files.insert(
        "builtin:tinybee".into(),
        FileState::Available { path: "/models/other.gguf".into(), mark: None, sha256: Digest::Unknown },
    );
    assert!(matches!(&carry(&mut world, secs(100_001))[..], [Action::Start { .. }]));
}

#[test]
fn other_settings_are_tried_with_a_file_that_could_not_be_served() {
    let mut world = world(&["a"]);
    carry(&mut world, Tick::ZERO);
    see(&mut world, Observation::Spawned { uid: "a".into(), incarnation: 1, process: process(7) }, Tick::ZERO);
    let said = Some(rbee_wire::ErrorCode::UnsupportedFormat);
    let ended = Ended { exit: Exit::Code(1), out_of_memory: false, log_tail: String::new(), said };
    see(&mut world, Observation::Ended { uid: "a".into(), process: process(7), ended }, secs(1));
    assert!(actions(&world, secs(9)).is_empty());
    world.desired.get_mut("a").unwrap().template_hash = "h2".into();
    assert!(matches!(&carry(&mut world, secs(10))[..], [Action::Start { .. }]));
}

#[test]
fn news_of_an_earlier_process_changes_nothing() {
    let mut world = ready(Tick::ZERO);
    let ended = Ended { exit: Exit::Code(1), out_of_memory: false, log_tail: String::new(), said: None };
    see(&mut world, Observation::Ended { uid: "a".into(), process: process(6), ended }, secs(1));
    see(&mut world, Observation::Spawned { uid: "a".into(), incarnation: 9, process: process(6) }, secs(1));
    assert_eq!(world.replicas["a"].process(), Some(process(7)));
}

#[test]
fn a_stale_leaders_assignment_is_passed_over() {
    let mut world = World::default();
    let object = |name: &str, epoch: i64| -> rbee_crds::Assignment {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "rbee.dev/v1alpha1", "kind": "Assignment",
            "metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"workerName": "w", "workerGeneration": 1, "templateHash": "h", "hiveName": "a", "backend": "cpu",
                "device": 0, "slots": 1, "memoryBytes": 1, "epoch": epoch,
                "model": {"name": "m", "id": "m", "uri": "builtin:tinybee"}},
        }))
        .unwrap()
    };
    let (old, new, late) = (object("old", 3), object("new", 4), object("late", 3));
    world.set_desired(1, [&old, &new].into_iter());
    assert_eq!((world.desired.len(), world.highest_epoch), (2, 4));
    world.set_desired(1, [&old, &new, &late].into_iter());
    assert!(!world.desired.contains_key("late") && world.desired.contains_key("old"));
    world.set_desired(2, [&old, &new, &late].into_iter());
    assert!(world.desired.contains_key("late"), "a whole list cannot tell late ones");
}
