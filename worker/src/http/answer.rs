//! Answers of the three text endpoints: whole as JSON, or as a stream of server-sent events.

use super::generate::{Finish, Next, Running};
use super::refusal::Shape;
use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use rbee_wire::openai::{ChatChunk, ChatCompletion, Completion};
use rbee_wire::worker::{DoneEvent, TokenEvent};
use rbee_wire::{ApiError, sse};
use serde::Serialize;
use std::convert::Infallible;
use std::time::Instant;

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
}

/// Waits for the whole answer.
pub async fn whole(head: Head, mut running: Running) -> Result<Response, ApiError> {
    let mut text = String::new();
    let finish = loop {
        match running.next().await? {
            Next::Token(piece) => text += &piece,
            Next::Finish(finish) => break finish,
        }
    };
    let Head { words, id, created, model, .. } = head;
    Ok(match words {
        Words::Chat => Json(ChatCompletion::new(id, created, model, text, finish.reason, finish.usage)).into_response(),
        Words::Completion | Words::Inference => {
            let answer = Completion::new(&id, created, &model, text, Some(finish.reason));
            Json(Completion { usage: Some(finish.usage), ..answer }).into_response()
        }
    })
}

/// Sends the answer as it grows. Dropping the body cancels the request.
pub fn stream(head: Head, running: Running) -> Response {
    let state = Stream { head, running, index: 0, begun: false, over: false };
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

struct Stream {
    head: Head,
    running: Running,
    index: u32,
    begun: bool,
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
        let Head { words, id, created, model, .. } = &self.head;
        if !std::mem::replace(&mut self.begun, true) && *words == Words::Chat {
            push(out, &ChatChunk::role(id, *created, model));
        }
        match next {
            Next::Token(text) => {
                match words {
                    Words::Chat if text.is_empty() => {}
                    Words::Chat => push(out, &ChatChunk::text(id, *created, model, text)),
                    Words::Completion if text.is_empty() => {}
                    Words::Completion => push(out, &Completion::new(id, *created, model, text, None)),
                    Words::Inference => push(out, &TokenEvent { token: text, index: self.index }),
                }
                self.index += 1;
            }
            Next::Finish(finish) => {
                self.end(finish, out);
                *out += &sse::data(sse::DONE);
                self.over = true;
            }
        }
    }

    fn end(&self, finish: Finish, out: &mut String) {
        let Head { words, id, created, model, include_usage } = &self.head;
        match words {
            Words::Chat => {
                push(out, &ChatChunk::end(id, *created, model, finish.reason));
                if *include_usage {
                    push(out, &ChatChunk::usage(id, *created, model, finish.usage));
                }
            }
            Words::Completion => {
                push(out, &Completion::new(id, *created, model, String::new(), Some(finish.reason)));
                if *include_usage {
                    push(out, &Completion::usage(id, *created, model, finish.usage));
                }
            }
            Words::Inference => push(out, &self.done(finish)),
        }
    }

    fn done(&self, finish: Finish) -> DoneEvent {
        let now = Instant::now();
        let first = self.running.first_token.unwrap_or(now);
        let generating = now.duration_since(first).as_secs_f64();
        let later = finish.usage.completion_tokens.saturating_sub(1);
        DoneEvent {
            done: true,
            total_tokens: finish.usage.completion_tokens,
            duration_ms: now.duration_since(self.running.since).as_millis() as u64,
            prompt_tokens: finish.usage.prompt_tokens,
            time_to_first_token_ms: first.duration_since(self.running.since).as_millis() as u64,
            tokens_per_second: if generating > 0.0 { f64::from(later) / generating } else { 0.0 },
            finish_reason: Some(finish.reason),
        }
    }
}

fn push(out: &mut String, event: &impl Serialize) {
    // These types hold strings and numbers only and always serialize.
    if let Ok(text) = serde_json::to_string(event) {
        *out += &sse::data(&text);
    }
}
