//! A sequence's numbers depend on nothing but the sequence: not on others in the step, the cutting of its prompt, or threads.

use rbee_engine::Device;
use rbee_engine::{Chunk, Engine, Output};

use crate::compare::feed;
use crate::models::{Golden, load, recorded};

const FORCED: usize = 6;

/// What each sequence gives when it is computed alone, its prompt in pieces of this length.
fn alone(engine: &mut dyn Engine, model: &Golden, piece: usize) -> Vec<Vec<Vec<f32>>> {
    let one = |engine: &mut dyn Engine, case: &crate::models::Case| {
        engine.truncate(0, 0);
        feed(engine, 0, &case.prompt, &case.tokens[..case.tokens.len().min(FORCED)], piece)
    };
    model.cases.iter().map(|case| one(engine, case)).collect()
}

/// The same with all sequences in the steps at once: each begins one step after the one before it, long prompts in pieces of 50 tokens.
fn together(engine: &mut dyn Engine, model: &Golden) -> Vec<Vec<Vec<f32>>> {
    let pieces: Vec<Vec<&[u32]>> = model
        .cases
        .iter()
        .map(|case| {
            let forced = &case.tokens[..case.tokens.len().min(FORCED)];
            case.prompt.chunks(50).chain(forced.chunks(1)).collect()
        })
        .collect();
    let mut rows = vec![Vec::new(); pieces.len()];
    let mut positions = vec![0; pieces.len()];
    for step in 0..pieces.len() + pieces.iter().map(Vec::len).max().unwrap_or(0) {
        let mut chunks = Vec::new();
        for (slot, own) in pieces.iter().enumerate().filter(|&(slot, own)| (slot..slot + own.len()).contains(&step)) {
            let tokens = own[step - slot];
            let position = positions[slot];
            let whole = position + tokens.len() >= model.cases[slot].prompt.len();
            chunks.push(Chunk { slot, position, tokens, output: if whole { Output::Logits } else { Output::None } });
            positions[slot] += tokens.len();
        }
        if chunks.is_empty() {
            continue;
        }
        let given = engine.step(&chunks).expect("a step");
        let wanted = chunks.iter().filter(|c| c.output == Output::Logits).map(|c| c.slot);
        wanted.zip(given).for_each(|(slot, row)| rows[slot].push(row));
    }
    rows
}

fn bits(rows: &[Vec<Vec<f32>>]) -> Vec<Vec<Vec<u32>>> {
    let of = |row: &Vec<f32>| row.iter().map(|v| v.to_bits()).collect();
    rows.iter().map(|sequence| sequence.iter().map(of).collect()).collect()
}

#[test]
fn a_sequence_in_a_batch_equals_the_same_alone_bit_for_bit() {
    for model in recorded().iter().filter(|m| !m.name.starts_with("bert.")) {
        let mut one = load(&model.bytes, Device::Cpu, 1, 1);
        let whole = bits(&alone(one.as_mut(), model, 512));
        assert!(whole == bits(&alone(one.as_mut(), model, 7)), "{}: the pieces of a prompt matter", model.name);
        let mut three = load(&model.bytes, Device::Cpu, 3, model.cases.len());
        assert!(whole == bits(&together(three.as_mut(), model)), "{}: the others in a batch matter", model.name);
    }
}

#[test]
fn what_a_slot_held_before_does_not_matter() {
    for model in recorded().iter().filter(|m| m.name.ends_with(".F16") && !m.name.starts_with("bert.")) {
        let [short, long] = [&model.cases[1], &model.cases[2]].map(|case| case.prompt.as_slice());
        let mut engine = load(&model.bytes, Device::Cpu, 2, 2);
        let fresh = feed(engine.as_mut(), 0, long, &[], 512);
        engine.truncate(0, 0);
        feed(engine.as_mut(), 0, short, &[], 512);
        engine.truncate(0, 0);
        assert!(feed(engine.as_mut(), 0, long, &[], 512) == fresh, "{}: a slot that was used", model.name);
        // A prefix that another slot computed, its last tokens computed again.
        let shared = long.len() - 10;
        engine.copy(0, 1, shared);
        let chunk = Chunk { slot: 1, position: shared, tokens: &long[shared..], output: Output::Logits };
        assert!(engine.step(&[chunk]).expect("a step") == fresh, "{}: a copied prefix", model.name);
    }
}
