//! What is measured, and how one figure is taken.

use crate::client::{Timed, complete, complete_telling};
use crate::server::{Command, Server};
use anyhow::Result;
use futures::future::{try_join, try_join_all};
use std::cell::Cell;
use std::path::Path;
use std::time::Instant;
use tokio::sync::Notify;

/// One figure of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Metric {
    /// Seconds from the start of the process to the first token of a short prompt, the file in the page cache.
    Start,
    /// tok/s of 128 tokens after a short prompt, the first one not counted.
    Decode,
    /// tok/s of 64 tokens after a prompt of about 1024.
    Depth1024,
    /// tok/s of a prompt of about 512 tokens until its first token.
    Prefill512,
    /// tok/s of 4 requests together, 64 tokens each, from sending to the last token.
    Streams4,
    /// The same of 8.
    Streams8,
    /// The same of 8 with prompts of about 256 tokens.
    Chats8,
    /// How far apart the tokens of a stream come while a prompt of 2,000 tokens enters, as a multiple of how far they are alone: the 99th
    /// percentiles.
    Gap,
    /// Peak resident bytes of a process with 4 slots of 2,048 tokens, all of them filled, as a multiple of the file.
    Memory,
}

impl Metric {
    pub const ALL: [Self; 9] = [
        Self::Start,
        Self::Decode,
        Self::Depth1024,
        Self::Prefill512,
        Self::Streams4,
        Self::Streams8,
        Self::Chats8,
        Self::Gap,
        Self::Memory,
    ];

    pub fn unit(self) -> &'static str {
        match self {
            Self::Start => "s",
            Self::Gap => "x alone",
            Self::Memory => "x file",
            _ => "tok/s",
        }
    }
}

pub struct Settings<'a> {
    pub model: &'a Path,
    pub metrics: &'a [Metric],
    pub rounds: usize,
}

const WORDS: &[&str] = &[
    "the", "small", "bee", "flew", "over", "river", "and", "old", "oak", "tree", "while", "rain", "fell", "on",
    "clover", "meadow", "she", "told", "her", "friends", "about", "honey", "in", "warm", "hive", "they", "danced",
    "until", "evening", "came",
];

thread_local! {
    /// Tokens of a word, learnt from the first prompt of a model.
    static TOKENS_PER_WORD: Cell<f64> = const { Cell::new(1.2) };
}

/// A text of so many words that depends on `seed` only.
fn text(seed: u64, words: usize) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        WORDS[(state % WORDS.len() as u64) as usize]
    };
    (0..words).map(|_| next()).collect::<Vec<_>>().join(" ")
}

fn text_of_tokens(seed: u64, tokens: usize) -> String {
    text(seed, (tokens as f64 / TOKENS_PER_WORD.get()).round() as usize)
}

/// A first prompt of some length that is not measured.
pub async fn warm(server: &Server, round: usize) -> Result<()> {
    let timed = complete(&server.url, &text(round as u64 + 1, 100), 2).await?;
    TOKENS_PER_WORD.set(timed.prompt_tokens as f64 / 100.0);
    Ok(())
}

pub async fn measure(server: &Server, metric: Metric, settings: &Settings<'_>, round: usize) -> Result<f64> {
    let seed = (round as u64 + 1) * 1000 + metric as u64 * 100;
    let short = |n: u64| text(seed + n, 12);
    Ok(match metric {
        Metric::Start => unreachable!("taken when a server starts"),
        Metric::Decode => rate(&complete(&server.url, &short(0), 128).await?),
        Metric::Depth1024 => rate(&complete(&server.url, &text_of_tokens(seed, 1024), 64).await?),
        Metric::Prefill512 => {
            let timed = complete(&server.url, &text_of_tokens(seed, 512), 1).await?;
            timed.prompt_tokens as f64 / (timed.first - timed.sent).as_secs_f64()
        }
        Metric::Streams4 => streams(server, (0..4).map(short).collect()).await?,
        Metric::Streams8 => streams(server, (0..8).map(short).collect()).await?,
        Metric::Chats8 => streams(server, (0..8).map(|n| text_of_tokens(seed + n, 256)).collect()).await?,
        Metric::Gap => gap(server, seed).await?,
        Metric::Memory => memory(&server.command.with_slots(4, 2048), settings.model, seed).await?,
    })
}

fn rate(timed: &Timed) -> f64 {
    (timed.completion_tokens - 1) as f64 / (timed.last - timed.first).as_secs_f64()
}

async fn streams(server: &Server, prompts: Vec<String>) -> Result<f64> {
    let all = try_join_all(prompts.iter().map(|p| complete(&server.url, p, 64))).await?;
    let (Some(from), Some(to)) = (all.iter().map(|t| t.sent).min(), all.iter().map(|t| t.last).max()) else {
        return Ok(0.0);
    };
    Ok(all.iter().map(|t| t.completion_tokens).sum::<u64>() as f64 / (to - from).as_secs_f64())
}

async fn gap(server: &Server, seed: u64) -> Result<f64> {
    let alone = complete(&server.url, &text(seed, 12), 128).await?;
    let begun = Notify::new();
    let long = async {
        begun.notified().await;
        complete(&server.url, &text_of_tokens(seed + 1, 2000), 1).await
    };
    let (beside, long) = try_join(complete_telling(&server.url, &text(seed + 2, 12), 512, &begun), long).await?;
    let entering = long.sent..=long.first;
    Ok(percentile_99(&beside, |at| entering.contains(at)) / percentile_99(&alone, |_| true))
}

/// Seconds between a token and the one before it, of those that came at some time; 0 if there are none.
fn percentile_99(timed: &Timed, counts: impl Fn(&Instant) -> bool) -> f64 {
    let pairs = timed.pieces.windows(2).filter(|pair| counts(&pair[1]));
    let mut gaps: Vec<f64> = pairs.map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    gaps.sort_by(f64::total_cmp);
    gaps.get(gaps.len() * 99 / 100).copied().unwrap_or_default()
}

/// A process of its own, whose slots are filled to about 90 %.
async fn memory(command: &Command, model: &Path, seed: u64) -> Result<f64> {
    let (server, _) = Server::start(command).await?;
    let prompts: Vec<String> = (0..4).map(|n| text_of_tokens(seed + n, 1800)).collect();
    try_join_all(prompts.iter().map(|p| complete(&server.url, p, 16))).await?;
    Ok(server.peak_bytes()? as f64 / std::fs::metadata(model)?.len() as f64)
}
