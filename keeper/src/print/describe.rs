//! `describe`: an object and its events as indented text, in kubectl's words.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    age,
    tabs::{self, escaped},
};

/// What stands at the top of every description and is not told again below.
const TOP_METADATA: [&str; 6] = ["name", "namespace", "labels", "annotations", "managedFields", "selfLink"];
const ACRONYMS: [&str; 6] = ["API", "GGUF", "PID", "UID", "URI", "URL"];

/// The description of an object. `events` are core/v1 Events, oldest first.
pub fn describe(object: &Value, events: &[Value], now: Timestamp) -> String {
    let mut text = String::new();
    let mut object = object.clone();
    object.sort_all_objects();
    let metadata = &object["metadata"];
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    text.push_str(&format!("Name:\t{}\n", word(&metadata["name"])));
    text.push_str(&format!("Namespace:\t{}\n", word(&metadata["namespace"])));
    text.push_str(&listed("Labels", &metadata["labels"], "="));
    text.push_str(&listed("Annotations", &metadata["annotations"], ": "));
    text.push_str(&format!("API Version:\t{}\n", word(&object["apiVersion"])));
    text.push_str(&format!("Kind:\t{}\n", word(&object["kind"])));
    let secret = object["kind"] == "Secret" && object["apiVersion"] == "v1";
    for (key, value) in object.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("apiVersion" | "kind", _) => {}
            ("metadata", Value::Object(map)) => {
                let rest = without(map, &TOP_METADATA);
                text.push_str("Metadata:\n");
                fields(&mut text, &rest, 1);
            }
            ("data" | "stringData", Value::Object(map)) if secret => sizes(&mut text, map),
            ("status", Value::Object(map)) => {
                text.push_str("Status:\n");
                fields(&mut text, &without(map, &["conditions"]), 1);
                conditions(&mut text, &map.get("conditions").cloned().unwrap_or_default(), now);
            }
            (key, value) => field(&mut text, key, value, 0),
        }
    }
    text.push_str(&event_lines(events, now));
    tabs::align(&text, tabs::DESCRIPTION)
}

fn without(map: &Map<String, Value>, keys: &[&str]) -> Map<String, Value> {
    map.iter().filter(|(k, _)| !keys.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Pairs under each other, the first beside the title.
fn listed(title: &str, map: &Value, between: &str) -> String {
    let Some(map) = map.as_object().filter(|m| !m.is_empty()) else { return format!("{title}:\t<none>\n") };
    map.iter()
        .enumerate()
        .map(|(index, (key, value))| {
            let title = if index == 0 { format!("{title}:") } else { String::new() };
            let value = shortened(&value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            format!("{title}\t{key}{between}{value}\n")
        })
        .collect()
}

fn shortened(value: &str) -> String {
    let line: String = escaped(value).replace(['\n', '\t'], " ");
    match line.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// A Secret's keys with the number of bytes behind them, never the bytes.
fn sizes(text: &mut String, data: &Map<String, Value>) {
    text.push_str("Data:\n");
    for (key, value) in data {
        let encoded = value.as_str().unwrap_or_default();
        let bytes = encoded.len() / 4 * 3 - encoded.bytes().rev().take_while(|b| *b == b'=').count().min(2);
        text.push_str(&format!("  {key}:\t{bytes} bytes\n"));
    }
}

fn fields(text: &mut String, map: &Map<String, Value>, depth: usize) {
    for (key, value) in map {
        field(text, key, value, depth);
    }
}

fn field(text: &mut String, key: &str, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let label = label(key);
    match value {
        Value::Object(map) => {
            text.push_str(&format!("{indent}{label}:\n"));
            fields(text, map, depth + 1);
        }
        Value::Array(items) => {
            text.push_str(&format!("{indent}{label}:\n"));
            items.iter().for_each(|item| match item {
                Value::Object(map) => fields(text, map, depth + 1),
                other => text.push_str(&format!("{indent}  {}\n", scalar(other))),
            });
        }
        other => text.push_str(&format!("{indent}{label}:\t{}\n", scalar(other))),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(s) => escaped(s).replace('\t', " ").trim_end().replace('\n', "\n    "),
        other => other.to_string(),
    }
}

/// `modelRef` → `Model Ref`, `sizeBytes` → `Size Bytes`; a key that is no camelCase word stays as it is.
fn label(key: &str) -> String {
    if !key.chars().all(|c| c.is_ascii_alphanumeric()) {
        return key.to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    let mut upper_before = false;
    for c in key.chars() {
        match words.last_mut() {
            Some(word) if upper_before || !c.is_ascii_uppercase() => word.push(c),
            _ => words.push(c.to_ascii_uppercase().to_string()),
        }
        upper_before = c.is_ascii_uppercase();
    }
    let known = |word: String| {
        let upper = word.to_uppercase();
        if ACRONYMS.contains(&upper.as_str()) { upper } else { word }
    };
    words.into_iter().map(known).collect::<Vec<_>>().join(" ")
}

fn conditions(text: &mut String, conditions: &Value, now: Timestamp) {
    let Some(items) = conditions.as_array().filter(|c| !c.is_empty()) else { return };
    text.push_str("Conditions:\n  Type\tStatus\tAge\tReason\tMessage\n  ----\t------\t---\t------\t-------\n");
    for item in items {
        let word = |key: &str| shortened_cell(item[key].as_str().unwrap_or_default());
        let age = age::since(item["lastTransitionTime"].as_str(), now);
        text.push_str(&format!(
            "  {}\t{}\t{age}\t{}\t{}\n",
            word("type"),
            word("status"),
            word("reason"),
            word("message")
        ));
    }
}

/// Whole text on one line: a message is never cut, it may hold the path that people look for.
fn shortened_cell(text: &str) -> String {
    escaped(text).replace(['\n', '\t'], " ")
}

fn event_lines(events: &[Value], now: Timestamp) -> String {
    if events.is_empty() {
        return "Events:\t<none>\n".into();
    }
    let mut text = String::from("Events:\n  Type\tReason\tAge\tFrom\tMessage\n  ----\t------\t----\t----\t-------\n");
    for event in events {
        let word = |value: &Value| shortened_cell(value.as_str().unwrap_or_default());
        let from = event_source(event);
        text.push_str(&format!(
            "  {}\t{}\t{}\t{from}\t{}\n",
            word(&event["type"]),
            word(&event["reason"]),
            event_age(event, now),
            word(&event["message"]).trim(),
        ));
    }
    text
}

/// Who reported a core/v1 Event.
pub fn event_source(event: &Value) -> String {
    [&event["source"]["component"], &event["reportingComponent"]]
        .iter()
        .find_map(|v| v.as_str().filter(|s| !s.is_empty()))
        .unwrap_or_default()
        .to_owned()
}

/// The last time of a core/v1 Event as text.
pub fn event_time(event: &Value) -> Option<&str> {
    [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ]
    .into_iter()
    .find_map(Value::as_str)
}

/// `5m`, or `5m (x3 over 2h)` where it happened more often.
pub fn event_age(event: &Value, now: Timestamp) -> String {
    let last = age::since(event_time(event), now);
    let count = event["series"]["count"].as_i64().or_else(|| event["count"].as_i64()).unwrap_or(1);
    let first = event["firstTimestamp"].as_str().or_else(|| event["eventTime"].as_str());
    if count > 1 { format!("{last} (x{count} over {})", age::since(first, now)) } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-01-01T00:05:00Z".parse().unwrap()
    }

    fn worker() -> Value {
        json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Worker",
            "metadata": {"name": "story", "namespace": "default", "uid": "u-1", "labels": {"a": "1", "b": "2"}, "managedFields": [{"manager": "x"}]},
            "spec": {"modelRef": {"name": "bee"}, "replicas": 1},
            "status": {"replicas": 1, "conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "message": "all replicas answer", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
    }

    #[test]
    fn a_worker_is_told_in_order() {
        let event = json!({"type": "Warning", "reason": "WorkerCrashed", "message": "ended by signal 9\n", "count": 2,
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:04:00Z", "source": {"component": "rbee-queen"}});
        let text = describe(&worker(), &[event], now());
        let wanted = "\
Name:         story
Namespace:    default
Labels:       a=1
              b=2
Annotations:  <none>
API Version:  rbee.dev/v1alpha1
Kind:         Worker
Metadata:
  UID:  u-1
Spec:
  Model Ref:
    Name:    bee
  Replicas:  1
Status:
  Replicas:  1
Conditions:
  Type   Status  Age  Reason  Message
  ----   ------  ---  ------  -------
  Ready  True    5m   Ready   all replicas answer
Events:
  Type     Reason         Age                From        Message
  ----     ------         ----               ----        -------
  Warning  WorkerCrashed  60s (x2 over 5m)   rbee-queen  ended by signal 9
";
        let squeeze =
            |t: &str| t.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
        assert_eq!(squeeze(&text), squeeze(wanted), "{text}");
        assert!(text.contains("Name:         story\nNamespace:    default\n"), "{text}");
    }

    #[test]
    fn no_events_are_none() {
        assert!(describe(&worker(), &[], now()).ends_with("Events:  <none>\n"));
    }

    #[test]
    fn a_secret_keeps_its_secret() {
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"key": "c2VjcmV0"}});
        let text = describe(&secret, &[], now());
        assert!(text.contains("key:  6 bytes") && !text.contains("c2VjcmV0"), "{text}");
    }

    #[test]
    fn labels_are_words() {
        for (key, text) in [
            ("modelRef", "Model Ref"),
            ("uri", "URI"),
            ("observedGeneration", "Observed Generation"),
            ("sha256", "Sha256"),
            ("a.b/c", "a.b/c"),
            ("lastTransitionTime", "Last Transition Time"),
        ] {
            assert_eq!(label(key), text);
        }
    }
}
