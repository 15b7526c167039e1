//! The engine of decoders against the reference, against itself in other batches and pieces, and against Candle's own operations.

use super::*;
use crate::arch;
use crate::backend::Device;
use crate::testing::{Case, reference, tinybee_bytes, tinybee_header};
use bytes::Bytes;
use rbee_model::gguf::{DType, Header};
use rbee_model::testing::{ModelSpec, Named, models};

fn tinybee() -> Source {
    Source::gguf(&tinybee_header(), &Bytes::from_static(tinybee_bytes())).unwrap()
}

fn source(spec: &ModelSpec) -> Source {
    let bytes = Bytes::from(spec.file().bytes());
    Source::gguf(&Header::from_bytes(&bytes).unwrap(), &bytes).unwrap()
}

fn load(mut source: Source, options: Options) -> CausalEngine {
    let spec = arch::spec(&mut source, options.context_length).unwrap().expect("a decoder");
    CausalEngine::load(source, &spec, options, &mut |_| {}).unwrap()
}

fn options(slots: usize) -> Options {
    Options { slots, context_length: 256, threads: 2, device: Device::Cpu }
}

/// Logits after the prompt and after every forced token; the prompt is given in pieces of at most `piece`.
fn feed(engine: &mut CausalEngine, slot: usize, prompt: &[u32], forced: &[u32], piece: usize) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    let mut position = engine.caches.length(slot);
    let end = position + prompt.len();
    for tokens in prompt.chunks(piece).chain(forced.chunks(1)) {
        let output = if position + tokens.len() >= end { Output::Logits } else { Output::None };
        rows.extend(engine.step(&[Chunk { slot, position, tokens, output }]).unwrap());
        position += tokens.len();
    }
    rows
}

fn best(row: &[f32]) -> u32 {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u32
}

/// The largest difference between two rows, and the largest number of the second.
fn apart(a: &[f32], b: &[f32]) -> (f32, f32) {
    assert_eq!(a.len(), b.len());
    let worst =
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |m: f32, d| if d.is_nan() { f32::NAN } else { m.max(d) });
    (worst, b.iter().fold(0.0f32, |m, v| m.max(v.abs())))
}

fn expected(case: &Case) -> (&[u32], &[u32]) {
    (&case.greedy_ids, &case.greedy_ids[..case.greedy_ids.len() - 1])
}

/// Ordinary tokens.
fn prompt(length: usize) -> Vec<u32> {
    (0..length as u32).map(|i| 40 + (i * i * 7 + i * 3) % 80).collect()
}

/// One model of each form, and Llama in each data type.
fn forms() -> impl Iterator<Item = Named> {
    models().into_iter().filter(|m| m.spec.architecture != "bert")
}

#[test]
fn dequantized_to_f32_every_token_is_the_reference() {
    let mut engine = load(tinybee().widened(), options(1));
    for case in reference() {
        let (ids, forced) = expected(&case);
        engine.truncate(0, 0);
        let rows = feed(&mut engine, 0, &case.prompt_ids, forced, 32);
        assert_eq!(rows.iter().map(|r| best(r)).collect::<Vec<_>>(), ids, "{}", case.prompt);
    }
}

#[test]
fn as_stored_exact_prompts_are_equal_and_others_near() {
    let mut engine = load(tinybee(), options(1));
    for case in reference() {
        let (ids, forced) = expected(&case);
        engine.truncate(0, 0);
        let rows = feed(&mut engine, 0, &case.prompt_ids, forced, 32);
        for (at, (row, &id)) in rows.iter().zip(ids).enumerate() {
            let behind = row[best(row) as usize] - row[id as usize];
            assert!(behind <= if case.exact { 0.0 } else { 0.15 }, "{} token {at}: {behind} behind", case.prompt);
        }
    }
}

#[test]
fn a_copied_prefix_is_the_same_as_a_computed_one() {
    let (prompt, more) = (prompt(60), [44, 55, 66]);
    for device in [Device::Cpu, Device::CandleCpu] {
        let mut engine = load(tinybee(), Options { device, ..options(3) });
        feed(&mut engine, 0, &prompt, &[], 512);
        engine.copy(0, 1, 37);
        let copied = feed(&mut engine, 1, &prompt[37..], &more, 512);
        feed(&mut engine, 2, &prompt[..37], &[], 512);
        let computed = feed(&mut engine, 2, &prompt[37..], &more, 512);
        assert!(copied == computed);
        engine.truncate(1, 20);
        let again = feed(&mut engine, 1, &prompt[20..37], &[], 512);
        engine.truncate(2, 20);
        assert!(again == feed(&mut engine, 2, &prompt[20..37], &[], 512));
    }
}

#[test]
fn kernels_compute_what_candles_own_operations_compute() {
    for Named { name, spec } in forms() {
        let prompts = [prompt(50), prompt(3)];
        let run = |device| {
            let mut engine = load(source(&spec), Options { device, ..options(2) });
            let mut rows = feed(&mut engine, 0, &prompts[0], &[], 20);
            let chunks = [
                Chunk { slot: 1, position: 0, tokens: &prompts[1], output: Output::Logits },
                Chunk { slot: 0, position: 50, tokens: &[77], output: Output::Logits },
            ];
            rows.extend(engine.step(&chunks).unwrap());
            rows
        };
        let (fused, plain) = (run(Device::Cpu), run(Device::CandleCpu));
        let quantized = !matches!(spec.dtype, DType::F32 | DType::F16 | DType::BF16);
        for (fused, plain) in fused.iter().zip(&plain) {
            let (worst, size) = apart(fused, plain);
            // Both round inputs to 8 bits for quantized weights, each in its own way.
            let allowed = if quantized { 0.06 * size } else { 0.003 * size };
            assert!(size > 0.1 && worst < allowed, "{name}: {worst} apart, numbers up to {size}");
        }
    }
}

#[test]
fn hidden_states_are_those_that_logits_are_made_of() {
    for device in [Device::Cpu, Device::CandleCpu] {
        let mut engine = load(tinybee(), Options { device, ..options(3) });
        let prompt = prompt(9);
        let chunk = |slot, tokens, output| Chunk { slot, position: 0, tokens, output };
        let chunks = [
            chunk(0, &prompt[..], Output::Hidden),
            chunk(1, &prompt[..4], Output::None),
            chunk(2, &prompt[..], Output::Logits),
        ];
        let rows = engine.step(&chunks).unwrap();
        assert_eq!(rows.len(), 2);
        let width = engine.embedding_length();
        assert_eq!((rows[0].len(), rows[1].len()), (9 * width, engine.vocab_size()));
        let last =
            candle_core::Tensor::new(&rows[0][8 * width..], engine.backend.device()).unwrap().unsqueeze(0).unwrap();
        let logits: Vec<Vec<f32>> = engine.decoder.logits(&engine.backend, &last).unwrap().to_vec2().unwrap();
        assert!(logits[0] == rows[1]);
        assert_eq!((engine.caches.length(0), engine.caches.length(1), engine.caches.length(2)), (9, 4, 9));
    }
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_the_slot_as_it_was() {
    let mut engine = load(tinybee(), options(1));
    let first = feed(&mut engine, 0, &[5, 6, 7], &[], 8);
    let chunk = |position, tokens| Chunk { slot: 0, position, tokens, output: Output::Logits };
    let long = vec![5; 254];
    assert!(matches!(engine.step(&[chunk(3, &long)]), Err(EngineError::ContextFull { wanted: 257, .. })));
    assert!(matches!(engine.step(&[chunk(2, &[5])]), Err(EngineError::Position { held: 3, .. })));
    assert!(matches!(engine.step(&[chunk(3, &[1280])]), Err(EngineError::Token { token: 1280, .. })));
    assert!(matches!(engine.step(&[chunk(3, &[])]), Err(EngineError::Refused { slot: 0, .. })));
    assert!(engine.step(&[]).unwrap().is_empty());
    assert_eq!(engine.caches.length(0), 3);
    engine.truncate(0, 0);
    assert!(feed(&mut engine, 0, &[5, 6, 7], &[], 8) == first);
}

#[test]
fn loading_tells_its_progress_to_the_end() {
    let mut told = Vec::new();
    let mut source = tinybee();
    let spec = arch::spec(&mut source, 16).unwrap().unwrap();
    CausalEngine::load(source, &spec, Options { context_length: 16, ..options(1) }, &mut |p| told.push(p)).unwrap();
    assert_eq!(told.iter().map(|p| p.layers_loaded).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(told.iter().all(|p| p.layers_total == 4 && p.bytes <= p.bytes_total));
    assert_eq!(told[4].bytes, told[4].bytes_total);
}

#[test]
fn tensors_that_are_missing_unknown_or_damaged_are_refused() {
    let refusal = |file: rbee_model::testing::GgufFile| {
        let bytes = Bytes::from(file.bytes());
        let header = Header::from_bytes(&bytes).unwrap();
        crate::load::load(Source::gguf(&header, &bytes).unwrap(), options(1), &mut |_| {}).err().unwrap()
    };
    let file = || ModelSpec::default().file();
    let extra = file().tensor("blk.0.attn_sinks.weight", DType::F32, &[4], vec![0; 16]);
    assert!(matches!(refusal(extra), LoadError::UnknownTensor(name) if name == "blk.0.attn_sinks.weight"));
    let nan = f32::NAN.to_le_bytes().repeat(16);
    let damaged =
        file().without_tensor("blk.1.ffn_norm.weight").tensor("blk.1.ffn_norm.weight", DType::F32, &[16], nan);
    assert!(matches!(refusal(damaged), LoadError::NotFinite(name) if name == "blk.1.ffn_norm.weight"));
}
