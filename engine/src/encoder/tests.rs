//! A small random BERT against the formulas written out number by number.

use super::*;
use crate::backend::Device;
use bytes::Bytes;
use rbee_model::gguf::{DType, Header, Value};
use rbee_model::testing::{GgufFile, ModelSpec};
use std::collections::BTreeMap;

const WIDTH: usize = 32;
const HEADS: usize = 4;
const CONTEXT: usize = 16;
const LAYERS: usize = 2;
const EPSILON: f32 = 1e-5;

type Weights = BTreeMap<String, Vec<f32>>;

fn file() -> GgufFile {
    let bert = ModelSpec::of("bert").expect("the writer knows it");
    let spec = ModelSpec {
        layers: LAYERS as u64,
        width: WIDTH as u64,
        heads: HEADS as u64,
        kv_heads: HEADS as u64,
        head_length: (WIDTH / HEADS) as u64,
        feed_forward: 64,
        context: CONTEXT as u64,
        epsilon: EPSILON,
        ..bert
    };
    spec.file().with("bert.pooling_type", Value::U32(2))
}

fn source(file: GgufFile) -> Source {
    let bytes = file.bytes();
    let header = Header::from_bytes(&bytes).expect("a sound header");
    Source::gguf(&header, &Bytes::from(bytes)).expect("a sound file")
}

fn load(source: Source) -> Result<Encoder, LoadError> {
    load_on(Device::Cpu, source)
}

fn load_on(device: Device, source: Source) -> Result<Encoder, LoadError> {
    Encoder::load(source, Options { slots: 2, context_length: 64, threads: 2, device })
}

fn weights() -> Weights {
    let bytes = file().bytes();
    let header = Header::from_bytes(&bytes).expect("a sound header");
    let mut source = source(file());
    let mut floats = |name: &str, dims: &[u64]| {
        let shape: Vec<usize> = dims.iter().rev().map(|&d| d as usize).collect();
        source.take(name, &shape).expect("it is there").floats().expect("it is F32")
    };
    header.tensors().iter().map(|t| (t.name.clone(), floats(&t.name, &t.dims))).collect()
}

/// `x W^T + b` for one row.
fn linear(weights: &Weights, name: &str, x: &[f64]) -> Vec<f64> {
    let (weight, bias) = (&weights[&format!("{name}.weight")], &weights[&format!("{name}.bias")]);
    let row = |row: &[f32]| row.iter().zip(x).map(|(&w, &x)| f64::from(w) * x).sum::<f64>();
    weight.chunks_exact(x.len()).zip(bias).map(|(w, &b)| row(w) + f64::from(b)).collect()
}

fn norm(weights: &Weights, name: &str, x: &[f64]) -> Vec<f64> {
    let (weight, bias) = (&weights[&format!("{name}.weight")], &weights[&format!("{name}.bias")]);
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64;
    let scaled = x.iter().map(|v| (v - mean) / (variance + f64::from(EPSILON)).sqrt());
    scaled.zip(weight.iter().zip(bias)).map(|(v, (&w, &b))| v * f64::from(w) + f64::from(b)).collect()
}

/// x times the normal distribution's share below x, integrated by Simpson's rule.
fn gelu(x: f64) -> f64 {
    let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let (steps, mut sum) = (400, density(0.0) + density(x));
    for i in 1..steps {
        sum += density(x * f64::from(i) / f64::from(steps)) * if i % 2 == 1 { 4.0 } else { 2.0 };
    }
    x * (0.5 + sum * x / f64::from(steps) / 3.0)
}

fn plus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn reference(weights: &Weights, tokens: &[u32]) -> Vec<f64> {
    let row = |name: &str, i: usize| -> Vec<f64> {
        weights[name][i * WIDTH..(i + 1) * WIDTH].iter().map(|&v| f64::from(v)).collect()
    };
    let embed = |(position, &token): (usize, &u32)| {
        let sum = plus(&row("token_embd.weight", token as usize), &row("position_embd.weight", position));
        norm(weights, "token_embd_norm", &plus(&sum, &row("token_types.weight", 0)))
    };
    let mut x: Vec<Vec<f64>> = tokens.iter().enumerate().map(embed).collect();
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let all = |part: &str| x.iter().map(|x| linear(weights, &name(part), x)).collect::<Vec<_>>();
        let (q, k, v) = (all("attn_q"), all("attn_k"), all("attn_v"));
        let head = WIDTH / HEADS;
        let seen = |q: &Vec<f64>| -> Vec<f64> {
            let one = |h: usize| {
                let span = h * head..(h + 1) * head;
                let dot = |k: &Vec<f64>| q[span.clone()].iter().zip(&k[span.clone()]).map(|(q, k)| q * k).sum::<f64>();
                let shares: Vec<f64> = k.iter().map(|k| (dot(k) / (head as f64).sqrt()).exp()).collect();
                let total: f64 = shares.iter().sum();
                let of = |i: usize| shares.iter().zip(&v).map(|(s, v)| s / total * v[i]).sum::<f64>();
                span.clone().map(of).collect::<Vec<f64>>()
            };
            (0..HEADS).flat_map(one).collect()
        };
        x = x
            .iter()
            .zip(&q)
            .map(|(x, q)| {
                let attended = linear(weights, &name("attn_output"), &seen(q));
                let x = norm(weights, &name("attn_output_norm"), &plus(x, &attended));
                let up: Vec<f64> = linear(weights, &name("ffn_up"), &x).into_iter().map(gelu).collect();
                norm(weights, &name("layer_output_norm"), &plus(&x, &linear(weights, &name("ffn_down"), &up)))
            })
            .collect();
    }
    x.concat()
}

fn hidden(slot: usize, tokens: &[u32]) -> Chunk<'_> {
    Chunk { slot, position: 0, tokens, output: Output::Hidden }
}

#[test]
fn hidden_states_are_what_the_formulas_give_alone_and_beside_others() {
    for device in [Device::Cpu, Device::CandleCpu] {
        compare(load_on(device, source(file())).expect("it loads"));
    }
}

fn compare(mut encoder: Encoder) {
    let (long, short): (Vec<u32>, Vec<u32>) = ((0..CONTEXT as u32).map(|i| i * 7 % 40).collect(), vec![3, 39]);
    let weights = weights();
    let both = encoder.step(&[hidden(0, &long), hidden(1, &short)]).expect("a step");
    for (tokens, found) in [(&long, &both[0]), (&short, &both[1])] {
        let expected = reference(&weights, tokens);
        assert_eq!(found.len(), tokens.len() * WIDTH);
        let worst = found.iter().zip(&expected).map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max);
        assert!(worst < 2e-5, "{worst}");
        assert_eq!(&encoder.step(&[hidden(0, tokens)]).expect("a step")[0], found);
    }
    assert_eq!((encoder.kind(), encoder.pooling()), (Kind::Encoder, Pooling::Cls));
    assert_eq!((encoder.context_length(), encoder.embedding_length()), (CONTEXT, WIDTH));
    assert_eq!(encoder.vocab_size() * WIDTH, weights["token_embd.weight"].len());
}

#[test]
fn what_an_encoder_cannot_do_is_an_error_of_the_step() {
    let mut encoder = load(source(file())).expect("it loads");
    let (long, unknown) = ([1; CONTEXT + 1], encoder.vocab_size() as u32);
    assert!(matches!(encoder.step(&[hidden(0, &long)]), Err(EngineError::ContextFull { .. })));
    assert!(matches!(encoder.step(&[hidden(0, &[unknown])]), Err(EngineError::Token { .. })));
    let later = Chunk { position: 1, ..hidden(0, &[1]) };
    assert!(matches!(encoder.step(&[later]), Err(EngineError::Position { .. })));
    let logits = Chunk { output: Output::Logits, ..hidden(0, &[1]) };
    assert!(matches!(encoder.step(&[logits]), Err(EngineError::Refused { .. })));
}

#[test]
fn what_is_missing_unknown_or_impossible_is_named() {
    let refused = |source: Source, part: &str| {
        let text = load(source).err().expect(part).to_string();
        assert!(text.contains(part), "{text}");
    };
    let without = |name: &str, shape: &[usize]| {
        let mut source = source(file());
        source.take(name, shape).expect("it is there");
        source
    };
    let with = |key: &str, value: Value| source(file().with(key, value));
    refused(without("blk.1.ffn_up.weight", &[64, WIDTH]), "blk.1.ffn_up.weight");
    refused(without("token_embd_norm.bias", &[WIDTH]), "token_embd_norm.bias");
    refused(source(file().tensor("cls.weight", DType::F32, &[1], vec![0; 4])), "cls.weight");
    refused(with("bert.attention.causal", Value::Bool(true)), "bert.attention.causal");
    refused(with("bert.pooling_type", Value::U32(4)), "bert.pooling_type");
    let llama = ModelSpec::default().file();
    refused(source(llama), "supported: bert");
}
