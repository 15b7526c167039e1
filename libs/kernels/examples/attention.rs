//! Prints how long attention takes with each instruction set: `cargo run --release -p rbee-kernels --example attention`.

use std::time::{Duration, Instant};

use rbee_kernels::{Attention, Cpu, Isa, KvCache, KvShape, Row, Strided, attention};

const THREADS: usize = 2;

struct Model {
    name: &'static str,
    layers: usize,
    attention: Attention,
}

fn main() -> std::io::Result<()> {
    let shape = |heads, kv_heads, length: usize| Attention {
        heads,
        kv_heads,
        key_length: length,
        value_length: length,
        scale: 1.0 / (length as f32).sqrt(),
        softcap: None,
        window: None,
    };
    let models = [
        Model { name: "TinyLlama 1.1B", layers: 22, attention: shape(32, 4, 64) },
        Model { name: "Qwen2.5 0.5B", layers: 24, attention: shape(14, 2, 64) },
        Model { name: "Llama 3 8B", layers: 32, attention: shape(32, 8, 128) },
        Model { name: "Llama 2 7B", layers: 32, attention: shape(32, 32, 128) },
    ];
    println!("all layers, {THREADS} threads, of each layer the best of several");
    for Model { name, layers, attention } in models {
        let mut cache = KvCache::new(KvShape {
            layers,
            kv_heads: attention.kv_heads,
            key_length: attention.key_length,
            value_length: attention.value_length,
            context: 4096,
        })?;
        let filling = fill(&mut cache, &attention, 2048);
        println!("{name}: 2048 positions written in {filling:.1?}");
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(THREADS, isa)?;
            let times = [
                ("prefill 512", 0..512),
                ("token at depth 128", 128..129),
                ("token at depth 1024", 1024..1025),
                ("token at depth 2047", 2047..2048),
            ];
            for (what, positions) in times {
                let rows: Vec<Row> = positions.map(|position| Row { cache: 0, position }).collect();
                println!("  {isa:<13} {what:<20} {:.2?}", measure(&cpu, &attention, &cache, &rows));
            }
        }
    }
    Ok(())
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((seed * 7919 + i * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
}

fn fill(cache: &mut KvCache, attention: &Attention, len: usize) -> Duration {
    let keys = numbers(attention.kv_heads * attention.key_length, 1);
    let values = numbers(attention.kv_heads * attention.value_length, 2);
    let start = Instant::now();
    for layer in 0..cache.shape().layers {
        (0..len).for_each(|position| cache.write(layer, position, &keys, &values));
    }
    start.elapsed()
}

/// Layer by layer, so that other load of the machine disturbs little.
fn measure(cpu: &Cpu, model: &Attention, cache: &KvCache, rows: &[Row]) -> Duration {
    let stride = model.heads * model.key_length;
    let q = numbers(rows.len() * stride, 3);
    let mut out = vec![0.0; rows.len() * model.heads * model.value_length];
    let mut best = vec![Duration::MAX; cache.shape().layers];
    for _ in 0..if rows.len() > 1 { 5 } else { 30 } {
        for (layer, best) in best.iter_mut().enumerate() {
            let start = Instant::now();
            attention(cpu, model, &[cache], layer, rows, Strided { data: &q, stride, offset: 0 }, &mut out);
            *best = start.elapsed().min(*best);
        }
    }
    best.iter().sum()
}
