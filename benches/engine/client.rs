//! A streaming completion, timed.

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use rbee_wire::sse::{DONE, Decoder};
use serde_json::{Value, json};
use std::time::Instant;
use tokio::sync::Notify;

/// When the parts of one answer came, and how many tokens it took.
pub struct Timed {
    pub sent: Instant,
    pub first: Instant,
    pub last: Instant,
    /// When each piece of text came.
    pub pieces: Vec<Instant>,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
}

/// Streams a greedy completion of exactly `tokens` tokens.
pub async fn complete(url: &str, prompt: &str, tokens: u64) -> Result<Timed> {
    complete_telling(url, prompt, tokens, &Notify::new()).await
}

/// The same; `begun` is told of the first text.
pub async fn complete_telling(url: &str, prompt: &str, tokens: u64, begun: &Notify) -> Result<Timed> {
    let body = json!({
        "model": "bench", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": true,
        "stream_options": {"include_usage": true},
    });
    let client = reqwest::Client::builder().no_proxy().build()?;
    let sent = Instant::now();
    let answer = client.post(format!("{url}/v1/completions")).json(&body).send().await?;
    let status = answer.status();
    if !status.is_success() {
        bail!("{url}: {status}: {}", answer.text().await.unwrap_or_default());
    }
    let (mut decoder, mut body) = (Decoder::new(), answer.bytes_stream());
    let (mut pieces, mut usage) = (Vec::new(), None);
    while let Some(part) = body.next().await {
        for event in decoder.push(&part?)? {
            if event.data == DONE {
                continue;
            }
            let value: Value = serde_json::from_str(&event.data).context("an event that is not JSON")?;
            ensure!(value.get("error").is_none(), "{url}: {value}");
            if value["usage"].is_object() {
                usage = Some((value["usage"]["prompt_tokens"].as_u64(), value["usage"]["completion_tokens"].as_u64()));
            }
            if value["choices"][0]["text"].as_str().is_some_and(|t| !t.is_empty()) {
                pieces.push(Instant::now());
                begun.notify_one();
            }
        }
    }
    let Some((Some(prompt_tokens), Some(completion_tokens))) = usage else { bail!("{url}: an answer without usage") };
    let (Some(&first), Some(&last)) = (pieces.first(), pieces.last()) else { bail!("{url}: an answer without text") };
    ensure!(completion_tokens == tokens, "{url}: {completion_tokens} tokens came, {tokens} were asked for");
    Ok(Timed { sent, first, last, pieces, prompt_tokens, completion_tokens })
}
