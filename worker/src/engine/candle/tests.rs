//! The engine on the built-in model, against the reference and against itself.

use super::*;
use crate::testing::{Case, reference, tinybee_bytes, tinybee_header};

fn engine(weights: WeightMode, slots: usize) -> CandleEngine {
    let options = Options { slots, context_length: 256, weights, threads: 1 };
    CandleEngine::load(&tinybee_header(), tinybee_bytes(), options, &mut |_| {}).unwrap()
}

/// Log probabilities after every token of a sequence that is given in pieces of at most `piece`.
fn feed(engine: &mut CandleEngine, slot: usize, prompt: &[u32], forced: &[u32], piece: usize) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    let mut position = 0;
    for tokens in prompt.chunks(piece).chain(forced.chunks(1)) {
        let logits = position + tokens.len() >= prompt.len();
        rows.extend(engine.step(&[Chunk { slot, position, tokens, logits }]).unwrap());
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
        engine.reset(0);
        let rows = feed(&mut engine, 0, &case.prompt_ids, forced, 32);
        assert_eq!(rows.iter().map(|r| best(r)).collect::<Vec<_>>(), ids, "{}", case.prompt);
    }
}

#[test]
fn as_stored_exact_prompts_are_equal_and_others_near() {
    let mut engine = engine(WeightMode::AsStored, 1);
    for case in reference() {
        let (ids, forced) = expected(&case);
        engine.reset(0);
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
            alone.reset(0);
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
                    0 => Chunk { slot, position: 0, tokens: &case.prompt_ids, logits: true },
                    n => Chunk {
                        slot,
                        position: case.prompt_ids.len() + n - 1,
                        tokens: &case.greedy_ids[n - 1..n],
                        logits: true,
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
    let chunk = |position, tokens| Chunk { slot: 0, position, tokens, logits: true };
    let long = vec![5; 254];
    assert!(matches!(engine.step(&[chunk(3, &long)]), Err(EngineError::ContextFull { wanted: 257, .. })));
    assert!(matches!(engine.step(&[chunk(2, &[5])]), Err(EngineError::Position { held: 3, .. })));
    assert!(matches!(engine.step(&[chunk(3, &[1280])]), Err(EngineError::Token(1280))));
    engine.reset(0);
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
