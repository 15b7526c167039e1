//! Settings of GGUF that change what a model computes: numbers that cannot be meant, and what nothing here computes. A model that is
//! computed without one of its settings answers wrongly and says nothing of it, so it is refused.
//!
//! Names are without the architecture in front. Which settings there are: `llama-arch.cpp` of llama.cpp.

use super::{FALLBACKS, is_encoder};
use crate::gguf::Value;
use std::fmt;

/// The numbers that a setting can be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    from: f64,
    to: f64,
    /// 0 stands for a setting that is not there.
    or_zero: bool,
}

impl Range {
    /// Whether a number is one of them.
    pub fn holds(&self, number: f64) -> bool {
        (self.from..=self.to).contains(&number) || self.or_zero && number == 0.0
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number from {:?} to {:?}{}", self.from, self.to, if self.or_zero { ", or 0" } else { "" })
    }
}

const fn range(from: f64, to: f64) -> Range {
    Range { from, to, or_zero: false }
}

/// Of every setting that is a fraction. Wide, so that no model is refused that could be meant; within them nothing overflows.
pub const RANGES: &[(&str, Range)] = &[
    ("rope.freq_base", range(1.001, 1e15)),
    ("rope.freq_base_swa", range(1.001, 1e15)),
    ("rope.scaling.factor", range(1.0, 1e6)),
    ("rope.scale_linear", range(1.0, 1e6)),
    ("rope.scaling.attn_factor", range(1e-2, 1e2)),
    ("rope.scaling.yarn_beta_fast", range(1e-3, 1e6)),
    ("rope.scaling.yarn_beta_slow", range(1e-3, 1e6)),
    ("attention.layer_norm_rms_epsilon", range(1e-30, 0.1)),
    ("attention.layer_norm_epsilon", range(1e-30, 0.1)),
    ("attention.scale", range(1e-6, 1e3)),
    ("attn_logit_softcapping", Range { from: 1.0, to: 1e6, or_zero: true }),
    ("final_logit_softcapping", Range { from: 1.0, to: 1e6, or_zero: true }),
];

/// The numbers that a setting can be, if it has a range.
pub fn range_of(name: &str) -> Option<Range> {
    RANGES.iter().find(|(known, _)| *known == name).map(|&(_, range)| range)
}

/// What a setting may be without changing anything.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Neutral {
    Zero,
    One,
    ZeroOrOne,
    False,
    True,
}

use Neutral::{False, One, True, Zero, ZeroOrOne};

/// What no model here computes.
const NOWHERE: &[(&str, Neutral)] = &[
    ("attention.clamp_kqv", Zero),
    ("attention.indexer.top_k", Zero),
    ("attention.key_length_mla", Zero),
    ("attention.key_length_swa", Zero),
    ("attention.kv_lora_rank", Zero),
    ("attention.max_alibi_bias", Zero),
    ("attention.output_scale", ZeroOrOne),
    ("attention.q_lora_rank", Zero),
    ("attention.relative_buckets_count", Zero),
    ("attention.shared_kv_layers", Zero),
    ("attention.temperature_length", Zero),
    ("attention.temperature_scale", Zero),
    ("attention.value_length_mla", Zero),
    ("attention.value_length_swa", Zero),
    ("attention.value_scale", ZeroOrOne),
    ("dense_2_feat_out", Zero),
    ("dense_3_feat_out", Zero),
    ("embedding_length_out", Zero),
    ("embedding_scale", ZeroOrOne),
    ("logit_scale", ZeroOrOne),
    ("nextn_predict_layers", Zero),
    ("residual_scale", ZeroOrOne),
    ("rope.dimension_count_swa", Zero),
    ("rope.dimension_sections", Zero),
    ("rope.scaling.alpha", Zero),
    ("rope.scaling.yarn_attn_factor", One),
    ("rope.scaling.yarn_ext_factor", One),
    ("rope.scaling.yarn_log_multiplier", Zero),
    ("router_logit_softcapping", Zero),
    ("swin_norm", False),
];

/// What only the decoders compute that are not candle-transformers'.
const OWN_DECODERS: &[(&str, Neutral)] = &[
    ("attention.scale", Zero),
    ("attention.sliding_window", Zero),
    ("rope.scale_linear", One),
    ("rope.scaling.attn_factor", One),
    ("rope.scaling.factor", One),
];

/// A setting that changes what a model computes, and is not computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncomputed {
    pub name: &'static str,
    pub value: String,
    /// What is computed instead.
    pub why: String,
}

/// The first setting that a model of this architecture would be computed without. `get` gives the value of a name.
pub fn uncomputed<'a>(architecture: &str, get: impl Fn(&str) -> Option<&'a Value>) -> Option<Uncomputed> {
    let own = !is_encoder(architecture) && !FALLBACKS.contains(&architecture);
    let of_architecture = [
        ("attention.causal", if is_encoder(architecture) { False } else { True }),
        ("use_parallel_residual", if architecture == "phi2" { True } else { False }),
        ("attn_logit_softcapping", Zero),
        ("final_logit_softcapping", Zero),
    ];
    let is_computed = |name: &str| match name {
        "attn_logit_softcapping" => architecture == "gemma2",
        "final_logit_softcapping" => architecture.starts_with("gemma"),
        _ => false,
    };
    let lists = [NOWHERE, if own { &[] } else { OWN_DECODERS }, &of_architecture];
    let mut settings = lists.into_iter().flatten().filter(|(name, _)| !is_computed(name));
    settings.find_map(|&(name, neutral)| {
        let value = get(name).filter(|value| !neutral.is(value))?;
        Some(Uncomputed { name, value: value.to_string(), why: neutral.to_string() })
    })
}

impl Neutral {
    fn is(self, value: &Value) -> bool {
        let number = value.as_f64().or_else(|| value.as_u64().map(|n| n as f64));
        match (self, value) {
            (Zero, Value::Array(array)) => array.to_i64s().is_some_and(|all| all.iter().all(|&n| n == 0)),
            (Zero, _) => number == Some(0.0),
            (One, _) => number == Some(1.0),
            (ZeroOrOne, _) => number == Some(0.0) || number == Some(1.0),
            (False, _) => value.as_bool() == Some(false),
            (True, _) => value.as_bool() == Some(true),
        }
    }
}

impl fmt::Display for Neutral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Zero => "only 0 is computed for this architecture",
            One => "only 1 is computed for this architecture",
            ZeroOrOne => "only 0 and 1 are computed for this architecture",
            False => "only false is computed for this architecture",
            True => "only true is computed for this architecture",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::architectures;
    use crate::gguf::Array;
    use std::collections::BTreeMap;

    fn refused(architecture: &str, name: &str, value: Value) -> Option<String> {
        let settings = BTreeMap::from([(name.to_owned(), value)]);
        uncomputed(architecture, |name| settings.get(name)).map(|found| format!("{} {}", found.name, found.value))
    }

    #[test]
    fn a_setting_that_is_not_computed_is_found_and_its_neutral_value_is_not() {
        for architecture in architectures() {
            assert_eq!(uncomputed(architecture, |_| None), None);
            for (name, neutral) in NOWHERE {
                let (set, unset) = match neutral {
                    Zero | ZeroOrOne => (Value::F32(8.0), Value::U32(0)),
                    One => (Value::F32(0.5), Value::F32(1.0)),
                    False => (Value::Bool(true), Value::Bool(false)),
                    True => (Value::Bool(false), Value::Bool(true)),
                };
                assert!(refused(architecture, name, set).is_some_and(|found| found.starts_with(name)));
                assert_eq!(refused(architecture, name, unset), None);
                assert!(refused(architecture, name, Value::String("x".into())).is_some());
            }
        }
        let sections = |last: i32| Value::Array(Array::I32(vec![0, 0, last]));
        assert!(refused("qwen2", "rope.dimension_sections", sections(8)).is_some());
        assert_eq!(refused("qwen2", "rope.dimension_sections", sections(0)), None);
    }

    #[test]
    fn what_one_architecture_computes_is_refused_of_the_others() {
        let who = |name: &str, value: Value| -> Vec<&str> {
            architectures().filter(|a| refused(a, name, value.clone()).is_none()).collect()
        };
        assert_eq!(who("attention.causal", Value::Bool(false)), ["bert"]);
        assert_eq!(who("use_parallel_residual", Value::Bool(true)), ["phi2"]);
        assert_eq!(who("attn_logit_softcapping", Value::F32(50.0)), ["gemma2"]);
        assert_eq!(who("final_logit_softcapping", Value::F32(30.0)), ["gemma2", "gemma3"]);
        let own = super::super::ARCHITECTURES;
        for name in ["attention.scale", "attention.sliding_window", "rope.scaling.factor", "rope.scale_linear"] {
            assert_eq!(who(name, Value::F32(8.0)), own, "{name}");
        }
    }
}
