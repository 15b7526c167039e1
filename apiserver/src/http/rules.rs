//! What the built-in kinds have beside their schema: defaults, fields that creates and updates may not set, and rules.

use serde_json::{Map, Value, json};

use super::meta;
use crate::registry::{Builtin, definition};
use crate::schema::FieldError;

const MAX_DATA_BYTES: usize = 1 << 20;

fn entry<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    let slot = &mut object[key];
    if slot.is_null() {
        *slot = json!({});
    }
    slot
}

/// Fills in defaults and brings fields into the form in which they are stored.
pub fn set_defaults(builtin: Builtin, object: &mut Value) {
    if !object.is_object() {
        return;
    }
    match builtin {
        Builtin::Namespace => {
            let name = meta::name(object).to_string();
            if !name.is_empty() {
                let labels = meta::of_mut(object).entry("labels").or_insert_with(|| json!({}));
                labels["kubernetes.io/metadata.name"] = name.into();
            }
            entry(object, "spec");
            let status = entry(object, "status");
            if status["phase"].is_null() {
                status["phase"] = "Active".into();
            }
        }
        Builtin::Secret => {
            if object["type"].as_str().unwrap_or_default().is_empty() {
                object["type"] = "Opaque".into();
            }
            merge_string_data(object);
        }
        Builtin::Event => bare_event(object, &EVENT),
        Builtin::EventsV1 => bare_event(object, &EVENTS_V1),
        Builtin::Lease => {
            let spec = entry(object, "spec");
            for key in ["acquireTime", "renewTime"] {
                normalise_time(spec, key, true);
            }
        }
        Builtin::Definition => definition::set_defaults(object),
        Builtin::ConfigMap | Builtin::ServiceAccount | Builtin::Review(_) => {}
    }
    let drop_null = |map: &mut Map<String, Value>, key: &str| {
        if map.get(key).is_some_and(|v| v.is_null() || v.as_object().is_some_and(Map::is_empty)) {
            map.remove(key);
        }
    };
    if let Some(map) = object.as_object_mut() {
        for key in ["data", "binaryData", "stringData"] {
            drop_null(map, key);
        }
    }
}

fn merge_string_data(object: &mut Value) {
    use base64::Engine as _;
    let Some(Value::Object(plain)) = object.as_object_mut().and_then(|o| o.remove("stringData")) else { return };
    let data = entry(object, "data");
    for (key, value) in plain {
        let text = value.as_str().unwrap_or_default();
        data[key] = base64::engine::general_purpose::STANDARD.encode(text).into();
    }
}

/// Fields of an Event that every answer has, set or not.
struct EventFields {
    /// Empty objects.
    objects: [&'static str; 2],
    /// Nulls; the first has microseconds.
    times: [&'static str; 3],
    /// Empty texts.
    texts: [&'static str; 2],
}

const EVENT: EventFields = EventFields {
    objects: ["involvedObject", "source"],
    times: ["eventTime", "firstTimestamp", "lastTimestamp"],
    texts: ["reportingComponent", "reportingInstance"],
};

const EVENTS_V1: EventFields = EventFields {
    objects: ["regarding", "deprecatedSource"],
    times: ["eventTime", "deprecatedFirstTimestamp", "deprecatedLastTimestamp"],
    texts: ["reportingController", "reportingInstance"],
};

/// The stored form of an Event: nothing that is not set.
fn bare_event(object: &mut Value, fields: &EventFields) {
    for (i, key) in fields.times.iter().enumerate() {
        normalise_time(object, key, i == 0);
    }
    let Some(map) = object.as_object_mut() else { return };
    for key in fields.objects.iter().chain(&fields.times).chain(&fields.texts) {
        let unset = map.get(*key).is_some_and(|v| v.is_null() || *v == "" || *v == json!({}));
        if unset {
            map.remove(*key);
        }
    }
}

/// What an answer shows beside what is stored: fields that are never left out.
pub fn dress(builtin: Builtin, object: &mut Value) {
    let fields = match builtin {
        Builtin::Event => &EVENT,
        Builtin::EventsV1 => &EVENTS_V1,
        _ => return,
    };
    let Some(map) = object.as_object_mut() else { return };
    for key in fields.objects {
        map.entry(key).or_insert_with(|| json!({}));
    }
    for key in fields.times {
        map.entry(key).or_insert(Value::Null);
    }
    // `events.k8s.io/v1` leaves empty texts out.
    if builtin == Builtin::Event {
        for key in fields.texts {
            map.entry(key).or_insert_with(|| "".into());
        }
    }
}

/// A built-in object before anything is set: its structs are there already, so that nobody owns them as such.
pub fn blank(builtin: Builtin) -> Value {
    match builtin {
        Builtin::Lease => json!({"metadata": {}, "spec": {}}),
        Builtin::Namespace => json!({"metadata": {}, "spec": {}, "status": {}}),
        _ => json!({"metadata": {}}),
    }
}

/// RFC 3339 in UTC, with six digits of a second (`MicroTime`) or none (`Time`).
fn normalise_time(object: &mut Value, key: &str, micro: bool) {
    let Some(time) = object.get(key).and_then(Value::as_str).and_then(|t| t.parse::<jiff::Timestamp>().ok()) else {
        return;
    };
    object[key] = time.strftime(if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" }).to_string().into();
}

/// The first time of a built-in kind that is none, with Go's layout for it.
pub fn bad_time(builtin: Option<Builtin>, object: &Value) -> Option<(String, &'static str)> {
    const MICRO: &str = "2006-01-02T15:04:05.000000Z07:00";
    const PLAIN: &str = "2006-01-02T15:04:05Z07:00";
    let fields: &[(&str, &'static str)] = match builtin? {
        Builtin::Lease => &[("/spec/acquireTime", MICRO), ("/spec/renewTime", MICRO)],
        Builtin::Event => &[("/eventTime", MICRO), ("/firstTimestamp", PLAIN), ("/lastTimestamp", PLAIN)],
        Builtin::EventsV1 => {
            &[("/eventTime", MICRO), ("/deprecatedFirstTimestamp", PLAIN), ("/deprecatedLastTimestamp", PLAIN)]
        }
        _ => return None,
    };
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    fields.iter().find_map(|(pointer, layout)| {
        text(pointer).filter(|t| t.parse::<jiff::Timestamp>().is_err()).map(|t| (t.to_string(), *layout))
    })
}

/// What a create sets whatever the client says.
pub fn prepare_create(builtin: Builtin, object: &mut Value) {
    match builtin {
        Builtin::Namespace => {
            object["status"] = json!({"phase": "Active"});
            let spec = entry(object, "spec");
            let mut finalizers = spec["finalizers"].as_array().cloned().unwrap_or_default();
            if !finalizers.contains(&"kubernetes".into()) {
                finalizers.push("kubernetes".into());
            }
            spec["finalizers"] = finalizers.into();
        }
        Builtin::Definition => {
            object["status"] = json!({});
        }
        _ => {}
    }
}

/// What an update of the object (not of its status) may not change.
pub fn prepare_update(builtin: Builtin, object: &mut Value, live: &Value) {
    match builtin {
        Builtin::Namespace => {
            entry(object, "spec")["finalizers"] = live["spec"]["finalizers"].clone();
            object["status"] = live["status"].clone();
        }
        Builtin::Definition => object["status"] = live["status"].clone(),
        Builtin::Secret if object["type"].as_str().unwrap_or_default().is_empty() => {
            object["type"] = live["type"].clone();
        }
        _ => {}
    }
}

/// Whether a PUT without a resource version overwrites, and whether it creates what is not there.
pub fn update_policy(builtin: Builtin) -> (bool, bool) {
    match builtin {
        Builtin::Lease => (false, true),
        Builtin::Event | Builtin::EventsV1 => (true, true),
        Builtin::Definition => (false, false),
        _ => (true, false),
    }
}

/// Everything that is wrong beside types and metadata.
pub fn validate(builtin: Builtin, object: &Value, live: Option<&Value>) -> Vec<FieldError> {
    match builtin {
        Builtin::ConfigMap => config_map(object, live),
        Builtin::Secret => secret(object, live),
        Builtin::Lease => lease(object),
        Builtin::Event => event(object, false),
        Builtin::EventsV1 => event(object, live.is_none()),
        Builtin::Definition => definition::validate(object, live),
        Builtin::Namespace | Builtin::ServiceAccount | Builtin::Review(_) => Vec::new(),
    }
}

fn key_problem(key: &str) -> Option<String> {
    if key.len() > 253 {
        return Some("must be no more than 253 characters".into());
    }
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    match key {
        "." => Some("must not be '.'".into()),
        ".." => Some("must not be '..'".into()),
        _ if !plain => Some("a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')".into()),
        key if key.starts_with("..") => Some("must not start with '..'".into()),
        _ => None,
    }
}

fn immutable(object: &Value, live: Option<&Value>, fields: &[&str], errors: &mut Vec<FieldError>) {
    let Some(live) = live.filter(|l| l["immutable"] == true) else { return };
    let why = "field is immutable when `immutable` is set";
    if object["immutable"] != true {
        errors.push(FieldError::forbidden("immutable", why));
    }
    for field in fields.iter().filter(|f| object.get(**f) != live.get(**f)) {
        errors.push(FieldError::forbidden(*field, why));
    }
}

fn bytes_of(map: Option<&Value>) -> usize {
    map.and_then(Value::as_object).into_iter().flatten().filter_map(|(_, v)| v.as_str()).map(str::len).sum()
}

fn config_map(object: &Value, live: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    immutable(object, live, &["data", "binaryData"], &mut errors);
    for field in ["data", "binaryData"] {
        for key in object[field].as_object().into_iter().flatten().map(|(k, _)| k) {
            if let Some(why) = key_problem(key) {
                errors.push(FieldError::invalid(format!("{field}[{key}]"), key.as_str(), why));
            }
            if field == "data" && object["binaryData"].get(key).is_some() {
                let why = "duplicate of key present in binaryData";
                errors.push(FieldError::invalid(format!("data[{key}]"), key.as_str(), why));
            }
        }
    }
    if bytes_of(object.get("data")) + bytes_of(object.get("binaryData")) / 4 * 3 > MAX_DATA_BYTES {
        errors.push(FieldError::too_long("", MAX_DATA_BYTES));
    }
    errors
}

fn secret(object: &Value, live: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(live) = live
        && object["type"] != live["type"]
    {
        errors.push(FieldError::invalid("type", object["type"].clone(), "field is immutable"));
    }
    immutable(object, live, &["data"], &mut errors);
    for key in object["data"].as_object().into_iter().flatten().map(|(k, _)| k) {
        if let Some(why) = key_problem(key) {
            errors.push(FieldError::invalid(format!("data[{key}]"), key.as_str(), why));
        }
    }
    if bytes_of(object.get("data")) / 4 * 3 > MAX_DATA_BYTES {
        errors.push(FieldError::too_long("data", MAX_DATA_BYTES));
    }
    let needed: &[&str] = match object["type"].as_str().unwrap_or_default() {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed.iter().filter(|k| object["data"].get(**k).is_none()) {
        errors.push(FieldError::required(format!("data[{key}]"), ""));
    }
    errors
}

fn lease(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &object["spec"];
    if let Some(n) = spec["leaseDurationSeconds"].as_i64().filter(|n| *n <= 0) {
        errors.push(FieldError::invalid("spec.leaseDurationSeconds", n, "must be greater than 0"));
    }
    if let Some(n) = spec["leaseTransitions"].as_i64().filter(|n| *n < 0) {
        errors.push(FieldError::invalid("spec.leaseTransitions", n, "must be greater than or equal to 0"));
    }
    errors
}

/// `strict`: a create of `events.k8s.io/v1`.
fn event(object: &Value, strict: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let about = if object.get("regarding").is_some() { "regarding" } else { "involvedObject" };
    let namespace = object[about]["namespace"].as_str().unwrap_or_default();
    let modern = !object["eventTime"].is_null();
    let fits = match (namespace, meta::namespace(object)) {
        ("", own) => own == "default" || modern && own == "kube-system",
        // An event with a time of its own may lie anywhere.
        (about, own) => modern || about == own,
    };
    if !fits {
        let why = "does not match event.namespace";
        errors.push(FieldError::invalid("involvedObject.namespace", namespace, why));
    }
    if modern {
        let controller = if about == "regarding" { "reportingController" } else { "reportingComponent" };
        for field in [controller, "reportingInstance", "action", "reason"] {
            let value = object[field].as_str().unwrap_or_default();
            if value.is_empty() {
                errors.push(FieldError::required(field, ""));
            } else if field != controller && value.len() > 128 {
                errors.push(FieldError::invalid(field, "", "can have at most 128 characters"));
            }
        }
        let note = if about == "regarding" { "note" } else { "message" };
        if object[note].as_str().unwrap_or_default().len() > 1024 {
            errors.push(FieldError::invalid("message", "", "can have at most 1024 characters"));
        }
    }
    if strict {
        if !modern {
            errors.push(FieldError::required("eventTime", ""));
        }
        let kind = object["type"].as_str().unwrap_or_default();
        if !matches!(kind, "Normal" | "Warning") {
            errors.push(FieldError::invalid("type", "", format!("has invalid value: {kind}")));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_take_plain_text() {
        let mut secret = json!({"metadata": {}, "stringData": {"k": "value"}, "data": {"k": "b2xk", "j": "djE="}});
        set_defaults(Builtin::Secret, &mut secret);
        assert_eq!(secret["data"], json!({"k": "dmFsdWU=", "j": "djE="}));
        assert_eq!(secret["type"], "Opaque");
        assert!(secret.get("stringData").is_none());
        let mut changed = secret.clone();
        changed["type"] = "other".into();
        assert_eq!(validate(Builtin::Secret, &changed, Some(&secret))[0].field, "type");
    }

    #[test]
    fn an_immutable_map_stays() {
        let live = json!({"immutable": true, "data": {"a": "1"}});
        let fields: Vec<String> = validate(Builtin::ConfigMap, &json!({"data": {"a": "2"}}), Some(&live))
            .into_iter()
            .map(|e| e.field)
            .collect();
        assert_eq!(fields, ["immutable", "data"]);
        assert!(!validate(Builtin::ConfigMap, &json!({"data": {"a/b": "x"}}), None).is_empty());
    }

    #[test]
    fn namespaces_get_their_name_as_a_label() {
        let mut namespace = json!({"metadata": {"name": "x"}});
        set_defaults(Builtin::Namespace, &mut namespace);
        prepare_create(Builtin::Namespace, &mut namespace);
        assert_eq!(namespace["metadata"]["labels"]["kubernetes.io/metadata.name"], "x");
        assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
        assert_eq!(namespace["status"]["phase"], "Active");
    }

    #[test]
    fn times_have_micros_where_kubernetes_has_them() {
        let mut lease = json!({"metadata": {}, "spec": {"renewTime": "2001-02-03T04:05:06Z"}});
        set_defaults(Builtin::Lease, &mut lease);
        assert_eq!(lease["spec"]["renewTime"], "2001-02-03T04:05:06.000000Z");
    }

    #[test]
    fn an_event_is_about_something_in_its_namespace() {
        let mut event = json!({"metadata": {"namespace": "x"}, "involvedObject": {"namespace": "other"}});
        set_defaults(Builtin::Event, &mut event);
        assert_eq!(validate(Builtin::Event, &event, None)[0].field, "involvedObject.namespace");
        dress(Builtin::Event, &mut event);
        assert_eq!((&event["firstTimestamp"], &event["reportingComponent"]), (&Value::Null, &json!("")));
        set_defaults(Builtin::Event, &mut event);
        assert!(event.get("firstTimestamp").is_none());
    }
}
