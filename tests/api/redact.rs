//! Takes out of answers what differs from run to run and keeps what is the same: the first uid is always `<uid-1>`.

use std::{collections::HashMap, sync::LazyLock};

use regex::{Captures, Regex};
use serde_json::{Map, Value};

/// Times that a server set; those that cases set lie long before.
static TIMES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"20[2-9]\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z").expect("a pattern"));
/// What a parser says of a text that it cannot read is its own.
static PARSERS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(json parse error: |cannot be handled as an? \w+: json: |converting YAML to JSON: ).*")
        .expect("a pattern")
});
/// Versions in an object that a message quotes.
static VERSIONS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"(resourceVersion\\*":\\*")(\d+)"#).expect("a pattern"));

/// Names for what was seen, in the order in which it came.
#[derive(Default)]
pub struct Redactor {
    uids: HashMap<String, String>,
    versions: HashMap<String, String>,
    /// Whether managed fields are shown.
    pub managed: bool,
}

fn name_of(names: &mut HashMap<String, String>, what: &str, value: &str) -> String {
    let next = format!("<{what}-{}>", names.len() + 1);
    names.entry(value.to_owned()).or_insert(next).clone()
}

impl Redactor {
    /// The value with names in place of what differs, its keys in alphabetical order.
    pub fn value(&mut self, value: &mut Value) {
        // Names are given in the order of the keys.
        value.sort_all_objects();
        self.inner(value);
        value.sort_all_objects();
    }

    fn inner(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) => self.object(map),
            Value::Array(items) => items.iter_mut().for_each(|item| self.inner(item)),
            Value::String(text) => *text = self.text(text),
            _ => {}
        }
    }

    fn object(&mut self, map: &mut Map<String, Value>) {
        if !self.managed {
            map.remove("managedFields");
        }
        let (stored, named) = (map.contains_key("uid"), map.contains_key("name"));
        several_causes(map);
        bare_items(map);
        // Discovery is in the order in which the kinds were established.
        if let Some(resources) = map.get_mut("resources").and_then(Value::as_array_mut) {
            resources.sort_by_key(|r| r["name"].to_string());
        }
        for (key, value) in map.iter_mut() {
            match (key.as_str(), &mut *value) {
                ("uid", Value::String(text)) if text.len() == 36 => *text = name_of(&mut self.uids, "uid", text),
                ("resourceVersion", Value::String(text)) if stored && !text.is_empty() => {
                    *text = name_of(&mut self.versions, "version", text);
                }
                ("resourceVersion", Value::String(text)) if named => {
                    *text = self.versions.get(text).unwrap_or(text).clone();
                }
                // The version of a list moves with everything that anybody writes.
                ("resourceVersion", Value::String(text)) if !text.is_empty() => *text = "<version>".into(),
                ("creationTimestamp" | "deletionTimestamp" | "time", Value::String(text)) => *text = "<time>".into(),
                ("continue", Value::String(text)) if !text.is_empty() => *text = "<continue>".into(),
                ("cells", Value::Array(cells)) => cells.iter_mut().for_each(age),
                ("hash", Value::String(text)) => *text = "<hash>".into(),
                _ => self.inner(value),
            }
        }
    }

    /// A text with names in place of uids and, in messages about them, of versions.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (uid, name) in &self.uids {
            text = text.replace(uid, name);
        }
        for (version, name) in &self.versions {
            text = text.replace(&format!("({version})"), &format!("({name})"));
        }
        if text.starts_with("too old resource version") {
            text = "too old resource version: <versions>".into();
        }
        let name = |found: &Captures<'_>| {
            let version = self.versions.get(&found[2]).map_or("<version>", String::as_str);
            format!("{}{version}", &found[1])
        };
        let text = VERSIONS.replace_all(&text, name);
        let text = PARSERS.replace_all(&text, "$1<why>");
        TIMES.replace_all(&text, "<time>").into_owned()
    }
}

/// Items of built-in kinds are written without their type by Go's typed lists, which clients have to bear either way.
fn bare_items(list: &mut Map<String, Value>) {
    if list.get("apiVersion").is_some_and(|v| v.as_str().is_some_and(|v| !v.contains("rbee.dev"))) {
        for item in list.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(item) = item.as_object_mut() {
                item.retain(|key, _| key != "apiVersion" && key != "kind");
            }
        }
    }
}

/// Kubernetes tells several causes in the order of a Go map, which is none.
fn several_causes(status: &mut Map<String, Value>) {
    let Some(causes) = status.get_mut("details").and_then(|d| d["causes"].as_array_mut()) else { return };
    if causes.len() < 2 {
        return;
    }
    causes.sort_by_key(ToString::to_string);
    if let Some(Value::String(message)) = status.get_mut("message")
        && let Some(at) = message.find(" is invalid: [")
    {
        message.truncate(at);
        message.push_str(" is invalid: [<the causes>]");
    }
}

fn age(cell: &mut Value) {
    let is_age = |t: &str| {
        t.strip_suffix(['s', 'm', 'h']).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    if cell.as_str().is_some_and(is_age) {
        *cell = "<age>".into();
    }
}
