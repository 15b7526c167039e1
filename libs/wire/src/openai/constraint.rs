//! What form an answer must have: `response_format`, and the fields that vLLM and llama.cpp have for it.

use crate::error::ApiError;
use crate::json::{Fields, wrong};
use serde_json::Value;

/// Largest JSON schema, in bytes of its text.
pub const MAX_SCHEMA_BYTES: usize = 64 << 10;
/// Longest regular expression, in bytes.
pub const MAX_REGEX_BYTES: usize = 8 << 10;
/// Longest name of a schema, as in OpenAI's API.
const MAX_NAME: usize = 64;

/// The form of a whole answer. Sizes are checked, the contents are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constraint {
    /// Any JSON object.
    Json,
    /// JSON that fits a schema: an object or a boolean.
    JsonSchema(Value),
    /// Text that the expression matches from its beginning to its end.
    Regex(String),
}

impl Constraint {
    /// Takes every field that asks for a form, of which at most one may: the field's name and the form.
    pub(crate) fn take(fields: &mut Fields) -> Result<Option<(&'static str, Self)>, ApiError> {
        let format = fields.take("response_format").map(response_format).transpose()?.flatten();
        let mut asked: Vec<(&'static str, Self)> = format.map(|c| ("response_format", c)).into_iter().collect();
        for field in ["guided_json", "json_schema"] {
            if let Some(value) = fields.take(field) {
                asked.push((field, Self::JsonSchema(schema(field, value)?)));
            }
        }
        if let Some(pattern) = fields.string("guided_regex")? {
            asked.push(("guided_regex", regex("guided_regex", pattern)?));
        }
        if let [(first, _), (second, _), ..] = &asked[..] {
            return Err(ApiError::invalid(*second, format!("must not be given together with {first}")));
        }
        Ok(asked.pop())
    }

    /// The field and value that ask for it in a request.
    pub fn field(&self) -> (&'static str, Value) {
        match self {
            Self::Json => ("response_format", serde_json::json!({"type": "json_object"})),
            Self::JsonSchema(schema) => ("guided_json", schema.clone()),
            Self::Regex(pattern) => ("guided_regex", pattern.clone().into()),
        }
    }
}

fn response_format(value: Value) -> Result<Option<Constraint>, ApiError> {
    const PATH: &str = "response_format";
    let mut fields = Fields::nested(PATH, value)?;
    let kind = fields.string("type")?.ok_or_else(|| fields.missing("type"))?;
    let constraint = match kind.as_str() {
        "text" => None,
        "json_object" => Some(match fields.take("schema") {
            Some(value) => Constraint::JsonSchema(schema("response_format.schema", value)?),
            None => Constraint::Json,
        }),
        "json_schema" => {
            let value = fields.take("json_schema").ok_or_else(|| fields.missing("json_schema"))?;
            Some(named_schema(value)?)
        }
        "regex" => {
            let pattern = fields.string("pattern")?.ok_or_else(|| fields.missing("pattern"))?;
            Some(regex("response_format.pattern", pattern)?)
        }
        _ => {
            let wanted = "text, json_object, json_schema or regex";
            return Err(wrong("response_format.type", wanted, &Value::String(kind)));
        }
    };
    fields.finish(&[])?;
    Ok(constraint)
}

/// `{name, description, strict, schema}`. Whether `strict` is set or not, the answer fits the schema.
fn named_schema(value: Value) -> Result<Constraint, ApiError> {
    let mut fields = Fields::nested("response_format.json_schema", value)?;
    let name = fields.string("name")?.ok_or_else(|| fields.missing("name"))?;
    check_name(&fields.path("name"), &name)?;
    fields.string("description")?;
    fields.boolean("strict")?;
    let path = fields.path("schema");
    let value = fields.take("schema").ok_or_else(|| fields.missing("schema"))?;
    fields.finish(&[])?;
    Ok(Constraint::JsonSchema(schema(&path, value)?))
}

/// Names of schemas and functions: letters, digits, `_`, `-`.
pub(super) fn check_name(path: &str, name: &str) -> Result<(), ApiError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(good) {
        return Ok(());
    }
    Err(ApiError::invalid(path, format!("must have 1 to {MAX_NAME} letters, digits, underscores or dashes")))
}

/// A schema of sane size; vLLM also takes its text.
pub(super) fn schema(path: &str, value: Value) -> Result<Value, ApiError> {
    let value = match value {
        Value::String(text) if text.len() <= MAX_SCHEMA_BYTES => serde_json::from_str(&text)
            .map_err(|e| ApiError::invalid(path, format!("is a string that is not valid JSON: {e}")))?,
        other => other,
    };
    let bytes = value.to_string().len();
    match value {
        _ if bytes > MAX_SCHEMA_BYTES => {
            Err(ApiError::invalid(path, format!("has {bytes} bytes, allowed are {MAX_SCHEMA_BYTES}")))
        }
        Value::Object(_) | Value::Bool(_) => Ok(value),
        other => Err(wrong(path, "a JSON schema, which is an object", &other)),
    }
}

fn regex(path: &str, pattern: String) -> Result<Constraint, ApiError> {
    if pattern.is_empty() || pattern.len() > MAX_REGEX_BYTES {
        let text = format!("must have 1 to {MAX_REGEX_BYTES} bytes, not {}", pattern.len());
        return Err(ApiError::invalid(path, text));
    }
    Ok(Constraint::Regex(pattern))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn take(body: Value) -> Result<Option<(&'static str, Constraint)>, ApiError> {
        let mut fields = Fields::from_body(body.to_string().as_bytes())?;
        let constraint = Constraint::take(&mut fields)?;
        fields.finish(&[])?;
        Ok(constraint)
    }

    #[test]
    fn every_way_to_ask_is_read_and_reads_back() {
        let schema = json!({"type": "object", "properties": {"b": {}, "a": {}}});
        let named = json!({"name": "x", "strict": true, "description": "d", "schema": schema});
        let cases = [
            (json!({}), None),
            (json!({"response_format": null}), None),
            (json!({"response_format": {"type": "text"}}), None),
            (json!({"response_format": {"type": "json_object"}}), Some(Constraint::Json)),
            (
                json!({"response_format": {"type": "json_object", "schema": schema}}),
                Some(Constraint::JsonSchema(schema.clone())),
            ),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": named}}),
                Some(Constraint::JsonSchema(schema.clone())),
            ),
            (json!({"response_format": {"type": "regex", "pattern": "a+"}}), Some(Constraint::Regex("a+".into()))),
            (json!({"guided_json": schema}), Some(Constraint::JsonSchema(schema.clone()))),
            (json!({"guided_json": schema.to_string()}), Some(Constraint::JsonSchema(schema.clone()))),
            (json!({"json_schema": schema}), Some(Constraint::JsonSchema(schema.clone()))),
            (json!({"guided_regex": "[0-9]"}), Some(Constraint::Regex("[0-9]".into()))),
        ];
        for (body, wanted) in cases {
            let read = take(body.clone()).unwrap_or_else(|e| panic!("{body}: {e}"));
            assert_eq!(read.as_ref().map(|(_, constraint)| constraint), wanted.as_ref(), "{body}");
            if let Some((asked, constraint)) = read {
                assert!(body.get(asked).is_some(), "{body}: {asked}");
                let (field, value) = constraint.field();
                assert_eq!(take(json!({field: value})).unwrap(), Some((field, constraint)));
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let large = json!({"description": "x".repeat(MAX_SCHEMA_BYTES)});
        let format = |value: Value| json!({"response_format": value});
        let schema = |value: Value| format(json!({"type": "json_schema", "json_schema": value}));
        let cases = [
            (format(json!("json")), "response_format"),
            (format(json!({})), "response_format.type"),
            (format(json!({"type": "yaml"})), "response_format.type"),
            (format(json!({"type": "text", "more": 1})), "response_format.more"),
            (format(json!({"type": "json_schema"})), "response_format.json_schema"),
            (schema(json!({"schema": {}})), "response_format.json_schema.name"),
            (schema(json!({"name": "a b", "schema": {}})), "response_format.json_schema.name"),
            (schema(json!({"name": "a"})), "response_format.json_schema.schema"),
            (schema(json!({"name": "a", "schema": 5})), "response_format.json_schema.schema"),
            (schema(json!({"name": "a", "schema": large})), "response_format.json_schema.schema"),
            (schema(json!({"name": "a", "strict": "yes", "schema": {}})), "response_format.json_schema.strict"),
            (format(json!({"type": "regex"})), "response_format.pattern"),
            (json!({"guided_regex": "x".repeat(MAX_REGEX_BYTES + 1)}), "guided_regex"),
            (json!({"guided_regex": 5}), "guided_regex"),
            (json!({"guided_json": "{"}), "guided_json"),
            (json!({"guided_json": large.to_string()}), "guided_json"),
            (json!({"guided_json": {}, "guided_regex": "x"}), "guided_regex"),
            (json!({"response_format": {"type": "json_object"}, "json_schema": {}}), "json_schema"),
        ];
        for (body, field) in cases {
            let error = take(body.clone()).expect_err(&body.to_string());
            assert!(error.message.starts_with(&format!("{field}:")) && error.status == 400, "{field}: {error}");
        }
    }
}
