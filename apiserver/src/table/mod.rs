//! Table answers (`application/json;as=Table`): columns of a kind and the cells of an object.

mod age;
mod builtin;
pub mod jsonpath;

use serde_json::{Map, Value, json};

pub use age::{human_duration, since};
use jsonpath::JsonPath;

/// What a row carries of its object (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// PartialObjectMetadata.
    #[default]
    Metadata,
    /// The object.
    Object,
}

/// How the cells of a kind are made.
#[derive(Debug, Clone)]
enum Cells {
    /// The name, then one per path.
    Paths(Vec<(String, JsonPath)>),
    /// By code, of an object at a moment (Unix seconds).
    Builtin(fn(&Value, i64) -> Vec<Value>),
}

/// The columns of one kind.
#[derive(Debug, Clone)]
pub struct Columns {
    definitions: Vec<Value>,
    cells: Cells,
}

const NAME_WORDS: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const AGE_WORDS: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

fn definition(name: &str, kind: &str, format: &str, words: &str, priority: i64) -> Value {
    json!({"name": name, "type": kind, "format": format, "description": words, "priority": priority})
}

fn name_column() -> Value {
    definition("Name", "string", "name", NAME_WORDS, 0)
}

impl Columns {
    /// From a CRD version's `additionalPrinterColumns` (absent or empty: Name and Age). The error names the column's
    /// path.
    pub fn from_crd(columns: Option<&Value>) -> Result<Self, String> {
        let columns = columns.and_then(Value::as_array).filter(|c| !c.is_empty());
        let default = vec![
            json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": AGE_WORDS}),
        ];
        let mut definitions = vec![name_column()];
        let mut paths = Vec::new();
        for column in columns.unwrap_or(&default) {
            let text = |key: &str| column.get(key).and_then(Value::as_str).unwrap_or_default();
            let source = text("jsonPath");
            let path =
                JsonPath::parse(source).map_err(|e| format!("unrecognized column definition {source:?}: {e}"))?;
            let words = match text("description") {
                "" => format!("Custom resource definition column (in JSONPath format): {source}"),
                words => words.to_string(),
            };
            let priority = column.get("priority").and_then(Value::as_i64).unwrap_or(0);
            definitions.push(definition(text("name"), text("type"), text("format"), &words, priority));
            paths.push((text("type").to_string(), path));
        }
        Ok(Self { definitions, cells: Cells::Paths(paths) })
    }

    /// Of a built-in kind, as kubectl shows it.
    pub fn builtin(group: &str, kind: &str) -> Option<Self> {
        let (definitions, cells) = builtin::columns(group, kind)?;
        Some(Self { definitions, cells: Cells::Builtin(cells) })
    }

    /// Of a Scale.
    pub fn scale() -> Self {
        let (definitions, cells) = builtin::scale();
        Self { definitions, cells: Cells::Builtin(cells) }
    }

    /// The `columnDefinitions`.
    pub fn definitions(&self) -> &[Value] {
        &self.definitions
    }

    /// The cells of an object; `now` is Unix seconds.
    pub fn cells(&self, object: &Value, now: i64) -> Vec<Value> {
        match &self.cells {
            Cells::Builtin(cells) => cells(object, now),
            Cells::Paths(paths) => {
                let name = object.pointer("/metadata/name").cloned().unwrap_or_else(|| "".into());
                let rest = paths.iter().map(|(kind, path)| cell(kind, path.find(object).first().copied(), now));
                std::iter::once(name).chain(rest).collect()
            }
        }
    }

    /// A `meta.k8s.io/v1` Table. `list_metadata` (an object: resourceVersion, continue, remainingItemCount) becomes
    /// `metadata`; `now` is Unix seconds, for ages. With `headers` false `columnDefinitions` is null (watch events
    /// after the first).
    pub fn table(
        &self,
        objects: &[&Value],
        list_metadata: Value,
        include: IncludeObject,
        headers: bool,
        now: i64,
    ) -> Value {
        let rows: Vec<Value> = objects
            .iter()
            .map(|object| json!({"cells": self.cells(object, now), "object": included(object, include)}))
            .collect();
        let columns = if headers { Value::Array(self.definitions.clone()) } else { Value::Null };
        json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_metadata, "columnDefinitions": columns, "rows": rows})
    }
}

/// The PartialObjectMetadata of an object.
pub fn partial_metadata(object: &Value) -> Value {
    let empty = Value::Object(Map::new());
    let metadata = object.get("metadata").unwrap_or(&empty);
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

fn included(object: &Value, include: IncludeObject) -> Value {
    match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Metadata => partial_metadata(object),
        IncludeObject::Object => object.clone(),
    }
}

/// A cell of a column's type; null where the value is missing or of another type.
fn cell(kind: &str, value: Option<&Value>, now: i64) -> Value {
    let Some(value) = value.filter(|v| !v.is_null()) else { return Value::Null };
    match (kind, value) {
        ("string", Value::String(_)) => value.clone(),
        ("string", Value::Bool(b)) => b.to_string().into(),
        ("string", Value::Number(n)) => crate::schema::error::go_number(n).into(),
        ("string", other) => crate::schema::error::go_json(other).into(),
        ("integer", Value::Number(n)) => match (n.as_i64(), n.as_f64()) {
            (Some(i), _) => i.into(),
            (None, Some(f)) => (f as i64).into(),
            _ => Value::Null,
        },
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) => match text.parse::<jiff::Timestamp>() {
            Ok(_) => since(Some(text), now).into(),
            Err(_) if text.is_empty() => "<unknown>".into(),
            Err(_) => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000_000;

    fn columns() -> Columns {
        Columns::from_crd(Some(&json!([
            {"name": "Mode", "type": "string", "jsonPath": ".spec.mode", "description": "How it runs"},
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
            {"name": "Code", "type": "string", "jsonPath": ".spec.code", "priority": 1},
            {"name": "When", "type": "date", "jsonPath": ".spec.when", "priority": 1},
            {"name": "Label", "type": "string", "jsonPath": ".metadata.labels.app\\.kubernetes\\.io/name"},
            {"name": "On", "type": "boolean", "jsonPath": ".spec.on"}
        ])))
        .expect("columns")
    }

    #[test]
    fn cells_follow_their_columns() {
        let object = json!({"metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "x"}},
            "spec": {"mode": "fast", "size": 3.0, "when": "2001-09-09T01:41:40Z", "on": true, "code": 5},
            "status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]}});
        assert_eq!(
            columns().cells(&object, NOW),
            [json!("a"), json!("fast"), json!(3), json!("True"), json!("5"), json!("5m"), json!("x"), json!(true)]
        );
        let bare = json!({"metadata": {"name": "b"}, "spec": {"size": "x", "when": "today"}});
        assert_eq!(
            columns().cells(&bare, NOW),
            [
                json!("b"),
                Value::Null,
                Value::Null,
                Value::Null,
                Value::Null,
                json!("<invalid>"),
                Value::Null,
                Value::Null
            ]
        );
    }

    #[test]
    fn tables_carry_what_is_asked_for() {
        let object = json!({"metadata": {"name": "a"}, "spec": {"mode": "fast"}});
        let table =
            |include, headers| columns().table(&[&object], json!({"resourceVersion": "7"}), include, headers, NOW);
        let whole = table(IncludeObject::Metadata, true);
        assert_eq!(whole["metadata"]["resourceVersion"], "7");
        assert_eq!(
            whole["rows"][0]["object"],
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}})
        );
        assert_eq!(
            whole["columnDefinitions"][1],
            json!({"name": "Mode", "type": "string", "format": "", "description": "How it runs", "priority": 0})
        );
        assert_eq!(
            whole["columnDefinitions"][2]["description"],
            "Custom resource definition column (in JSONPath format): .spec.size"
        );
        assert_eq!(table(IncludeObject::None, false)["rows"][0]["object"], Value::Null);
        assert_eq!(table(IncludeObject::Object, false)["rows"][0]["object"], object);
        assert_eq!(table(IncludeObject::Object, false)["columnDefinitions"], Value::Null);
    }

    #[test]
    fn without_columns_there_are_name_and_age() {
        let columns = Columns::from_crd(None).expect("columns");
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "2001-09-09T01:46:00Z"}});
        assert_eq!(columns.cells(&object, NOW), [json!("a"), json!("40s")]);
        assert!(Columns::from_crd(Some(&json!([{"name": "X", "type": "string", "jsonPath": ".a[?(@.b"}]))).is_err());
    }

    #[test]
    fn built_in_kinds_show_what_kubectl_shows() {
        let cells = |group, kind, object| Columns::builtin(group, kind).expect("built in").cells(&object, NOW);
        let born = "2001-09-09T00:46:40Z";
        let meta = json!({"name": "a", "creationTimestamp": born});
        assert_eq!(
            cells("", "Namespace", json!({"metadata": meta, "status": {"phase": "Active"}})),
            [json!("a"), json!("Active"), json!("60m")]
        );
        assert_eq!(
            cells("", "Secret", json!({"metadata": meta, "type": "Opaque", "data": {"k": "djE="}})),
            [json!("a"), json!("Opaque"), json!(1), json!("60m")]
        );
        assert_eq!(
            cells("", "ConfigMap", json!({"metadata": meta, "data": {"k": "v"}, "binaryData": {"b": ""}})),
            [json!("a"), json!(2), json!("60m")]
        );
        assert_eq!(
            cells("coordination.k8s.io", "Lease", json!({"metadata": meta, "spec": {"holderIdentity": "me"}})),
            [json!("a"), json!("me"), json!("60m")]
        );
        let event = json!({"metadata": {"name": "e"}, "type": "Warning", "reason": "Burnt", "message": " too hot ", "count": 2,
            "firstTimestamp": born, "lastTimestamp": "2001-09-09T01:46:35Z", "source": {"component": "oven"},
            "involvedObject": {"kind": "Widget", "name": "a"}});
        let got = cells("", "Event", event);
        assert_eq!(
            got,
            [
                json!("5s"),
                json!("Warning"),
                json!("Burnt"),
                json!("widget/a"),
                json!(""),
                json!("oven"),
                json!("too hot"),
                json!("60m"),
                json!(2),
                json!("e")
            ]
        );
    }
}
