//! How much memory a worker takes.

use serde::{Deserialize, Serialize};

use crate::gguf::Summary;

const MB: u64 = 1_000_000;
/// What the process takes without a model: code, runtime, tokenizer, buffers.
const BASE_BYTES: u64 = 64 * MB;

/// How keys and values of the KV cache are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvDType {
    F32,
    F16,
}

impl KvDType {
    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// What a worker is estimated to take, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// Weights as the engine holds them: as stored, with the token embedding as F32.
    pub weights: u64,
    /// Keys and values of all slots at their full context.
    pub kv: u64,
    /// The process itself, activations and logits.
    pub overhead: u64,
    /// The sum, but never less than 1.2 times the file.
    pub total: u64,
}

/// Tokens of one slot where nothing else is asked for: the model's own, at most this many.
pub const DEFAULT_CONTEXT_LENGTH: u64 = 8192;

/// Estimates a worker with `slots` slots of `context_length` tokens each. Saturates instead of overflowing.
pub fn estimate(model: &Summary, slots: u64, context_length: u64, kv: KvDType) -> Estimate {
    let product = |factors: &[u64]| factors.iter().fold(1u64, |a, &b| a.saturating_mul(b));
    let slots = slots.max(1);
    let embedding = product(&[model.vocab_size, model.embedding_length, 4]);
    let weights = model.tensor_bytes.saturating_add(embedding);
    let head = model.key_length.saturating_add(model.value_length);
    let kv_bytes = product(&[slots, context_length, model.layer_count, model.head_count_kv, head, kv.bytes()]);
    // Prompts go through in pieces of at most 512 tokens; logits are one row per slot.
    let piece = context_length.min(512);
    let attention = product(&[piece, model.head_count, context_length, 4]);
    let activations = product(&[piece, model.feed_forward_length.max(model.embedding_length), 4 * 4]);
    let logits = product(&[slots, model.vocab_size, 4 * 4]);
    let overhead = [attention, activations, logits].into_iter().fold(BASE_BYTES, u64::saturating_add);
    let sum = weights.saturating_add(kv_bytes).saturating_add(overhead);
    let floor = model.file_bytes.saturating_add(model.file_bytes.div_ceil(5));
    Estimate { weights, kv: kv_bytes, overhead, total: sum.max(floor) }
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
        let e = estimate(&tinyllama, 4, 2048, KvDType::F16);
        assert_eq!(e.weights, 667_078_656 + 32_000 * 2048 * 4);
        assert_eq!(e.kv, 4 * 2048 * 22 * 4 * 128 * 2);
        assert_eq!(e.total, e.weights + e.kv + e.overhead);
        assert!(e.total < 1_600 * MB, "{e:?}");
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
            let e = estimate(&model, slots, context, KvDType::F32);
            prop_assert!(u128::from(e.total) >= (u128::from(file_bytes) * 12 / 10).min(u128::from(u64::MAX)));
            prop_assert!(e.total >= e.kv && e.total >= e.weights);
        }
    }
}
