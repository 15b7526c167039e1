//! A worker's own endpoints: inference, health, loading progress, ready callback, and the hello on its hive's socket.

use crate::error::ApiError;
use crate::json::Fields;
use crate::openai::{ChatMessage, FinishReason, Sampling, messages};
use crate::{MAX_PROMPT_BYTES, sse};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What `POST /v1/inference` continues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InferenceInput {
    /// Raw text.
    Prompt(String),
    /// Messages, put through the model's chat template.
    Messages(Vec<ChatMessage>),
}

/// A checked `POST /v1/inference`. Serialized it is a body that `parse` reads back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InferenceRequest {
    #[serde(flatten)]
    pub input: InferenceInput,
    #[serde(flatten)]
    pub sampling: Sampling,
}

impl InferenceRequest {
    /// Reads and checks a body; the error names the field at fault.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::from_body(body)?;
        let input = match (fields.string("prompt")?, fields.take("messages")) {
            (Some(_), Some(_)) => return Err(ApiError::invalid("prompt", "must not be given together with messages")),
            (None, None) => return Err(ApiError::invalid("prompt", "either prompt or messages is required")),
            (None, Some(list)) => InferenceInput::Messages(messages("messages", list)?),
            (Some(text), None) if text.is_empty() => return Err(ApiError::invalid("prompt", "must not be empty")),
            (Some(text), None) if text.len() > MAX_PROMPT_BYTES => {
                let why = format!("has {} bytes, allowed are {MAX_PROMPT_BYTES}", text.len());
                return Err(ApiError::invalid("prompt", why).with_status(413));
            }
            (Some(text), None) => InferenceInput::Prompt(text),
        };
        let sampling = Sampling::take(&mut fields)?;
        fields.only("stream", |v| v == &serde_json::Value::Bool(true), "must be true: this endpoint always streams")?;
        fields.finish(&["model", "user"])?;
        Ok(Self { input, sampling })
    }
}

/// One piece of text of an inference stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenEvent {
    pub token: String,
    /// Counts from 0.
    pub index: u32,
}

/// The end of an inference stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DoneEvent {
    /// Always true.
    pub done: bool,
    /// Tokens generated.
    pub total_tokens: u32,
    /// From the request's arrival to its end.
    pub duration_ms: u64,
    #[serde(default)]
    pub prompt_tokens: u32,
    #[serde(default)]
    pub time_to_first_token_ms: u64,
    #[serde(default)]
    pub tokens_per_second: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
}

/// What an event of an inference stream says.
#[derive(Debug, Clone, PartialEq)]
pub enum InferenceEvent {
    Token(TokenEvent),
    Done(DoneEvent),
    Error(ApiError),
    /// `[DONE]`: nothing follows.
    End,
}

impl InferenceEvent {
    /// Reads a decoded SSE event. `Err` holds what could not be understood.
    pub fn read(event: &sse::Event) -> Result<Self, String> {
        if event.data == sse::DONE {
            return Ok(Self::End);
        }
        if event.event.as_deref() == Some("error") {
            let error = ApiError::from_body(500, event.data.as_bytes());
            return Ok(Self::Error(ApiError { status: error.code.status(), ..error }));
        }
        if let Ok(token) = serde_json::from_str(&event.data) {
            return Ok(Self::Token(token));
        }
        serde_json::from_str(&event.data).map(Self::Done).map_err(|_| event.data.clone())
    }
}

/// State of a worker process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    Loading,
    Ready,
    Draining,
    Failed,
}

/// `GET /health` of a worker; needs no key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Always `ok`.
    pub status: String,
    pub version: String,
    pub state: WorkerState,
    /// Requests that run or wait.
    pub in_flight: u32,
    pub slots_total: u32,
    pub slots_free: u32,
    /// Tokens computed since the start, of prompts and answers: grows as long as the worker makes progress.
    pub tokens_total: u64,
    pub last_request_unix_ms: Option<u64>,
    pub layers_loaded: u32,
    pub layers_total: u32,
}

/// `GET /v1/ready` of a worker; 200 when ready, else 503.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    pub ready: bool,
    pub state: WorkerState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_url: Option<String>,
}

/// One event of `GET /v1/loading/progress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadingProgress {
    pub stage: LoadingStage,
    pub layers_loaded: u32,
    pub layers_total: u32,
    /// Bytes of weights read so far.
    pub bytes: u64,
    pub bytes_total: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadingStage {
    /// The header is checked.
    Header,
    /// Weights are read.
    LoadingWeights,
    Ready,
    Failed,
}

/// The worker's `POST` to its hive when it is ready; the bearer is the one-time secret it was started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyCallback {
    pub worker_id: String,
    pub url: String,
    pub model_ref: String,
    pub backend: String,
    pub device: u32,
    pub memory_bytes: u64,
}

/// First line on the hive's socket. The nonce is a secret: it has no place in Debug output.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    pub nonce: String,
    pub worker_id: String,
    pub pid: u32,
    pub url: String,
}

impl Hello {
    /// Longest line that is read, in bytes.
    pub const MAX_LINE: usize = 4096;

    /// The line as it goes over the socket, with its newline.
    pub fn line(&self) -> String {
        let Self { nonce, worker_id, pid, url } = self;
        format!("{}\n", serde_json::json!({"nonce": nonce, "workerId": worker_id, "pid": pid, "url": url}))
    }

    /// Reads a line; None when it is too long or no hello.
    pub fn parse(line: &str) -> Option<Self> {
        if line.len() > Self::MAX_LINE {
            return None;
        }
        serde_json::from_str(line.trim_end()).ok()
    }
}

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("worker_id", &self.worker_id)
            .field("pid", &self.pid)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::Constraint;
    use serde_json::json;

    #[test]
    fn an_inference_request_reads_back() {
        let sampling = Sampling {
            temperature: 0.0,
            max_tokens: Some(4),
            seed: Some(7),
            top_k: 5,
            min_p: 0.1,
            stop: vec!["x".into()],
            logit_bias: vec![(1, 2.0), (10, -0.5)],
            constraint: Some(Constraint::Json),
            constraint_field: "response_format",
            ..Sampling::default()
        };
        for input in
            [InferenceInput::Prompt("x".into()), InferenceInput::Messages(vec![ChatMessage::user("who are you?")])]
        {
            let request = InferenceRequest { input, sampling: sampling.clone() };
            assert_eq!(InferenceRequest::parse(&serde_json::to_vec(&request).unwrap()).unwrap(), request);
        }
    }

    #[test]
    fn wrong_numbers_are_named() {
        for (field, value) in
            [("max_tokens", json!(0)), ("max_tokens", json!(-1)), ("temperature", json!(-0.5)), ("top_p", json!(1.5))]
        {
            let body = json!({"prompt": "x", field: value}).to_string();
            let error = InferenceRequest::parse(body.as_bytes()).unwrap_err();
            assert!(error.status == 400 && error.message.starts_with(field), "{error}");
        }
        for body in [json!({}), json!({"prompt": ""}), json!({"prompt": "x", "messages": []}), json!({"prompt": 1})] {
            let error = InferenceRequest::parse(body.to_string().as_bytes()).unwrap_err();
            assert!(error.message.starts_with("prompt"), "{error}");
        }
    }

    #[test]
    fn stream_events_are_told_apart() {
        let read = |event: Option<&str>, data: &str| {
            InferenceEvent::read(&sse::Event { event: event.map(str::to_owned), data: data.to_owned() })
        };
        assert!(matches!(read(None, r#"{"token":"a","index":0}"#), Ok(InferenceEvent::Token(t)) if t.token == "a"));
        let done = r#"{"done":true,"total_tokens":1,"duration_ms":2}"#;
        assert!(matches!(read(None, done), Ok(InferenceEvent::Done(d)) if d.total_tokens == 1));
        assert_eq!(read(None, "[DONE]"), Ok(InferenceEvent::End));
        let error = r#"{"error":{"code":"WORKER_CRASHED","message":"gone","details":{}}}"#;
        assert!(matches!(read(Some("error"), error), Ok(InferenceEvent::Error(e)) if e.status == 502));
        assert!(read(None, "?").is_err());
    }

    #[test]
    fn a_hello_reads_back_and_hides_its_nonce() {
        let hello = Hello { nonce: "s3cret".into(), worker_id: "w".into(), pid: 7, url: "http://127.0.0.1:1".into() };
        assert_eq!(Hello::parse(&hello.line()), Some(hello.clone()));
        assert!(!format!("{hello:?}").contains("s3cret"));
        assert_eq!(Hello::parse(&"x".repeat(Hello::MAX_LINE + 1)), None);
    }
}
