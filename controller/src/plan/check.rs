//! What a legal world is, told without any of the planner's code. Tests end with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rbee_crds::{Assignment, AssignmentState, Backend, ConditionStatus, Hive, Worker, condition, hive, names};

/// A rule that is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("hive {hive}, {backend} device {device}: {given} of {bytes} bytes are given away")]
    Oversold { hive: String, backend: Backend, device: i32, given: i64, bytes: i64 },
    #[error("two assignments are named {0}")]
    SameName(String),
    #[error("assignment {0} is owned by no Worker, or by several")]
    Owner(String),
    #[error("assignment {0} can vanish before its process has: it lacks the finalizer")]
    Finalizer(String),
    #[error("assignment {name} was made in epoch {epoch}, which has not come yet")]
    Epoch { name: String, epoch: i64 },
    #[error(
        "worker {worker} has {have} replicas on hives that are heard, wanted are {wanted} and {surge} more at most"
    )]
    TooMany { worker: String, have: usize, wanted: usize, surge: usize },
}

/// Rules that hold at every moment.
pub fn always(hives: &BTreeMap<String, Arc<Hive>>, assignments: &[Arc<Assignment>], epoch: i64) -> Vec<Violation> {
    let mut broken = oversold(hives, assignments);
    let mut seen = BTreeSet::new();
    for assignment in assignments {
        let meta = &assignment.metadata;
        let name =
            format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
        if !seen.insert(name.clone()) {
            broken.push(Violation::SameName(name.clone()));
        }
        if meta.owner_references.iter().flatten().filter(|o| o.controller == Some(true) && o.kind == "Worker").count()
            != 1
        {
            broken.push(Violation::Owner(name.clone()));
        }
        if !meta.finalizers.iter().flatten().any(|f| f == names::FINALIZER_PROCESS) {
            broken.push(Violation::Finalizer(name.clone()));
        }
        if assignment.spec.epoch > epoch {
            broken.push(Violation::Epoch { name, epoch: assignment.spec.epoch });
        }
    }
    broken
}

fn oversold(hives: &BTreeMap<String, Arc<Hive>>, assignments: &[Arc<Assignment>]) -> Vec<Violation> {
    let mut given: BTreeMap<(&str, Backend, i32), i64> = BTreeMap::new();
    let holds = |a: &&Arc<Assignment>| a.status.as_ref().and_then(|s| s.state) != Some(AssignmentState::Stopped);
    for assignment in assignments.iter().filter(holds) {
        let spec = &assignment.spec;
        *given.entry((&spec.hive_name, spec.backend, spec.device)).or_default() += spec.memory_bytes;
    }
    let mut broken = vec![];
    for ((hive, backend, device), given) in given {
        let backends = hives.get(hive).and_then(|h| h.status.as_ref()).map_or(&[][..], |s| &s.backends);
        let devices = backends.iter().filter(|b| b.name == backend).flat_map(|b| &b.devices);
        for found in devices.filter(|d| d.index == device && d.memory_bytes < given) {
            let bytes = found.memory_bytes;
            broken.push(Violation::Oversold { hive: hive.to_owned(), backend, device, given, bytes });
        }
    }
    broken
}

/// Rules that hold once the Worker's plan is carried out.
pub fn planned(
    worker: &Worker,
    hives: &BTreeMap<String, Arc<Hive>>,
    assignments: &[Arc<Assignment>],
) -> Vec<Violation> {
    let heard = |name: &str| {
        let conditions = hives.get(name).and_then(|h| h.status.as_ref()).map(|s| &s.conditions);
        conditions.and_then(|c| condition::find(c, hive::READY)).is_some_and(|c| c.status != ConditionStatus::Unknown)
    };
    let mine = |a: &&Arc<Assignment>| {
        a.metadata.deletion_timestamp.is_none()
            && a.metadata.owner_references.iter().flatten().any(|o| Some(&o.uid) == worker.metadata.uid.as_ref())
    };
    let have = assignments.iter().filter(mine).filter(|a| heard(&a.spec.hive_name)).count();
    let wanted = usize::try_from(worker.spec.wanted_replicas()).unwrap_or(0);
    let surge = worker.spec.rollout_strategy.and_then(|s| s.max_surge).map_or(1, |n| usize::try_from(n).unwrap_or(0));
    let surge = if wanted == 0 { 0 } else { surge };
    if have > wanted + surge {
        let name = worker.metadata.name.clone().unwrap_or_default();
        return vec![Violation::TooMany { worker: name, have, wanted, surge }];
    }
    vec![]
}
