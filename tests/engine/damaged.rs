//! Models whose weights are no numbers: refused, or the request that meets them ends with an error and the worker goes on.

use std::ops::Range;

use rbee_model::gguf::{DType, Header};
use rbee_model::testing::ModelSpec;
use serde_json::json;

use crate::support::Sandbox;
use crate::worker::{Worker, start};

fn small(architecture: &str, dtype: DType) -> ModelSpec {
    ModelSpec { layers: 2, context: 128, dtype, ..ModelSpec::of(architecture).expect("the writer knows it") }
}

fn spec() -> ModelSpec {
    small("llama", DType::F16)
}

/// What is written into a tensor.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Nan,
    Infinity,
}

/// The file, with elements of a tensor overwritten; of a quantized one the scales of blocks.
fn overwritten(spec: ModelSpec, tensor: &str, elements: Range<usize>, damage: Damage) -> Vec<u8> {
    let mut bytes = spec.file().bytes();
    let header = Header::from_bytes(&bytes).expect("a sound header");
    let found = header.tensor(tensor).expect("it is there");
    let start = (header.data_offset() + found.offset) as usize;
    // Bytes of an element or block, and where in it a float is that all its numbers are multiplied with.
    let (size, place, half) = match found.dtype {
        DType::F32 => (4, 0, false),
        DType::F16 => (2, 0, true),
        DType::Q8_0 => (34, 0, true),
        DType::Q4_K => (144, 0, true),
        DType::Q6_K => (210, 208, true),
        other => panic!("{other} is not damaged here"),
    };
    let float: &[u8] = match (damage, half) {
        (Damage::Nan, true) => &[0, 0x7e],
        (Damage::Nan, false) => &[0, 0, 0xc0, 0x7f],
        (Damage::Infinity, true) => &[0, 0x7c],
        (Damage::Infinity, false) => &[0, 0, 0x80, 0x7f],
    };
    for element in elements {
        let at = start + size * element + place;
        bytes[at..at + float.len()].copy_from_slice(float);
    }
    bytes
}

#[track_caller]
fn all_refused(spec: ModelSpec, damaged: &[(&str, Range<usize>)]) {
    let sandbox = Sandbox::new();
    for damage in [Damage::Nan, Damage::Infinity] {
        for (tensor, elements) in damaged {
            let what = format!("{}-{}-{damage:?}-{tensor}", spec.architecture, spec.dtype);
            let path = sandbox.write(&format!("{what}.gguf"), overwritten(spec, tensor, elements.clone(), damage));
            let mut worker = start(&sandbox, &path, &[]);
            let code = worker.wait(30);
            let stderr = worker.stderr();
            assert_eq!(code, 1, "{what}: {stderr}");
            assert!(stderr.contains(path.to_str().expect("a path")) && stderr.contains("finite"), "{what}: {stderr}");
        }
    }
}

#[test]
fn a_model_that_gives_no_numbers_is_refused() {
    let width = spec().width as usize;
    all_refused(
        spec(),
        &[
            ("blk.0.attn_norm.weight", 0..width),
            ("output_norm.weight", 3..4),
            ("blk.1.ffn_down.weight", 0..1),
            ("blk.0.attn_q.weight", 0..width),
            ("output.weight", 0..257 * width),
        ],
    );
}

#[test]
fn a_quantized_model_with_scales_that_are_no_numbers_is_refused() {
    for dtype in [DType::Q8_0, DType::Q4_K, DType::Q6_K] {
        let spec = small("llama", dtype);
        let blocks = 257 * (spec.width / dtype.block_elements()) as usize;
        all_refused(
            spec,
            &[("blk.1.ffn_down.weight", 0..1), ("blk.0.attn_v.weight", 0..1), ("output.weight", 0..blocks)],
        );
    }
}

#[test]
fn an_encoder_that_gives_no_numbers_is_refused() {
    for dtype in [DType::F16, DType::Q8_0] {
        let damaged =
            [("blk.1.ffn_down.weight", 0..1), ("token_embd_norm.weight", 0..1), ("blk.0.attn_k.weight", 0..1)];
        all_refused(small("bert", dtype), &damaged);
    }
}

#[test]
fn a_model_of_candle_transformers_that_gives_no_numbers_is_refused() {
    for (architecture, dtype) in [("phi2", DType::F16), ("phi2", DType::Q8_0), ("glm4", DType::Q4_K)] {
        let (sandbox, spec) = (Sandbox::new(), small(architecture, dtype));
        let sound = Worker::ready(&sandbox, &sandbox.write("sound.gguf", spec.file().bytes()), &[]);
        assert!(!sound.text("a bee", 4).is_empty());
        all_refused(spec, &[("blk.1.ffn_down.weight", 0..1), ("output_norm.weight", 0..1)]);
    }
}

#[test]
fn a_token_whose_embedding_is_no_number_ends_its_request_and_no_other() {
    let sandbox = Sandbox::new();
    let row = usize::from(b'x');
    for damage in [Damage::Nan, Damage::Infinity] {
        let width = spec().width as usize;
        let damaged = overwritten(spec(), "token_embd.weight", row * width..(row + 1) * width, damage);
        let worker = Worker::ready(&sandbox, &sandbox.write("x.gguf", damaged), &["--slots", "2"]);
        let before = worker.text("a bee", 8);
        for _ in 0..3 {
            let (status, body) = worker.complete("an x in it", 8).expect("an answer");
            assert_eq!(status, 500, "{body}");
            assert!(body["error"]["message"].is_string(), "{body}");
            assert_eq!(worker.text("a bee", 8), before, "the next request is served");
        }
        no_embedding_of_x(&worker, "an x in it");
        assert_eq!(worker.text("a bee", 8), before, "the next request is served");
    }
}

#[test]
fn an_embedding_that_is_no_number_is_an_error_and_the_next_is_served() {
    let sandbox = Sandbox::new();
    for (dtype, damage) in [(DType::F16, Damage::Nan), (DType::Q8_0, Damage::Infinity)] {
        let spec = small("bert", dtype);
        let file = spec.file().bytes();
        let header = Header::from_bytes(&file).expect("a sound header");
        let tokens = header.strings("tokenizer.ggml.tokens").expect("it has tokens");
        let row = tokens.iter().position(|token| token == "▁x").expect("it has an x");
        let pieces = (spec.width / dtype.block_elements()) as usize;
        let damaged = overwritten(spec, "token_embd.weight", row * pieces..(row + 1) * pieces, damage);
        let worker = Worker::ready(&sandbox, &sandbox.write("bert.gguf", damaged), &["--slots", "2"]);
        no_embedding_of_x(&worker, "a x b");
    }
}

/// A text with an x has no embedding, and one without has one before and after.
#[track_caller]
fn no_embedding_of_x(worker: &Worker, text: &str) {
    let embed = |text: &str| worker.post("/v1/embeddings", &json!({"model": "any", "input": text})).expect("an answer");
    let (status, before) = embed("a bee");
    assert_eq!(status, 200, "{before}");
    let (status, body) = embed(text);
    assert_eq!(status, 500, "{body}");
    assert!(body["error"]["message"].is_string(), "{body}");
    let (_, after) = embed("a bee");
    assert_eq!(after["data"], before["data"]);
}

#[test]
fn a_token_whose_probability_is_no_number_is_never_given() {
    let sandbox = Sandbox::new();
    let whole = Worker::ready(&sandbox, &sandbox.write("whole.gguf", spec().file().bytes()), &[]);
    let first = whole.text("a bee", 1).bytes().next().expect("a byte");
    let (row, width) = (usize::from(first), spec().width as usize);
    for damage in [Damage::Nan, Damage::Infinity] {
        let damaged = overwritten(spec(), "output.weight", row * width..(row + 1) * width, damage);
        let worker = Worker::ready(&sandbox, &sandbox.write("damaged.gguf", damaged), &[]);
        let text = worker.text("a bee", 20);
        assert!(!text.is_empty() && !text.bytes().any(|b| b == first), "{text:?}");
    }
}
