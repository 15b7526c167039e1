//! Log probabilities and embeddings beside recorded ones.

use std::fmt;

use rbee_engine::{Chunk, Engine, Output};

use crate::models::{Case, Golden};

/// What differences are allowed; log probabilities.
#[derive(Debug, Clone, Copy)]
pub struct Tolerance {
    /// A token that llama.cpp finds so much less probable than its best one may be ours.
    tie: f32,
    mean: f32,
    worst: f32,
}

impl Tolerance {
    /// By the data type in the model's name. In quantized models both engines round activations to 8 bits, and a difference in the
    /// last bit turns some of those roundings: llama.cpp differs from itself by as much with other kernels.
    pub fn of(name: &str) -> Self {
        match [".F32", ".F16", ".BF16"].iter().any(|exact| name.ends_with(exact)) {
            true => Self { tie: 0.05, mean: 0.01, worst: 0.08 },
            false => Self { tie: 0.25, mean: 0.06, worst: 0.3 },
        }
    }
}

/// The log probability of one in a thousand; what is rarer is not compared.
const RARE: f32 = -6.9;

/// A model's tally.
#[derive(Debug, Default)]
pub struct Told {
    pub tokens: usize,
    pub ties: usize,
    pub mean: f32,
    pub worst: f32,
    pub faults: Vec<String>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, ties, mean, worst, .. } = self;
        write!(f, "{tokens} tokens, {ties} near-ties, difference mean {mean:.4} worst {worst:.3}")?;
        self.faults.iter().take(3).try_for_each(|fault| write!(f, "; {fault}"))
    }
}

/// Feeds every prompt and llama.cpp's own answer, and compares what the engine says of each next token.
pub fn compare(engine: &mut dyn Engine, model: &Golden, tolerance: Tolerance) -> Told {
    let mut told = Told::default();
    let mut differences = Vec::new();
    for (number, case) in model.cases.iter().enumerate() {
        engine.truncate(0, 0);
        match case.embedding.is_empty() {
            true => tokens(engine, case, number, tolerance, &mut differences, &mut told),
            false => differences.extend(embedding(engine, case)),
        }
    }
    told.mean = differences.iter().sum::<f32>() / differences.len().max(1) as f32;
    told.worst = differences.iter().copied().fold(0.0, f32::max);
    if !differences.iter().all(|d| d.is_finite()) {
        told.faults.push("some numbers are not finite".to_owned());
    }
    if told.mean > tolerance.mean {
        told.faults.push(format!("the mean may be {}", tolerance.mean));
    }
    if told.worst > tolerance.worst {
        told.faults.push(format!("the worst may be {}", tolerance.worst));
    }
    told
}

fn tokens(
    engine: &mut dyn Engine,
    case: &Case,
    number: usize,
    tolerance: Tolerance,
    differences: &mut Vec<f32>,
    told: &mut Told,
) {
    let forced = &case.tokens[..case.tokens.len() - 1];
    for (at, (row, top)) in feed(engine, 0, &case.prompt, forced, 512).iter().zip(&case.top).enumerate() {
        let ours = log_softmax(row);
        let counted = top.iter().filter(|(_, theirs)| *theirs > RARE);
        differences.extend(counted.map(|&(id, theirs)| (ours[id as usize] - theirs).abs()));
        told.tokens += 1;
        let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or_default() as u32;
        if best == top[0].0 {
            continue;
        }
        let gap = top.iter().find(|(id, _)| *id == best).map_or(f32::INFINITY, |(_, theirs)| top[0].1 - theirs);
        told.ties += 1;
        if gap > tolerance.tie {
            told.faults.push(format!("prompt {number}, token {at} is {best}, not {}, a gap of {gap:.3}", top[0].0));
        }
    }
}

/// Logits after every token from the prompt's last one on; the prompt comes in pieces of at most `piece` tokens.
pub fn feed(engine: &mut dyn Engine, slot: usize, prompt: &[u32], forced: &[u32], piece: usize) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    let mut position = 0;
    for tokens in prompt.chunks(piece).chain(forced.chunks(1)) {
        let output = if position + tokens.len() >= prompt.len() { Output::Logits } else { Output::None };
        rows.extend(engine.step(&[Chunk { slot, position, tokens, output }]).expect("a step"));
        position += tokens.len();
    }
    rows
}

fn log_softmax(row: &[f32]) -> Vec<f32> {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&v| f64::from(v - most).exp()).sum();
    row.iter().map(|&v| v - most - sum.ln() as f32).collect()
}

/// How far each element of the mean of all hidden states, scaled to length 1, is from the recorded one; in units of a typical element.
fn embedding(engine: &mut dyn Engine, case: &Case) -> Vec<f32> {
    let chunk = Chunk { slot: 0, position: 0, tokens: &case.prompt, output: Output::Hidden };
    let hidden = engine.step(&[chunk]).expect("a step").remove(0);
    let width = engine.embedding_length();
    let sums: Vec<f32> = (0..width).map(|i| hidden.iter().skip(i).step_by(width).sum()).collect();
    let length = sums.iter().map(|s| s * s).sum::<f32>().sqrt();
    let typical = 1.0 / (width as f32).sqrt();
    sums.iter().zip(&case.embedding).map(|(sum, theirs)| (sum / length - theirs).abs() / typical).collect()
}
