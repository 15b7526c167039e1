//! The settings under GGUF's keys.

use super::{Config, Scaling};
use crate::gguf::Value;
use std::collections::BTreeMap;

impl Config {
    /// What the metadata of a GGUF file of this model says, without the tokenizer.
    pub fn metadata(&self) -> BTreeMap<String, Value> {
        let mut map = Settings { architecture: self.architecture, map: BTreeMap::new() };
        map.map.insert("general.architecture".to_owned(), Value::String(self.architecture.to_owned()));
        map.int("block_count", self.block_count);
        map.int("context_length", self.context_length);
        map.int("embedding_length", self.embedding_length);
        map.int("feed_forward_length", self.feed_forward_length);
        map.int("vocab_size", self.vocab_size);
        map.int("attention.head_count", self.head_count);
        map.int("attention.head_count_kv", self.head_count_kv);
        map.int("attention.key_length", self.head_length);
        map.int("attention.value_length", self.head_length);
        match self.architecture {
            "bert" => {
                map.float("attention.layer_norm_epsilon", self.epsilon);
                map.map.insert("bert.attention.causal".to_owned(), Value::Bool(false));
                map.map.insert("tokenizer.ggml.token_type_count".to_owned(), int(self.token_types));
            }
            _ => map.float("attention.layer_norm_rms_epsilon", self.epsilon),
        }
        if let Some(window) = self.window {
            map.int("attention.sliding_window", window);
        }
        for (key, value) in [
            ("attention.scale", self.attention_scale),
            ("attn_logit_softcapping", self.attention_softcap),
            ("final_logit_softcapping", self.logit_softcap),
        ] {
            value.into_iter().for_each(|value| map.float(key, value));
        }
        self.rope_settings(&mut map);
        map.map
    }

    fn rope_settings(&self, map: &mut Settings) {
        let Some(rope) = &self.rope else { return };
        map.int("rope.dimension_count", rope.dimensions);
        map.float("rope.freq_base", rope.base);
        if let Some(base) = rope.base_window {
            map.float("rope.freq_base_swa", base);
        }
        match &rope.scaling {
            // Llama 3's factors are a tensor.
            Scaling::None | Scaling::Llama3 { .. } => {}
            Scaling::Linear { factor } => {
                map.string("rope.scaling.type", "linear");
                map.float("rope.scaling.factor", *factor);
            }
            Scaling::Long { original_context, magnitude, .. } => {
                map.string("rope.scaling.type", "longrope");
                map.int("rope.scaling.original_context_length", *original_context);
                map.float("rope.scaling.attn_factor", *magnitude);
            }
            &Scaling::Yarn { factor, original_context, attention_factor, beta_fast, beta_slow } => {
                map.string("rope.scaling.type", "yarn");
                map.float("rope.scaling.factor", factor);
                map.int("rope.scaling.original_context_length", original_context);
                // GGUF's multiplies YaRN's own 1 + 0.1 ln(factor); transformers' replaces it.
                let share = attention_factor.map(|a| a / (1.0 + 0.1 * factor.ln()));
                for (key, value) in
                    [("attn_factor", share), ("yarn_beta_fast", beta_fast), ("yarn_beta_slow", beta_slow)]
                {
                    value.into_iter().for_each(|value| map.float(&format!("rope.scaling.{key}"), value));
                }
            }
        }
    }
}

struct Settings {
    architecture: &'static str,
    map: BTreeMap<String, Value>,
}

impl Settings {
    fn set(&mut self, key: &str, value: Value) {
        self.map.insert(format!("{}.{key}", self.architecture), value);
    }

    fn int(&mut self, key: &str, value: u64) {
        self.set(key, int(value));
    }

    fn float(&mut self, key: &str, value: f64) {
        self.set(key, Value::F32(value as f32));
    }

    fn string(&mut self, key: &str, value: &str) {
        self.set(key, Value::String(value.to_owned()));
    }
}

/// All integers of a configuration are below 2^31.
fn int(value: u64) -> Value {
    Value::U32(u32::try_from(value).unwrap_or(u32::MAX))
}
