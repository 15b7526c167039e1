//! The engine on the built-in model, against the reference and against itself.

use super::weights::ggml;
use super::*;
use crate::testing::{Case, reference, tinybee_bytes, tinybee_header};
use candle_core::quantized::QTensor;
use rbee_model::format::DTYPES;
use rbee_model::gguf::{DType, Header};
use rbee_model::testing::ModelSpec;

fn engine(weights: WeightMode, slots: usize) -> CandleEngine {
    let options = Options { slots, context_length: 256, weights, threads: 1 };
    CandleEngine::load(&tinybee_header(), tinybee_bytes(), options, &mut |_| {}).unwrap()
}

/// Log probabilities after every token of a sequence that is given in pieces of at most `piece`.
fn feed(engine: &mut CandleEngine, slot: usize, prompt: &[u32], forced: &[u32], piece: usize) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    let mut position = 0;
    for tokens in prompt.chunks(piece).chain(forced.chunks(1)) {
        let output = if position + tokens.len() >= prompt.len() { Output::Logits } else { Output::None };
        rows.extend(engine.step(&[Chunk { slot, position, tokens, output }]).unwrap());
        position += tokens.len();
    }
    rows
}

fn best(row: &[f32]) -> u32 {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u32
}

fn expected(case: &Case) -> (&[u32], &[u32]) {
    (&case.greedy_ids, &case.greedy_ids[..case.greedy_ids.len() - 1])
}

#[test]
fn dequantized_to_f32_every_token_is_the_reference() {
    let mut engine = engine(WeightMode::F32, 1);
    for case in reference() {
        let (ids, forced) = expected(&case);
        engine.truncate(0, 0);
        let rows = feed(&mut engine, 0, &case.prompt_ids, forced, 32);
        assert_eq!(rows.iter().map(|r| best(r)).collect::<Vec<_>>(), ids, "{}", case.prompt);
    }
}

#[test]
fn as_stored_exact_prompts_are_equal_and_others_near() {
    let mut engine = engine(WeightMode::AsStored, 1);
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
fn a_sequence_in_a_batch_equals_the_same_one_alone() {
    let cases = reference();
    let mut alone = engine(WeightMode::AsStored, 1);
    let expected: Vec<Vec<Vec<f32>>> = cases[..4]
        .iter()
        .map(|c| {
            alone.truncate(0, 0);
            feed(&mut alone, 0, &c.prompt_ids, &c.greedy_ids[..10], 32)
        })
        .collect();
    let mut together = engine(WeightMode::AsStored, 4);
    let mut rows: Vec<Vec<Vec<f32>>> = vec![Vec::new(); 4];
    for step in 0..14 {
        // Each slot joins one step after the one before it, so that prompts meet tokens and positions differ.
        let members: Vec<usize> = (0..4).filter(|&s| (s..s + 11).contains(&step)).collect();
        let chunks: Vec<Chunk<'_>> = members
            .iter()
            .map(|&slot| {
                let (case, own) = (&cases[slot], step - slot);
                match own {
                    0 => Chunk { slot, position: 0, tokens: &case.prompt_ids, output: Output::Logits },
                    n => Chunk {
                        slot,
                        position: case.prompt_ids.len() + n - 1,
                        tokens: &case.greedy_ids[n - 1..n],
                        output: Output::Logits,
                    },
                }
            })
            .collect();
        for (slot, row) in members.into_iter().zip(together.step(&chunks).unwrap()) {
            rows[slot].push(row);
        }
    }
    for (slot, (got, want)) in rows.iter().zip(&expected).enumerate() {
        assert_eq!(got.len(), want.len());
        for (at, (g, w)) in got.iter().zip(want).enumerate() {
            assert_eq!(g, w, "slot {slot}, token {at}");
        }
    }
}

#[test]
fn the_pieces_of_a_prompt_do_not_matter() {
    let case = &reference()[0];
    let mut engine = engine(WeightMode::AsStored, 2);
    let whole = feed(&mut engine, 0, &case.prompt_ids, &[], 256);
    let pieces = feed(&mut engine, 1, &case.prompt_ids, &[], 5);
    assert_eq!(whole, pieces);
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_the_slot_as_it_was() {
    let mut engine = engine(WeightMode::AsStored, 1);
    let first = feed(&mut engine, 0, &[5, 6, 7], &[], 8);
    let chunk = |position, tokens| Chunk { slot: 0, position, tokens, output: Output::Logits };
    let long = vec![5; 254];
    assert!(matches!(engine.step(&[chunk(3, &long)]), Err(EngineError::ContextFull { wanted: 257, .. })));
    assert!(matches!(engine.step(&[chunk(2, &[5])]), Err(EngineError::Position { held: 3, .. })));
    assert!(matches!(engine.step(&[chunk(3, &[1280])]), Err(EngineError::Token(1280))));
    engine.truncate(0, 0);
    assert_eq!(feed(&mut engine, 0, &[5, 6, 7], &[], 8), first);
}

#[test]
fn loading_tells_its_progress_to_the_end() {
    let mut told = Vec::new();
    let options = Options { slots: 1, context_length: 16, weights: WeightMode::AsStored, threads: 1 };
    CandleEngine::load(&tinybee_header(), tinybee_bytes(), options, &mut |p| told.push(p)).unwrap();
    assert_eq!(told.iter().map(|p| p.layers_loaded).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(told.iter().all(|p| p.layers_total == 4 && p.bytes <= p.bytes_total));
    assert_eq!(told[4].bytes, told[4].bytes_total);
}

/// A model with random weights whose matrices are stored in this data type.
fn random_model(dtype: DType) -> (Header, Vec<u8>) {
    let spec = ModelSpec { width: 256, feed_forward: 512, ..ModelSpec::default() };
    let plain = spec.file().bytes();
    let header = Header::from_bytes(&plain).unwrap();
    let mut file = spec.file();
    for tensor in header.tensors() {
        let start = (header.data_offset() + tensor.offset) as usize;
        let data = &plain[start..start + tensor.bytes as usize];
        file = file.without_tensor(&tensor.name);
        let (stored, data) = if tensor.dims.len() == 1 {
            (DType::F32, data.to_vec())
        } else {
            let values: Vec<f32> = data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            let matrix = Tensor::from_vec(values, (tensor.dims[1] as usize, tensor.dims[0] as usize), &Device::Cpu);
            let quantized = QTensor::quantize(&matrix.unwrap(), ggml(dtype).unwrap()).unwrap();
            (dtype, quantized.data().unwrap().to_vec())
        };
        file = file.tensor(&tensor.name, stored, &tensor.dims, data);
    }
    let bytes = file.bytes();
    (Header::from_bytes(&bytes).unwrap(), bytes)
}

/// The largest difference between two rows.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_supported_data_type_is_computed_and_does_not_depend_on_the_batch() {
    for &dtype in DTYPES {
        let (header, bytes) = random_model(dtype);
        let load = |weights| {
            let options = Options { slots: 2, context_length: 64, weights, threads: 1 };
            CandleEngine::load(&header, &bytes, options, &mut |_| {}).unwrap()
        };
        let (mut stored, mut exact) = (load(WeightMode::AsStored), load(WeightMode::F32));
        let prompt: Vec<u32> = (0..40).map(|i| i * 37 % 256).collect();
        let rows = feed(&mut stored, 0, &prompt, &[9], 32);
        let reference = feed(&mut exact, 0, &prompt, &[], 32).remove(0);
        let spread = reference.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let worst = apart(&rows[0], &reference);
        assert!(spread > 0.1 && worst < 0.05 * spread, "{dtype}: off by {worst} of {spread}");
        // Matrices of floats are summed in another order in a batch; quantized ones are exactly the same.
        let tolerance = if matches!(dtype, DType::F32 | DType::F16 | DType::BF16) { 1e-5 * spread } else { 0.0 };
        stored.truncate(0, 0);
        let pieces = apart(&feed(&mut stored, 0, &prompt, &[], 7)[0], &rows[0]);
        assert!(pieces <= tolerance, "{dtype}: {pieces} apart in other pieces");
        feed(&mut stored, 1, &prompt, &[], 32);
        let chunk = |slot, tokens| Chunk { slot, position: 40, tokens, output: Output::Logits };
        let both = stored.step(&[chunk(0, &[9]), chunk(1, &[9, 8, 7])]).unwrap();
        let batch = apart(&both[0], &rows[1]);
        assert!(batch <= tolerance, "{dtype}: {batch} apart in a batch");
    }
}
