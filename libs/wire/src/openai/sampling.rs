//! How tokens are chosen and when to stop: the fields that all text endpoints share.

use super::Constraint;
use crate::error::ApiError;
use crate::json::{Fields, wrong};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// Most stop strings in a request, as in OpenAI's API.
pub const MAX_STOPS: usize = 4;
/// Longest stop string, in bytes.
pub const MAX_STOP_BYTES: usize = 1024;
/// Most tokens with a bias.
pub const MAX_BIASES: usize = 1024;
/// Most alternatives that are told per token.
pub const MAX_LOGPROBS: i64 = 20;
/// Most choices of one request.
pub const MAX_CHOICES: i64 = 16;

/// Checked sampling parameters. Every number is finite and within its range. Serialized they are fields of a body that
/// gives them when it is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Most tokens to generate; the context bounds it further.
    pub max_tokens: Option<u32>,
    /// 0 is greedy, at most 2.
    pub temperature: f32,
    /// Probability mass that is kept, from 0 to 1.
    pub top_p: f32,
    /// Number of best tokens that are kept; 0 keeps all.
    pub top_k: u32,
    /// Tokens are kept whose probability is at least this share of the best one's, from 0 to 1; 0 keeps all.
    pub min_p: f32,
    /// Probability mass that is kept of the tokens whose information is closest to the expected one, from 0 to 1; 1 keeps all.
    pub typical_p: f32,
    /// Makes the choice repeatable.
    pub seed: Option<i64>,
    /// Texts before which the answer ends.
    pub stop: Vec<String>,
    /// Divides (or multiplies) the logits of recent tokens; 1 changes nothing.
    pub repeat_penalty: f32,
    /// Subtracted per earlier occurrence, from -2 to 2.
    pub frequency_penalty: f32,
    /// Subtracted once from what occurred, from -2 to 2.
    pub presence_penalty: f32,
    /// Added to the logits of tokens: (id, from -100 to 100), each id once.
    pub logit_bias: Vec<(u32, f32)>,
    /// Log probabilities are wanted, with so many of the likeliest tokens besides the chosen one.
    pub logprobs: Option<u32>,
    /// Number of answers.
    pub n: u32,
    /// The form that the answer must have.
    pub constraint: Option<Constraint>,
    /// The request's field that asked for it, for errors; else empty.
    pub constraint_field: &'static str,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            max_tokens: None,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            typical_p: 1.0,
            seed: None,
            stop: Vec::new(),
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            logprobs: None,
            n: 1,
            constraint: None,
            constraint_field: "",
        }
    }
}

impl Sampling {
    /// Takes what all text endpoints have; `n` and `logprobs` belong to some of them.
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let base = Self::default();
        let tokens = 1..=i64::from(i32::MAX);
        let newer = fields.integer("max_completion_tokens", tokens.clone())?;
        let older = fields.integer("max_tokens", tokens)?;
        if newer.is_some() && older.is_some() && newer != older {
            return Err(ApiError::invalid("max_tokens", "contradicts max_completion_tokens; give one of them"));
        }
        let repeat = fields.number("repeat_penalty", 0.01..=10.0)?;
        let repetition = fields.number("repetition_penalty", 0.01..=10.0)?;
        if repeat.is_some() && repetition.is_some() && repeat != repetition {
            return Err(ApiError::invalid("repetition_penalty", "contradicts repeat_penalty; give one of them"));
        }
        let (constraint_field, constraint) = Constraint::take(fields)?.unzip();
        Ok(Self {
            max_tokens: newer.or(older).map(|n| n as u32),
            temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(base.temperature),
            top_p: fields.number("top_p", 0.0..=1.0)?.unwrap_or(base.top_p),
            top_k: fields.integer("top_k", 0..=i64::from(i32::MAX))?.unwrap_or(0) as u32,
            min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(base.min_p),
            typical_p: fields.number("typical_p", 0.0..=1.0)?.unwrap_or(base.typical_p),
            seed: fields.integer("seed", i64::MIN..=i64::MAX)?,
            stop: stops(fields)?,
            repeat_penalty: repeat.or(repetition).unwrap_or(base.repeat_penalty),
            frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(base.frequency_penalty),
            presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(base.presence_penalty),
            logit_bias: biases(fields)?,
            logprobs: None,
            n: base.n,
            constraint,
            constraint_field: constraint_field.unwrap_or_default(),
        })
    }

    /// Takes `n`.
    pub(crate) fn take_choices(&mut self, fields: &mut Fields) -> Result<(), ApiError> {
        self.n = fields.integer("n", 1..=MAX_CHOICES)?.unwrap_or(1) as u32;
        Ok(())
    }
}

impl Serialize for Sampling {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let base = Self::default();
        let numbers = [
            ("temperature", self.temperature, base.temperature),
            ("top_p", self.top_p, base.top_p),
            ("min_p", self.min_p, base.min_p),
            ("typical_p", self.typical_p, base.typical_p),
            ("repeat_penalty", self.repeat_penalty, base.repeat_penalty),
            ("frequency_penalty", self.frequency_penalty, base.frequency_penalty),
            ("presence_penalty", self.presence_penalty, base.presence_penalty),
        ];
        for (name, value, _) in numbers.into_iter().filter(|(_, value, base)| value != base) {
            map.serialize_entry(name, &value)?;
        }
        if let Some(tokens) = self.max_tokens {
            map.serialize_entry("max_tokens", &tokens)?;
        }
        if self.top_k != base.top_k {
            map.serialize_entry("top_k", &self.top_k)?;
        }
        if let Some(seed) = self.seed {
            map.serialize_entry("seed", &seed)?;
        }
        if !self.stop.is_empty() {
            map.serialize_entry("stop", &self.stop)?;
        }
        if !self.logit_bias.is_empty() {
            let biases: BTreeMap<String, f32> = self.logit_bias.iter().map(|(id, b)| (id.to_string(), *b)).collect();
            map.serialize_entry("logit_bias", &biases)?;
        }
        if let Some((field, value)) = self.constraint.as_ref().map(Constraint::field) {
            map.serialize_entry(field, &value)?;
        }
        map.end()
    }
}

/// An object from token ids to biases, as in OpenAI's API, or a list of pairs, as in llama.cpp's.
fn biases(fields: &mut Fields) -> Result<Vec<(u32, f32)>, ApiError> {
    let path = fields.path("logit_bias");
    let wanted = "an object from token ids to numbers from -100 to 100";
    let pairs: Vec<(Value, Value)> = match fields.take("logit_bias") {
        None => return Ok(Vec::new()),
        Some(Value::Object(map)) => map.into_iter().map(|(id, bias)| (Value::String(id), bias)).collect(),
        Some(Value::Array(items)) => {
            let pair = |item: Value| match item {
                Value::Array(pair) => <[Value; 2]>::try_from(pair).ok().map(|[id, bias]| (id, bias)),
                _ => None,
            };
            let pairs: Option<_> = items.into_iter().map(pair).collect();
            pairs.ok_or_else(|| ApiError::invalid(&path, format!("must be {wanted}, or a list of such pairs")))?
        }
        Some(other) => return Err(wrong(&path, wanted, &other)),
    };
    if pairs.len() > MAX_BIASES {
        return Err(ApiError::invalid(path, format!("must have at most {MAX_BIASES} tokens, not {}", pairs.len())));
    }
    let mut read = BTreeMap::new();
    for (id, bias) in pairs {
        let token = match &id {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64().and_then(|n| u32::try_from(n).ok()),
        };
        let token: u32 = token.ok_or_else(|| wrong(&path, "made of token ids", &id))?;
        let bias = bias.as_f64().filter(|b| (-100.0..=100.0).contains(b)).ok_or_else(|| {
            let at = format!("{path}[{token}]");
            wrong(&at, "a number from -100 to 100", &bias)
        })?;
        if read.insert(token, bias as f32).is_some() {
            return Err(ApiError::invalid(path, format!("has token {token} twice")));
        }
    }
    Ok(read.into_iter().collect())
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
