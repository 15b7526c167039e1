//! Path items of a resource: its operations with parameters, bodies and answers.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::Resource;
use super::model::{Names, meta, reference};

/// Query parameters by name; `fieldManager@patch` is the one of PATCH.
static PARAMETERS: LazyLock<Map<String, Value>> =
    LazyLock::new(|| serde_json::from_str(include_str!("parameters.json")).expect("parameters.json of this source"));

const LIST: [&str; 11] = [
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "shardSelector",
    "timeoutSeconds",
    "watch",
];
const WRITE: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];
const PATCH: [&str; 4] = ["dryRun", "fieldManager@patch", "fieldValidation", "force"];
const DELETE: [&str; 5] = [
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
];
const MEDIA: [&str; 2] = ["application/json", "application/yaml"];

/// What one operation is.
struct Operation<'a> {
    /// HTTP method, lower case.
    method: &'static str,
    /// `x-kubernetes-action`.
    action: &'static str,
    /// The verb in ids and descriptions.
    verb: &'static str,
    parameters: &'a [&'a str],
    /// Component of the request's body.
    body: Option<String>,
    /// Component of the answer.
    answer: String,
    codes: &'a [(&'a str, &'a str)],
}

const OK: (&str, &str) = ("200", "OK");
const CREATED: (&str, &str) = ("201", "Created");
const ACCEPTED: (&str, &str) = ("202", "Accepted");

/// The path items of a resource.
pub(super) fn of(group: &str, version: &str, resource: &Resource, names: &Names) -> Map<String, Value> {
    let base = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let scoped = if resource.namespaced { format!("{base}/namespaces/{{namespace}}") } else { base.clone() };
    let writer = Writer { group, version, resource };
    let mut out = Map::new();
    if is_review(resource) {
        let path = format!("{scoped}/{}", resource.plural);
        out.insert(path, writer.item(&[create(names)], false, "", ""));
        return out;
    }
    if resource.namespaced {
        let all = writer.all_namespaces(names);
        out.insert(format!("{base}/{}", resource.plural), all);
    }
    let collection = format!("{scoped}/{}", resource.plural);
    out.insert(collection.clone(), writer.item(&[list(names), create(names), delete_collection()], false, "", ""));
    let one = format!("{collection}/{{name}}");
    let whole = [read(&names.object), replace(&names.object), delete(), patch(&names.object)];
    out.insert(one.clone(), writer.item(&whole, true, "", ""));
    let scale = "io.k8s.api.autoscaling.v1.Scale".to_string();
    for (present, part, title, component) in
        [(resource.status, "status", "Status", &names.object), (resource.scale, "scale", "Scale", &scale)]
    {
        if present {
            let operations = [read(component), replace(component), patch(component)];
            out.insert(format!("{one}/{part}"), writer.item(&operations, true, part, title));
        }
    }
    out
}

/// Kinds that are asked, never stored.
fn is_review(resource: &Resource) -> bool {
    resource.builtin && (resource.kind.ends_with("Review") || resource.kind == "TokenRequest")
}

fn list(names: &Names) -> Operation<'static> {
    let answer = names.list.clone();
    Operation { method: "get", action: "list", verb: "list", parameters: &LIST, body: None, answer, codes: &[OK] }
}

fn create(names: &Names) -> Operation<'static> {
    Operation {
        method: "post",
        action: "post",
        verb: "create",
        parameters: &WRITE,
        body: Some(names.object.clone()),
        answer: names.object.clone(),
        codes: &[OK, CREATED, ACCEPTED],
    }
}

fn delete_collection() -> Operation<'static> {
    Operation {
        method: "delete",
        action: "deletecollection",
        verb: "deletecollection",
        parameters: &LIST,
        body: None,
        answer: meta("Status"),
        codes: &[OK],
    }
}

fn read(component: &str) -> Operation<'static> {
    Operation {
        method: "get",
        action: "get",
        verb: "read",
        parameters: &["resourceVersion"],
        body: None,
        answer: component.to_string(),
        codes: &[OK],
    }
}

fn replace(component: &str) -> Operation<'static> {
    Operation {
        method: "put",
        action: "put",
        verb: "replace",
        parameters: &WRITE,
        body: Some(component.to_string()),
        answer: component.to_string(),
        codes: &[OK, CREATED],
    }
}

fn delete() -> Operation<'static> {
    Operation {
        method: "delete",
        action: "delete",
        verb: "delete",
        parameters: &DELETE,
        body: Some(meta("DeleteOptions")),
        answer: meta("Status"),
        codes: &[OK, ACCEPTED],
    }
}

fn patch(component: &str) -> Operation<'static> {
    Operation {
        method: "patch",
        action: "patch",
        verb: "patch",
        parameters: &PATCH,
        body: Some(meta("Patch")),
        answer: component.to_string(),
        codes: &[OK],
    }
}

struct Writer<'a> {
    group: &'a str,
    version: &'a str,
    resource: &'a Resource,
}

/// Letters and digits, each word with a capital.
fn identifier(text: &str, capital: bool) -> String {
    let mut up = capital;
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        if c.is_alphabetic() || c == '_' || (i != 0 && c.is_ascii_digit()) {
            if up {
                out.extend(c.to_uppercase());
            } else {
                out.push(c);
            }
            up = false;
        } else {
            up = true;
        }
    }
    out
}

fn content(types: &[&str], component: &str) -> Value {
    let schema = json!({"schema": reference(component)});
    Value::Object(types.iter().map(|t| ((*t).to_string(), schema.clone())).collect())
}

fn query(name: &str) -> Value {
    let mut out = PARAMETERS.get(name).cloned().unwrap_or_else(|| json!({"in": "query", "schema": {"type": "string"}}));
    out["name"] = name.split('@').next().unwrap_or(name).into();
    out
}

impl Writer<'_> {
    fn group_words(&self) -> &str {
        if self.group.is_empty() { "core" } else { self.group.strip_suffix(".k8s.io").unwrap_or(self.group) }
    }

    fn in_path(&self, name: &str) -> Value {
        let words = match name {
            "name" => format!("name of the {}", self.resource.kind),
            _ => "object name and auth scope, such as for teams and projects".to_string(),
        };
        json!({"name": name, "in": "path", "description": words, "required": true,
            "schema": {"type": "string", "uniqueItems": true}})
    }

    /// One path with its operations; parameters that all share stand at the path.
    fn item(&self, operations: &[Operation<'_>], named: bool, part: &str, title: &str) -> Value {
        let mut shared: Vec<Value> = Vec::new();
        if named {
            shared.push(self.in_path("name"));
        }
        if self.resource.namespaced {
            shared.push(self.in_path("namespace"));
        }
        shared.push(query("pretty"));
        let mut out = Map::new();
        let only = operations.len() == 1;
        for operation in operations {
            let scope = if self.resource.namespaced { "Namespaced" } else { "" };
            let id = format!("{scope}{}{title}", self.resource.kind);
            out.insert(operation.method.into(), self.operation(operation, &id, part, only));
        }
        if only {
            shared.extend(operations[0].parameters.iter().map(|p| query(p)));
        }
        out.insert("parameters".into(), shared.into());
        Value::Object(out)
    }

    fn all_namespaces(&self, names: &Names) -> Value {
        let list = list(names);
        let id = format!("{}ForAllNamespaces", self.resource.kind);
        let mut parameters: Vec<Value> = LIST.iter().chain(&["pretty"]).map(|p| query(p)).collect();
        parameters.sort_by_key(|p| p["name"].to_string());
        json!({"get": self.operation(&list, &id, "", true), "parameters": parameters})
    }

    fn operation(&self, operation: &Operation<'_>, id: &str, part: &str, bare: bool) -> Value {
        let prefix = match operation.verb {
            "deletecollection" => "delete",
            verb => verb,
        };
        let collection = if operation.verb == "deletecollection" { "Collection" } else { "" };
        let group = identifier(self.group_words(), true);
        let version = identifier(self.version, true);
        let tag = format!("{}_{}", identifier(self.group_words(), false), identifier(self.version, false));
        let mut out = json!({
            "tags": [tag],
            "description": self.description(operation.verb, part),
            "operationId": format!("{prefix}{group}{version}{collection}{id}"),
            "responses": responses(operation),
            "x-kubernetes-action": operation.action,
            "x-kubernetes-group-version-kind":
                {"group": self.group, "version": self.version, "kind": self.resource.kind},
        });
        if !bare {
            out["parameters"] = operation.parameters.iter().map(|p| query(p)).collect();
        }
        if let Some(body) = &operation.body {
            out["requestBody"] = self.body(operation, body);
        }
        out
    }

    fn body(&self, operation: &Operation<'_>, component: &str) -> Value {
        let mut patches =
            vec!["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];
        if self.resource.builtin {
            patches.push("application/strategic-merge-patch+json");
        }
        let types = if operation.method == "patch" { &patches[..] } else { &MEDIA[..] };
        let mut body = json!({"content": content(types, component)});
        if operation.method != "delete" {
            body["required"] = true.into();
        }
        body
    }

    fn description(&self, verb: &str, part: &str) -> String {
        let kind = &self.resource.kind;
        let part = if part.is_empty() { String::new() } else { format!(" {part} of") };
        match verb {
            "list" if self.resource.builtin => format!("list or watch objects of kind {kind}"),
            "list" => format!("list{part} objects of kind {kind}"),
            "patch" => format!("partially update{part} the specified {kind}"),
            "deletecollection" => format!("delete collection of {kind}"),
            "create" | "delete" => {
                let vowel = kind.starts_with(['A', 'E', 'I', 'O', 'U']);
                let article = match (kind.ends_with('s') && !kind.ends_with("ss"), vowel) {
                    (true, _) => " ",
                    (false, true) => " an ",
                    (false, false) => " a ",
                };
                format!("{verb}{part}{article}{kind}")
            }
            verb => format!("{verb}{part} the specified {kind}"),
        }
    }
}

fn responses(operation: &Operation<'_>) -> Value {
    let mut out = Map::new();
    for (code, words) in operation.codes {
        out.insert((*code).into(), json!({"description": words, "content": content(&MEDIA, &operation.answer)}));
    }
    out.insert("401".into(), json!({"description": "Unauthorized"}));
    Value::Object(out)
}
