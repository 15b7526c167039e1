//! Models that read a whole text at once: BERT.

use super::{Config, ConfigError, Keys, unsupported};

pub(super) fn bert(keys: &Keys<'_>) -> Result<Config, ConfigError> {
    let embedding_length = keys.required("hidden_size", 1, 1 << 20)?;
    let head_count = keys.required("num_attention_heads", 1, 1 << 14)?;
    if !embedding_length.is_multiple_of(head_count) {
        let text = format!("hidden_size {embedding_length} is no multiple of num_attention_heads {head_count}");
        return Err(ConfigError::Contradiction(text));
    }
    if keys.string("hidden_act")?.is_some_and(|a| a != "gelu") {
        return Err(unsupported(keys, "hidden_act", "supported: gelu"));
    }
    if keys.string("position_embedding_type")?.is_some_and(|p| p != "absolute") {
        return Err(unsupported(keys, "position_embedding_type", "supported: absolute"));
    }
    if keys.boolean("is_decoder")? == Some(true) {
        return Err(unsupported(keys, "is_decoder", "BERT is served as an encoder only"));
    }
    Ok(Config {
        architecture: "bert",
        block_count: keys.required("num_hidden_layers", 1, 1 << 12)?,
        context_length: keys.required("max_position_embeddings", 1, 1 << 30)?,
        embedding_length,
        feed_forward_length: keys.required("intermediate_size", 1, 1 << 24)?,
        head_count,
        head_count_kv: head_count,
        head_length: embedding_length / head_count,
        vocab_size: keys.required("vocab_size", 1, 1 << 24)?,
        epsilon: keys.within("layer_norm_eps", "attention.layer_norm_epsilon")?.unwrap_or(1e-12),
        tied: true,
        rope: None,
        window: None,
        attention_scale: None,
        attention_softcap: None,
        logit_softcap: None,
        token_types: keys.integer("type_vocab_size", 0, 1 << 16)?.unwrap_or(2),
    })
}
