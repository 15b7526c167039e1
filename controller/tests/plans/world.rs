//! A world without I/O: objects in maps, plans carried out on them, hives that do as they are told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt, core::ObjectMeta};
use rbee_controller::plan::{
    self, Target,
    assignment::Step,
    fleet::Fleet,
    hive::Heartbeat,
    worker::{KeySecret, KeyStep},
};
use rbee_crds::{
    Assignment, AssignmentState, AssignmentStatus, Hive, Model, Time, Worker, hive::READY, names, worker::Failure,
};

pub const NAMESPACE: &str = "default";
pub const LOST_AFTER: Duration = Duration::from_secs(40);
/// Everything in the API, and who is alive.
#[derive(Clone)]
pub struct World {
    pub now: Timestamp,
    pub hives: BTreeMap<String, Arc<Hive>>,
    pub heartbeats: BTreeMap<String, Timestamp>,
    pub alive: BTreeMap<String, bool>,
    pub models: BTreeMap<String, Arc<Model>>,
    pub workers: BTreeMap<String, Arc<Worker>>,
    pub assignments: BTreeMap<String, Arc<Assignment>>,
    /// Owner uids of the keys.
    pub keys: BTreeMap<String, String>,
    pub epoch: i64,
    pub judge_from: Timestamp,
    pub counter: u64,
}

impl World {
    pub fn new() -> Self {
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        Self {
            now,
            hives: BTreeMap::new(),
            heartbeats: BTreeMap::new(),
            alive: BTreeMap::new(),
            models: BTreeMap::new(),
            workers: BTreeMap::new(),
            assignments: BTreeMap::new(),
            keys: BTreeMap::new(),
            epoch: 1,
            judge_from: now,
            counter: 0,
        }
    }

    pub fn all_assignments(&self) -> Vec<Arc<Assignment>> {
        self.assignments.values().cloned().collect()
    }

    fn stamp(&mut self, meta: &mut ObjectMeta) {
        self.counter += 1;
        meta.resource_version = Some(self.counter.to_string());
        if meta.uid.is_none() {
            meta.uid = Some(format!("uid-{}", self.counter));
            meta.creation_timestamp = Some(Time(self.now));
            meta.generation = Some(1);
        }
    }

    pub fn put<K: Resource<DynamicType = ()>>(&mut self, mut object: K) -> (String, Arc<K>) {
        self.stamp(object.meta_mut());
        (object.name_any(), Arc::new(object))
    }

    // ---- observing

    pub fn fleet(&self) -> Fleet {
        Fleet {
            hives: self.hives.clone(),
            heartbeats: self.heartbeats.clone(),
            judge_from: self.judge_from,
            lost_after: LOST_AFTER,
        }
    }

    pub fn see_worker(&self, name: &str) -> plan::worker::Observed {
        let worker = self.workers[name].clone();
        let refers = &worker.spec.model_ref.name;
        plan::worker::Observed {
            model: self.models.get(refers).cloned(),
            model_is_shared: self.workers.values().any(|w| w.spec.model_ref.name == *refers && w.uid() != worker.uid()),
            fleet: self.fleet(),
            assignments: self.all_assignments(),
            key: match self.keys.get(name) {
                None => KeySecret::Missing,
                Some(owner) if Some(owner) == worker.metadata.uid.as_ref() => KeySecret::Present,
                Some(owner) => KeySecret::Stale(Target {
                    namespace: Some(NAMESPACE.into()),
                    name: names::worker_key_secret(name),
                    uid: owner.clone(),
                    resource_version: None,
                }),
            },
            epoch: self.epoch,
            worker,
        }
    }

    pub fn plan_worker(&self, name: &str) -> plan::worker::Plan {
        plan::worker::plan(&self.see_worker(name), self.now, 7)
    }

    pub fn plan_model(&self, name: &str) -> plan::model::Plan {
        let observed =
            plan::model::Observed { model: self.models[name].clone(), hives: self.hives.values().cloned().collect() };
        plan::model::plan(&observed, self.now, 7)
    }

    pub fn plan_hive(&self, name: &str) -> plan::hive::Plan {
        let observed = plan::hive::Observed {
            hive: self.hives[name].clone(),
            heartbeat: self.heartbeats.get(name).map(|at| Heartbeat { renewed: *at, released: false }),
            version: "0.1.0".into(),
            judge_from: self.judge_from,
            lost_after: LOST_AFTER,
        };
        plan::hive::plan(&observed, self.now, 7)
    }

    pub fn plan_assignment(&self, name: &str) -> plan::assignment::Plan {
        let assignment = self.assignments[name].clone();
        let observed = plan::assignment::Observed {
            worker: self.workers.get(&assignment.spec.worker_name).cloned(),
            fleet: self.fleet(),
            assignment,
        };
        plan::assignment::plan(&observed, self.now, 7)
    }

    // ---- carrying out

    pub fn do_worker(&mut self, name: &str, plan: plan::worker::Plan) {
        if let Some(step) = plan.key {
            assert!(matches!(step, KeyStep::Create) != self.keys.contains_key(name), "a key is made where none is");
            self.keys.insert(name.into(), self.workers[name].uid().unwrap_or_default());
        }
        for target in plan.delete {
            self.delete(&target);
        }
        for mut assignment in plan.create {
            self.stamp(&mut assignment.metadata);
            let taken = self.assignments.insert(assignment.name_any(), Arc::new(assignment));
            assert!(taken.is_none(), "a name that is taken was chosen");
        }
        if let Some(status) = plan.status {
            let mut worker = (*self.workers[name]).clone();
            let gateways = worker.status.take().map(|s| s.gateways).unwrap_or_default();
            worker.status = Some(rbee_crds::WorkerStatus { gateways, ..status });
            self.stamp(&mut worker.metadata);
            self.workers.insert(name.into(), Arc::new(worker));
        }
        if let Some(retire) = plan.retire {
            self.workers.remove(&retire.worker.name);
            if let Some(model) = retire.model {
                self.models.remove(&model.name);
            }
        }
    }

    pub fn do_model(&mut self, name: &str, plan: plan::model::Plan) {
        if let Some(status) = plan.status {
            let mut model = (*self.models[name]).clone();
            model.status = Some(status);
            self.stamp(&mut model.metadata);
            self.models.insert(name.into(), Arc::new(model));
        }
    }

    pub fn do_hive(&mut self, name: &str, plan: plan::hive::Plan) {
        if let Some(ready) = plan.ready {
            let mut hive = (*self.hives[name]).clone();
            let status = hive.status.get_or_insert_default();
            status.conditions.retain(|c| c.type_ != READY);
            status.conditions.push(ready);
            self.stamp(&mut hive.metadata);
            self.hives.insert(name.into(), Arc::new(hive));
        }
    }

    pub fn do_assignment(&mut self, name: &str, plan: plan::assignment::Plan) {
        match plan.step {
            Some(Step::Release { assignment, .. }) => {
                assert!(self.assignments[name].metadata.deletion_timestamp.is_some(), "only what is deleted is let go");
                self.assignments.remove(&assignment.name);
            }
            Some(Step::Collect { assignment, owner_name, owner_uid }) => {
                let owner = self.workers.get(&owner_name);
                assert!(
                    owner.and_then(|o| o.uid()).as_ref() != Some(&owner_uid),
                    "what has its owner is not collected"
                );
                self.delete(&assignment);
            }
            None => {}
        }
    }

    fn delete(&mut self, target: &Target) {
        let Some(assignment) = self.assignments.get(&target.name) else { return };
        assert_eq!(assignment.uid().as_ref(), Some(&target.uid), "deletes name the object that was looked at");
        assert_eq!(assignment.resource_version(), target.resource_version, "and its version");
        let mut assignment = (**assignment).clone();
        assignment.metadata.deletion_timestamp.get_or_insert(Time(self.now));
        self.stamp(&mut assignment.metadata);
        self.assignments.insert(target.name.clone(), Arc::new(assignment));
    }

    // ---- what others do

    pub fn advance(&mut self, seconds: u64) {
        self.now = self.now.checked_add(Duration::from_secs(seconds)).expect("a time");
        self.beat();
    }

    /// Hives that live renew their Leases.
    pub fn beat(&mut self) {
        for (name, _) in self.alive.iter().filter(|(_, alive)| **alive) {
            self.heartbeats.insert(name.clone(), self.now);
        }
    }

    pub fn set_status(&mut self, name: &str, change: impl FnOnce(&mut AssignmentStatus)) {
        let Some(assignment) = self.assignments.get(name) else { return };
        let mut assignment = (**assignment).clone();
        change(assignment.status.get_or_insert_default());
        self.stamp(&mut assignment.metadata);
        self.assignments.insert(name.into(), Arc::new(assignment));
    }

    /// The hive takes its Assignments one step further; `fails` says which cannot run.
    pub fn hive_acts(&mut self, hive: &str, fails: impl Fn(&str) -> bool) -> bool {
        if self.alive.get(hive) != Some(&true) {
            return false;
        }
        let mine: Vec<String> =
            self.assignments.values().filter(|a| a.spec.hive_name == hive).map(|a| a.name_any()).collect();
        let mut changed = false;
        for name in mine {
            let assignment = &self.assignments[&name];
            let state = assignment.status.as_ref().and_then(|s| s.state).unwrap_or_default();
            if assignment.metadata.deletion_timestamp.is_some() {
                self.assignments.remove(&name);
                changed = true;
            } else if state == AssignmentState::Pending {
                let (failed, now) = (fails(&name), self.now);
                self.set_status(&name, |s| {
                    s.state = Some(if failed { AssignmentState::Failed } else { AssignmentState::Ready });
                    s.last_failure = failed.then(|| Failure {
                        reason: "WorkerStartFailed".into(),
                        message: "it does not start".into(),
                        exit_code: Some(1),
                        time: Some(Time(now)),
                    });
                });
                changed = true;
            }
        }
        changed
    }

    /// Every planner once, until nobody has anything to write; tells each plan. `None` if that does not end.
    pub fn plan_all(&mut self, rounds: usize, mut tell: impl FnMut(String)) -> Option<()> {
        for _ in 0..rounds {
            let mut quiet = true;
            for name in self.hives.keys().cloned().collect::<Vec<_>>() {
                let plan = self.plan_hive(&name);
                if !plan.is_empty() {
                    quiet = false;
                    tell(super::tell::hive(&name, &plan));
                    self.do_hive(&name, plan);
                }
            }
            for name in self.models.keys().cloned().collect::<Vec<_>>() {
                let plan = self.plan_model(&name);
                if !plan.is_empty() {
                    quiet = false;
                    tell(super::tell::model(&name, &plan));
                    self.do_model(&name, plan);
                }
            }
            for name in self.workers.keys().cloned().collect::<Vec<_>>() {
                let plan = self.plan_worker(&name);
                if !plan.is_empty() {
                    quiet = false;
                    tell(super::tell::worker(&name, &plan));
                    self.do_worker(&name, plan);
                }
            }
            for name in self.assignments.keys().cloned().collect::<Vec<_>>() {
                let plan = self.plan_assignment(&name);
                if !plan.is_empty() {
                    quiet = false;
                    tell(super::tell::assignment(&name, &plan));
                    self.do_assignment(&name, plan);
                }
            }
            if quiet {
                return Some(());
            }
        }
        None
    }
}
