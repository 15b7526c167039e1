//! `-o`: the forms in which `get` answers.

use serde::Serialize;
use serde_json::{Value, json};

use super::jsonpath::Template;

/// What stands behind `-o`.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    Table,
    Wide,
    Json,
    Yaml,
    Name,
    JsonPath(Template),
}

/// Reads the value of `-o`.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_output(text: &str) -> Result<Output, String> {
    if let Some(template) = text.strip_prefix("jsonpath=").or_else(|| text.strip_prefix("jsonpath-as-json=")) {
        return template.parse().map(Output::JsonPath).map_err(|e: super::jsonpath::JsonPathError| e.to_string());
    }
    match text {
        "" => Ok(Output::Table),
        "wide" => Ok(Output::Wide),
        "json" => Ok(Output::Json),
        "yaml" => Ok(Output::Yaml),
        "name" => Ok(Output::Name),
        _ => Err("allowed are json, yaml, name, wide, jsonpath=TEMPLATE".into()),
    }
}

/// JSON with four blanks per level, as kubectl prints it, with a newline at the end.
pub fn json_text(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Writing a Value into memory cannot fail: its keys are strings.
    let _ = value.serialize(&mut serializer);
    bytes.push(b'\n');
    String::from_utf8(bytes).unwrap_or_default()
}

/// The object without `managedFields`, which few people want to see.
pub fn without_managed_fields(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

/// Several objects as the `v1 List` that kubectl prints.
pub fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read() {
        assert_eq!(parse_output("wide"), Ok(Output::Wide));
        assert!(matches!(parse_output("jsonpath={.metadata.name}"), Ok(Output::JsonPath(_))));
        assert!(parse_output("jsonpath={.a").is_err());
        assert!(parse_output("xml").unwrap_err().contains("jsonpath="));
    }

    #[test]
    fn json_is_indented_by_four() {
        assert_eq!(json_text(&json!({"a": [1]})), "{\n    \"a\": [\n        1\n    ]\n}\n");
    }

    #[test]
    fn managed_fields_are_left_out() {
        let object = json!({"metadata": {"name": "x", "managedFields": []}});
        assert_eq!(without_managed_fields(object), json!({"metadata": {"name": "x"}}));
    }
}
