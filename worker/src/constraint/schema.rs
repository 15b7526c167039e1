//! What a JSON schema must be like before llguidance gets it. Pure.

use super::ConstraintError;
use serde_json::{Map, Value, json};

/// Most values (objects, arrays, strings, numbers) in a schema.
const MAX_VALUES: usize = 20_000;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;

/// White space between the tokens of JSON: a space, or a new line with its indentation. With more some models never end.
const WHITE_SPACE: &str = r"\x20|\x0D?\x0A[\x20\x09]{0,24}";

/// The schema as it is compiled, or why it is not.
pub(super) fn prepare(schema: &Value) -> Result<Value, ConstraintError> {
    let mut values = 0;
    measure(schema, 0, &mut values)?;
    let mut schema = match schema {
        Value::Object(map) => map.clone(),
        Value::Bool(true) => Map::new(),
        Value::Bool(false) => return Err(refused("the schema is false, nothing fits it")),
        other => return Err(refused(&format!("the schema must be an object, not {other}"))),
    };
    // Settings of the compiler, which are ours and not the request's.
    schema.insert("x-guidance".into(), json!({"whitespace_pattern": WHITE_SPACE}));
    Ok(schema.into())
}

fn refused(text: &str) -> ConstraintError {
    ConstraintError::Refused(text.to_owned())
}

fn measure(value: &Value, depth: usize, values: &mut usize) -> Result<(), ConstraintError> {
    *values += 1;
    if *values > MAX_VALUES {
        return Err(ConstraintError::TooLarge(format!("the schema has more than {MAX_VALUES} values")));
    }
    if depth > MAX_DEPTH {
        return Err(ConstraintError::TooLarge(format!("the schema is nested more than {MAX_DEPTH} deep")));
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| measure(item, depth + 1, values)),
        Value::Object(map) => map.iter().try_for_each(|(key, item)| {
            check_reference(key, item)?;
            measure(item, depth + 1, values)
        }),
        _ => Ok(()),
    }
}

/// References lead into the schema itself only.
fn check_reference(key: &str, value: &Value) -> Result<(), ConstraintError> {
    match value {
        Value::String(to) if key == "$ref" && !to.starts_with('#') => {
            Err(refused(&format!("$ref {to:?} is not supported; references must begin with #")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_refused_with_its_measure() {
        let wide = Value::Array(vec![json!(1); MAX_VALUES]);
        assert!(prepare(&json!({"enum": wide})).unwrap_err().to_string().contains("20000 values"));
        let deep = (0..100).fold(json!({}), |inner, _| json!({"items": inner}));
        assert!(prepare(&deep).unwrap_err().to_string().contains("64 deep"));
        assert!(prepare(&json!({"$ref": "http://x/y"})).unwrap_err().to_string().contains("http://x/y"));
        assert!(prepare(&json!(false)).is_err() && prepare(&json!(5)).is_err());
    }

    #[test]
    fn the_compilers_settings_are_not_the_requests() {
        let prepared = prepare(&json!({"x-guidance": {"lenient": true}, "type": "object"})).unwrap();
        assert_eq!(prepared["x-guidance"], json!({"whitespace_pattern": WHITE_SPACE}));
        assert!(prepare(&json!(true)).unwrap().is_object());
    }
}
