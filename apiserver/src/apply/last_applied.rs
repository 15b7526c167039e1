//! kubectl's way from client-side to server-side apply: the last-applied annotation excuses conflicts and is kept up.

use serde_json::Value;

use super::Context;
use super::compare::compare;
use super::typed::TypeRef;
use super::updater::Conflicts;
use super::walk::{field_set, validate};
use crate::schema::error::go_json;
use crate::schema::metadata::ANNOTATIONS_MAX_BYTES;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn annotation(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(ANNOTATION)?.as_str().filter(|a| !a.is_empty())
}

/// The conflicts that remain when kubectl applied these fields itself before, client-side, and nobody changed them.
pub(super) fn unexcused(conflicts: Conflicts, live: &Value, ctx: &Context<'_>) -> Conflicts {
    if ctx.manager != "kubectl" {
        return conflicts;
    }
    let schema = TypeRef::Root(ctx.schema);
    let Some(last) = annotation(live).and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return conflicts;
    };
    let fits = last.get("apiVersion").and_then(Value::as_str) == Some(ctx.api_version)
        && validate(&last, schema, false).is_empty()
        && validate(live, schema, false).is_empty();
    if !fits {
        return conflicts;
    }
    let Ok(changes) = compare(&last, live, schema) else { return conflicts };
    let excused =
        field_set(&last, schema).difference(&changes.modified).difference(&changes.added).difference(&changes.removed);
    conflicts.into_iter().filter(|(_, path)| !excused.has(path)).collect()
}

/// Writes the applied configuration into the annotation, where there is one.
pub(super) fn refresh(new: &mut Value, config: &Value, ctx: &Context<'_>) {
    if ctx.manager != "kubectl" || annotation(new).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    let empty =
        config.pointer("/metadata/annotations").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty);
    if empty && let Some(meta) = config.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("annotations");
    }
    let text = format!("{}\n", go_json(&config));
    let Some(annotations) = new.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else { return };
    annotations.insert(ANNOTATION.into(), Value::from(text));
    let size: usize = annotations.iter().map(|(k, v)| k.len() + v.as_str().unwrap_or_default().len()).sum();
    if size > ANNOTATIONS_MAX_BYTES {
        annotations.remove(ANNOTATION);
    }
}
