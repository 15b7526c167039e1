//! Pure: what the events of a stream say, in a worker's words and in OpenAI's.

use std::time::Duration;

use rbee_wire::{ApiError, ErrorCode, sse, worker::InferenceEvent};
use serde_json::Value;

/// Whose words a stream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// `POST /v1/inference`.
    Worker,
    /// `/v1/chat/completions` and `/v1/completions`, streamed.
    OpenAi,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Token(String),
    /// Figures, where the stream tells them.
    Done {
        tokens: Option<u32>,
        elapsed: Option<Duration>,
    },
    /// Nothing follows.
    End,
    Error(ApiError),
    /// Nothing that matters here.
    Other,
}

impl Words {
    /// Reads one event.
    pub fn read(self, event: &sse::Event) -> Event {
        match self {
            Self::Worker => match InferenceEvent::read(event) {
                Ok(InferenceEvent::Token(token)) => Event::Token(token.token),
                Ok(InferenceEvent::Done(done)) => Event::Done {
                    tokens: Some(done.total_tokens),
                    elapsed: Some(Duration::from_millis(done.duration_ms)),
                },
                Ok(InferenceEvent::Error(error)) => Event::Error(error),
                Ok(InferenceEvent::End) => Event::End,
                Err(_) => Event::Other,
            },
            Self::OpenAi => openai(event),
        }
    }
}

fn openai(event: &sse::Event) -> Event {
    if event.data == sse::DONE {
        return Event::End;
    }
    let Ok(chunk) = serde_json::from_str::<Value>(&event.data) else { return Event::Other };
    if event.event.as_deref() == Some("error") || chunk["error"].is_object() {
        return Event::Error(ApiError::from_body(ErrorCode::Internal.status(), event.data.as_bytes()));
    }
    let choice = &chunk["choices"][0];
    if let Some(text) = choice["delta"]["content"].as_str().or_else(|| choice["text"].as_str()) {
        return if text.is_empty() { Event::Other } else { Event::Token(text.to_owned()) };
    }
    match chunk["usage"]["completion_tokens"].as_u64() {
        Some(tokens) => Event::Done { tokens: u32::try_from(tokens).ok(), elapsed: None },
        None => Event::Other,
    }
}

/// `20 tokens in 0.42 s (47.6 tok/s)`
pub fn summary(tokens: u32, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let word = if tokens == 1 { "token" } else { "tokens" };
    format!("{tokens} {word} in {seconds:.2} s ({:.1} tok/s)", f64::from(tokens) / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: &str) -> sse::Event {
        sse::Event { event: None, data: data.to_owned() }
    }

    #[test]
    fn both_kinds_of_words_are_read() {
        let worker = |data| Words::Worker.read(&event(data));
        assert_eq!(worker(r#"{"token":"a","index":0}"#), Event::Token("a".into()));
        assert_eq!(
            worker(r#"{"done":true,"total_tokens":3,"duration_ms":20}"#),
            Event::Done { tokens: Some(3), elapsed: Some(Duration::from_millis(20)) }
        );
        assert_eq!(worker("[DONE]"), Event::End);
        let openai = |data| Words::OpenAi.read(&event(data));
        assert_eq!(openai(r#"{"choices":[{"delta":{"content":"a"}}]}"#), Event::Token("a".into()));
        assert_eq!(openai(r#"{"choices":[{"text":"b"}]}"#), Event::Token("b".into()));
        assert_eq!(openai(r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#), Event::Other);
        assert_eq!(
            openai(r#"{"choices":[],"usage":{"completion_tokens":5}}"#),
            Event::Done { tokens: Some(5), elapsed: None }
        );
        assert!(
            matches!(openai(r#"{"error":{"message":"gone","code":"worker_crashed"}}"#), Event::Error(e) if e.code == ErrorCode::WorkerCrashed)
        );
    }

    #[test]
    fn the_summary_has_tokens_seconds_and_rate() {
        assert_eq!(summary(20, Duration::from_millis(420)), "20 tokens in 0.42 s (47.6 tok/s)");
        assert_eq!(summary(1, Duration::ZERO), "1 token in 0.00 s (1000.0 tok/s)");
    }
}
