//! Answers, stream chunks and the model list of the OpenAI API.

use serde::{Deserialize, Serialize};

/// Why a choice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// An end token or a stop string.
    Stop,
    /// `max_tokens` or the context.
    Length,
}

/// Numbers of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    pub prompt_tokens: u32,
    #[serde(default)]
    pub completion_tokens: u32,
    pub total_tokens: u32,
}

impl Usage {
    pub fn new(prompt_tokens: u32, completion_tokens: u32) -> Self {
        Self { prompt_tokens, completion_tokens, total_tokens: prompt_tokens.saturating_add(completion_tokens) }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatReply {
    pub role: String,
    pub content: Option<String>,
    pub refusal: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatChoice {
    pub index: u32,
    pub message: ChatReply,
    pub logprobs: Option<serde_json::Value>,
    pub finish_reason: Option<FinishReason>,
}

/// The whole answer to a chat request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatCompletion {
    pub id: String,
    pub object: String,
    /// Unix time in seconds.
    pub created: i64,
    pub model: String,
    pub choices: Vec<ChatChoice>,
    pub usage: Usage,
}

impl ChatCompletion {
    pub fn new(id: String, created: i64, model: String, content: String, end: FinishReason, usage: Usage) -> Self {
        let message = ChatReply { role: "assistant".into(), content: Some(content), refusal: None };
        let choice = ChatChoice { index: 0, message, logprobs: None, finish_reason: Some(end) };
        Self { id, object: "chat.completion".into(), created, model, choices: vec![choice], usage }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ChatDelta {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatChunkChoice {
    pub index: u32,
    pub delta: ChatDelta,
    #[serde(default)]
    pub logprobs: Option<serde_json::Value>,
    pub finish_reason: Option<FinishReason>,
}

/// One event of a streamed chat answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatChunk {
    pub id: String,
    pub object: String,
    /// Unix time in seconds.
    pub created: i64,
    pub model: String,
    pub choices: Vec<ChatChunkChoice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

impl ChatChunk {
    fn with(id: &str, created: i64, model: &str, choices: Vec<ChatChunkChoice>, usage: Option<Usage>) -> Self {
        Self { id: id.into(), object: "chat.completion.chunk".into(), created, model: model.into(), choices, usage }
    }

    /// The first chunk: only the role.
    pub fn role(id: &str, created: i64, model: &str) -> Self {
        let delta = ChatDelta { role: Some("assistant".into()), content: Some(String::new()) };
        Self::with(id, created, model, vec![ChatChunkChoice { delta, ..Self::choice() }], None)
    }

    /// A piece of text.
    pub fn text(id: &str, created: i64, model: &str, text: String) -> Self {
        let delta = ChatDelta { role: None, content: Some(text) };
        Self::with(id, created, model, vec![ChatChunkChoice { delta, ..Self::choice() }], None)
    }

    /// The last chunk with a choice: why it ended.
    pub fn end(id: &str, created: i64, model: &str, reason: FinishReason) -> Self {
        let choice = ChatChunkChoice { finish_reason: Some(reason), ..Self::choice() };
        Self::with(id, created, model, vec![choice], None)
    }

    /// The chunk with usage and no choices.
    pub fn usage(id: &str, created: i64, model: &str, usage: Usage) -> Self {
        Self::with(id, created, model, Vec::new(), Some(usage))
    }

    fn choice() -> ChatChunkChoice {
        ChatChunkChoice { index: 0, delta: ChatDelta::default(), logprobs: None, finish_reason: None }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletionChoice {
    pub index: u32,
    pub text: String,
    pub logprobs: Option<serde_json::Value>,
    pub finish_reason: Option<FinishReason>,
}

/// The answer to a completion request, whole or one event of its stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    pub id: String,
    pub object: String,
    /// Unix time in seconds.
    pub created: i64,
    pub model: String,
    pub choices: Vec<CompletionChoice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

impl Completion {
    /// A whole answer, or with `end` None a piece of a stream.
    pub fn new(id: &str, created: i64, model: &str, text: String, end: Option<FinishReason>) -> Self {
        let choice = CompletionChoice { index: 0, text, logprobs: None, finish_reason: end };
        let object = "text_completion".into();
        Self { id: id.into(), object, created, model: model.into(), choices: vec![choice], usage: None }
    }

    /// The last event of a stream for which usage was asked.
    pub fn usage(id: &str, created: i64, model: &str, usage: Usage) -> Self {
        Self { choices: Vec::new(), usage: Some(usage), ..Self::new(id, created, model, String::new(), None) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    pub id: String,
    pub object: String,
    /// Unix time in seconds.
    pub created: i64,
    pub owned_by: String,
}

impl Model {
    pub fn new(id: impl Into<String>, created: i64) -> Self {
        Self { id: id.into(), object: "model".into(), created, owned_by: "rbee".into() }
    }
}

/// `GET /v1/models`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelList {
    pub object: String,
    pub data: Vec<Model>,
}

impl ModelList {
    pub fn new(data: Vec<Model>) -> Self {
        Self { object: "list".into(), data }
    }
}
