//! `POST /v1/completions`: the request.

use super::chat::check_prompt_bytes;
use super::sampling::MAX_LOGPROBS;
use super::{IGNORED, Sampling, model, streaming};
use crate::error::ApiError;
use crate::json::{Fields, wrong};
use serde_json::Value;

/// What a completion continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    Text(String),
    /// Token ids of the model's own vocabulary.
    Tokens(Vec<u32>),
}

/// A checked completion request.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionRequest {
    pub model: String,
    pub prompt: Prompt,
    pub sampling: Sampling,
    pub stream: bool,
    /// A last chunk with `usage` was asked for.
    pub include_usage: bool,
}

impl CompletionRequest {
    /// Reads and checks a body; the error names the field at fault.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::from_body(body)?;
        let model = model(&mut fields)?;
        let prompt = fields.take("prompt").ok_or_else(|| fields.missing("prompt"))?;
        let prompt = read_prompt("prompt", prompt)?;
        let mut sampling = Sampling::take(&mut fields)?;
        sampling.take_choices(&mut fields)?;
        sampling.logprobs = fields.integer("logprobs", 0..=MAX_LOGPROBS)?.map(|n| n as u32);
        let (stream, include_usage) = streaming(&mut fields)?;
        let n = u64::from(sampling.n);
        fields.only("best_of", |v| v.as_u64() == Some(n), "must equal n: there is no choice among more answers")?;
        fields.only("echo", |v| v == &Value::Bool(false), "is not supported")?;
        fields.only("suffix", |v| v == "", "is not supported: models here only continue a text")?;
        fields.only("prompt_embeds", |_| false, "is not supported")?;
        fields.finish(IGNORED)?;
        Ok(Self { model, prompt, sampling, stream, include_usage })
    }
}

fn read_prompt(path: &str, value: Value) -> Result<Prompt, ApiError> {
    let wanted = "a string, an array of one string, or an array of token ids";
    let prompt = match value {
        Value::String(text) => Prompt::Text(text),
        Value::Array(items) if items.first().is_some_and(Value::is_number) => {
            let ids: Option<Vec<u32>> = items.iter().map(|v| v.as_u64().and_then(|n| u32::try_from(n).ok())).collect();
            Prompt::Tokens(ids.ok_or_else(|| ApiError::invalid(path, "must hold token ids only"))?)
        }
        Value::Array(mut items) if items.len() == 1 => return read_prompt(&format!("{path}[0]"), items.remove(0)),
        Value::Array(items) => {
            return Err(ApiError::invalid(path, format!("must hold one prompt, not {}", items.len())));
        }
        other => return Err(wrong(path, wanted, &other)),
    };
    match &prompt {
        Prompt::Text(text) if text.is_empty() => Err(ApiError::invalid(path, "must not be empty")),
        Prompt::Text(text) => check_prompt_bytes(path, text.len()).map(|()| prompt),
        Prompt::Tokens(_) => Ok(prompt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(body: Value) -> Result<CompletionRequest, ApiError> {
        CompletionRequest::parse(body.to_string().as_bytes())
    }

    #[test]
    fn prompts_are_read_in_all_forms() {
        let prompt = |v: Value| parse(json!({"model": "m", "prompt": v})).unwrap().prompt;
        assert_eq!(prompt(json!("x")), Prompt::Text("x".into()));
        assert_eq!(prompt(json!(["x"])), Prompt::Text("x".into()));
        assert_eq!(prompt(json!([1, 2])), Prompt::Tokens(vec![1, 2]));
        assert_eq!(prompt(json!([[1, 2]])), Prompt::Tokens(vec![1, 2]));
    }

    #[test]
    fn wrong_prompts_are_named() {
        for wrong in [json!(5), json!([]), json!(["a", "b"]), json!([1, "a"]), json!([-1]), json!(""), json!(null)] {
            let error = parse(json!({"model": "m", "prompt": wrong})).unwrap_err();
            assert!(error.message.starts_with("prompt"), "{error}");
        }
        assert!(parse(json!({"model": "m", "prompt": "x", "echo": true})).unwrap_err().message.starts_with("echo"));
    }
}
