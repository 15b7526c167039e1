//! Server-side apply and managed fields for objects of one version, after structured-merge-diff.
//!
//! Objects of other served versions of a kind are taken to have the same schema (conversion `None`).

mod compare;
mod last_applied;
mod managed;
mod merge;
pub mod path;
pub mod set;
#[cfg(test)]
mod tests;
mod typed;
mod updater;
mod walk;

use serde_json::{Value, json};
use thiserror::Error;

use self::managed::{Identity, Managed, Operation};
use self::set::Set;
use self::typed::TypeRef;
use self::updater::{Applied, Rules};
use self::walk::errors_text;
use crate::schema::Structural;

/// Who writes what, with which schema.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Schema of the whole object; `metadata` has its own built-in one.
    pub schema: &'a Structural,
    /// Field manager; at most 128 printable characters.
    pub manager: &'a str,
    /// Take over fields that others own.
    pub force: bool,
    /// RFC 3339, seconds, `Z`.
    pub now: &'a str,
    /// `""` for the main resource, else `status` or `scale`.
    pub subresource: &'a str,
    /// `group/version` of the request.
    pub api_version: &'a str,
    /// The kind has a status subresource: writes to the main resource do not own `status`, and the other way round.
    pub has_status: bool,
}

/// A field that another manager owns with another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// `"kubectl" using rbee.dev/v1alpha1`, with the subresource where there is one.
    pub manager: String,
    /// `.spec.replicas`.
    pub field: String,
}

impl Conflict {
    /// The cause in a Status.
    pub fn cause(&self) -> Value {
        let message = format!("conflict with {}", self.manager);
        json!({"reason": "FieldManagerConflict", "message": message, "field": self.field})
    }
}

/// Why an apply was refused.
#[derive(Debug, Error, PartialEq)]
pub enum ApplyError {
    /// 409 Conflict with one cause (`FieldManagerConflict`) per field.
    #[error("{message}")]
    Conflict {
        /// `Apply failed with 1 conflict: …`.
        message: String,
        /// The fields, by manager.
        conflicts: Vec<Conflict>,
    },
    /// The request is wrong (400 BadRequest).
    #[error("{0}")]
    BadRequest(String),
    /// The configuration does not fit the schema (Kubernetes answers 500 with these words).
    #[error("{0}")]
    Typed(String),
    /// This server does not do that (422).
    #[error("{0}")]
    Unsupported(String),
}

/// Fields that writes to this (sub)resource leave alone.
fn ignored(ctx: &Context<'_>) -> Set {
    match ctx.subresource {
        "" if ctx.has_status => Set::of_fields(&[&["status"]]),
        "status" => Set::of_fields(&[&["metadata"], &["spec"]]),
        _ => Set::default(),
    }
}

/// An object that holds nothing yet.
fn empty_like(object: &Value) -> Value {
    let mut out = serde_json::Map::new();
    for key in ["apiVersion", "kind"] {
        if let Some(value) = object.get(key) {
            out.insert(key.into(), value.clone());
        }
    }
    Value::Object(out)
}

/// `ns/name; group/version, Kind=K`, as Kubernetes names an object in these errors.
fn object_name(object: &Value) -> String {
    let meta = |key: &str| object.pointer(&format!("/metadata/{key}")).and_then(Value::as_str).unwrap_or_default();
    format!("{}/{}; {}", meta("namespace"), meta("name"), kind_name(object))
}

/// `group/version, Kind=K`.
fn kind_name(object: &Value) -> String {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let version = text("apiVersion");
    let slash = if version.contains('/') { "" } else { "/" };
    format!("{slash}{version}, Kind={}", text("kind"))
}

fn typed(object: &Value, ctx: &Context<'_>, duplicates: bool, what: &str) -> Result<(), ApplyError> {
    let errors = walk::validate(object, TypeRef::Root(ctx.schema), duplicates);
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApplyError::Typed(format!(
        "failed to create typed {what} object ({}): {}",
        object_name(object),
        errors_text(&errors)
    )))
}

/// The object after `config` was applied to `live` (none: it is created). An apply that changes nothing answers a value
/// equal to `live`. Defaults of the schema are filled in; validation is the caller's.
pub fn apply(live: Option<&Value>, config: &Value, ctx: &Context<'_>) -> Result<Value, ApplyError> {
    let version = config.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let other_kind = live.is_some_and(|l| l.get("kind") != config.get("kind"));
    if version != ctx.api_version || other_kind {
        return Err(ApplyError::BadRequest(format!("invalid object type: {}", kind_name(config))));
    }
    if config.pointer("/metadata/managedFields").is_some_and(|m| !m.is_null()) {
        return Err(ApplyError::BadRequest("metadata.managedFields must be nil".into()));
    }
    let created = live.is_none();
    let live = live.cloned().unwrap_or_else(|| empty_like(config));
    let mut managed =
        Managed::decode(&live).map_err(|e| ApplyError::Typed(format!("failed to decode managed fields: {e}")))?;
    typed(config, ctx, false, "patch")?;
    typed(&live, ctx, true, "live")?;
    let ignored = ignored(ctx);
    let rules = Rules { schema: TypeRef::Root(ctx.schema), ignored: &ignored };
    if managed.0.is_empty() {
        let first = Identity::new("before-first-apply", Operation::Update, ctx.api_version, ctx.subresource);
        updater::update(rules, &empty_like(&live), &live, &mut managed, &first, ctx.api_version, ctx.now)?;
    }
    let applier = Identity::new(ctx.manager, Operation::Apply, ctx.api_version, ctx.subresource);
    let before = managed.clone();
    let mut outcome = updater::apply(rules, &live, config, &mut managed, &applier, ctx.api_version, ctx.force)?;
    if let Applied::Conflicts(conflicts) = outcome {
        let conflicts = last_applied::unexcused(conflicts, &live, ctx);
        if !conflicts.is_empty() {
            return Err(updater::conflict_error(conflicts));
        }
        managed = before;
        outcome = updater::apply(rules, &live, config, &mut managed, &applier, ctx.api_version, true)?;
    }
    let mut new = match outcome {
        Applied::Changed(mut new) => {
            if let Some(owned) = managed.0.get_mut(&applier) {
                owned.time = Some(ctx.now.into());
            }
            ctx.schema.default(&mut new);
            new
        }
        Applied::Same => live.clone(),
        Applied::Conflicts(conflicts) => return Err(updater::conflict_error(conflicts)),
    };
    managed.encode(&mut new);
    last_applied::refresh(&mut new, config, ctx);
    Ok(if created { new } else { keep_times(&live, new) })
}

/// Writes the managedFields of `new` after a create, update or patch (operation `Update`). Never fails: where the
/// old entries cannot be read they start anew, and an object that does not fit its schema gets none (validation
/// refuses it).
pub fn track_update(live: Option<&Value>, new: &mut Value, ctx: &Context<'_>) {
    let old = live.cloned().unwrap_or_else(|| empty_like(new));
    // What has no metadata is what a typed kind is before anything is set: the write creates the object.
    let named = |live: &&Value| live["metadata"].as_object().is_some_and(|m| !m.is_empty());
    let live = live.filter(named);
    let tracked = managed_after_reset(&old, new, ctx);
    managed::set_entries(new, None);
    let Some(mut managed) = tracked else { return };
    if managed.0.is_empty() && live.is_some() {
        return;
    }
    let ignored = ignored(ctx);
    let rules = Rules { schema: TypeRef::Root(ctx.schema), ignored: &ignored };
    let writer = Identity::new(ctx.manager, Operation::Update, ctx.api_version, ctx.subresource);
    let fits = typed(new, ctx, true, "new").is_ok() && typed(&old, ctx, true, "live").is_ok();
    if !fits || updater::update(rules, &old, new, &mut managed, &writer, ctx.api_version, ctx.now).is_err() {
        return;
    }
    managed.cap();
    managed.encode(new);
    if live.is_some() {
        *new = keep_times(&old, std::mem::take(new));
    }
}

/// The entries that a write starts from: those it carries, else those of the live object; none when it resets them.
fn managed_after_reset(old: &Value, new: &Value, ctx: &Context<'_>) -> Option<Managed> {
    let of_live = || Managed::decode(old).unwrap_or_default();
    if !ctx.subresource.is_empty() {
        return Some(of_live());
    }
    if let Some(entries) = managed::entries_of(new) {
        let blank = |e: &Value| e.as_object().is_some_and(serde_json::Map::is_empty);
        if entries.is_empty() || (entries.len() == 1 && blank(&entries[0])) {
            return Some(Managed::default());
        }
    }
    match Managed::decode(new) {
        Ok(managed) if !managed.0.is_empty() => Some(managed),
        _ => Some(of_live()),
    }
}

/// Entries whose fields did not change keep their times when nothing but times would change.
fn keep_times(live: &Value, mut new: Value) -> Value {
    if managed::same_but_times(live, &new) {
        managed::set_entries(&mut new, managed::entries_of(live).cloned().map(Value::Array));
    }
    new
}
