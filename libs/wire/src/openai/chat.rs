//! `POST /v1/chat/completions`: the request.

use super::sampling::MAX_LOGPROBS;
use super::tools::calls;
use super::{IGNORED, Sampling, ToolCall, Tools, model, streaming};
use crate::MAX_PROMPT_BYTES;
use crate::error::{ApiError, ErrorCode};
use crate::json::{Fields, shorten, wrong};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most messages in one request.
pub const MAX_MESSAGES: usize = 4096;

/// Who speaks. `developer` is OpenAI's newer name for `system` and is read as it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    #[serde(alias = "developer")]
    System,
    User,
    Assistant,
    Tool,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }

    fn parse(text: &str) -> Option<Role> {
        Some(match text {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            _ => return None,
        })
    }
}

/// One message; text parts are joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    pub role: Role,
    pub content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Functions that the assistant called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Which call a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl ChatMessage {
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), name: None, tool_calls: Vec::new(), tool_call_id: None }
    }

    pub fn user(content: impl Into<String>) -> Self {
        Self::new(Role::User, content)
    }

    /// Bytes of all its texts.
    fn bytes(&self) -> usize {
        let calls = self.tool_calls.iter().map(|c| c.function.name.len() + c.function.arguments.len());
        self.content.len() + calls.sum::<usize>()
    }
}

/// A checked chat request.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    pub model: String,
    pub messages: Vec<ChatMessage>,
    pub tools: Tools,
    pub sampling: Sampling,
    pub stream: bool,
    /// A last chunk with `usage` was asked for.
    pub include_usage: bool,
}

impl ChatRequest {
    /// Reads and checks a body; the error names the field at fault.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::from_body(body)?;
        let model = model(&mut fields)?;
        let list = fields.take("messages").ok_or_else(|| fields.missing("messages"))?;
        let messages = messages("messages", list)?;
        let tools = Tools::take(&mut fields)?;
        let mut sampling = Sampling::take(&mut fields)?;
        sampling.take_choices(&mut fields)?;
        sampling.logprobs = logprobs(&mut fields)?;
        let (stream, include_usage) = streaming(&mut fields)?;
        unsupported(&mut fields)?;
        fields.finish(IGNORED)?;
        if tools.in_use() && sampling.constraint.is_some() {
            let field = sampling.constraint_field;
            let text = format!("cannot be used together with {field}; leave one of them out");
            return Err(ApiError::invalid("tools", text));
        }
        Ok(Self { model, messages, tools, sampling, stream, include_usage })
    }
}

/// `logprobs` and `top_logprobs`.
fn logprobs(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let wanted = fields.boolean("logprobs")?.unwrap_or(false);
    let top = fields.integer("top_logprobs", 0..=MAX_LOGPROBS)?;
    match (wanted, top) {
        (true, top) => Ok(Some(top.unwrap_or(0) as u32)),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => Err(ApiError::invalid("top_logprobs", "is only allowed when logprobs is true")),
    }
}

/// Known fields that are only accepted with a value that asks for nothing.
fn unsupported(fields: &mut Fields) -> Result<(), ApiError> {
    let empty = |v: &Value| v.as_array().is_some_and(Vec::is_empty);
    fields.only("functions", empty, "is not supported; use tools")?;
    fields.only("function_call", |v| v == "none" || v == "auto", "is not supported; use tool_choice")?;
    fields.only("modalities", |v| v.as_array().is_some_and(|a| a.len() == 1 && a[0] == "text"), "only text")?;
    for key in ["audio", "prediction", "web_search_options", "chat_template", "chat_template_kwargs"] {
        fields.only(key, |_| false, "is not supported")?;
    }
    fields.only("reasoning_effort", |v| v == "none", "is not supported")?;
    fields.only("verbosity", |v| v == "medium", "is not supported")
}

/// Reads a list of messages; `path` is its place in the body.
pub(crate) fn messages(path: &str, value: Value) -> Result<Vec<ChatMessage>, ApiError> {
    let items = match value {
        Value::Array(items) => items,
        other => return Err(wrong(path, "an array of messages", &other)),
    };
    if items.is_empty() || items.len() > MAX_MESSAGES {
        let text = format!("must hold 1 to {MAX_MESSAGES} messages, not {}", items.len());
        return Err(ApiError::invalid(path, text));
    }
    let mut read = Vec::with_capacity(items.len());
    let mut bytes = 0;
    for (at, item) in items.into_iter().enumerate() {
        let message = message(&format!("{path}[{at}]"), item)?;
        bytes += message.bytes();
        read.push(message);
    }
    check_prompt_bytes(path, bytes)?;
    Ok(read)
}

pub(super) fn check_prompt_bytes(path: &str, bytes: usize) -> Result<(), ApiError> {
    if bytes <= MAX_PROMPT_BYTES {
        return Ok(());
    }
    let text = format!("the prompt has {bytes} bytes, allowed are {MAX_PROMPT_BYTES}");
    Err(ApiError::invalid(path, text).with_status(413))
}

fn message(path: &str, value: Value) -> Result<ChatMessage, ApiError> {
    let mut fields = Fields::nested(path, value)?;
    let role = fields.string("role")?.ok_or_else(|| fields.missing("role"))?;
    let Some(role) = Role::parse(&role) else {
        let text = format!("must be one of system, developer, user, assistant, tool, not {:?}", shorten(&role));
        return Err(ApiError::invalid(fields.path("role"), text));
    };
    let tool_calls = match fields.take("tool_calls") {
        None => Vec::new(),
        Some(value) if role == Role::Assistant => calls(&fields.path("tool_calls"), value)?,
        Some(_) => return Err(ApiError::invalid(fields.path("tool_calls"), "is only for messages of the assistant")),
    };
    let content = match fields.take("content") {
        None if tool_calls.is_empty() => return Err(fields.missing("content")),
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => text_parts(&fields.path("content"), parts)?,
        Some(other) => return Err(wrong(&fields.path("content"), "a string or an array of text parts", &other)),
    };
    let name = fields.string("name")?;
    let tool_call_id = fields.string("tool_call_id")?;
    if role == Role::Tool && tool_call_id.is_none() {
        return Err(fields.missing("tool_call_id"));
    }
    // An answer that is sent back has these, without anything in them.
    let nothing = |v: &Value| match v {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    for key in ["refusal", "annotations", "audio", "function_call"] {
        fields.only(key, nothing, "is not supported in messages")?;
    }
    fields.finish(&[])?;
    Ok(ChatMessage { role, content, name, tool_calls, tool_call_id })
}

fn text_parts(path: &str, parts: Vec<Value>) -> Result<String, ApiError> {
    let mut text = String::new();
    for (at, part) in parts.into_iter().enumerate() {
        let mut fields = Fields::nested(&format!("{path}[{at}]"), part)?;
        let kind = fields.string("type")?.ok_or_else(|| fields.missing("type"))?;
        if kind != "text" {
            let why = format!("a part of type {:?} is not supported, only text is", shorten(&kind));
            return Err(ApiError::new(ErrorCode::InvalidRequest, format!("{}: {why}", fields.path("type")))
                .with_openai_code("unsupported_content"));
        }
        text += &fields.string("text")?.ok_or_else(|| fields.missing("text"))?;
        fields.finish(&[])?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::Constraint;
    use super::*;
    use serde_json::json;

    fn with(more: Value) -> Result<ChatRequest, ApiError> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ChatRequest::parse(body.to_string().as_bytes())
    }

    #[test]
    fn a_plain_request_is_read() {
        let request = with(json!({"temperature": 0, "stop": "x", "max_tokens": 3, "seed": -1, "user": "u"})).unwrap();
        assert_eq!(request.messages, [ChatMessage::user("hello")]);
        assert_eq!((request.sampling.temperature, request.sampling.max_tokens), (0.0, Some(3)));
        assert_eq!((request.sampling.stop.len(), request.sampling.seed), (1, Some(-1)));
        let parts = with(json!({"messages": [{"role": "developer", "content": [
            {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]}))
        .unwrap();
        assert_eq!((parts.messages[0].role, parts.messages[0].content.as_str()), (Role::System, "ab"));
    }

    #[test]
    fn an_answer_can_be_sent_back_and_what_it_cannot_hold_is_named() {
        let echo = |more: Value| {
            let mut answer = json!({"role": "assistant", "content": "hi"});
            answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            with(json!({"messages": [{"role": "user", "content": "x"}, answer, {"role": "user", "content": "y"}]}))
        };
        assert!(echo(json!({"refusal": null, "annotations": [], "audio": null, "function_call": null})).is_ok());
        for (key, value) in [
            ("refusal", json!("no")),
            ("annotations", json!([{"type": "url_citation"}])),
            ("audio", json!({"id": "a"})),
            ("function_call", json!({"name": "f", "arguments": "{}"})),
        ] {
            let error = echo(json!({key: value})).unwrap_err();
            assert_eq!((error.status, error.param), (400, Some(format!("messages[1].{key}"))));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (json!({"max_tokens": "many"}), "max_tokens"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"max_tokens": -1}), "max_tokens"),
            (json!({"max_tokens": 1.5}), "max_tokens"),
            (json!({"max_tokens": 9223372036854775808u64}), "max_tokens"),
            (json!({"temperature": "hot"}), "temperature"),
            (json!({"temperature": -0.5}), "temperature"),
            (json!({"temperature": 2.1}), "temperature"),
            (json!({"top_p": 1.5}), "top_p"),
            (json!({"top_k": -1}), "top_k"),
            (json!({"n": 1_000_000}), "n"),
            (json!({"seed": 1.5}), "seed"),
            (json!({"seed": u64::MAX}), "seed"),
            (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
            (json!({"stop": [""]}), "stop[0]"),
            (json!({"stop": {}}), "stop"),
            (json!({"stream": "yes"}), "stream"),
            (json!({"stream_options": {"include_usage": true}}), "stream_options"),
            (json!({"n": 0}), "n"),
            (json!({"min_p": 1.1}), "min_p"),
            (json!({"typical_p": -0.1}), "typical_p"),
            (json!({"repeat_penalty": 1.1, "repetition_penalty": 1.2}), "repetition_penalty"),
            (json!({"logit_bias": 1}), "logit_bias"),
            (json!({"logit_bias": {"bee": 1}}), "logit_bias"),
            (json!({"logit_bias": {"-1": 1}}), "logit_bias"),
            (json!({"logit_bias": {"1": 101}}), "logit_bias[1]"),
            (json!({"logit_bias": {"1": null}}), "logit_bias[1]"),
            (json!({"logit_bias": {"1": 1, "01": 1}}), "logit_bias"),
            (json!({"logit_bias": [[1]]}), "logit_bias"),
            (json!({"logit_bias": (0..1025).map(|i| json!([i, 1])).collect::<Vec<_>>()}), "logit_bias"),
            (json!({"logprobs": 1}), "logprobs"),
            (json!({"top_logprobs": 1}), "top_logprobs"),
            (json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs"),
            (json!({"response_format": {"type": "xml"}}), "response_format.type"),
            (json!({"tools": [{}]}), "tools[0].type"),
            (json!({"tools": [{"type": "function", "function": {"name": "f"}}], "guided_json": {}}), "tools"),
            (json!({"functions": [{"name": "f"}]}), "functions"),
            (json!({"chat_template": "x"}), "chat_template"),
            (json!({"chat_template_kwargs": {"tokenize": true}}), "chat_template_kwargs"),
            (json!({"frobnicate": 1}), "frobnicate"),
            (json!({"model": 5}), "model"),
            (json!({"model": null}), "model"),
            (json!({"messages": null}), "messages"),
            (json!({"messages": "hello"}), "messages"),
            (json!({"messages": []}), "messages"),
            (json!({"messages": ["hello"]}), "messages[0]"),
            (json!({"messages": [{"role": "wizard", "content": "x"}]}), "messages[0].role"),
            (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
            (json!({"messages": [{"role": "user", "content": 5}]}), "messages[0].content"),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}),
                "messages[0].content[0].type",
            ),
        ];
        for (more, field) in cases {
            let error = with(more.clone()).expect_err(&more.to_string());
            assert!(error.message.starts_with(&format!("{field}:")), "{more}: {error}");
            assert_eq!(error.status, 400, "{more}");
        }
    }

    #[test]
    fn a_conversation_with_calls_is_read() {
        let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let messages = json!([
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "4"},
        ]);
        let read = with(json!({"messages": messages})).unwrap().messages;
        assert_eq!(read[0].tool_calls, [ToolCall::new("c1".into(), "f".into(), "{}".into())]);
        assert_eq!((read[0].content.as_str(), read[1].tool_call_id.as_deref()), ("", Some("c1")));
        for (message, field) in [
            (json!({"role": "user", "content": "x", "tool_calls": [call]}), "messages[0].tool_calls"),
            (json!({"role": "assistant", "content": null, "tool_calls": []}), "messages[0].content"),
            (json!({"role": "assistant", "tool_calls": [{}]}), "messages[0].tool_calls[0].id"),
            (
                json!({"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": {}}}]}),
                "messages[0].tool_calls[0].function.arguments",
            ),
            (json!({"role": "tool", "content": "4"}), "messages[0].tool_call_id"),
        ] {
            let error = with(json!({"messages": [message]})).unwrap_err();
            assert!(error.message.starts_with(&format!("{field}:")), "{field}: {error}");
        }
    }

    #[test]
    fn sampling_fields_of_openai_vllm_and_llama_cpp_are_read() {
        let body = json!({
            "min_p": 0.05, "typical_p": 0.9, "repetition_penalty": 1.1, "n": 2, "logit_bias": {"7": -100, "3": 0.5},
            "logprobs": true, "top_logprobs": 20, "response_format": {"type": "json_object"},
        });
        let sampling = with(body).unwrap().sampling;
        assert_eq!((sampling.min_p, sampling.typical_p, sampling.repeat_penalty), (0.05, 0.9, 1.1));
        assert_eq!((sampling.n, sampling.logprobs, &sampling.constraint), (2, Some(20), &Some(Constraint::Json)));
        assert_eq!(sampling.logit_bias, [(3, 0.5), (7, -100.0)]);
        assert_eq!(with(json!({"logit_bias": [[7, 1]]})).unwrap().sampling.logit_bias, [(7, 1.0)]);
        assert_eq!(with(json!({"logprobs": true})).unwrap().sampling.logprobs, Some(0));
        assert_eq!(with(json!({"logprobs": false, "top_logprobs": 0})).unwrap().sampling.logprobs, None);
    }

    #[test]
    fn broken_bodies_are_refused() {
        let deep = "[".repeat(100_000);
        let bodies: [&[u8]; 9] = [
            b"{\"model\": ",
            b"[]",
            b"",
            b"\xff\xfe",
            b"\xef\xbb\xbf{}",
            deep.as_bytes(),
            b"{\"model\":\"a\",\"model\":\"b\"}",
            b"{\"model\":\"\\ud800\"}",
            b"{\"temperature\":1e400}",
        ];
        for body in bodies {
            let error = ChatRequest::parse(body).expect_err(&String::from_utf8_lossy(&body[..body.len().min(40)]));
            assert_eq!((error.status, error.code), (400, ErrorCode::InvalidRequest));
        }
        let large = ChatRequest::parse(&vec![b'x'; crate::MAX_BODY_BYTES + 1]).unwrap_err();
        assert_eq!(large.status, 413);
        let prompt = with(json!({"messages": [{"role": "user", "content": "x".repeat(MAX_PROMPT_BYTES + 1)}]}));
        assert_eq!(prompt.unwrap_err().status, 413);
    }
}
