//! Random sequences of events against a simulated machine: whatever happens, in the end exactly the wanted ones run.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use proptest::prelude::*;
use rbee_crds::Time;
use rbee_wire::worker::WorkerState;

use crate::{
    adopt::state_file::{self, Found, Saved},
    config::Timing,
    plan::{
        Action, World, plan, record,
        tests::{available, desired, health, moment, secs, silence, world},
    },
    supervise::{
        failure::{Ended, Exit},
        observe::{NotStarted, Observation, observe},
        state::{Nonce, Phase, ProcessId, Replica, Running, Stage, Tick},
    },
};

const TIMING: fn() -> Timing = Timing::default;

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
            let ended = Ended { exit, out_of_memory: false, log_tail: String::new(), said: None };
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
            observe(&mut self.world, seen, moment(self.now, &TIMING()));
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
