//! The tensors of a random model: their names, their shapes and how large their numbers are.
//!
//! Scaled so that greedy text tells engines apart: logits deviate by about 2, the token's own embedding carries most of the last
//! hidden state, and all layers together add 0.6 of it. With more, rounding activations to 8 bits alone would change the winner
//! every few tokens. Where the embedding is the output as well the layers add 1.2 and `output_norm` has random signs, because each
//! token would be its own successor otherwise.

use super::ModelSpec;
use super::random::Random;

/// How the numbers of a tensor are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fill {
    /// A matrix: rows of random numbers with mean 0 and this standard deviation.
    Matrix(f32),
    /// As `Matrix`, and rows of tokens that shall not win are small.
    Logits(f32),
    /// A vector with this mean and standard deviation.
    Vector(f32, f32),
    /// As `Vector`, with random signs.
    Signs(f32, f32),
    /// Llama 3's divisors of rotary frequencies.
    RopeFactors,
}

/// One tensor to be made.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub name: String,
    /// GGUF's order: columns first.
    pub dims: Vec<u64>,
    pub fill: Fill,
}

impl Plan {
    fn matrix(name: impl Into<String>, rows: u64, columns: u64, deviation: f32) -> Self {
        Self { name: name.into(), dims: vec![columns, rows], fill: Fill::Matrix(deviation) }
    }

    fn vector(name: impl Into<String>, length: u64, mean: f32, deviation: f32) -> Self {
        Self { name: name.into(), dims: vec![length], fill: Fill::Vector(mean, deviation) }
    }

    /// Values in the file's order.
    pub(super) fn values(&self, spec: &ModelSpec) -> Vec<f32> {
        let mut random = Random::new(spec.seed, &self.name);
        let count = self.dims.iter().product::<u64>() as usize;
        let mut draw =
            |mean: f32, deviation: f32| (0..count).map(|_| mean + deviation * random.normal()).collect::<Vec<_>>();
        match self.fill {
            Fill::Matrix(deviation) => draw(0.0, deviation),
            Fill::Logits(deviation) => {
                let mut values = draw(0.0, deviation);
                let damped = spec.vocabulary.damped();
                for (row, _) in values.chunks_mut(self.dims[0] as usize).zip(damped).filter(|(_, damped)| *damped) {
                    row.iter_mut().for_each(|v| *v *= 0.05);
                }
                values
            }
            Fill::Vector(mean, deviation) => draw(mean, deviation),
            Fill::Signs(mean, deviation) => {
                let values = draw(mean, deviation);
                values.into_iter().map(|v| v * random.sign()).collect()
            }
            Fill::RopeFactors => rope_factors(spec.head_length, spec.rope_base),
        }
    }
}

/// One number per pair of a head: what Llama 3 divides low frequencies by, with a factor of 8 and an original context of 256 tokens.
fn rope_factors(head_length: u64, base: f32) -> Vec<f32> {
    const FACTOR: f64 = 8.0;
    const LOW: f64 = 1.0;
    const HIGH: f64 = 4.0;
    const ORIGINAL: f64 = 256.0;
    (0..head_length / 2)
        .map(|pair| {
            let turns =
                ORIGINAL * f64::from(base).powf(-2.0 * pair as f64 / head_length as f64) / std::f64::consts::TAU;
            let smooth = ((turns - LOW) / (HIGH - LOW)).clamp(0.0, 1.0);
            (1.0 / ((1.0 - smooth) / FACTOR + smooth)) as f32
        })
        .collect()
}

/// One over the root of a length: rows of that many columns keep the size of what they multiply.
fn unit(columns: u64) -> f32 {
    1.0 / (columns as f32).sqrt()
}

/// All tensors of a model.
pub(super) fn plan(spec: &ModelSpec) -> Vec<Plan> {
    match spec.architecture {
        "bert" => encoder(spec),
        "phi2" => parallel(spec),
        _ => decoder(spec),
    }
}

fn decoder(spec: &ModelSpec) -> Vec<Plan> {
    let (width, tokens) = (spec.width, spec.vocabulary.tokens().len() as u64);
    let embedding = if spec.tied { 2.0 * unit(width) } else { 1.0 };
    // Gemma multiplies embeddings with the root of their length.
    let hidden = if spec.architecture.starts_with("gemma") { embedding * (width as f32).sqrt() } else { embedding };
    let share = if spec.tied { 1.2 } else { 0.6 };
    let branch = share * hidden / (2.0 * spec.layers as f32).sqrt();
    let mut out = vec![Plan::matrix("token_embd.weight", tokens, width, embedding)];
    out.push(Plan::vector("output_norm.weight", width, 1.0, 0.2));
    if spec.tied {
        out[0].fill = Fill::Logits(embedding);
        out[1].fill = Fill::Signs(1.0, 0.2);
    } else {
        let output = Plan::matrix("output.weight", tokens, width, 0.0);
        out.push(Plan { fill: Fill::Logits(2.0 * unit(width)), ..output });
    }
    if spec.rope_factors {
        out.push(Plan { name: "rope_freqs.weight".into(), dims: vec![spec.head_length / 2], fill: Fill::RopeFactors });
    }
    for layer in 0..spec.layers {
        block(spec, layer, branch, &mut out);
    }
    out
}

/// One block of a decoder; `branch` is how much each of its two halves adds.
fn block(spec: &ModelSpec, layer: u64, branch: f32, out: &mut Vec<Plan>) {
    let (width, ff) = (spec.width, spec.feed_forward);
    let (query, kv) = (spec.heads * spec.head_length, spec.kv_heads * spec.head_length);
    let name = |part: &str| format!("blk.{layer}.{part}");
    out.push(Plan::vector(name("attn_norm.weight"), width, 1.0, 0.2));
    let parts: &[(&str, u64, f32)] = match spec.fused && spec.architecture != "glm4" {
        true => &[("attn_qkv", query + 2 * kv, 1.3)],
        false => &[("attn_q", query, 1.5), ("attn_k", kv, 1.5), ("attn_v", kv, 1.0)],
    };
    for &(part, rows, gain) in parts {
        out.push(Plan::matrix(name(&format!("{part}.weight")), rows, width, gain * unit(width)));
        if spec.bias {
            out.push(Plan::vector(name(&format!("{part}.bias")), rows, 0.0, 0.3));
        }
    }
    if spec.qk_norm {
        out.push(Plan::vector(name("attn_q_norm.weight"), spec.head_length, 1.2, 0.2));
        out.push(Plan::vector(name("attn_k_norm.weight"), spec.head_length, 1.2, 0.2));
    }
    let (attention, feed_forward) = if spec.post_norms { (2.0, 1.0) } else { (2.0 * branch, 0.8 * branch) };
    out.push(Plan::matrix(name("attn_output.weight"), width, query, attention * unit(query)));
    if spec.post_norms {
        out.push(Plan::vector(name("post_attention_norm.weight"), width, branch, branch / 5.0));
        out.push(Plan::vector(name("post_ffw_norm.weight"), width, branch, branch / 5.0));
    }
    out.push(Plan::vector(name("ffn_norm.weight"), width, 1.0, 0.2));
    if !spec.fused {
        out.push(Plan::matrix(name("ffn_gate.weight"), ff, width, 1.5 * unit(width)));
    }
    let up = if spec.fused { 2 * ff } else { ff };
    out.push(Plan::matrix(name("ffn_up.weight"), up, width, 1.5 * unit(width)));
    out.push(Plan::matrix(name("ffn_down.weight"), width, ff, feed_forward * unit(ff)));
}

/// A layer norm.
fn norm(out: &mut Vec<Plan>, name: String, length: u64) {
    out.push(Plan::vector(format!("{name}.weight"), length, 1.0, 0.2));
    out.push(Plan::vector(format!("{name}.bias"), length, 0.0, 0.2));
}

/// A matrix with a bias.
fn linear(out: &mut Vec<Plan>, name: String, rows: u64, columns: u64, gain: f32) {
    out.push(Plan::matrix(format!("{name}.weight"), rows, columns, gain * unit(columns)));
    out.push(Plan::vector(format!("{name}.bias"), rows, 0.0, 0.3 * gain));
}

/// Phi 2: attention and feed-forward side by side.
fn parallel(spec: &ModelSpec) -> Vec<Plan> {
    let (width, ff, tokens) = (spec.width, spec.feed_forward, spec.vocabulary.tokens().len() as u64);
    let branch = 0.6 / (2.0 * spec.layers as f32).sqrt();
    let mut out = vec![Plan::matrix("token_embd.weight", tokens, width, 1.0)];
    norm(&mut out, "output_norm".into(), width);
    let output = Plan::matrix("output.weight", tokens, width, 0.0);
    out.push(Plan { fill: Fill::Logits(2.0 * unit(width)), ..output });
    out.push(Plan::vector("output.bias", tokens, 0.0, 0.02));
    for layer in 0..spec.layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        norm(&mut out, name("attn_norm"), width);
        linear(&mut out, name("attn_qkv"), 3 * width, width, 1.3);
        linear(&mut out, name("attn_output"), width, width, 2.0 * branch);
        linear(&mut out, name("ffn_up"), ff, width, 1.5);
        linear(&mut out, name("ffn_down"), width, ff, 0.8 * branch);
    }
    out
}

fn encoder(spec: &ModelSpec) -> Vec<Plan> {
    let (width, ff, tokens) = (spec.width, spec.feed_forward, spec.vocabulary.tokens().len() as u64);
    let norm = |out: &mut Vec<Plan>, name: String| norm(out, name, width);
    let linear = |out: &mut Vec<Plan>, name: String, rows: u64, columns: u64| {
        out.push(Plan::matrix(format!("{name}.weight"), rows, columns, 1.5 * unit(columns)));
        out.push(Plan::vector(format!("{name}.bias"), rows, 0.0, 0.3));
    };
    let mut out = vec![
        Plan::matrix("token_embd.weight", tokens, width, 1.0),
        Plan::matrix("token_types.weight", 2, width, 0.5),
        Plan::matrix("position_embd.weight", spec.context, width, 0.5),
    ];
    norm(&mut out, "token_embd_norm".into());
    for layer in 0..spec.layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        for part in ["attn_q", "attn_k", "attn_v", "attn_output"] {
            linear(&mut out, name(part), width, width);
        }
        norm(&mut out, name("attn_output_norm"));
        linear(&mut out, name("ffn_up"), ff, width);
        linear(&mut out, name("ffn_down"), width, ff);
        norm(&mut out, name("layer_output_norm"));
    }
    out
}
