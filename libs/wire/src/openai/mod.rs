//! The OpenAI API as types: requests that are checked as they are read, answers, stream chunks.

mod answer;
mod chat;
mod completions;
mod constraint;
mod embeddings;
mod logprobs;
mod prompt;
mod sampling;
mod tools;

pub use answer::{
    ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta, ChatReply, Completion, CompletionChoice,
    FinishReason, Model, ModelList, PromptTokensDetails, Usage,
};
pub use chat::{ChatMessage, ChatRequest, Role};
pub use completions::CompletionRequest;
pub use constraint::{Constraint, MAX_REGEX_BYTES, MAX_SCHEMA_BYTES};
pub use embeddings::{Embedding, EmbeddingList, EmbeddingUsage, EmbeddingsRequest, EncodingFormat};
pub use logprobs::{ChatLogprob, ChatLogprobs, CompletionLogprobs, TopLogprob};
pub use prompt::Prompt;
pub use sampling::Sampling;
pub use tools::{FunctionCall, FunctionDelta, Tool, ToolCall, ToolCallDelta, ToolChoice, Tools};

use crate::error::ApiError;
use crate::json::Fields;
pub(crate) use chat::messages;

/// Fields of OpenAI's requests that are accepted and change nothing here.
pub const IGNORED: &[&str] =
    &["user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"];

/// Longest `model` in bytes.
const MAX_MODEL_BYTES: usize = 512;

fn model(fields: &mut Fields) -> Result<String, ApiError> {
    let model = fields.string("model")?.ok_or_else(|| fields.missing("model"))?;
    if model.is_empty() || model.len() > MAX_MODEL_BYTES || model.chars().any(char::is_control) {
        return Err(ApiError::invalid("model", format!("must have 1 to {MAX_MODEL_BYTES} printable characters")));
    }
    Ok(model)
}

/// `stream` and `stream_options.include_usage`.
fn streaming(fields: &mut Fields) -> Result<(bool, bool), ApiError> {
    let stream = fields.boolean("stream")?.unwrap_or(false);
    let Some(options) = fields.take("stream_options") else { return Ok((stream, false)) };
    if !stream {
        return Err(ApiError::invalid("stream_options", "is only allowed when stream is true"));
    }
    let mut options = Fields::nested("stream_options", options)?;
    let usage = options.boolean("include_usage")?.unwrap_or(false);
    options.finish(&["include_obfuscation"])?;
    Ok((stream, usage))
}
