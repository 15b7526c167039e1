//! Plans as lines that people read.

use kube::ResourceExt;
use rbee_controller::plan::{self, Note, Severity, assignment::Step, worker::KeyStep};
use rbee_crds::Condition;

fn block(title: String, lines: Vec<String>) -> String {
    std::iter::once(title).chain(lines.into_iter().map(|l| format!("  {l}"))).collect::<Vec<_>>().join("\n")
}

fn condition(c: &Condition) -> String {
    format!("{}={:?} {}: {}", c.type_, c.status, c.reason, c.message)
}

fn notes(notes: &[Note]) -> Vec<String> {
    let kind = |n: &Note| match n.severity {
        Severity::Normal => "event",
        Severity::Warning => "warning",
    };
    notes.iter().map(|n| format!("{} {}: {}", kind(n), n.reason, n.message)).collect()
}

pub fn hive(name: &str, plan: &plan::hive::Plan) -> String {
    let mut lines: Vec<String> = plan.ready.iter().map(condition).collect();
    lines.extend(notes(&plan.notes));
    block(format!("hive {name}"), lines)
}

pub fn model(name: &str, plan: &plan::model::Plan) -> String {
    let mut lines = vec![];
    if let Some(status) = &plan.status {
        lines.extend(status.conditions.iter().map(condition));
        if let Some(copies) = status.copies {
            lines.push(format!(
                "copies {} available, {} failed, {} in all",
                copies.available, copies.failed, copies.total
            ));
        }
    }
    lines.extend(notes(&plan.notes));
    block(format!("model {name}"), lines)
}

pub fn worker(name: &str, plan: &plan::worker::Plan) -> String {
    let mut lines = vec![];
    match &plan.key {
        Some(KeyStep::Create) => lines.push("make the key".to_owned()),
        Some(KeyStep::Replace(old)) => lines.push(format!("replace the key {}", old.name)),
        None => {}
    }
    lines.extend(plan.delete.iter().map(|t| format!("delete {}", t.name)));
    lines.extend(plan.create.iter().map(|a| {
        let s = &a.spec;
        format!(
            "create {} on {} ({} device {}, {} slots, epoch {})",
            a.name_any(),
            s.hive_name,
            s.backend,
            s.device,
            s.slots,
            s.epoch
        )
    }));
    if let Some(status) = &plan.status {
        let count = |n: Option<i32>| n.unwrap_or(0);
        let (all, ready, new) = (count(status.replicas), count(status.ready_replicas), count(status.updated_replicas));
        lines.push(format!("status {all} replicas, {ready} ready, {new} updated"));
        lines.extend(status.conditions.iter().map(condition));
        lines.extend(status.last_failure.iter().map(|f| format!("last failure {}: {}", f.reason, f.message)));
    }
    if let Some(retire) = &plan.retire {
        lines.push(format!("retire worker {}", retire.worker.name));
        lines.extend(retire.model.iter().map(|m| format!("retire model {}", m.name)));
    }
    lines.extend(notes(&plan.notes));
    block(format!("worker {name}"), lines)
}

pub fn assignment(name: &str, plan: &plan::assignment::Plan) -> String {
    let mut lines = vec![];
    match &plan.step {
        Some(Step::Release { .. }) => lines.push("take the finalizer away".to_owned()),
        Some(Step::Collect { owner_name, .. }) => lines.push(format!("delete: its worker {owner_name} is gone")),
        None => {}
    }
    lines.extend(notes(&plan.notes));
    block(format!("assignment {name}"), lines)
}
