//! How tokens are chosen and when to stop: the fields that all text endpoints share.

use crate::error::ApiError;
use crate::json::{Fields, wrong};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most stop strings in a request, as in OpenAI's API.
pub const MAX_STOPS: usize = 4;
/// Longest stop string, in bytes.
pub const MAX_STOP_BYTES: usize = 1024;

/// Checked sampling parameters. Every number is finite and within its range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Most tokens to generate; the context bounds it further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// 0 is greedy, at most 2.
    pub temperature: f32,
    /// Probability mass that is kept, from 0 to 1.
    pub top_p: f32,
    /// Number of best tokens that are kept; 0 keeps all.
    pub top_k: u32,
    /// Makes the choice repeatable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Texts before which the answer ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Divides (or multiplies) the logits of recent tokens; 1 changes nothing.
    pub repeat_penalty: f32,
    /// Subtracted per earlier occurrence, from -2 to 2.
    pub frequency_penalty: f32,
    /// Subtracted once from what occurred, from -2 to 2.
    pub presence_penalty: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            max_tokens: None,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            seed: None,
            stop: Vec::new(),
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
        }
    }
}

impl Sampling {
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let base = Self::default();
        let tokens = 1..=i64::from(i32::MAX);
        let newer = fields.integer("max_completion_tokens", tokens.clone())?;
        let older = fields.integer("max_tokens", tokens)?;
        if newer.is_some() && older.is_some() && newer != older {
            return Err(ApiError::invalid("max_tokens", "contradicts max_completion_tokens; give one of them"));
        }
        Ok(Self {
            max_tokens: newer.or(older).map(|n| n as u32),
            temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(base.temperature),
            top_p: fields.number("top_p", 0.0..=1.0)?.unwrap_or(base.top_p),
            top_k: fields.integer("top_k", 0..=i64::from(i32::MAX))?.unwrap_or(0) as u32,
            seed: fields.integer("seed", i64::MIN..=i64::MAX)?,
            stop: stops(fields)?,
            repeat_penalty: fields.number("repeat_penalty", 0.01..=10.0)?.unwrap_or(base.repeat_penalty),
            frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(base.frequency_penalty),
            presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(base.presence_penalty),
        })
    }
}

fn stops(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let path = fields.path("stop");
    let wanted = format!("a string or at most {MAX_STOPS} strings, each of 1 to {MAX_STOP_BYTES} bytes");
    let items = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(one @ Value::String(_)) => vec![one],
        Some(Value::Array(items)) if items.len() <= MAX_STOPS => items,
        Some(Value::Array(items)) => {
            return Err(ApiError::invalid(path, format!("must be {wanted}, not {} items", items.len())));
        }
        Some(other) => return Err(wrong(&path, &wanted, &other)),
    };
    let check = |(at, item): (usize, Value)| match item {
        Value::String(text) if !text.is_empty() && text.len() <= MAX_STOP_BYTES => Ok(text),
        other => Err(wrong(&format!("{path}[{at}]"), &wanted, &other)),
    };
    items.into_iter().enumerate().map(check).collect()
}
