//! One object of a manifest, its place in the file, and the order in which objects are applied.

use std::sync::Arc;

use rbee_yaml::Document;
use serde_json::Value;

/// An object and where it was written.
#[derive(Clone, Debug)]
pub struct Item {
    pub file: Arc<str>,
    pub value: Value,
    document: Arc<Document>,
    /// Its path in the document, where that is a List: `items[3]`.
    inside: Option<usize>,
}

/// What keeps a document from being an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct ObjectError {
    pub file: String,
    pub line: u32,
    pub message: String,
}

impl Item {
    pub fn api_version(&self) -> &str {
        self.value["apiVersion"].as_str().unwrap_or_default()
    }

    pub fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub fn namespace(&self) -> Option<&str> {
        self.value["metadata"]["namespace"].as_str().filter(|n| !n.is_empty())
    }

    /// The line (from 1) of a field such as `spec.replicas`; where it is missing, of what it would stand in.
    pub fn line_of(&self, field: &str) -> u32 {
        match self.inside {
            None => self.document.line_of_field(field),
            Some(index) => self.document.line_of_field(&format!("items[{index}].{field}")),
        }
    }

    /// `FILE:LINE`
    pub fn place(&self, field: &str) -> String {
        format!("{}:{}", self.file, self.line_of(field))
    }

    /// `Worker "story"`
    pub fn title(&self) -> String {
        format!("{} {:?}", self.kind(), self.name())
    }
}

/// The objects of a document: itself, or the items of a List.
///
/// # Errors
/// One error per object that has no apiVersion, kind or name.
pub fn objects(document: Document, file: &Arc<str>) -> Result<Vec<Item>, Vec<ObjectError>> {
    let document = Arc::new(document);
    let item = |value: Value, inside| Item { file: file.clone(), value, document: document.clone(), inside };
    let is_list = document.value["kind"].as_str().is_some_and(|k| k.ends_with("List"));
    let found: Vec<Item> = match (is_list, document.value["items"].as_array()) {
        (true, Some(items)) => items.iter().cloned().enumerate().map(|(i, v)| item(v, Some(i))).collect(),
        _ => vec![item(document.value.clone(), None)],
    };
    let wrong: Vec<ObjectError> = found.iter().filter_map(problem).collect();
    if wrong.is_empty() { Ok(found) } else { Err(wrong) }
}

fn problem(item: &Item) -> Option<ObjectError> {
    let error = |field: &str, message: String| {
        Some(ObjectError { file: item.file.to_string(), line: item.line_of(field), message })
    };
    if !item.value.is_object() {
        return error("", "expected an object: apiVersion, kind, metadata, spec".into());
    }
    for field in ["apiVersion", "kind"] {
        match &item.value[field] {
            Value::String(text) if !text.is_empty() => {}
            Value::Null | Value::String(_) => return error(field, format!("{field}: Required value")),
            _ => return error(field, format!("{field}: Invalid value: expected a string")),
        }
    }
    let metadata = &item.value["metadata"];
    match &metadata["name"] {
        Value::String(text) if !text.is_empty() => None,
        Value::Null | Value::String(_) => {
            error("metadata.name", "metadata.name: Required value: an object needs a name".into())
        }
        _ => error("metadata.name", "metadata.name: Invalid value: expected a string (quote it)".into()),
    }
}

/// What others refer to comes first: namespaces and definitions, then the rest in its order, Workers (they need Models) last.
pub fn order_for_apply(items: &mut [Item]) {
    items.sort_by_key(|item| match item.kind() {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        "Worker" => 3,
        _ => 2,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Item>, Vec<ObjectError>> {
        let file: Arc<str> = "f.yaml".into();
        let documents = rbee_yaml::parse_documents(text, &file).unwrap();
        documents.into_iter().map(|d| objects(d, &file)).collect::<Result<Vec<_>, _>>().map(|v| v.concat())
    }

    #[test]
    fn a_field_has_a_line_and_a_missing_one_that_of_its_parent() {
        let items =
            read("apiVersion: rbee.dev/v1alpha1\nkind: Worker\nmetadata:\n  name: w\nspec:\n  replicas: 1\n").unwrap();
        assert_eq!(items[0].place("spec.replicas"), "f.yaml:6");
        assert_eq!(items[0].place("spec.modelRef"), "f.yaml:5");
        assert_eq!(items[0].title(), "Worker \"w\"");
    }

    #[test]
    fn a_list_is_its_items() {
        let items = read(
            "apiVersion: v1\nkind: List\nitems:\n- apiVersion: a/v1\n  kind: A\n  metadata: {name: x}\n- apiVersion: a/v1\n  kind: A\n  metadata:\n    name: y\n",
        )
        .unwrap();
        assert_eq!(items.iter().map(Item::name).collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(items[1].line_of("metadata.name"), 10);
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_line() {
        for (text, line, word) in [
            ("kind: A\nmetadata: {name: x}\n", 1, "apiVersion: Required value"),
            ("apiVersion: v1\nkind: A\nmetadata:\n  labels: {}\n", 3, "metadata.name: Required value"),
            ("apiVersion: v1\nkind: A\nmetadata:\n  name: 5\n", 4, "metadata.name: Invalid value"),
            ("- a\n- b\n", 1, "expected an object"),
        ] {
            let errors = read(text).unwrap_err();
            assert_eq!((errors[0].line, errors.len()), (line, 1), "{text}");
            assert!(errors[0].message.contains(word), "{}", errors[0]);
        }
    }

    #[test]
    fn workers_come_after_what_they_need() {
        let kinds = ["Worker", "Model", "Namespace", "Secret"];
        let text: String =
            kinds.iter().map(|k| format!("---\napiVersion: v1\nkind: {k}\nmetadata: {{name: x}}\n")).collect();
        let mut items = read(&text).unwrap();
        order_for_apply(&mut items);
        assert_eq!(items.iter().map(Item::kind).collect::<Vec<_>>(), ["Namespace", "Model", "Secret", "Worker"]);
    }
}
