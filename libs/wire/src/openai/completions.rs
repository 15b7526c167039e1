//! `POST /v1/completions`: the request.

use super::sampling::MAX_LOGPROBS;
use super::{IGNORED, Prompt, Sampling, model, streaming};
use crate::error::ApiError;
use crate::json::Fields;
use serde_json::Value;

/// Most answers to one request.
const MAX_ANSWERS: usize = 32;

/// A checked completion request.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionRequest {
    pub model: String,
    /// One or several, each of which gets `n` answers: at most 32 together.
    pub prompts: Vec<Prompt>,
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
        let prompts = Prompt::all("prompt", prompt, MAX_ANSWERS)?;
        let mut sampling = Sampling::take(&mut fields)?;
        sampling.take_choices(&mut fields)?;
        sampling.logprobs = fields.integer("logprobs", 0..=MAX_LOGPROBS)?.map(|n| n as u32);
        let (stream, include_usage) = streaming(&mut fields)?;
        let n = u64::from(sampling.n);
        if prompts.len() as u64 * n > MAX_ANSWERS as u64 {
            let text = format!("times n makes {} answers, allowed are {MAX_ANSWERS}", prompts.len() as u64 * n);
            return Err(ApiError::invalid("prompt", text));
        }
        fields.only("best_of", |v| v.as_u64() == Some(n), "must equal n: there is no choice among more answers")?;
        fields.only("echo", |v| v == &Value::Bool(false), "is not supported")?;
        fields.only("suffix", |v| v == "", "is not supported: models here only continue a text")?;
        fields.only("prompt_embeds", |_| false, "is not supported")?;
        fields.finish(IGNORED)?;
        Ok(Self { model, prompts, sampling, stream, include_usage })
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
    fn prompts_times_n_are_bounded() {
        let body = |prompts: usize, n: u32| json!({"model": "m", "prompt": vec!["x"; prompts], "n": n});
        assert_eq!(parse(body(16, 2)).unwrap().prompts.len(), 16);
        for (prompts, n) in [(17, 2), (33, 1), (0, 1)] {
            assert!(parse(body(prompts, n)).unwrap_err().message.starts_with("prompt"), "{prompts} {n}");
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        assert!(parse(json!({"model": "m", "prompt": "x", "echo": true})).unwrap_err().message.starts_with("echo"));
    }
}
