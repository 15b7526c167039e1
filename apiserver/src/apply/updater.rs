//! Ownership: who gets, keeps and loses fields when an object is updated or applied.

use std::sync::LazyLock;

use serde_json::Value;

use super::compare::{Comparison, compare};
use super::managed::{Identity, Managed, Owned};
use super::merge::merge;
use super::path::{Path, path_text, same_value};
use super::set::Set;
use super::typed::TypeRef;
use super::walk::{errors_text, field_set, remove};
use super::{ApplyError, Conflict};

/// Fields that nobody owns.
static NEVER_OWNED: LazyLock<Set> = LazyLock::new(|| {
    Set::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

/// The type, and the fields that a write of this resource does not change (`status`, or all but it).
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub schema: TypeRef<'a>,
    pub ignored: &'a Set,
}

/// Conflicts by manager.
pub(super) type Conflicts = Vec<(Identity, Path)>;

/// Gives `writer` what changed from `old` to `new`, and takes it from all others.
pub(super) fn update(
    rules: Rules<'_>,
    old: &Value,
    new: &Value,
    managed: &mut Managed,
    writer: &Identity,
    api_version: &str,
    now: &str,
) -> Result<(), ApplyError> {
    let changes = changes(rules, old, new)?;
    resolve(managed, &changes, None, true).map_err(|_| ApplyError::Typed("conflict under force".into()))?;
    let gained = changes.modified.union(&changes.added);
    let gained = gained.recursive_difference(rules.ignored).difference(&NEVER_OWNED);
    if gained.is_empty() {
        return Ok(());
    }
    let owned = managed.0.entry(writer.clone()).or_insert_with(|| Owned {
        set: Set::default(),
        api_version: api_version.into(),
        time: None,
    });
    owned.set = owned.set.union(&gained);
    owned.api_version = api_version.into();
    owned.time = Some(now.into());
    Ok(())
}

fn changes(rules: Rules<'_>, old: &Value, new: &Value) -> Result<Comparison, ApplyError> {
    let comparison = compare(old, new, rules.schema)
        .map_err(|e| ApplyError::Typed(format!("failed to compare objects: {}", errors_text(&e))))?;
    Ok(comparison.without(rules.ignored))
}

/// Takes changed and removed fields from every manager but the one that writes; without force changed ones conflict.
fn resolve(
    managed: &mut Managed,
    changes: &Comparison,
    writer: Option<&Identity>,
    force: bool,
) -> Result<(), Conflicts> {
    let changed = changes.modified.union(&changes.added);
    let others: Vec<Identity> = managed.0.keys().filter(|i| Some(*i) != writer).cloned().collect();
    if !force {
        let mut conflicts = Conflicts::new();
        for identity in &others {
            let taken = managed.0[identity].set.intersection(&changed);
            conflicts.extend(taken.paths().into_iter().map(|path| (identity.clone(), path)));
        }
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
    }
    for identity in &others {
        managed.take(identity, &managed.0[identity].set.intersection(&changed));
        managed.take(identity, &changes.removed);
    }
    managed.0.retain(|_, owned| !owned.set.is_empty());
    Ok(())
}

/// What came of an apply.
pub(super) enum Applied {
    /// The object changed.
    Changed(Value),
    /// The object is as it was; owners may have changed.
    Same,
    /// Others own fields with other values.
    Conflicts(Conflicts),
}

/// Applies a configuration: merges it, removes what the applier dropped and nobody else owns, settles ownership.
pub(super) fn apply(
    rules: Rules<'_>,
    live: &Value,
    config: &Value,
    managed: &mut Managed,
    applier: &Identity,
    api_version: &str,
    force: bool,
) -> Result<Applied, ApplyError> {
    let merged = merge(live, config, rules.schema)
        .map_err(|e| ApplyError::Typed(format!("failed to merge config: {}", errors_text(&e))))?
        .unwrap_or(Value::Null);
    let set = field_set(config, rules.schema).recursive_difference(rules.ignored);
    let before = managed.0.get(applier).cloned();
    let time = before.as_ref().and_then(|owned| owned.time.clone());
    managed.0.insert(applier.clone(), Owned { set, api_version: api_version.into(), time });
    let mut new = match &before {
        Some(last) if !last.set.is_empty() => prune(rules.schema, &merged, managed, &last.set),
        _ => merged.clone(),
    };
    let changes = changes(rules, live, &new)?;
    if let Err(conflicts) = resolve(managed, &changes, Some(applier), force) {
        return Ok(Applied::Conflicts(conflicts));
    }
    managed.take(applier, &NEVER_OWNED);
    managed.0.retain(|_, owned| !owned.set.is_empty());
    if same_value(live, &new) {
        return Ok(Applied::Same);
    }
    drop_emptied(&mut new, &merged);
    Ok(Applied::Changed(new))
}

/// Removes what the applier owned before and no longer sets, unless another manager owns it.
fn prune(schema: TypeRef<'_>, merged: &Value, managed: &Managed, last: &Set) -> Value {
    let without = |gone: &Set| remove(merged, gone, schema).unwrap_or(Value::Null);
    let named = |set: &Set| set.with_named_fields(schema);
    let last = named(last);
    let merged_set = named(&field_set(merged, schema));
    let owned = managed.0.values().fold(Set::default(), |all, owned| all.union(&owned.set));
    let pruned = without(&last);
    let kept = named(&field_set(&pruned, schema)).union(&named(&owned));
    let pruned = without(&merged_set.difference(&kept));
    let pruned_set = named(&field_set(&pruned, schema));
    without(&merged_set.difference(&pruned_set).intersection(&last))
}

/// Taking away the last field of a map or list leaves null, which stands for nothing: it goes.
fn drop_emptied(new: &mut Value, merged: &Value) {
    match (new, merged) {
        (Value::Object(new), Value::Object(merged)) => new.retain(|key, value| {
            let before = merged.get(key).unwrap_or(&Value::Null);
            drop_emptied(value, before);
            !value.is_null() || before.is_null()
        }),
        (Value::Array(new), Value::Array(merged)) if !merged.iter().any(Value::is_null) => {
            new.retain(|item| !item.is_null());
        }
        _ => {}
    }
}

/// The error for conflicts, in Kubernetes' words.
pub(super) fn conflict_error(conflicts: Conflicts) -> ApplyError {
    let list: Vec<Conflict> = conflicts
        .iter()
        .map(|(identity, path)| Conflict { manager: identity.text(), field: path_text(path) })
        .collect();
    let message = match list.as_slice() {
        [one] => format!("Apply failed with 1 conflict: conflict with {}: {}", one.manager, one.field),
        many => {
            let mut lines = Vec::new();
            let mut last = "";
            for conflict in many {
                if conflict.manager != last {
                    lines.push(format!("conflicts with {}:", conflict.manager));
                    last = &conflict.manager;
                }
                lines.push(format!("- {}", conflict.field));
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    ApplyError::Conflict { message, conflicts: list }
}
