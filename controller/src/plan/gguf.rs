//! A GGUF header's shape, as the API holds it.

use rbee_crds::model::Gguf;
use rbee_model::gguf::Summary;

/// The API's form.
pub fn from_summary(summary: &Summary) -> Gguf {
    let text = |s: &String| (!s.is_empty()).then(|| s.clone());
    let number = |n: u64| (n > 0).then(|| i64::try_from(n).unwrap_or(i64::MAX));
    Gguf {
        architecture: text(&summary.architecture),
        quantization: text(&summary.quantization),
        context_length: number(summary.context_length),
        layer_count: number(summary.layer_count),
        parameter_count: number(summary.parameter_count),
        embedding_length: number(summary.embedding_length),
        head_count: number(summary.head_count),
        head_count_kv: number(summary.head_count_kv),
        key_length: number(summary.key_length),
        value_length: number(summary.value_length),
        feed_forward_length: number(summary.feed_forward_length),
        vocab_size: number(summary.vocab_size),
        file_bytes: number(summary.file_bytes),
        tensor_bytes: number(summary.tensor_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_of_the_built_in_model_is_told() {
        let tinybee = rbee_model::builtin::get("tinybee").expect("it is built in");
        let summary = rbee_model::gguf::Header::from_bytes(tinybee.bytes).expect("a good file").summary();
        let gguf = from_summary(&summary);
        assert_eq!(
            (gguf.architecture.as_deref(), gguf.context_length, gguf.layer_count),
            (Some("llama"), Some(256), Some(4))
        );
    }
}
