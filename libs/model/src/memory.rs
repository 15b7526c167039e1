//! How much memory a worker takes.

use serde::{Deserialize, Serialize};

use crate::format;
use crate::gguf::Summary;

const MB: u64 = 1_000_000;
/// What the process takes without a model: code, runtime, threads, buffers of connections.
const BASE_BYTES: u64 = 64 * MB;
/// What one token of the vocabulary takes: its text, its place in the tables of the tokenizer, its node where answers follow a grammar.
const TOKENIZER_BYTES_PER_TOKEN: u64 = 400;
/// Tokens of one step of the engine.
const STEP_TOKENS: u64 = 512;
/// A key or a value of the cache: f16.
const KV_ELEMENT_BYTES: u64 = 2;
/// The same where caches grow by being copied: f32, in the old copy and in the new one.
const FALLBACK_KV_ELEMENT_BYTES: u64 = 8;
/// Hidden states, scores and logits: f32.
const ACTIVATION_BYTES: u64 = 4;

/// What a worker is estimated to take, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// The tensors as they are stored: pages of the mapped file. What candle-transformers computes is copied from them, with the token
    /// embedding as f32; of all others there is no second copy.
    pub weights: u64,
    /// Keys and values of all slots at their full context, as f16; f32 by candle-transformers, and for a moment twice. Layers with a
    /// sliding window count like the others.
    pub kv: u64,
    /// The process itself, its tokenizer, the activations of a step and logits.
    pub overhead: u64,
    /// The sum, but never less than 1.2 times the file.
    pub total: u64,
}

/// Tokens of one slot where nothing else is asked for: the model's own, at most this many.
pub const DEFAULT_CONTEXT_LENGTH: u64 = 8192;

/// Estimates a worker with `slots` slots of `context_length` tokens each. Saturates instead of overflowing.
pub fn estimate(model: &Summary, slots: u64, context_length: u64) -> Estimate {
    let slots = slots.max(1);
    let kv = if format::is_encoder(&model.architecture) { 0 } else { kv(model, slots, context_length) };
    let tokenizer = product(&[model.vocab_size, TOKENIZER_BYTES_PER_TOKEN]);
    // One row per slot, and a copy that the sampler changes.
    let logits = product(&[slots, model.vocab_size, ACTIVATION_BYTES, 2]);
    let overhead = sum(&[BASE_BYTES, tokenizer, activations(model, slots, context_length), logits]);
    let weights = weights(model);
    let floor = model.file_bytes.saturating_add(model.file_bytes.div_ceil(5));
    Estimate { weights, kv, overhead, total: sum(&[weights, kv, overhead]).max(floor) }
}

fn kv(model: &Summary, slots: u64, context_length: u64) -> u64 {
    let head = model.key_length.saturating_add(model.value_length);
    let element = if is_fallback(model) { FALLBACK_KV_ELEMENT_BYTES } else { KV_ELEMENT_BYTES };
    product(&[slots, context_length, model.layer_count, model.head_count_kv, head, element])
}

fn weights(model: &Summary) -> u64 {
    if !is_fallback(model) {
        return model.tensor_bytes;
    }
    let embedding = product(&[model.vocab_size, model.embedding_length, ACTIVATION_BYTES]);
    sum(&[model.tensor_bytes, model.tensor_bytes, embedding])
}

fn is_fallback(model: &Summary) -> bool {
    format::FALLBACKS.contains(&model.architecture.as_str())
}

/// The largest step's rows: hidden state, its norm and the attention's output; queries, keys and values; gate, up and their product.
fn activations(model: &Summary, slots: u64, context_length: u64) -> u64 {
    let heads = model.head_count.saturating_add(product(&[2, model.head_count_kv]));
    let row = sum(&[
        product(&[3, model.embedding_length]),
        product(&[heads, model.key_length.max(model.value_length)]),
        product(&[3, model.feed_forward_length]),
    ]);
    let rows = STEP_TOKENS.min(slots.saturating_mul(context_length));
    let states = product(&[rows, row, ACTIVATION_BYTES]);
    // An encoder holds the scores of all pairs of a sequence's tokens, before and after the softmax.
    let pairs = if format::is_encoder(&model.architecture) { product(&[context_length, context_length]) } else { 0 };
    states.saturating_add(product(&[2, model.head_count, pairs, ACTIVATION_BYTES]))
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |a, &b| a.saturating_mul(b))
}

fn sum(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |a, &b| a.saturating_add(b))
}

/// A device that has too little memory. MB are millions of bytes: what is needed rounded up, what is there rounded down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("needs {} MB of memory, {} MB are free; use a smaller quantization, a smaller contextLength or fewer slots", .need.div_ceil(MB), .have / MB)]
pub struct InsufficientMemory {
    /// Bytes.
    pub need: u64,
    /// Bytes.
    pub have: u64,
}

/// Refuses what does not fit.
///
/// # Errors
/// [`InsufficientMemory`] with both numbers.
pub fn check(need: u64, have: u64) -> Result<(), InsufficientMemory> {
    if need <= have { Ok(()) } else { Err(InsufficientMemory { need, have }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_parts_of_an_estimate_are_what_the_shape_says() {
        let tinyllama = Summary {
            layer_count: 22,
            embedding_length: 2048,
            head_count: 32,
            head_count_kv: 4,
            key_length: 64,
            value_length: 64,
            feed_forward_length: 5632,
            vocab_size: 32_000,
            file_bytes: 668_788_096,
            tensor_bytes: 667_078_656,
            ..Summary::default()
        };
        let e = estimate(&tinyllama, 4, 2048);
        assert_eq!(e.weights, 667_078_656);
        assert_eq!(e.kv, 4 * 2048 * 22 * 4 * 128 * 2);
        assert_eq!(e.total, e.weights + e.kv + e.overhead);
        assert!(e.total < 1_000 * MB && e.overhead < 150 * MB, "{e:?}");
        let one = estimate(&tinyllama, 1, 256);
        assert_eq!(one.total, (668_788_096 * 6u64).div_ceil(5), "at least 1.2 times the file: {one:?}");
    }

    #[test]
    fn an_encoder_has_no_cache_and_holds_the_scores_of_its_layer() {
        let bert = Summary {
            architecture: "bert".into(),
            layer_count: 12,
            embedding_length: 768,
            head_count: 12,
            head_count_kv: 12,
            key_length: 64,
            value_length: 64,
            feed_forward_length: 3072,
            vocab_size: 30_522,
            ..Summary::default()
        };
        let (short, long) = (estimate(&bert, 4, 256), estimate(&bert, 4, 512));
        assert_eq!((short.kv, long.kv), (0, 0));
        assert_eq!(long.overhead - short.overhead, 2 * 12 * (512 * 512 - 256 * 256) * 4);
    }

    #[test]
    fn a_model_of_candle_transformers_is_held_twice() {
        let own = Summary {
            architecture: "llama".into(),
            layer_count: 2,
            embedding_length: 64,
            head_count_kv: 4,
            key_length: 16,
            value_length: 16,
            vocab_size: 1000,
            tensor_bytes: 500_000,
            ..Summary::default()
        };
        let (mapped, kv) = (estimate(&own, 2, 128).weights, estimate(&own, 2, 128).kv);
        for architecture in format::FALLBACKS {
            let e = estimate(&Summary { architecture: (*architecture).into(), ..own.clone() }, 2, 128);
            assert_eq!((e.weights, e.kv), (2 * mapped + 1000 * 64 * 4, 4 * kv), "{architecture}");
        }
    }

    #[test]
    fn a_refusal_gives_both_numbers_in_mb_and_advice() {
        let text = check(1_500_000_001, 999_999_999).unwrap_err().to_string();
        assert_eq!(
            text,
            "needs 1501 MB of memory, 999 MB are free; use a smaller quantization, a smaller contextLength or fewer slots"
        );
        assert_eq!(check(5, 5), Ok(()));
    }

    proptest! {
        #[test]
        fn never_under_1_2_times_the_file_and_never_overflowing(
            numbers in prop::array::uniform9(any::<u64>()), slots in any::<u64>(), context in any::<u64>(),
        ) {
            let [layer_count, embedding_length, head_count, head_count_kv, key_length, feed_forward_length, vocab_size, file_bytes, tensor_bytes] = numbers;
            let model = Summary { layer_count, embedding_length, head_count, head_count_kv, key_length, value_length: key_length,
                feed_forward_length, vocab_size, file_bytes, tensor_bytes, ..Summary::default() };
            let e = estimate(&model, slots, context);
            prop_assert!(u128::from(e.total) >= (u128::from(file_bytes) * 12 / 10).min(u128::from(u64::MAX)));
            prop_assert!(e.total >= e.kv && e.total >= e.weights);
        }
    }
}
