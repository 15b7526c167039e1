//! Measures a model's forward pass: time to load, prefill, decode of one slot and of several, in tokens per second.
//!
//!     cargo run --release -p rbee-engine --example speed -- model.gguf [threads [cpu|candle]]

use rbee_engine::source::{Source, map_file};
use rbee_engine::{Chunk, Device, Engine, Options, Output, load};
use rbee_model::gguf::Header;
use std::error::Error;
use std::time::Instant;

/// Tokens of a prompt, most tokens of one step, and tokens of an answer.
const PROMPT: usize = 512;
const PIECE: usize = 512;
const ANSWER: usize = 32;
const RUNS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().ok_or("usage: speed MODEL [THREADS [cpu|candle]]")?;
    let threads = arguments.get(1).map_or(Ok(2), |n| n.parse())?;
    let device = if arguments.get(2).is_some_and(|d| d == "candle") { Device::CandleCpu } else { Device::Cpu };
    let started = Instant::now();
    let file = map_file(&std::fs::File::open(path)?)?;
    let header = Header::from_bytes(&file)?;
    let options = Options { slots: 8, context_length: 2048, threads, device };
    let mut engine = load(Source::gguf(&header, &file)?, options, &mut |_| {})?;
    println!("load {:.3} s", started.elapsed().as_secs_f64());
    engine.step(&[Chunk { slot: 0, position: 0, tokens: &[1], output: Output::Logits }])?;
    println!("first token {:.3} s", started.elapsed().as_secs_f64());
    for _ in 0..RUNS {
        let prefill = prefill(engine.as_mut(), 0, PROMPT)?;
        let deep = decode(engine.as_mut(), 1, PROMPT)?;
        engine.truncate(0, 64);
        let one = decode(engine.as_mut(), 1, 64)?;
        let mut many = [0.0; 2];
        for (result, slots) in many.iter_mut().zip([4, 8]) {
            for slot in 1..slots {
                engine.copy(0, slot, 64);
            }
            (0..slots).for_each(|slot| engine.truncate(slot, 64));
            *result = decode(engine.as_mut(), slots, 64)?;
        }
        println!(
            "prefill {prefill:.1}  decode {one:.2}  behind {PROMPT} {deep:.2}  4 slots {:.1}  8 slots {:.1} tok/s",
            many[0], many[1]
        );
    }
    Ok(())
}

fn prefill(engine: &mut dyn Engine, slot: usize, length: usize) -> Result<f64, Box<dyn Error>> {
    engine.truncate(slot, 0);
    let prompt: Vec<u32> = (0..length as u32).map(|i| 300 + i * 7 % 900).collect();
    let started = Instant::now();
    for (index, tokens) in prompt.chunks(PIECE).enumerate() {
        engine.step(&[Chunk { slot, position: index * PIECE, tokens, output: Output::Logits }])?;
    }
    Ok(length as f64 / started.elapsed().as_secs_f64())
}

/// Tokens per second of all slots together, each of which holds `position` tokens.
fn decode(engine: &mut dyn Engine, slots: usize, position: usize) -> Result<f64, Box<dyn Error>> {
    let started = Instant::now();
    for step in 0..ANSWER {
        let tokens = [500 + step as u32];
        let chunk = |slot| Chunk { slot, position: position + step, tokens: &tokens, output: Output::Logits };
        engine.step(&(0..slots).map(chunk).collect::<Vec<_>>())?;
    }
    Ok((slots * ANSWER) as f64 / started.elapsed().as_secs_f64())
}
