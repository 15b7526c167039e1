//! Texts of a request, or their tokens: one of them or several.

use super::chat::check_prompt_bytes;
use crate::error::ApiError;
use crate::json::wrong;
use serde_json::Value;

/// What a completion continues, or what is embedded. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    Text(String),
    /// Token ids of the model's own vocabulary.
    Tokens(Vec<u32>),
}

impl Prompt {
    /// What an error calls the `at`th of some prompts.
    pub fn path(field: &str, at: usize, count: usize) -> String {
        if count > 1 { format!("{field}[{at}]") } else { field.to_owned() }
    }

    /// Reads a text, an array of token ids, or an array of up to `most` of these.
    pub(super) fn all(field: &str, value: Value, most: usize) -> Result<Vec<Self>, ApiError> {
        let items = match value {
            Value::String(_) => vec![value],
            Value::Array(items) if items.first().is_some_and(Value::is_number) => vec![Value::Array(items)],
            Value::Array(items) => items,
            other => return Err(wrong(field, "a string, an array of token ids, or an array of these", &other)),
        };
        if items.is_empty() || items.len() > most {
            return Err(ApiError::invalid(field, format!("must hold 1 to {most} items, not {}", items.len())));
        }
        let count = items.len();
        let mut prompts = Vec::with_capacity(count);
        for (at, item) in items.into_iter().enumerate() {
            let path = || Self::path(field, at, count);
            prompts.push(match item {
                Value::String(text) if !text.is_empty() => Self::Text(text),
                Value::Array(ids) if !ids.is_empty() => {
                    let id = |v: &Value| v.as_u64().and_then(|n| n.try_into().ok());
                    let ids: Option<Vec<u32>> = ids.iter().map(id).collect();
                    Self::Tokens(ids.ok_or_else(|| ApiError::invalid(path(), "must hold token ids only"))?)
                }
                other => return Err(wrong(&path(), "a non-empty string or an array of token ids", &other)),
            });
        }
        let bytes = prompts.iter().map(|p| if let Self::Text(text) = p { text.len() } else { 0 }).sum();
        check_prompt_bytes(field, bytes)?;
        Ok(prompts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_forms_are_read() {
        let read = |value: Value| Prompt::all("prompt", value, 2).unwrap();
        let text = |text: &str| Prompt::Text(text.into());
        assert_eq!(read(json!("x")), [text("x")]);
        assert_eq!(read(json!(["x"])), [text("x")]);
        assert_eq!(read(json!([1, 2])), [Prompt::Tokens(vec![1, 2])]);
        assert_eq!(read(json!([[1, 2], "y"])), [Prompt::Tokens(vec![1, 2]), text("y")]);
    }

    #[test]
    fn wrong_ones_are_named() {
        for (wrong, name) in [
            (json!(5), "prompt"),
            (json!(null), "prompt"),
            (json!([]), "prompt"),
            (json!(["a", "b", "c"]), "prompt"),
            (json!(""), "prompt"),
            (json!([-1]), "prompt"),
            (json!([1, "a"]), "prompt"),
            (json!(["a", ""]), "prompt[1]"),
            (json!([[]]), "prompt"),
            (json!(["a", [1.5]]), "prompt[1]"),
            (json!(["a", {}]), "prompt[1]"),
        ] {
            let error = Prompt::all("prompt", wrong.clone(), 2).unwrap_err();
            assert_eq!(
                error.message.split_whitespace().next().map(|w| w.trim_end_matches(':')),
                Some(name),
                "{wrong}: {error}"
            );
        }
    }
}
