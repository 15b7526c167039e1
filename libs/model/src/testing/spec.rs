//! A model with random weights: its shape, and the GGUF file that says it.

use super::weights::{self, Plan};
use super::{GgufFile, Vocabulary, quantize};
use crate::gguf::{DType, Value};

/// `rope.scaling.*`: how positions beyond the original context are treated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// `linear` or `yarn`.
    pub kind: &'static str,
    pub factor: f32,
    /// Tokens.
    pub original_context: u64,
}

/// The shape of a random model. [`ModelSpec::default`] is the smallest Llama that says anything; [`ModelSpec::of`] has one of every architecture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelSpec {
    /// `general.architecture`.
    pub architecture: &'static str,
    pub vocabulary: Vocabulary,
    pub layers: u64,
    /// The embedding length.
    pub width: u64,
    pub heads: u64,
    pub kv_heads: u64,
    /// Elements of a key and of a value of one head.
    pub head_length: u64,
    pub feed_forward: u64,
    /// Tokens.
    pub context: u64,
    /// The epsilon of norms.
    pub epsilon: f32,
    pub rope_base: f32,
    /// Elements of a head that are turned, if not all.
    pub turned: Option<u64>,
    /// Llama 3's `rope_freqs.weight`.
    pub rope_factors: bool,
    pub scaling: Option<Scaling>,
    /// The embedding is the output too.
    pub tied: bool,
    /// Queries, keys and values have biases.
    pub bias: bool,
    /// Queries and keys are normed per head.
    pub qk_norm: bool,
    /// Norms behind attention and feed-forward; for Gemma also scaled embeddings.
    pub post_norms: bool,
    /// One matrix for queries, keys and values (but for GLM 4), and one for gate and up where there is a gate.
    pub fused: bool,
    /// `attention.sliding_window`, in tokens.
    pub window: Option<u64>,
    /// Soft caps of attention and of logits.
    pub softcap: Option<(f32, f32)>,
    /// How matrices are stored; vectors are F32.
    pub dtype: DType,
    pub seed: u64,
}

impl Default for ModelSpec {
    fn default() -> Self {
        Self {
            architecture: "llama",
            vocabulary: Vocabulary::Bytes { pre: "gpt-2" },
            layers: 2,
            width: 16,
            heads: 4,
            kv_heads: 2,
            head_length: 4,
            feed_forward: 32,
            context: 64,
            epsilon: 1e-5,
            rope_base: 10_000.0,
            turned: None,
            rope_factors: false,
            scaling: None,
            tied: false,
            bias: false,
            qk_norm: false,
            post_norms: false,
            fused: false,
            window: None,
            softcap: None,
            dtype: DType::F32,
            seed: 1,
        }
    }
}

impl ModelSpec {
    /// A model of an architecture with everything that is special about it, in F32, wide enough for every data type.
    /// Sliding windows are 32 tokens. None for an architecture that this writer does not know.
    pub fn of(architecture: &str) -> Option<Self> {
        let base = Self { layers: 3, width: 256, head_length: 64, feed_forward: 512, context: 512, ..Self::default() };
        let qwen = Self { vocabulary: Vocabulary::Bytes { pre: "qwen2" }, rope_base: 1e6, ..base };
        let gemma = Self { head_length: 128, epsilon: 1e-6, tied: true, post_norms: true, window: Some(32), ..base };
        Some(match architecture {
            "llama" => base,
            "qwen2" => Self { architecture: "qwen2", tied: true, bias: true, seed: 2, ..qwen },
            "qwen3" => Self { architecture: "qwen3", head_length: 128, qk_norm: true, seed: 3, ..qwen },
            "gemma2" => Self { architecture: "gemma2", layers: 4, softcap: Some((50.0, 30.0)), seed: 4, ..gemma },
            // The sixth layer of seven sees everything.
            "gemma3" => Self { architecture: "gemma3", layers: 7, rope_base: 1e6, qk_norm: true, seed: 5, ..gemma },
            "phi3" => Self { architecture: "phi3", fused: true, seed: 6, ..base },
            "phi2" => {
                Self { architecture: "phi2", kv_heads: 4, turned: Some(32), fused: true, bias: true, seed: 12, ..base }
            }
            "glm4" => Self { architecture: "glm4", turned: Some(32), fused: true, post_norms: true, seed: 13, ..base },
            "bert" => Self {
                architecture: "bert",
                vocabulary: Vocabulary::WordPiece,
                kv_heads: 4,
                epsilon: 1e-12,
                seed: 11,
                ..base
            },
            _ => return None,
        })
    }

    /// The file to be, with its metadata and its tensors.
    pub fn file(&self) -> GgufFile {
        let file = self.vocabulary.write(self.header());
        weights::plan(self).iter().fold(file, |file, plan| {
            let dtype = self.stored_as(plan);
            let data = quantize(dtype, &plan.values(self));
            file.tensor(&plan.name, dtype, &plan.dims, data)
        })
    }

    /// Vectors are F32, and so is what a block of this data type does not divide.
    fn stored_as(&self, plan: &Plan) -> DType {
        let small =
            plan.dims.len() == 1 || ["token_types.weight", "position_embd.weight"].contains(&plan.name.as_str());
        match !small && plan.dims[0].is_multiple_of(self.dtype.block_elements()) {
            true => self.dtype,
            false => DType::F32,
        }
    }

    fn header(&self) -> GgufFile {
        let key = |suffix: &str| format!("{}.{suffix}", self.architecture);
        let number = |n: u64| Value::U32(n as u32);
        let text = |s: &str| Value::String(s.to_owned());
        let mut file = GgufFile::new()
            .with("general.architecture", text(self.architecture))
            .with("general.name", text(&format!("random weights {}", self.seed)))
            .with(&key("block_count"), number(self.layers))
            .with(&key("context_length"), number(self.context))
            .with(&key("embedding_length"), number(self.width))
            .with(&key("feed_forward_length"), number(self.feed_forward))
            .with(&key("attention.head_count"), number(self.heads))
            .with(&key("vocab_size"), number(self.vocabulary.tokens().len() as u64));
        if self.architecture == "bert" {
            return file
                .with(&key("attention.layer_norm_epsilon"), Value::F32(self.epsilon))
                .with(&key("attention.causal"), Value::Bool(false))
                // The mean of all tokens.
                .with(&key("pooling_type"), Value::U32(1));
        }
        let epsilon = match self.architecture {
            "phi2" => "attention.layer_norm_epsilon",
            _ => "attention.layer_norm_rms_epsilon",
        };
        let mut floats = vec![(epsilon, self.epsilon), ("rope.freq_base", self.rope_base)];
        if let Some((attention, logits)) = self.softcap {
            floats.extend([("attn_logit_softcapping", attention), ("final_logit_softcapping", logits)]);
        }
        let mut numbers = vec![
            ("attention.head_count_kv", self.kv_heads),
            ("attention.key_length", self.head_length),
            ("attention.value_length", self.head_length),
            ("rope.dimension_count", self.turned.unwrap_or(self.head_length)),
        ];
        numbers.extend(self.window.map(|window| ("attention.sliding_window", window)));
        if let Some(scaling) = self.scaling {
            file = file.with(&key("rope.scaling.type"), text(scaling.kind));
            floats.push(("rope.scaling.factor", scaling.factor));
            numbers.push(("rope.scaling.original_context_length", scaling.original_context));
        }
        let file = numbers.into_iter().fold(file, |file, (suffix, n)| file.with(&key(suffix), number(n)));
        floats.into_iter().fold(file, |file, (suffix, x)| file.with(&key(suffix), Value::F32(x)))
    }
}
