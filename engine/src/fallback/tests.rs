//! Random models against formulas written out number by number, and what slots remember.

use super::*;
use crate::source::{RowOrder, Settings, Stored};
use bytes::Bytes;
use rbee_model::format::FALLBACKS;
use rbee_model::gguf::{DType, Value};
use std::collections::BTreeMap;

const WIDTH: usize = 32;
const HEADS: usize = 4;
const HEAD: usize = WIDTH / HEADS;
const FEED_FORWARD: usize = 48;
const VOCABULARY: usize = 50;
const LAYERS: usize = 2;
const CONTEXT: usize = 200;
const EPSILON: f64 = 1e-5;
const TURNED: usize = HEAD / 2;

type Weights = BTreeMap<String, Vec<f32>>;

fn settings(architecture: &str) -> Vec<(&'static str, Value)> {
    let int = |n: usize| Value::U32(n as u32);
    let epsilon =
        if architecture == "phi2" { "attention.layer_norm_epsilon" } else { "attention.layer_norm_rms_epsilon" };
    vec![
        ("block_count", int(LAYERS)),
        ("context_length", int(CONTEXT)),
        ("embedding_length", int(WIDTH)),
        ("feed_forward_length", int(FEED_FORWARD)),
        ("attention.head_count", int(HEADS)),
        ("attention.head_count_kv", int(if architecture == "phi2" { HEADS } else { 2 })),
        (epsilon, Value::F32(EPSILON as f32)),
        ("rope.dimension_count", int(TURNED)),
    ]
}

/// A random model of the form that the settings give, with what is changed of them.
fn source(architecture: &str, changed: &[(&'static str, Value)]) -> (Source, Weights) {
    let embedding = (vec![VOCABULARY, WIDTH], "token_embd.weight".to_owned());
    let all = settings(architecture).into_iter().filter(|(name, _)| changed.iter().all(|(c, _)| c != name));
    let all: Vec<(String, Value)> = all.chain(changed.iter().cloned()).map(|(n, v)| (n.to_owned(), v)).collect();
    let make = |parts: &[(Vec<usize>, String)]| {
        let mut weights = Weights::new();
        let tensors = parts.iter().map(|(shape, name)| {
            let values = random(name, shape);
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            weights.insert(name.clone(), values);
            (name.clone(), Stored { dtype: DType::F32, shape: shape.clone(), bytes: Bytes::from(bytes) })
        });
        let tensors: Vec<_> = tensors.collect();
        let settings = Settings::new(architecture, all.clone());
        (Source::new(architecture, RowOrder::Gguf, settings, tensors), weights)
    };
    // The vocabulary is known by the embedding; the other tensors by the form.
    let (first, _) = make(std::slice::from_ref(&embedding));
    let tensors = Form::read(&first).map(|form| form.tensors).unwrap_or_default();
    let parts: Vec<_> = tensors.into_iter().map(|part| (part.shape, part.name)).collect();
    make(if parts.is_empty() { std::slice::from_ref(&embedding) } else { &parts })
}

fn random(name: &str, shape: &[usize]) -> Vec<f32> {
    let mut state = name.bytes().fold(7u64, |state, byte| state.wrapping_mul(31).wrapping_add(byte.into()));
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 23) as f32) - 1.0
    };
    let shift = if name.ends_with("norm.weight") { 1.0 } else { 0.0 };
    let scale = if name == "token_embd.weight" { 1.0 } else { 0.3 };
    (0..shape.iter().product()).map(|_| shift + scale * next()).collect()
}

fn load(source: Source) -> Result<Fallback, LoadError> {
    Fallback::load(source, Options { slots: 3, context_length: 150, threads: 2, device: Device::Cpu })
}

fn chunk(slot: usize, position: usize, tokens: &[u32], output: Output) -> Chunk<'_> {
    Chunk { slot, position, tokens, output }
}

fn prompt(length: u32) -> Vec<u32> {
    (0..length).map(|i| (i * i + 5 * i + 1) % VOCABULARY as u32).collect()
}

fn linear(weights: &Weights, name: &str, x: &[f64]) -> Vec<f64> {
    let rows = weights[&format!("{name}.weight")].chunks_exact(x.len());
    let product = rows.map(|w| w.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum::<f64>());
    match weights.get(&format!("{name}.bias")) {
        Some(bias) => product.zip(bias).map(|(y, &b)| y + f64::from(b)).collect(),
        None => product.collect(),
    }
}

fn norm(weights: &Weights, name: &str, x: &[f64]) -> Vec<f64> {
    let weight = &weights[&format!("{name}.weight")];
    let bias = weights.get(&format!("{name}.bias"));
    // A norm without a bias is one by the root mean square.
    let mean = bias.map_or(0.0, |_| x.iter().sum::<f64>() / x.len() as f64);
    let size = (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64 + EPSILON).sqrt();
    let at = |i: usize| (x[i] - mean) / size * f64::from(weight[i]) + bias.map_or(0.0, |b| f64::from(b[i]));
    (0..x.len()).map(at).collect()
}

/// Turns the first elements of a head; `apart` is how far the two of a pair are from each other.
fn turn(x: &mut [f64], position: usize, apart: usize) {
    for pair in 0..TURNED / 2 {
        let angle = position as f64 * 10_000f64.powf(-2.0 * pair as f64 / TURNED as f64);
        let first = if apart == 1 { 2 * pair } else { pair };
        let (a, b) = (x[first], x[first + apart]);
        x[first] = a * angle.cos() - b * angle.sin();
        x[first + apart] = a * angle.sin() + b * angle.cos();
    }
}

/// What every position sees of those up to it.
fn attend(q: &[Vec<f64>], k: &[Vec<f64>], v: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let shared = q[0].len() / k[0].len();
    let see = |position: usize, head: usize| {
        let of = |x: &[f64], head: usize| x[head * HEAD..(head + 1) * HEAD].to_vec();
        let query = of(&q[position], head);
        let dot = |k: &Vec<f64>| query.iter().zip(of(k, head / shared)).map(|(q, k)| q * k).sum::<f64>();
        let shares: Vec<f64> = k[..=position].iter().map(|k| (dot(k) / (HEAD as f64).sqrt()).exp()).collect();
        let total: f64 = shares.iter().sum();
        let mut seen = vec![0.0; HEAD];
        for (share, v) in shares.iter().zip(v) {
            seen.iter_mut().zip(of(v, head / shared)).for_each(|(s, v)| *s += share / total * v);
        }
        seen
    };
    (0..q.len()).map(|position| (0..HEADS).flat_map(|head| see(position, head)).collect()).collect()
}

fn plus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn turned(mut x: Vec<f64>, position: usize, apart: usize) -> Vec<f64> {
    x.chunks_exact_mut(HEAD).for_each(|head| turn(head, position, apart));
    x
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
}

fn phi2(weights: &Weights, mut x: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let normed: Vec<Vec<f64>> = x.iter().map(|x| norm(weights, &name("attn_norm"), x)).collect();
        let qkv: Vec<Vec<f64>> = normed.iter().map(|x| linear(weights, &name("attn_qkv"), x)).collect();
        let part = |n: usize| qkv.iter().map(move |x| x[n * WIDTH..(n + 1) * WIDTH].to_vec());
        let rope = |(position, x): (usize, Vec<f64>)| turned(x, position, TURNED / 2);
        let (q, k) =
            (part(0).enumerate().map(rope).collect::<Vec<_>>(), part(1).enumerate().map(rope).collect::<Vec<_>>());
        let seen = attend(&q, &k, &part(2).collect::<Vec<_>>());
        for ((x, seen), normed) in x.iter_mut().zip(&seen).zip(&normed) {
            let up: Vec<f64> = linear(weights, &name("ffn_up"), normed).into_iter().map(gelu).collect();
            let both = plus(&linear(weights, &name("attn_output"), seen), &linear(weights, &name("ffn_down"), &up));
            *x = plus(x, &both);
        }
    }
    x
}

fn glm4(weights: &Weights, mut x: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let normed: Vec<Vec<f64>> = x.iter().map(|x| norm(weights, &name("attn_norm"), x)).collect();
        let all = |part: &str| normed.iter().map(|x| linear(weights, &name(part), x)).collect::<Vec<_>>();
        let rope = |(position, x): (usize, Vec<f64>)| turned(x, position, 1);
        let (q, k): (Vec<_>, Vec<_>) = (
            all("attn_q").into_iter().enumerate().map(rope).collect(),
            all("attn_k").into_iter().enumerate().map(rope).collect(),
        );
        for (x, seen) in x.iter_mut().zip(attend(&q, &k, &all("attn_v"))) {
            let attended = linear(weights, &name("attn_output"), &seen);
            *x = plus(x, &norm(weights, &name("post_attention_norm"), &attended));
            let gate_up = linear(weights, &name("ffn_up"), &norm(weights, &name("ffn_norm"), x));
            let (gate, up) = gate_up.split_at(FEED_FORWARD);
            let hidden: Vec<f64> = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
            *x = plus(x, &norm(weights, &name("post_ffw_norm"), &linear(weights, &name("ffn_down"), &hidden)));
        }
    }
    x
}

#[test]
fn logits_are_what_the_formulas_give() {
    for architecture in FALLBACKS {
        let (source, weights) = source(architecture, &[]);
        let mut engine = load(source).unwrap_or_else(|e| panic!("{architecture}: {e}"));
        let tokens = prompt(75);
        let found = engine.step(&[chunk(0, 0, &tokens, Output::Logits)]).expect("a step").remove(0);
        let row = |t: u32| {
            weights["token_embd.weight"][t as usize * WIDTH..][..WIDTH].iter().map(|&v| f64::from(v)).collect()
        };
        let x: Vec<Vec<f64>> = tokens.iter().map(|&t| row(t)).collect();
        let x = if *architecture == "phi2" { phi2(&weights, x) } else { glm4(&weights, x) };
        let last = norm(&weights, "output_norm", x.last().expect("there are tokens"));
        let expected = linear(&weights, "output", &last);
        assert_eq!(found.len(), VOCABULARY);
        let worst = found.iter().zip(&expected).map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max);
        let size = expected.iter().map(|e| e.abs()).fold(0.0, f64::max);
        assert!(worst < 1e-4 * size, "{architecture}: {worst} of {size}");
    }
}

#[test]
fn cuts_other_slots_prefixes_and_forgetting_change_nothing() {
    for architecture in FALLBACKS {
        let mut engine = load(source(architecture, &[]).0).expect("it loads");
        let (tokens, other) = (prompt(90), prompt(40));
        let alone = engine.step(&[chunk(0, 0, &tokens, Output::Logits)]).expect("a step").remove(0);
        let logits = |engine: &mut Fallback, chunks: &[Chunk<'_>]| engine.step(chunks).expect("a step");
        // In three pieces, beside another sequence.
        assert!(logits(&mut engine, &[chunk(1, 0, &tokens[..33], Output::None)]).is_empty());
        let other_row = logits(&mut engine, &[chunk(2, 0, &other, Output::Logits)]).remove(0);
        assert!(logits(&mut engine, &[chunk(1, 33, &tokens[33..70], Output::None)]).is_empty());
        assert_eq!(logits(&mut engine, &[chunk(1, 70, &tokens[70..], Output::Logits)]), std::slice::from_ref(&alone));
        // As a copy of a prefix, and in a slot that held something else.
        engine.copy(1, 2, 50);
        assert_eq!(logits(&mut engine, &[chunk(2, 50, &tokens[50..], Output::Logits)]), std::slice::from_ref(&alone));
        engine.truncate(1, 0);
        assert_eq!(logits(&mut engine, &[chunk(1, 0, &other, Output::Logits)]), [other_row]);
        // After answers that are taken back.
        logits(&mut engine, &[chunk(0, 90, &[3], Output::Logits)]);
        engine.truncate(0, 89);
        assert_eq!(logits(&mut engine, &[chunk(0, 89, &tokens[89..], Output::Logits)]), [alone]);
    }
}

#[test]
fn a_long_prompt_is_computed_step_by_step_and_not_all_at_its_end() {
    for architecture in FALLBACKS {
        let mut engine = load(source(architecture, &[]).0).expect("it loads");
        let tokens = prompt(150);
        let alone = engine.step(&[chunk(1, 0, &tokens, Output::Logits)]).expect("a step").remove(0);
        let mut most = 0;
        for (number, piece) in tokens.chunks(32).enumerate() {
            let (position, before) = (32 * number, engine.slots[0].computed);
            let output = if position + piece.len() < tokens.len() { Output::None } else { Output::Logits };
            let rows = engine.step(&[chunk(0, position, piece, output)]).expect("a step");
            assert_eq!(rows.len(), usize::from(output == Output::Logits));
            most = most.max(engine.slots[0].computed - before);
            assert!(rows.iter().all(|row| *row == alone));
        }
        assert_eq!((most, engine.slots[0].computed), (64, 150));
        assert!(!engine.gives_hidden());
    }
}

#[test]
fn what_cannot_be_computed_is_an_error_and_leaves_the_slot_as_it_was() {
    let mut engine = load(source("phi2", &[]).0).expect("it loads");
    let before = engine.step(&[chunk(0, 0, &[1, 2], Output::Logits)]).expect("a step");
    let long = [1; 149];
    assert!(matches!(engine.step(&[chunk(0, 2, &long, Output::Logits)]), Err(EngineError::ContextFull { .. })));
    assert!(matches!(engine.step(&[chunk(0, 2, &[50], Output::Logits)]), Err(EngineError::Token { token: 50, .. })));
    assert!(matches!(engine.step(&[chunk(0, 1, &[1], Output::Logits)]), Err(EngineError::Position { .. })));
    assert!(matches!(engine.step(&[chunk(0, 2, &[1], Output::Hidden)]), Err(EngineError::Refused { .. })));
    engine.truncate(0, 1);
    assert_eq!(engine.step(&[chunk(0, 1, &[2], Output::Logits)]).expect("a step"), before);
}

#[test]
fn settings_that_the_models_do_not_read_and_tensors_that_are_wrong_are_refused() {
    let refused = |architecture: &str, key: &'static str, value: Value| {
        let text = load(source(architecture, &[(key, value)]).0).err().expect(key).to_string();
        assert!(text.contains(key), "{text}");
    };
    refused("phi2", "rope.freq_base", Value::F32(50_000.0));
    refused("phi2", "attention.head_count_kv", Value::U32(2));
    refused("phi2", "attention.key_length", Value::U32(16));
    refused("phi2", "rope.dimension_count", Value::U32(3));
    refused("phi2", "attention.head_count", Value::U32(0));
    refused("glm4", "rope.dimension_count", Value::U32(8));
    let odd = [("rope.dimension_count", Value::U32(3)), ("attention.key_length", Value::U32(6))];
    let text = load(source("glm4", &odd).0).err().expect("it is refused").to_string();
    assert!(text.contains("an even number"), "{text}");
    refused("glm4", "rope.scaling.type", Value::String("yarn".into()));
    refused("glm4", "attention.value_length", Value::U32(4));
    refused("phi2", "rope.freq_base", Value::F32(10_000.5));
    for architecture in FALLBACKS {
        refused(architecture, "rope.scaling.factor", Value::F32(8.0));
        refused(architecture, "rope.scale_linear", Value::F32(8.0));
        refused(architecture, "attention.sliding_window", Value::U32(64));
        refused(architecture, "attention.causal", Value::Bool(false));
        refused(architecture, "final_logit_softcapping", Value::F32(30.0));
        refused(architecture, "attention.scale", Value::F32(0.5));
        refused(architecture, "pooling_type", Value::U32(4));
        refused(architecture, "vocab_size", Value::U32(5));
        refused(architecture, "vocab_size", Value::U32(100_000));
    }
    refused("glm4", "attention.head_count_kv", Value::U32(3));
    refused("glm4", "embedding_length", Value::U32(u32::MAX));
    for architecture in FALLBACKS {
        let all = || source(architecture, &[]).0;
        let mut missing = all();
        missing.take("blk.1.ffn_up.weight", &[0]).expect_err("it has another shape");
        assert!(matches!(load(missing), Err(LoadError::MissingTensor(name)) if name == "blk.1.ffn_up.weight"));
        let mut unknown = all();
        let stored = Stored { dtype: DType::F32, shape: vec![1], bytes: Bytes::from_static(&[0; 4]) };
        unknown.insert("odd.weight", stored);
        assert!(matches!(load(unknown), Err(LoadError::UnknownTensor(_))));
        let mut damaged = all();
        let nan = f32::NAN.to_le_bytes().repeat(WIDTH);
        damaged.insert("output_norm.weight", Stored { dtype: DType::F32, shape: vec![WIDTH], bytes: Bytes::from(nan) });
        assert!(matches!(load(damaged), Err(LoadError::NotFinite(_))));
        let mut damaged = all();
        let infinite = f32::INFINITY.to_le_bytes().repeat(WIDTH * FEED_FORWARD);
        let shape = vec![WIDTH, FEED_FORWARD];
        damaged.insert("blk.0.ffn_down.weight", Stored { dtype: DType::F32, shape, bytes: Bytes::from(infinite) });
        assert!(matches!(load(damaged), Err(LoadError::NotFinite(name)) if name == "blk.0.ffn_down.weight"));
    }
}
