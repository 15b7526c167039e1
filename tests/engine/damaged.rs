//! Models whose weights are no numbers: refused, or the request that meets them ends with an error and the worker goes on.

use std::ops::Range;

use rbee_model::gguf::{DType, Header};
use rbee_model::testing::ModelSpec;

use crate::support::Sandbox;
use crate::worker::{Worker, start};

fn spec() -> ModelSpec {
    let small = ModelSpec { layers: 2, context: 128, ..ModelSpec::of("llama").unwrap_or_default() };
    ModelSpec { dtype: DType::F16, ..small }
}

/// The file, with elements of a tensor overwritten by NaN.
fn overwritten(tensor: &str, elements: Range<usize>) -> Vec<u8> {
    let mut bytes = spec().file().bytes();
    let header = Header::from_bytes(&bytes).expect("a sound header");
    let found = header.tensor(tensor).expect("it is there");
    let start = (header.data_offset() + found.offset) as usize;
    let size = if found.dtype == DType::F32 { 4 } else { 2 };
    // All bits set are NaN in every format of floats.
    bytes[start + size * elements.start..start + size * elements.end].fill(0xff);
    bytes
}

#[test]
fn a_model_that_gives_no_numbers_is_refused() {
    let sandbox = Sandbox::new();
    let width = spec().width as usize;
    for (tensor, elements) in [
        ("blk.0.attn_norm.weight", 0..width),
        ("output_norm.weight", 3..4),
        ("blk.1.ffn_down.weight", 0..1),
        ("blk.0.attn_q.weight", 0..width),
        ("output.weight", 0..257 * width),
    ] {
        let path = sandbox.write(&format!("{tensor}.gguf"), overwritten(tensor, elements));
        let mut worker = start(&sandbox, &path, &[]);
        let code = worker.wait(30);
        let stderr = worker.stderr();
        assert_eq!(code, 1, "{tensor}: {stderr}");
        assert!(stderr.contains(path.to_str().expect("a path")) && stderr.contains("finite"), "{tensor}: {stderr}");
    }
}

#[test]
fn a_token_whose_embedding_is_no_number_ends_its_request_and_no_other() {
    let sandbox = Sandbox::new();
    let row = usize::from(b'x');
    let width = spec().width as usize;
    let path = sandbox.write("x.gguf", overwritten("token_embd.weight", row * width..(row + 1) * width));
    let worker = Worker::ready(&sandbox, &path, &["--slots", "2"]);
    let before = worker.text("a bee", 8);
    for _ in 0..3 {
        let (status, body) = worker.complete("an x in it", 8).expect("an answer");
        assert_eq!(status, 500, "{body}");
        assert!(body["error"]["message"].is_string(), "{body}");
        assert_eq!(worker.text("a bee", 8), before, "the next request is served");
    }
}

#[test]
fn a_token_whose_probability_is_no_number_is_never_given() {
    let sandbox = Sandbox::new();
    let whole = Worker::ready(&sandbox, &sandbox.write("whole.gguf", spec().file().bytes()), &[]);
    let first = whole.text("a bee", 1).bytes().next().expect("a byte");
    let (row, width) = (usize::from(first), spec().width as usize);
    let damaged = overwritten("output.weight", row * width..(row + 1) * width);
    let worker = Worker::ready(&sandbox, &sandbox.write("damaged.gguf", damaged), &[]);
    let text = worker.text("a bee", 20);
    assert!(!text.is_empty() && !text.bytes().any(|b| b == first), "{text:?}");
}
