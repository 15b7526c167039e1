//! Checkpoints as transformers writes them: `config.json`, read into the settings that a GGUF file of the model would have.
//!
//! A model has one set of settings whichever file it comes from: [`Config::metadata`] gives them under GGUF's keys, and
//! [`Config::rope_factors`] and [`Config::long_factors`] what GGUF holds in tensors. Keys:
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod encoder;
mod folder;
mod keys;
mod metadata;
pub mod pooling;
mod rope;
#[cfg(test)]
mod tests;

pub use folder::{Checkpoint, CheckpointError, Folder, Problem, Weights, is_weights};
pub use rope::{Rope, Scaling};

use crate::shown::shown;
use keys::Keys;

/// The usual name of the file.
pub const FILE_NAME: &str = "config.json";
/// Longest `config.json` that is read, in bytes.
pub const LIMIT_BYTES: u64 = 1 << 20;
/// Most values that a `config.json` may hold; in memory each takes many times what it takes in the file.
const VALUES: usize = 1 << 14;

/// Classes of transformers that are served, and the architecture under which GGUF knows each.
pub const CLASSES: &[(&str, &str)] = &[
    ("LlamaForCausalLM", "llama"),
    ("MistralForCausalLM", "llama"),
    ("Qwen2ForCausalLM", "qwen2"),
    ("Qwen3ForCausalLM", "qwen3"),
    ("Gemma2ForCausalLM", "gemma2"),
    ("Gemma3ForCausalLM", "gemma3"),
    ("Phi3ForCausalLM", "phi3"),
    ("BertModel", "bert"),
    ("BertForMaskedLM", "bert"),
    ("BertForPreTraining", "bert"),
];

/// Why a `config.json` is refused. Every message names the file and the key, and shows of the file only what is harmless to print.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    #[error("config.json is no sound JSON: {0}")]
    Json(String),
    #[error(
        "config.json has {bytes} bytes and up to {values} values; at most {LIMIT_BYTES} bytes and {VALUES} values are read"
    )]
    TooLarge { bytes: usize, values: usize },
    #[error("config.json: {0} is missing")]
    Missing(String),
    #[error("config.json: {key} is {}; it must be {expected}", shown(found))]
    Type { key: String, found: String, expected: &'static str },
    #[error("config.json: {key} is {}; it must be {expected}", shown(found))]
    Range { key: String, found: String, expected: String },
    #[error("config.json: {0}")]
    Contradiction(String),
    #[error(
        "config.json: architectures names \"{}\", which is not supported; supported: {}",
        shown(found),
        class_names()
    )]
    Class { found: String },
    #[error("config.json: {key} \"{}\" is not supported; {advice}", shown(found))]
    Unsupported { key: String, found: String, advice: String },
}

fn class_names() -> String {
    CLASSES.iter().map(|(class, _)| *class).collect::<Vec<_>>().join(", ")
}

/// The shape and the settings of a model. Lengths are in elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Under GGUF's name.
    pub architecture: &'static str,
    pub block_count: u64,
    /// Tokens that the model was made for.
    pub context_length: u64,
    pub embedding_length: u64,
    pub feed_forward_length: u64,
    pub head_count: u64,
    pub head_count_kv: u64,
    /// Of keys and of values.
    pub head_length: u64,
    pub vocab_size: u64,
    /// Of RMS norms, or of layer norms where the architecture has those.
    pub epsilon: f64,
    /// Whether the output's matrix is the token embedding.
    pub tied: bool,
    /// None where positions are embedded.
    pub rope: Option<Rope>,
    /// Tokens that a token sees in layers with a window.
    pub window: Option<u64>,
    /// What products of queries and keys are multiplied with, where it is not 1 / sqrt(head_length).
    pub attention_scale: Option<f64>,
    pub attention_softcap: Option<f64>,
    pub logit_softcap: Option<f64>,
    /// Rows of the token type embedding; 0 where there is none.
    pub token_types: u64,
}

impl Config {
    /// Reads and checks a `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and what it must be.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let object = object(text)?;
        let keys = Keys::new(&object);
        let architecture = architecture(&keys)?;
        refuse_quantized(&keys)?;
        match architecture {
            "bert" => encoder::bert(&keys),
            _ => decoder(&keys, architecture),
        }
    }
}

/// The object that a file holds.
fn object(text: &[u8]) -> Result<serde_json::Map<String, serde_json::Value>, ConfigError> {
    // Every value but the first stands behind one of these, or behind a key that does.
    let values = text.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    if text.len() as u64 > LIMIT_BYTES || values > VALUES {
        return Err(ConfigError::TooLarge { bytes: text.len(), values });
    }
    serde_json::from_slice(text).map_err(|e| ConfigError::Json(e.to_string()))
}

fn architecture(keys: &Keys<'_>) -> Result<&'static str, ConfigError> {
    let found = keys.first_string("architectures")?;
    match CLASSES.iter().find(|(class, _)| *class == found) {
        Some((_, architecture)) => Ok(architecture),
        None => Err(ConfigError::Class { found: found.to_owned() }),
    }
}

fn refuse_quantized(keys: &Keys<'_>) -> Result<(), ConfigError> {
    if !keys.has("quantization_config") {
        return Ok(());
    }
    let method = keys.object("quantization_config")?.map(|k| k.string("quant_method").unwrap_or(None)).unwrap_or(None);
    Err(ConfigError::Unsupported {
        key: "quantization_config".to_owned(),
        found: method.unwrap_or("unknown").to_owned(),
        advice: "use the unquantized checkpoint (F32, F16, BF16) or a quantized GGUF file".to_owned(),
    })
}

/// Models that write from left to right.
fn decoder(keys: &Keys<'_>, architecture: &'static str) -> Result<Config, ConfigError> {
    let gemma = matches!(architecture, "gemma2" | "gemma3");
    let embedding_length = keys.required("hidden_size", 1, 1 << 20)?;
    let head_count = keys.required("num_attention_heads", 1, 1 << 14)?;
    let head_count_kv = keys.integer("num_key_value_heads", 1, 1 << 14)?.unwrap_or(head_count);
    if !head_count.is_multiple_of(head_count_kv) {
        let text = format!("num_attention_heads {head_count} cannot share num_key_value_heads {head_count_kv}");
        return Err(ConfigError::Contradiction(text));
    }
    let head_length = match keys.integer("head_dim", 1, 1 << 14)? {
        Some(length) => length,
        None if gemma => 256,
        None if architecture == "qwen3" => 128,
        None if embedding_length.is_multiple_of(head_count) => embedding_length / head_count,
        None => {
            let text = format!("hidden_size {embedding_length} is no multiple of num_attention_heads {head_count}");
            return Err(ConfigError::Contradiction(text));
        }
    };
    if keys.boolean("is_causal")? == Some(false) {
        return Err(unsupported(keys, "is_causal", "no token sees later ones here"));
    }
    if keys.boolean("use_bidirectional_attention")? == Some(true) {
        return Err(unsupported(keys, "use_bidirectional_attention", "no token sees later ones here"));
    }
    let block_count = keys.required("num_hidden_layers", 1, 1 << 12)?;
    activation(keys, if gemma { "gelu_pytorch_tanh" } else { "silu" })?;
    let context_length = keys.required("max_position_embeddings", 1, 1 << 30)?;
    let config = Config {
        architecture,
        block_count,
        context_length,
        embedding_length,
        feed_forward_length: keys.required("intermediate_size", 1, 1 << 24)?,
        head_count,
        head_count_kv,
        head_length,
        vocab_size: keys.required("vocab_size", 1, 1 << 24)?,
        epsilon: keys.within("rms_norm_eps", "attention.layer_norm_rms_epsilon")?.unwrap_or(1e-6),
        // transformers' own defaults where the file is silent.
        tied: keys.boolean("tie_word_embeddings")?.unwrap_or(gemma),
        rope: Some(rope::read(keys, architecture, head_length, context_length)?),
        window: None,
        attention_scale: keys.positive("query_pre_attn_scalar")?.filter(|_| gemma).map(|s| 1.0 / s.sqrt()),
        attention_softcap: keys.within("attn_logit_softcapping", "attn_logit_softcapping")?,
        logit_softcap: keys.within("final_logit_softcapping", "final_logit_softcapping")?,
        token_types: 0,
    };
    if architecture != "gemma2" && config.attention_softcap.is_some() {
        return Err(unsupported(keys, "attn_logit_softcapping", "only Gemma 2 has it"));
    }
    if !gemma && config.logit_softcap.is_some() {
        return Err(unsupported(keys, "final_logit_softcapping", "only Gemma has it"));
    }
    window(keys, config)
}

/// The activation of the feed-forward must be the one that the architecture computes.
fn activation(keys: &Keys<'_>, expected: &'static str) -> Result<(), ConfigError> {
    // Gemma's hidden_act is a leftover that hidden_activation replaced.
    let key = if keys.has("hidden_activation") { "hidden_activation" } else { "hidden_act" };
    match keys.string(key)? {
        None => Ok(()),
        Some(found) if found == expected => Ok(()),
        // transformers computes Gemma's "gelu" by the same approximation.
        Some("gelu") if expected == "gelu_pytorch_tanh" => Ok(()),
        Some(_) => Err(unsupported(keys, key, &format!("supported: {expected}"))),
    }
}

/// Which layers have a window is the architecture's; a checkpoint with another order of layers is refused.
fn window(keys: &Keys<'_>, mut config: Config) -> Result<Config, ConfigError> {
    let stated = keys.integer("sliding_window", 0, 1 << 30)?.filter(|&w| w > 0);
    let types = keys.strings("layer_types")?;
    let is_windowed = |layer: u64| match config.architecture {
        "gemma2" => layer.is_multiple_of(2),
        "gemma3" => !(layer + 1).is_multiple_of(6),
        _ => true,
    };
    match config.architecture {
        "gemma2" | "gemma3" => {
            let pattern = keys.integer("sliding_window_pattern", 1, 1 << 12)?;
            let usual = if config.architecture == "gemma2" { 2 } else { 6 };
            if pattern.is_some_and(|p| p != usual) {
                return Err(unsupported(keys, "sliding_window_pattern", &format!("supported: {usual}")));
            }
            config.window = Some(stated.unwrap_or(4096));
        }
        "qwen2" | "qwen3" if !keys.boolean("use_sliding_window")?.unwrap_or(false) => {}
        "qwen2" | "qwen3" => {
            return Err(unsupported(keys, "use_sliding_window", "set it to false to use full attention"));
        }
        _ => config.window = stated,
    }
    if let Some(types) = types {
        let expected = |layer: u64| match config.window.is_some() && is_windowed(layer) {
            true => "sliding_attention",
            false => "full_attention",
        };
        if types.len() as u64 != config.block_count || (0..).zip(&types).any(|(layer, t)| *t != expected(layer)) {
            return Err(ConfigError::Unsupported {
                key: "layer_types".to_owned(),
                found: types.join(", "),
                advice: format!("{} has another order of layers", config.architecture),
            });
        }
    }
    Ok(config)
}

fn unsupported(keys: &Keys<'_>, key: &str, advice: &str) -> ConfigError {
    ConfigError::Unsupported { key: key.to_owned(), found: keys.text(key), advice: advice.to_owned() }
}
