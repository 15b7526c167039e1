//! Plans under random sequences of events, against a simulated machine; and the rules one by one.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use proptest::prelude::*;
use rbee_crds::{
    Backend, Time,
    hive::{Device, HiveBackend},
};
use rbee_wire::worker::{Health, WorkerState};

use super::*;
use crate::{
    adopt::state_file::{self, Found, Saved},
    supervise::{
        failure::{Ended, Exit},
        observe::{NotStarted, Observation, Silence, observe},
        state::{Key, Nonce, ProcessId},
    },
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
    BTreeMap::from([("builtin:tinybee".into(), FileState::Available { path: "/models/bee.gguf".into() })])
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

fn secs(n: u64) -> Tick {
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
    observe(world, seen, now, Timestamp::UNIX_EPOCH, &TIMING());
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

fn silence() -> Result<Health, Silence> {
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
    let ended = Ended { exit: Exit::Signal(9), out_of_memory: false, log_tail: String::new() };
    let seen = Observation::Ended { uid: "a".into(), process: process(7), ended };
    let notices = observe(&mut world, seen, secs(37), Timestamp::UNIX_EPOCH, &TIMING());
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
    for second in [10, 11] {
        answer(&mut frozen, Err(Silence { error: "timed out".into(), frozen: true }), secs(second));
    }
    assert!(matches!(&actions(&frozen, secs(11))[..], [Action::Kill { .. }]));
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
    let ended = Ended { exit: Exit::Signal(9), out_of_memory: false, log_tail: String::new() };
    let notices = observe(
        &mut world,
        Observation::Ended { uid: "a".into(), process: process(7), ended },
        secs(5),
        Timestamp::UNIX_EPOCH,
        &TIMING(),
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
fn news_of_an_earlier_process_changes_nothing() {
    let mut world = ready(Tick::ZERO);
    let ended = Ended { exit: Exit::Code(1), out_of_memory: false, log_tail: String::new() };
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

/// A process of the simulated machine.
#[derive(Clone, Debug)]
struct Simulated {
    uid: String,
    nonce: String,
    url: String,
    /// Ignores requests to stop.
    stubborn: bool,
    /// Answers no probe.
    hung: bool,
}

/// The machine, the API and the time around a table.
struct Simulation {
    world: World,
    now: Tick,
    machine: BTreeMap<ProcessId, Simulated>,
    /// What was seen and is not in the table yet.
    news: VecDeque<Observation>,
    saved: Saved,
    pids: u32,
    nonces: u32,
    stubborn: bool,
    broken_exe: bool,
}

#[derive(Clone, Debug)]
enum Happening {
    Assign(u8),
    Delete(u8),
    Vanish(u8),
    Rehash(u8),
    Crash(u8),
    Hang(u8),
    Stubborn(bool),
    BrokenExe(bool),
    FileGone,
    FileBack,
    Pass(u16),
    /// Takes in one piece of news, or none; out of order.
    News(u8),
    KillHive,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        4 => (0..4u8).prop_map(Assign),
        2 => (0..4u8).prop_map(Delete),
        1 => (0..4u8).prop_map(Vanish),
        1 => (0..4u8).prop_map(Rehash),
        3 => any::<u8>().prop_map(Crash),
        1 => any::<u8>().prop_map(Hang),
        1 => any::<bool>().prop_map(Stubborn),
        1 => any::<bool>().prop_map(BrokenExe),
        1 => Just(FileGone),
        1 => Just(FileBack),
        6 => (0..20_000u16).prop_map(Pass),
        10 => any::<u8>().prop_map(News),
        2 => Just(KillHive),
    ]
}

impl Simulation {
    fn new() -> Self {
        let (machine, news) = Default::default();
        Self {
            world: world(&[]),
            now: Tick::ZERO,
            machine,
            news,
            saved: Saved::default(),
            pids: 100,
            nonces: 0,
            stubborn: false,
            broken_exe: false,
        }
    }

    fn happen(&mut self, happening: Happening) {
        use Happening::*;
        let uid = |n: u8| n.to_string();
        match happening {
            Assign(n) => {
                let new = desired(&uid(n));
                self.world.replicas.entry(uid(n)).or_insert_with(|| Replica::new(new.key.clone()));
                self.world.desired.entry(uid(n)).or_insert(new);
            }
            Delete(n) => {
                self.world.desired.entry(uid(n)).and_modify(|d| d.deleting = true);
            }
            Vanish(n) => drop(self.world.desired.remove(&uid(n))),
            Rehash(n) => {
                self.world.desired.entry(uid(n)).and_modify(|d| d.template_hash.push('x'));
            }
            Crash(n) => {
                if let Some(process) = self.nth(n) {
                    self.die(process, Exit::Signal(9));
                }
            }
            Hang(n) => {
                if let Some(process) = self.nth(n) {
                    self.machine.entry(process).and_modify(|p| p.hung = true);
                }
            }
            Stubborn(yes) => self.stubborn = yes,
            BrokenExe(yes) => self.broken_exe = yes,
            FileGone => self.world.files.clear(),
            FileBack => self.world.files = available(),
            Pass(ms) => self.now += Tick::from_millis(ms.into()),
            News(n) => self.take_news(n.into()),
            KillHive => self.kill_hive(),
        }
        self.act();
    }

    fn nth(&self, n: u8) -> Option<ProcessId> {
        let count = self.machine.len().max(1);
        self.machine.keys().nth(usize::from(n) % count).copied()
    }

    fn die(&mut self, process: ProcessId, exit: Exit) {
        if let Some(gone) = self.machine.remove(&process) {
            let ended = Ended { exit, out_of_memory: false, log_tail: String::new() };
            self.news.push_back(Observation::Ended { uid: gone.uid, process, ended });
        }
    }

    fn take_news(&mut self, n: usize) {
        if self.news.is_empty() {
            return;
        }
        // Only what belongs to different replicas comes in another order: one replica's news come from one task.
        let index = n % self.news.len();
        let uid = of(&self.news[index]).to_owned();
        let first = self.news.iter().position(|seen| of(seen) == uid).unwrap_or(index);
        if let Some(seen) = self.news.remove(first) {
            observe(&mut self.world, seen, self.now, Timestamp::UNIX_EPOCH, &TIMING());
        }
    }

    /// The hive is killed; the next one knows what was saved, finds what lives, and hears its workers.
    fn kill_hive(&mut self) {
        let json = serde_json::to_vec(&self.saved).unwrap();
        let saved: Saved = serde_json::from_slice(&json).unwrap();
        let machine = &self.machine;
        let look = |id: Option<ProcessId>, nonce: &Nonce| match id {
            Some(id) if machine.contains_key(&id) => Found::Alive(id),
            Some(_) => Found::Gone,
            None => machine.iter().find(|(_, p)| nonce.is(&p.nonce)).map_or(Found::Gone, |(id, _)| Found::Alive(*id)),
        };
        let mut next = state_file::restore(saved, self.now, look);
        (next.desired, next.files, next.backends) =
            (self.world.desired.clone(), self.world.files.clone(), self.world.backends.clone());
        next.synced = true;
        for desired in next.desired.values() {
            next.replicas.entry(desired.key.uid.clone()).or_insert_with(|| Replica::new(desired.key.clone()));
        }
        self.news.clear();
        self.world = next;
        let hellos: Vec<_> = self.machine.iter().map(|(id, p)| (*id, p.clone())).collect();
        for (id, process) in hellos {
            match self.world.by_nonce(&process.nonce).map(|r| r.key.uid.clone()) {
                Some(uid) => self.news.push_back(Observation::Located { uid, url: process.url }),
                None => drop(self.machine.remove(&id)),
            }
        }
    }

    /// Plans, checks the plan, and lets the machine carry it out.
    fn act(&mut self) {
        let planned = plan(&self.world, self.now, &TIMING(), 8001);
        let before = self.world.clone();
        for action in &planned.actions {
            self.nonces += 1;
            let nonce = format!("nonce-{}", self.nonces);
            record(&mut self.world, action, self.now, &Time(Timestamp::UNIX_EPOCH), || Nonce::new(nonce));
        }
        let again = plan(&self.world, self.now, &TIMING(), 8001);
        assert_eq!(again.actions, [], "planned again after {:?}", planned.actions);
        self.saved = state_file::save(&self.world, None);
        for action in planned.actions {
            self.carry_out(action, &before);
        }
        for uid in self.machine.values().map(|p| &p.uid) {
            assert!(
                self.machine.values().filter(|p| p.uid == *uid).count() < 2,
                "two processes of {uid}: {:?}",
                self.machine
            );
        }
    }

    fn carry_out(&mut self, action: Action, before: &World) {
        match action {
            Action::Start { uid, port } => {
                let incarnation = self.world.replicas[&uid].incarnation;
                if self.broken_exe {
                    let why = NotStarted::Failed("no such file".into());
                    return self.news.push_back(Observation::NotSpawned { uid, incarnation, why });
                }
                self.pids += 1;
                let process = ProcessId { pid: self.pids, start_time: 1 };
                let nonce = self.world.replicas[&uid].launched.as_ref().unwrap().nonce.reveal().to_owned();
                let url = format!("http://127.0.0.1:{port}");
                assert!(!self.machine.values().any(|p| p.url == url), "{url} is taken");
                let simulated =
                    Simulated { uid: uid.clone(), nonce, url: url.clone(), stubborn: self.stubborn, hung: false };
                self.machine.insert(process, simulated);
                // The worker may say hello before the hive has noted its pid, or after.
                if self.pids.is_multiple_of(2) {
                    self.news.push_back(Observation::Located { uid: uid.clone(), url: url.clone() });
                }
                self.news.push_back(Observation::Spawned { uid: uid.clone(), incarnation, process });
                if !self.pids.is_multiple_of(2) {
                    self.news.push_back(Observation::Located { uid, url });
                }
            }
            Action::Probe { uid } => {
                let process = self.world.replicas[&uid].process().unwrap();
                let answer = match self.machine.get(&process) {
                    Some(p) if !p.hung => Ok(health(WorkerState::Ready, 0)),
                    _ => silence(),
                };
                self.news.push_back(Observation::Probed { uid, process, answer });
            }
            Action::Stop { uid, .. } => {
                let process = before.replicas[&uid].process().unwrap();
                if self.machine.get(&process).is_some_and(|p| !p.stubborn && !p.hung) {
                    self.die(process, Exit::Code(0));
                }
            }
            Action::Kill { uid, .. } => {
                let process = before.replicas[&uid].process().unwrap();
                self.die(process, Exit::Signal(9));
            }
            Action::Release { uid } => {
                assert!(!self.machine.values().any(|p| p.uid == uid), "released while a process of {uid} lives");
                self.world.desired.remove(&uid);
            }
            Action::Refuse { .. } | Action::Forget { .. } => {}
        }
    }

    /// Lets everything that is under way come to its end.
    fn settle(&mut self) {
        (self.stubborn, self.broken_exe) = (false, false);
        self.world.files = available();
        for _ in 0..2_000 {
            self.now += secs(1);
            self.act();
            while !self.news.is_empty() {
                self.take_news(0);
                self.act();
            }
        }
    }

    fn check(&self) {
        let wanted: Vec<&String> = self.world.desired.keys().collect();
        let mut running: Vec<&String> = self.machine.values().map(|p| &p.uid).collect();
        running.sort();
        assert_eq!(running, wanted, "exactly the wanted ones run");
        let known: Vec<&String> = self.world.replicas.keys().collect();
        assert_eq!(known, wanted, "nothing else is known");
        for (uid, replica) in &self.world.replicas {
            let Phase::Running(Running { stage: Stage::Ready { .. }, process, .. }) = &replica.phase else {
                panic!("{uid} is {:?}", replica.phase)
            };
            assert_eq!(self.machine[process].uid, *uid);
        }
    }
}

fn of(seen: &Observation) -> &str {
    match seen {
        Observation::Spawned { uid, .. }
        | Observation::NotSpawned { uid, .. }
        | Observation::Located { uid, .. }
        | Observation::SaysReady { uid, .. }
        | Observation::Probed { uid, .. }
        | Observation::Ended { uid, .. }
        | Observation::NotReleased { uid } => uid,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_wanted_ones_run_once_and_nothing_else(happenings in prop::collection::vec(happening(), 0..80)) {
        let mut simulation = Simulation::new();
        for happening in happenings {
            simulation.happen(happening);
        }
        simulation.settle();
        simulation.check();
    }
}
