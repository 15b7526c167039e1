//! Prints the bytes that a tokenizer takes, and the most while it is made: `memory [FILE.gguf | tokenizer.json]`.
//!
//! Without a file, for a byte-level vocabulary of Qwen's size: 151,936 tokens and 151,387 merges.

use rbee_model::gguf::{Array, Header, StringArray, Value};
use rbee_model::testing::GgufFile;
use rbee_tokenizer::Tokenizer;
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// Counts what is held.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(HELD.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TOKENS: usize = 151_936;
const MERGES: usize = 151_387;

/// The character that stands for a byte.
fn letter(byte: u8) -> char {
    let printable = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let before = (0..byte).filter(|&b| !printable(b)).count() as u32;
    if printable(byte) { char::from(byte) } else { char::from_u32(256 + before).unwrap_or('?') }
}

/// Tokens of which most make longer ones, mostly letters, and about as long as Qwen's.
fn vocabulary() -> GgufFile {
    let mut tokens: Vec<String> = (0..=255).map(|byte| letter(byte).to_string()).collect();
    let mut known: HashSet<String> = tokens.iter().cloned().collect();
    let mut merges = Vec::new();
    let mut state = 7u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    while merges.len() < MERGES {
        let below = if random(2) == 0 { 123 } else { tokens.len() };
        let (left, right) = (random(tokens.len()), random(below));
        let both = format!("{}{}", tokens[left], tokens[right]);
        if both.len() <= 12 && known.insert(both.clone()) {
            merges.push(format!("{} {}", tokens[left], tokens[right]));
            tokens.push(both);
        }
    }
    let mut kinds = vec![1; tokens.len()];
    for n in tokens.len()..TOKENS {
        tokens.push(format!("<|special_{n}|>"));
        kinds.push(3);
    }
    let strings = |strings: &[String]| Value::Array(Array::String(strings.iter().collect::<StringArray>()));
    let text = |text: &str| Value::String(text.to_owned());
    GgufFile::new()
        .with("general.architecture", text("none"))
        .with("tokenizer.ggml.model", text("gpt2"))
        .with("tokenizer.ggml.pre", text("qwen2"))
        .with("tokenizer.ggml.tokens", strings(&tokens))
        .with("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)))
        .with("tokenizer.ggml.merges", strings(&merges))
}

/// Runs a step and says what it left held and the most that was held meanwhile, both above what was held before.
fn measure<T>(what: &str, step: impl FnOnce() -> T) -> T {
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    let since = Instant::now();
    let result = step();
    let (held, peak) = (HELD.load(Relaxed) as i64 - before as i64, PEAK.load(Relaxed) - before);
    println!("{what}: {held} bytes held, {peak} at the most, {:.1?}", since.elapsed());
    result
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1);
    let bytes = match &path {
        Some(path) => std::fs::read(path)?,
        None => vocabulary().bytes(),
    };
    println!("file: {} bytes", bytes.len());
    let tokenizer = if path.is_some_and(|path| path.ends_with(".json")) {
        measure("tokenizer", || Tokenizer::from_tokenizer_json(&bytes, None))?
    } else {
        let header = measure("header", || Header::from_bytes(&bytes))?;
        measure("tokenizer beside the header", || Tokenizer::from_header(&header))?
    };
    let text: String =
        (0..200_000u32).map(|n| char::from(b" etaoinshrdlu\ncmfwyp"[(n * n % 641 % 20) as usize])).collect();
    for _ in 0..2 {
        let ids = measure("a text of 200 kB", || tokenizer.encode(&text).len());
        println!("{ids} tokens");
    }
    Ok(())
}
