//! Answers of the three text endpoints: whole as JSON, or as a stream of server-sent events.

use super::choice::{Choice, WholeChoice};
use super::refusal::Shape;
use super::running::{Next, Running};
use crate::tools::Reader;
use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use rbee_wire::openai::{
    ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta, Completion, CompletionChoice, FinishReason, Usage,
};
use rbee_wire::worker::{DoneEvent, TokenEvent};
use rbee_wire::{ApiError, sse};
use serde::Serialize;
use std::convert::Infallible;
use std::time::{Duration, Instant};

/// Which endpoint's words an answer uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    Chat,
    Completion,
    Inference,
}

impl Words {
    fn shape(self) -> Shape {
        if self == Self::Inference { Shape::Rbee } else { Shape::OpenAi }
    }
}

/// What every part of one answer repeats.
pub struct Head {
    pub words: Words,
    pub id: String,
    /// Unix time in seconds.
    pub created: i64,
    pub model: String,
    pub include_usage: bool,
    pub logprobs: bool,
}

impl Head {
    fn chat(&self, choices: Vec<ChatChunkChoice>, usage: Option<Usage>) -> ChatChunk {
        let object = "chat.completion.chunk".into();
        ChatChunk { id: self.id.clone(), object, created: self.created, model: self.model.clone(), choices, usage }
    }

    fn completion(&self, choices: Vec<CompletionChoice>, usage: Option<Usage>) -> Completion {
        let object = "text_completion".into();
        Completion { id: self.id.clone(), object, created: self.created, model: self.model.clone(), choices, usage }
    }
}

/// An answer that has begun.
pub struct Answer {
    pub head: Head,
    pub running: Running,
    /// Finds calls in the answer's text.
    pub reader: Option<Reader>,
}

impl Answer {
    fn choices(&self) -> impl Iterator<Item = Choice> {
        (0..self.running.count()).map(|at| Choice::new(at, self.reader.clone(), self.head.logprobs))
    }

    /// Waits for the whole answer.
    pub async fn whole(mut self) -> Result<Response, ApiError> {
        let mut choices: Vec<WholeChoice> = self.choices().map(WholeChoice::new).collect();
        let usage = loop {
            match self.running.next().await? {
                Next::Token { choice, text, logprobs } => choices[choice].push(text, logprobs),
                Next::End { choice, reason } => choices[choice].finish(reason),
                Next::Done(usage) => break usage,
            }
        };
        Ok(match self.head.words {
            Words::Chat => {
                let choices = choices.into_iter().map(WholeChoice::into_chat).collect();
                let Head { id, created, model, .. } = self.head;
                let object = "chat.completion".into();
                Json(ChatCompletion { id, object, created, model, choices, usage }).into_response()
            }
            Words::Completion | Words::Inference => {
                let choices = choices.into_iter().map(WholeChoice::into_completion).collect();
                Json(self.head.completion(choices, Some(usage))).into_response()
            }
        })
    }

    /// Sends the answer as it grows. Dropping the body cancels the request.
    pub fn stream(self) -> Response {
        let choices = self.choices().collect();
        let Self { head, running, .. } = self;
        let state = Stream { head, running, choices, index: 0, end: None, over: false };
        let parts = futures::stream::unfold(state, |mut state| async move {
            let part = state.part().await?;
            Some((Ok::<_, Infallible>(part), state))
        });
        let mut response = Body::from_stream(parts).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(sse::CONTENT_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

struct Stream {
    head: Head,
    running: Running,
    choices: Vec<Choice>,
    /// Tokens of `/v1/inference` so far.
    index: u32,
    /// Why the last choice ended.
    end: Option<FinishReason>,
    over: bool,
}

impl Stream {
    /// The next bytes: the event waited for, and those that are there already.
    async fn part(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let mut out = String::new();
        let mut next = self.running.next().await.map(Some);
        loop {
            match next {
                Ok(Some(next)) => self.write(next, &mut out),
                Ok(None) => break,
                Err(error) => {
                    let body = self.head.words.shape().body(&error);
                    out += &sse::named("error", &body.to_string());
                    self.over = true;
                }
            }
            if self.over {
                break;
            }
            next = self.running.ready();
        }
        Some(Bytes::from(out))
    }

    fn write(&mut self, next: Next, out: &mut String) {
        match (self.head.words, next) {
            (Words::Inference, Next::Token { text, .. }) => {
                push(out, &TokenEvent { token: text, index: self.index });
                self.index += 1;
            }
            (Words::Inference, Next::End { reason, .. }) => self.end = Some(reason),
            (Words::Chat, Next::Token { choice, text, logprobs }) => {
                let choice = &mut self.choices[choice];
                let parts = choice.push(text, logprobs);
                write_chat(&self.head, choice, parts, out);
            }
            (Words::Chat, Next::End { choice, reason }) => {
                let choice = &mut self.choices[choice];
                let parts = choice.finish();
                write_chat(&self.head, choice, parts, out);
                end_chat(&self.head, choice, reason, out);
            }
            (Words::Completion, Next::Token { choice, text, logprobs }) => {
                let choice = &mut self.choices[choice];
                choice.push(String::new(), logprobs);
                if !text.is_empty() {
                    write_completion(&self.head, choice, text, None, out);
                }
            }
            (Words::Completion, Next::End { choice, reason }) => {
                write_completion(&self.head, &mut self.choices[choice], String::new(), Some(reason), out);
            }
            (_, Next::Done(usage)) => {
                self.done(usage, out);
                *out += &sse::data(sse::DONE);
                self.over = true;
            }
        }
    }

    fn done(&self, usage: Usage, out: &mut String) {
        match self.head.words {
            Words::Chat if self.head.include_usage => push(out, &self.head.chat(Vec::new(), Some(usage))),
            Words::Completion if self.head.include_usage => push(out, &self.head.completion(Vec::new(), Some(usage))),
            Words::Chat | Words::Completion => {}
            Words::Inference => push(out, &self.done_event(usage)),
        }
    }

    fn done_event(&self, usage: Usage) -> DoneEvent {
        let now = Instant::now();
        let (first, last) = self.running.generated.unwrap_or((now, now));
        DoneEvent {
            done: true,
            total_tokens: usage.completion_tokens,
            duration_ms: now.duration_since(self.running.since).as_millis() as u64,
            prompt_tokens: usage.prompt_tokens,
            time_to_first_token_ms: first.saturating_duration_since(self.running.since).as_millis() as u64,
            tokens_per_second: rate(usage.completion_tokens, last.saturating_duration_since(first)),
            finish_reason: self.end,
        }
    }
}

/// Tokens per second from the first to the last token.
fn rate(tokens: u32, took: Duration) -> f64 {
    let seconds = took.as_secs_f64();
    if seconds > 0.0 { f64::from(tokens.saturating_sub(1)) / seconds } else { 0.0 }
}

fn write_chat(head: &Head, choice: &mut Choice, parts: Vec<crate::tools::Part>, out: &mut String) {
    begin_chat(head, choice, out);
    for part in parts {
        let delta = choice.delta(part);
        let logprobs = if choice.has_tokens() { choice.take_chat_logprobs() } else { None };
        let chunk = ChatChunkChoice { index: choice.index(), delta, logprobs, finish_reason: None };
        push_chunk(head, out, &head.chat(vec![chunk], None));
    }
}

/// The first event of a choice: its role.
fn begin_chat(head: &Head, choice: &mut Choice, out: &mut String) {
    if std::mem::replace(&mut choice.begun, true) {
        return;
    }
    let delta = ChatDelta { role: Some("assistant".into()), content: Some(String::new()), ..ChatDelta::default() };
    let chunk = ChatChunkChoice { index: choice.index(), delta, ..ChatChunkChoice::default() };
    push_chunk(head, out, &head.chat(vec![chunk], None));
}

fn end_chat(head: &Head, choice: &mut Choice, reason: FinishReason, out: &mut String) {
    let reason = choice.reason(reason);
    let logprobs = if choice.has_tokens() { choice.take_chat_logprobs() } else { None };
    let delta = ChatDelta::default();
    let chunk = ChatChunkChoice { index: choice.index(), delta, logprobs, finish_reason: Some(reason) };
    push_chunk(head, out, &head.chat(vec![chunk], None));
}

fn write_completion(head: &Head, choice: &mut Choice, text: String, end: Option<FinishReason>, out: &mut String) {
    let logprobs = if choice.has_tokens() { choice.take_completion_logprobs() } else { None };
    let chunk = CompletionChoice { index: choice.index(), text, logprobs, finish_reason: end };
    push_chunk(head, out, &head.completion(vec![chunk], None));
}

/// A chunk of a stream that ends with one that has `usage`: there the others have it too, as null.
#[derive(Serialize)]
struct WithoutUsage<'a, T> {
    #[serde(flatten)]
    chunk: &'a T,
    usage: (),
}

fn push_chunk(head: &Head, out: &mut String, chunk: &impl Serialize) {
    if head.include_usage { push(out, &WithoutUsage { chunk, usage: () }) } else { push(out, chunk) }
}

fn push(out: &mut String, event: &impl Serialize) {
    // These types hold strings and numbers only and always serialize.
    if let Ok(text) = serde_json::to_string(event) {
        *out += &sse::data(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_tokens_after_the_first() {
        assert_eq!(rate(11, Duration::from_secs(2)), 5.0);
        assert_eq!((rate(1, Duration::ZERO), rate(0, Duration::from_secs(1))), (0.0, 0.0));
    }
}
