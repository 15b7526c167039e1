//! Prints the best tokens after a prompt of token ids, greedily one after the other, with their log probabilities.
//!
//!     cargo run --release -p rbee-engine --example logits -- model.gguf 1,2,3 [tokens [cpu|candle]]

use rbee_engine::source::{Source, map_file};
use rbee_engine::{Chunk, Device, Options, Output, load};
use rbee_model::gguf::Header;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, ids, rest @ ..] = arguments.as_slice() else {
        return Err("usage: logits MODEL IDS [TOKENS [cpu|candle]]".into());
    };
    let mut sequence = ids.split(',').map(str::parse).collect::<Result<Vec<u32>, _>>()?;
    let tokens: usize = rest.first().map_or(Ok(1), |n| n.parse())?;
    let device = if rest.get(1).is_some_and(|d| d == "candle") { Device::CandleCpu } else { Device::Cpu };
    let file = map_file(&std::fs::File::open(path)?)?;
    let header = Header::from_bytes(&file)?;
    let options = Options { slots: 1, context_length: sequence.len() + tokens, threads: 2, device };
    let mut engine = load(Source::gguf(&header, &file)?, options, &mut |_| {})?;
    let mut position = 0;
    for _ in 0..tokens {
        let chunk = Chunk { slot: 0, position, tokens: &sequence[position..], output: Output::Logits };
        let best = best(&engine.step(&[chunk])?[0], 5);
        position = sequence.len();
        println!("{}", best.iter().map(|(id, p)| format!("{id} {p:.4}")).collect::<Vec<_>>().join("  "));
        sequence.push(best[0].0);
    }
    Ok(())
}

/// The most likely tokens with their log probabilities.
fn best(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|l| (l - top).exp()).sum();
    let mut all: Vec<(u32, f32)> = (0..).zip(logits.iter().map(|l| l - top - sum.ln())).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.truncate(count);
    all
}
