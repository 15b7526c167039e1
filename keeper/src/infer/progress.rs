//! Pure: from what is observed of Model, Worker and Assignments to phases for people and to the next step.

use std::collections::{BTreeMap, BTreeSet};

use rbee_crds::{
    Assignment, AssignmentState, Condition, ConditionStatus, Model, Worker, condition, model, reason, worker,
};

/// Crashes of a replica after which it is no use to wait on.
const CRASHES: i32 = 3;

/// What is known at a moment.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub model: Option<Model>,
    pub worker: Option<Worker>,
    pub assignments: BTreeMap<String, Assignment>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Wait,
    /// A replica answers.
    Go(Box<Assignment>),
    /// It will not come to that without a change.
    GiveUp(String),
}

/// Which replicas will do.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Name of a Hive.
    pub hive: Option<String>,
}

/// What was said already, and how many crashes were there at first.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    said: BTreeSet<String>,
    restarts: BTreeMap<String, i32>,
    /// What it waits on, for the message of a timeout.
    pub waiting_on: String,
    /// A refusal of the Model from before: hives get some time to look again.
    pub overlook: Option<String>,
}

impl Progress {
    /// Begins with a refusal from before, if there is one.
    pub fn overlooking(refusal: Option<String>) -> Self {
        Self { overlook: refusal, ..Self::default() }
    }

    /// Looks at the world: new phases, and the next step.
    pub fn look(&mut self, world: &World, wish: &Wish) -> (Vec<String>, Step) {
        let mut lines = Vec::new();
        if let Some(replica) = least_busy(world.assignments.values(), wish) {
            let _ = self.model(world, &mut lines);
            let (name, hive) = (&replica.spec.worker_name, &replica.spec.hive_name);
            self.say(&mut lines, format!("worker {name}: ready on hive {hive}"));
            return (lines, Step::Go(Box::new(replica.clone())));
        }
        let step = self.obstacle(world, wish, &mut lines);
        (lines, step)
    }

    fn say(&mut self, lines: &mut Vec<String>, line: String) {
        if self.said.insert(line.clone()) {
            lines.push(line);
        }
    }

    fn wait(&mut self, lines: &mut Vec<String>, line: String) {
        self.waiting_on.clone_from(&line);
        self.say(lines, line);
    }

    /// Whether the model is resolved; otherwise the reason why it will never be, if that is known.
    fn model(&mut self, world: &World, lines: &mut Vec<String>) -> Result<bool, String> {
        let Some(object) = &world.model else { return Ok(false) };
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let status = object.status.clone().unwrap_or_default();
        let generation = object.metadata.generation;
        match condition::find(&status.conditions, model::RESOLVED).filter(|c| is_current(c, generation)) {
            Some(c) if c.status == ConditionStatus::True => {
                let gguf = status.gguf.unwrap_or_default();
                let facts = [gguf.architecture, gguf.quantization, status.size_bytes.map(crate::verbs::models::bytes)];
                let facts: Vec<String> = facts.into_iter().flatten().collect();
                let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
                self.say(lines, format!("model {name}: {} found{facts}", object.spec.uri));
                Ok(true)
            }
            Some(c) if self.overlook.as_ref() == Some(&c.message) => {
                self.wait(lines, format!("model {name}: {}; the hives look again", c.message));
                Ok(false)
            }
            Some(c) if is_refusal(c) => Err(format!("model {}: {} ({})", object.spec.uri, c.message, c.reason)),
            Some(c) if !c.message.is_empty() => {
                self.wait(lines, format!("model {name}: {}", c.message));
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    fn obstacle(&mut self, world: &World, wish: &Wish, lines: &mut Vec<String>) -> Step {
        match self.model(world, lines) {
            Err(problem) => return Step::GiveUp(problem),
            Ok(false) => return Step::Wait,
            Ok(true) => {}
        }
        let Some(object) = &world.worker else { return Step::Wait };
        let name = object.metadata.name.clone().unwrap_or_default();
        if object.spec.wanted_replicas() == 0 {
            return Step::GiveUp(format!(
                "worker {name} has no replicas and none are wanted: `rbee scale worker/{name} --replicas=1` starts one"
            ));
        }
        let status = object.status.clone().unwrap_or_default();
        let scheduled = condition::find(&status.conditions, worker::SCHEDULED);
        let no_place = scheduled.filter(|c| {
            is_current(c, object.metadata.generation)
                && c.status == ConditionStatus::False
                && world.assignments.is_empty()
        });
        match no_place {
            Some(c) if is_final(&c.reason) => {
                return Step::GiveUp(format!("worker {name}: {} ({})", c.message, c.reason));
            }
            Some(c) => self.wait(lines, format!("worker {name}: waiting for a place: {}", c.message)),
            None => {}
        }
        self.replicas(world, wish, lines)
    }

    fn replicas(&mut self, world: &World, wish: &Wish, lines: &mut Vec<String>) -> Step {
        let mut failed = None;
        let mut alive = false;
        for (key, replica) in world.assignments.iter().filter(|(_, a)| is_wanted(a, wish)) {
            let status = replica.status.clone().unwrap_or_default();
            let (name, hive) = (&replica.spec.worker_name, &replica.spec.hive_name);
            let failure = status.last_failure.map(|f| format!("worker {name}: {} ({})", f.message, f.reason));
            let restarts = status.restarts.unwrap_or(0);
            let at_first = *self.restarts.entry(key.clone()).or_insert(restarts);
            if let Some(failure) = failure.as_ref().filter(|_| restarts > at_first) {
                self.say(lines, failure.clone());
            }
            let state = status.state.unwrap_or_default();
            if state == AssignmentState::Failed || restarts - at_first >= CRASHES {
                failed = failed.or(failure).or_else(|| Some(format!("worker {name}: it failed on hive {hive}")));
                continue;
            }
            alive = true;
            let line = match state {
                AssignmentState::Pending => format!("worker {name}: placed on hive {hive}"),
                AssignmentState::Downloading => match status.download.and_then(|d| percent(&d)) {
                    Some(percent) => format!("worker {name}: hive {hive} fetches the model, {percent} %"),
                    None => format!("worker {name}: hive {hive} fetches the model"),
                },
                AssignmentState::Starting => format!("worker {name}: starting on hive {hive}"),
                AssignmentState::Loading => match status.load {
                    Some(load) if load.layers_total > 0 => {
                        format!("worker {name}: loading, layer {} of {}", load.layers_loaded, load.layers_total)
                    }
                    _ => format!("worker {name}: loading"),
                },
                AssignmentState::Ready => continue,
                AssignmentState::Draining | AssignmentState::Stopped => {
                    format!("worker {name}: a replica on hive {hive} ends")
                }
                AssignmentState::Failed => continue,
            };
            self.wait(lines, line);
        }
        match failed {
            Some(problem) if !alive => Step::GiveUp(problem),
            _ => Step::Wait,
        }
    }
}

/// Tens of percent, so that a pipe gets a few lines and not a thousand.
fn percent(download: &rbee_crds::hive::Download) -> Option<i64> {
    let total = download.bytes_total.filter(|t| *t > 0)?;
    Some(download.bytes_completed.saturating_mul(10) / total * 10)
}

fn is_refusal(condition: &Condition) -> bool {
    condition.status == ConditionStatus::False && condition.reason != reason::PENDING
}

/// Why the Model cannot be had, if that was said.
pub fn refusal(model: &Model) -> Option<String> {
    let status = model.status.as_ref()?;
    condition::find(&status.conditions, model::RESOLVED).filter(|c| is_refusal(c)).map(|c| c.message.clone())
}

fn is_current(condition: &Condition, generation: Option<i64>) -> bool {
    !matches!((condition.observed_generation, generation), (Some(o), Some(g)) if o < g)
}

/// Reasons that waiting does not cure.
fn is_final(text: &str) -> bool {
    [
        reason::BACKEND_NOT_AVAILABLE,
        reason::DEVICE_NOT_AVAILABLE,
        reason::INSUFFICIENT_MEMORY,
        reason::HIVE_NOT_FOUND,
        reason::INVALID_REQUEST,
        reason::UNSUPPORTED_FORMAT,
        reason::INVALID_MODEL_FILE,
        reason::CHECKSUM_MISMATCH,
    ]
    .contains(&text)
}

fn is_wanted(replica: &Assignment, wish: &Wish) -> bool {
    replica.metadata.deletion_timestamp.is_none() && wish.hive.as_ref().is_none_or(|h| *h == replica.spec.hive_name)
}

/// The Ready replica with the most free slots; among equals the first by name.
pub fn least_busy<'a>(replicas: impl Iterator<Item = &'a Assignment>, wish: &Wish) -> Option<&'a Assignment> {
    let ready = replicas.filter(|a| {
        let status = a.status.as_ref();
        is_wanted(a, wish) && status.is_some_and(|s| s.state == Some(AssignmentState::Ready) && s.url.is_some())
    });
    let free = |a: &Assignment| a.status.as_ref().and_then(|s| s.slots).map_or(0, |s| s.free);
    ready.min_by_key(|a| (std::cmp::Reverse(free(a)), a.metadata.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn model(conditions: Value) -> Model {
        serde_json::from_value(json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Model", "metadata": {"name": "bee", "generation": 1},
            "spec": {"uri": "file:///m.gguf"}, "status": {"conditions": conditions, "sizeBytes": 2048, "gguf": {"architecture": "llama"}}}))
        .unwrap()
    }

    fn told(kind: &str, status: &str, reason: &str, message: &str) -> Value {
        json!([{"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}])
    }

    fn worker(conditions: Value) -> Worker {
        serde_json::from_value(
            json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Worker", "metadata": {"name": "w", "generation": 1},
            "spec": {"modelRef": {"name": "bee"}}, "status": {"conditions": conditions}}),
        )
        .unwrap()
    }

    fn replica(name: &str, hive: &str, status: Value) -> Assignment {
        serde_json::from_value(json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Assignment", "metadata": {"name": name},
            "spec": {"workerName": "w", "workerGeneration": 1, "templateHash": "h", "hiveName": hive, "model": {"name": "bee", "id": "bee", "uri": "x"},
                     "backend": "cpu", "device": 0, "slots": 1, "memoryBytes": 1, "epoch": 1}, "status": status}))
        .unwrap()
    }

    fn world(replicas: Vec<Assignment>) -> World {
        World {
            model: Some(model(told("Resolved", "True", "Resolved", ""))),
            worker: Some(worker(json!([]))),
            assignments: replicas.into_iter().map(|a| (a.metadata.name.clone().unwrap(), a)).collect(),
        }
    }

    #[test]
    fn the_way_to_ready_is_told_once_each() {
        let mut progress = Progress::default();
        let mut all = Vec::new();
        let states = [
            json!({"state": "Pending"}),
            json!({"state": "Starting"}),
            json!({"state": "Loading", "load": {"layersLoaded": 1, "layersTotal": 4}}),
            json!({"state": "Loading", "load": {"layersLoaded": 1, "layersTotal": 4}}),
        ];
        for status in states {
            let (lines, step) = progress.look(&world(vec![replica("w-0", "h", status)]), &Wish::default());
            assert_eq!(step, Step::Wait);
            all.extend(lines);
        }
        let ready = replica("w-0", "h", json!({"state": "Ready", "url": "http://x"}));
        let (lines, step) = progress.look(&world(vec![ready.clone()]), &Wish::default());
        all.extend(lines);
        assert_eq!(step, Step::Go(Box::new(ready)));
        assert_eq!(
            all,
            [
                "model bee: file:///m.gguf found (llama, 2.0 KiB)",
                "worker w: placed on hive h",
                "worker w: starting on hive h",
                "worker w: loading, layer 1 of 4",
                "worker w: ready on hive h",
            ]
        );
    }

    #[test]
    fn a_model_that_cannot_be_had_ends_it() {
        let message = "/m.gguf: no such file on hive h";
        for (reason, step) in [("ModelNotFound", true), ("InvalidModelFile", true), ("Pending", false)] {
            let world = World { model: Some(model(told("Resolved", "False", reason, message))), ..world(vec![]) };
            let (_, found) = Progress::default().look(&world, &Wish::default());
            match found {
                Step::GiveUp(text) => assert!(step && text.contains(message) && text.contains(reason), "{text}"),
                other => assert!(!step && other == Step::Wait, "{reason}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_refusal_from_before_is_overlooked_for_a_while() {
        let world = World { model: Some(model(told("Resolved", "False", "ModelNotFound", "gone"))), ..world(vec![]) };
        let mut progress = Progress::overlooking(refusal(world.model.as_ref().unwrap()));
        assert_eq!(progress.look(&world, &Wish::default()).1, Step::Wait);
        progress.overlook = None;
        assert!(matches!(progress.look(&world, &Wish::default()).1, Step::GiveUp(_)));
    }

    #[test]
    fn an_old_condition_does_not_count() {
        let mut old = model(told("Resolved", "False", "ModelNotFound", "gone"));
        old.metadata.generation = Some(2);
        let (_, step) = Progress::default().look(&World { model: Some(old), ..world(vec![]) }, &Wish::default());
        assert_eq!(step, Step::Wait);
    }

    #[test]
    fn no_place_ends_it_only_where_waiting_does_not_help() {
        for (reason, ends) in [("BackendNotAvailable", true), ("InsufficientMemory", true), ("NoHives", false)] {
            let mut world = world(vec![]);
            world.worker = Some(worker(told("Scheduled", "False", reason, "hive h has no backend metal")));
            let mut progress = Progress::default();
            let (_, step) = progress.look(&world, &Wish::default());
            assert_eq!(matches!(step, Step::GiveUp(_)), ends, "{reason}");
            assert!(ends || progress.waiting_on.contains("metal"));
        }
    }

    #[test]
    fn replicas_that_fail_end_it_with_their_failure() {
        let failure = json!({"reason": "WorkerStartFailed", "message": "no executable at /x"});
        let failed = replica("w-0", "h", json!({"state": "Failed", "lastFailure": failure}));
        let (_, step) = Progress::default().look(&world(vec![failed.clone()]), &Wish::default());
        assert!(matches!(step, Step::GiveUp(text) if text.contains("no executable at /x")));
        let starting = replica("w-1", "h", json!({"state": "Starting"}));
        let (_, step) = Progress::default().look(&world(vec![failed, starting]), &Wish::default());
        assert_eq!(step, Step::Wait, "another is on its way");
    }

    #[test]
    fn a_replica_that_crashes_three_times_is_given_up() {
        let mut progress = Progress::default();
        let crashed = |restarts: i32| {
            world(vec![replica(
                "w-0",
                "h",
                json!({"state": "Pending", "restarts": restarts,
                "lastFailure": {"reason": "WorkerCrashed", "message": format!("crash {restarts}")}}),
            )])
        };
        assert_eq!(progress.look(&crashed(5), &Wish::default()).1, Step::Wait, "old crashes do not count");
        assert_eq!(progress.look(&crashed(6), &Wish::default()).1, Step::Wait);
        assert!(
            matches!(progress.look(&crashed(8), &Wish::default()).1, Step::GiveUp(text) if text.contains("crash 8"))
        );
    }

    #[test]
    fn the_replica_with_most_free_slots_is_taken() {
        let ready = |name: &str, hive: &str, free: i32| {
            replica(name, hive, json!({"state": "Ready", "url": "u", "slots": {"total": 4, "free": free}}))
        };
        let all = [ready("a", "h1", 1), ready("b", "h2", 3), ready("c", "h3", 3)];
        let name = |wish: &Wish| least_busy(all.iter(), wish).and_then(|a| a.metadata.name.clone());
        assert_eq!(name(&Wish::default()).as_deref(), Some("b"));
        assert_eq!(name(&Wish { hive: Some("h1".into()) }).as_deref(), Some("a"));
        assert_eq!(name(&Wish { hive: Some("h9".into()) }), None);
    }
}
