//! Columns of the built-in kinds, as kube-apiserver prints them.

use serde_json::{Value, json};

use super::{AGE_WORDS, definition, name_column, since};
use crate::schema::builtin;

type CellsOf = fn(&Value, i64) -> Vec<Value>;

/// The definitions and the cells of a built-in kind.
pub(super) fn columns(group: &str, kind: &str) -> Option<(Vec<Value>, CellsOf)> {
    let words = |field: &str| described(builtin::definition_name(group, kind).unwrap_or_default(), field);
    let plain = |name: &str, words: &str| definition(name, "string", "", words, 0);
    let age = || plain("Age", AGE_WORDS);
    Some(match (group, kind) {
        ("", "Namespace") => (vec![name_column(), plain("Status", "The status of the namespace"), age()], namespace),
        ("", "Secret") => {
            (vec![name_column(), plain("Type", &words("type")), plain("Data", &words("data")), age()], secret)
        }
        ("", "ConfigMap") => (vec![name_column(), plain("Data", &words("data")), age()], config_map),
        ("", "ServiceAccount") => (vec![name_column(), age()], named),
        ("coordination.k8s.io", "Lease") => {
            let holder = described("io.k8s.api.coordination.v1.LeaseSpec", "holderIdentity");
            (vec![name_column(), plain("Holder", &holder), age()], lease)
        }
        ("" | "events.k8s.io", "Event") => (event_columns(), event),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            (vec![name_column(), definition("Created At", "date", "", AGE_WORDS, 0)], definition_cells)
        }
        _ => return None,
    })
}

/// The definitions and the cells of a Scale.
pub(super) fn scale() -> (Vec<Value>, CellsOf) {
    let number = |name: &str, words: &str| definition(name, "integer", "", words, 0);
    let columns = vec![
        name_column(),
        number("Desired", "Number of desired replicas"),
        number("Available", "Number of actual replicas"),
        definition("Age", "date", "", AGE_WORDS, 0),
    ];
    (columns, |object, now| {
        let number = |pointer: &str| object.pointer(pointer).cloned().unwrap_or(Value::Null);
        vec![name(object), number("/spec/replicas"), number("/status/replicas"), age(object, now)]
    })
}

fn described(definition: &str, field: &str) -> String {
    let words =
        builtin::definition(definition).and_then(|d| d.get("properties")?.get(field)?.get("description")?.as_str());
    words.unwrap_or_default().to_string()
}

fn event_columns() -> Vec<Value> {
    let words = |field: &str| described("io.k8s.api.core.v1.Event", field);
    let field_path = described("io.k8s.api.core.v1.ObjectReference", "fieldPath");
    let plain = |name: &str, words: &str, priority: i64| definition(name, "string", "", words, priority);
    let mut name = name_column();
    name["priority"] = json!(1);
    vec![
        plain("Last Seen", &words("lastTimestamp"), 0),
        plain("Type", &words("type"), 0),
        plain("Reason", &words("reason"), 0),
        plain("Object", &words("involvedObject"), 0),
        plain("Subobject", &field_path, 1),
        plain("Source", &words("source"), 1),
        plain("Message", &words("message"), 0),
        plain("First Seen", &words("firstTimestamp"), 1),
        plain("Count", &words("count"), 1),
        name,
    ]
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn name(object: &Value) -> Value {
    text(object, "/metadata/name").into()
}

fn age(object: &Value, now: i64) -> Value {
    since(object.pointer("/metadata/creationTimestamp").and_then(Value::as_str), now).into()
}

fn size(object: &Value, field: &str) -> usize {
    object.get(field).and_then(Value::as_object).map_or(0, serde_json::Map::len)
}

fn named(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), age(object, now)]
}

fn namespace(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), text(object, "/status/phase").into(), age(object, now)]
}

fn secret(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), text(object, "/type").into(), size(object, "data").into(), age(object, now)]
}

fn config_map(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), (size(object, "data") + size(object, "binaryData")).into(), age(object, now)]
}

fn lease(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), text(object, "/spec/holderIdentity").into(), age(object, now)]
}

fn definition_cells(object: &Value, _now: i64) -> Vec<Value> {
    vec![name(object), text(object, "/metadata/creationTimestamp").into()]
}

/// Both views of an Event: core/v1 and events.k8s.io/v1 name the same things differently.
fn event(object: &Value, now: i64) -> Vec<Value> {
    let either = |pointers: [&str; 2]| {
        let first = text(object, pointers[0]);
        if first.is_empty() { text(object, pointers[1]) } else { first }
    };
    let time = |pointers: &[&str]| pointers.iter().map(|p| text(object, p)).find(|t| !t.is_empty()).map(str::to_string);
    let first = time(&["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"]);
    let series = object.get("series").filter(|s| s.is_object());
    let last = match series {
        Some(_) => time(&["/series/lastObservedTime"]),
        None => time(&["/lastTimestamp", "/deprecatedLastTimestamp"]).or_else(|| first.clone()),
    };
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).filter(|n| *n != 0);
    let count = match series {
        Some(_) => number("/series/count").unwrap_or(0),
        None => number("/count").or_else(|| number("/deprecatedCount")).unwrap_or(1),
    };
    let kind = either(["/involvedObject/kind", "/regarding/kind"]).to_lowercase();
    let target = match either(["/involvedObject/name", "/regarding/name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let component = match either(["/source/component", "/deprecatedSource/component"]) {
        "" => either(["/reportingComponent", "/reportingController"]),
        component => component,
    };
    let instance = match either(["/source/host", "/deprecatedSource/host"]) {
        "" => text(object, "/reportingInstance"),
        host => host,
    };
    let source = if instance.is_empty() { component.to_string() } else { format!("{component}, {instance}") };
    vec![
        since(last.as_deref(), now).into(),
        text(object, "/type").into(),
        text(object, "/reason").into(),
        target.into(),
        either(["/involvedObject/fieldPath", "/regarding/fieldPath"]).into(),
        source.into(),
        either(["/message", "/note"]).trim().into(),
        since(first.as_deref(), now).into(),
        count.into(),
        name(object),
    ]
}
