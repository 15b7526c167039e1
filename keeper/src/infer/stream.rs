//! One request to a worker or to the gateway: tokens as they come, and every way in which that can end.

use std::time::{Duration, Instant};

use futures::StreamExt;
use rand::Rng;
use rbee_wire::{ApiError, sse};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::events::{Event, Words};
use crate::{error::chain, target::Secret};

/// Without a token for so long the request is ended.
pub const STALL: Duration = Duration::from_secs(60);
/// How long the answer to a cancel is waited for.
const CANCEL: Duration = Duration::from_secs(5);
/// Tries to connect, and the pauses between them before jitter.
const PAUSES_MS: [u64; 2] = [200, 400];

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `http://HOST:PORT` of a worker or of the gateway.
    pub base: String,
    /// Path of the endpoint.
    pub path: &'static str,
    pub key: Option<Secret>,
    /// How its events read.
    pub words: Words,
    /// The hive it is on, for messages.
    pub hive: Option<String>,
}

/// A stream that came to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    pub tokens: u32,
    pub elapsed: Duration,
}

/// A stream that did not.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(
        "CONNECTION_TIMEOUT: no connection to {url} in {tries} tries: {cause}; check that the hive{hive} runs there (`rbee hives health`)"
    )]
    Connect { url: String, tries: usize, cause: String, hive: String },
    #[error("{}: {}", .0.code, .0.message)]
    Refused(ApiError),
    /// The connection broke, or the worker said that it cannot go on.
    #[error("{code}: {cause}")]
    Broken { code: &'static str, cause: String, tokens: u32 },
    #[error("INFERENCE_STALLED: no token for {} s", STALL.as_secs())]
    Stalled { tokens: u32 },
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Output(#[from] std::io::Error),
}

/// Sends the request and hands each piece of text to `sink`.
///
/// # Errors
/// [`StreamError`]; what was handed on before it stays handed on.
pub async fn stream(
    http: &reqwest::Client,
    endpoint: &Endpoint,
    body: &Value,
    interrupt: &CancellationToken,
    sink: &mut (dyn FnMut(&str) -> std::io::Result<()> + Send),
) -> Result<Finished, StreamError> {
    let id = request_id();
    let result = tokio::select! {
        result = run(http, endpoint, &id, body, sink) => result,
        () = interrupt.cancelled() => Err(StreamError::Interrupted),
    };
    if matches!(result, Err(StreamError::Interrupted | StreamError::Stalled { .. } | StreamError::Output(_))) {
        cancel(http, endpoint, &id).await;
    }
    result
}

async fn run(
    http: &reqwest::Client,
    endpoint: &Endpoint,
    id: &str,
    body: &Value,
    sink: &mut (dyn FnMut(&str) -> std::io::Result<()> + Send),
) -> Result<Finished, StreamError> {
    let started = Instant::now();
    let response = match tokio::time::timeout(STALL, connect(http, endpoint, id, body)).await {
        Ok(response) => response?,
        Err(_) => return Err(StreamError::Stalled { tokens: 0 }),
    };
    let mut bytes = response.bytes_stream();
    let mut decoder = sse::Decoder::new();
    let mut tokens = 0;
    let mut done: Option<Finished> = None;
    let broken = |cause: String, tokens| StreamError::Broken { code: "WORKER_CRASHED", cause, tokens };
    let mut last_token = tokio::time::Instant::now();
    loop {
        let chunk = match tokio::time::timeout_at(last_token + STALL, bytes.next()).await {
            Err(_) => return Err(StreamError::Stalled { tokens }),
            Ok(None) => return Err(broken("the stream ended before it was complete".into(), tokens)),
            Ok(Some(Err(error))) => return Err(broken(chain(&error), tokens)),
            Ok(Some(Ok(chunk))) => chunk,
        };
        for event in decoder.push(&chunk).map_err(|e| broken(e.to_string(), tokens))? {
            match endpoint.words.read(&event) {
                Event::Token(text) => {
                    tokens += 1;
                    last_token = tokio::time::Instant::now();
                    sink(&text)?;
                }
                Event::Done { tokens: total, elapsed } => {
                    let elapsed = elapsed.unwrap_or_else(|| started.elapsed());
                    done = Some(Finished { tokens: total.unwrap_or(tokens), elapsed });
                }
                Event::End => {
                    return Ok(done.unwrap_or_else(|| Finished { tokens, elapsed: started.elapsed() }));
                }
                Event::Error(error) => {
                    return Err(StreamError::Broken { code: error.code.screaming(), cause: error.message, tokens });
                }
                Event::Other => {}
            }
        }
    }
}

/// The response's head; a connection that cannot be made is tried three times.
async fn connect(
    http: &reqwest::Client,
    endpoint: &Endpoint,
    id: &str,
    body: &Value,
) -> Result<reqwest::Response, StreamError> {
    let url = format!("{}{}", endpoint.base.trim_end_matches('/'), endpoint.path);
    let mut attempt = 0;
    loop {
        let mut request = http.post(&url).header("x-request-id", id).json(body);
        if let Some(key) = &endpoint.key {
            request = request.bearer_auth(key.reveal());
        }
        match request.send().await {
            Ok(response) if response.status().is_success() => return Ok(response),
            Ok(response) => {
                let status = response.status().as_u16();
                let bytes = response.bytes().await.unwrap_or_default();
                return Err(StreamError::Refused(ApiError::from_body(status, &bytes)));
            }
            Err(error) if error.is_connect() => match PAUSES_MS.get(attempt) {
                Some(pause) => {
                    attempt += 1;
                    let jitter = rand::rng().random_range(0.5..1.5);
                    tokio::time::sleep(Duration::from_millis(*pause).mul_f64(jitter)).await;
                }
                None => {
                    let hive = endpoint.hive.as_ref().map(|h| format!(" {h}")).unwrap_or_default();
                    return Err(StreamError::Connect { url, tries: attempt + 1, cause: chain(&error), hive });
                }
            },
            Err(error) => {
                return Err(StreamError::Broken { code: "WORKER_CRASHED", cause: chain(&error), tokens: 0 });
            }
        }
    }
}

/// Tells a worker that nobody listens any more; the gateway notices the hang-up by itself.
async fn cancel(http: &reqwest::Client, endpoint: &Endpoint, id: &str) {
    if endpoint.words != Words::Worker {
        return;
    }
    let url = format!("{}/v1/inference/{id}", endpoint.base.trim_end_matches('/'));
    let mut request = http.delete(url).timeout(CANCEL);
    if let Some(key) = &endpoint.key {
        request = request.bearer_auth(key.reveal());
    }
    let _ = request.send().await;
}

fn request_id() -> String {
    let bytes: [u8; 16] = rand::rng().random();
    hex::encode(bytes)
}
