//! Everything that tells one decoder from another: sizes, attention, rotary embedding, norms. Architectures read their settings into it,
//! layers are built from it.

use crate::source::{RowOrder, Source};
use crate::{LoadError, Pooling};
pub use rbee_kernels::{Activation, RopeStyle};

/// A decoder: blocks of attention and a gated feed-forward, with RMS norms before them.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Length of a hidden state.
    pub embedding: usize,
    pub vocabulary: usize,
    /// One entry per block.
    pub layers: Vec<LayerSpec>,
    pub heads: usize,
    /// Divides `heads`.
    pub kv_heads: usize,
    /// Length of a head's query and key.
    pub key_length: usize,
    /// Length of a head's value.
    pub value_length: usize,
    pub feed_forward: usize,
    /// Tokens that the model was made for.
    pub context_length: usize,
    /// Of the RMS norms.
    pub epsilon: f32,
    pub activation: Activation,
    /// Gate and up are one matrix, `ffn_up`, gate first.
    pub fused_gate_up: bool,
    /// Queries and keys are normed per head.
    pub qk_norm: bool,
    /// The outputs of attention and feed-forward are normed before they are added.
    pub post_norms: bool,
    /// What embeddings are multiplied with.
    pub embedding_scale: f32,
    /// What products of queries and keys are multiplied with.
    pub attention_scale: f32,
    /// Attention scores s become cap * tanh(s / cap).
    pub attention_softcap: Option<f32>,
    /// Logits are capped likewise.
    pub final_softcap: Option<f32>,
    pub rope_style: RopeStyle,
    pub pooling: Pooling,
}

/// What differs between blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSpec {
    /// A token sees so many tokens, itself included; None: all before it.
    pub window: Option<usize>,
    pub rope: RopeSpec,
}

/// The angles of the rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeSpec {
    pub base: f64,
    /// Elements of a head that are turned, an even number; the others stay.
    pub turned: usize,
    pub scaling: RopeScaling,
    /// Divides the frequency of each pair.
    pub factors: Option<Vec<f32>>,
    /// Sines and cosines are multiplied with it.
    pub magnitude: f64,
}

/// How a rotary embedding is stretched beyond the context that a model was trained with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    None,
    /// All frequencies are divided.
    Linear {
        factor: f64,
    },
    /// Low frequencies are divided, high ones stay (<https://arxiv.org/abs/2309.00071>).
    Yarn {
        factor: f64,
        original_context: f64,
        beta_fast: f64,
        beta_slow: f64,
    },
}

/// No size of a model is larger; products of two still fit in 64 bits.
const MAX_SIZE: usize = 1 << 24;

/// The factors of LongRoPE, for sequences beyond the original context and for others.
pub const ROPE_FACTORS: [&str; 2] = ["rope_factors_long.weight", "rope_factors_short.weight"];

impl Spec {
    /// What a Llama-like model of these settings is, before its architecture says what is special.
    ///
    /// # Errors
    /// [`LoadError`] if a size is missing, is 0 or contradicts another one.
    pub fn read(source: &Source) -> Result<Self, LoadError> {
        let settings = source.settings();
        settings.check(source.architecture())?;
        let size = |name: &str| match settings.size(name)? {
            n if n <= MAX_SIZE => Ok(n),
            n => Err(settings.refuse(name, n, format!("at most {MAX_SIZE} is possible"))),
        };
        let optional = |name: &str| settings.number(name)?.map(|_| size(name)).transpose();
        let embedding = size("embedding_length")?;
        let heads = size("attention.head_count")?;
        let kv_heads = optional("attention.head_count_kv")?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(settings.refuse("attention.head_count_kv", kv_heads, format!("{heads} heads cannot share it")));
        }
        let key_length = match optional("attention.key_length")? {
            Some(length) => length,
            None if embedding.is_multiple_of(heads) => embedding / heads,
            None => {
                let why = format!("{heads} heads cannot share it");
                return Err(settings.refuse("embedding_length", embedding, why));
            }
        };
        let rope = RopeSpec::read(source, key_length)?;
        Ok(Self {
            embedding,
            vocabulary: source.vocabulary()?,
            layers: vec![LayerSpec { window: None, rope }; size("block_count")?.min(1 << 12)],
            heads,
            kv_heads,
            key_length,
            value_length: optional("attention.value_length")?.unwrap_or(key_length),
            feed_forward: size("feed_forward_length")?,
            context_length: settings.size("context_length")?,
            epsilon: settings.float("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5) as f32,
            activation: Activation::Silu,
            fused_gate_up: false,
            qk_norm: false,
            post_norms: false,
            embedding_scale: 1.0,
            attention_scale: match settings.float("attention.scale")? {
                Some(scale) => scale as f32,
                None => 1.0 / (key_length as f32).sqrt(),
            },
            attention_softcap: None,
            final_softcap: None,
            rope_style: RopeStyle::Halves,
            pooling: settings.pooling()?,
        })
    }

    /// Rows of the matrix that makes queries.
    pub fn query_rows(&self) -> usize {
        self.heads * self.key_length
    }

    /// Rows of the matrix that makes keys.
    pub fn key_rows(&self) -> usize {
        self.kv_heads * self.key_length
    }

    /// Rows of the matrix that makes values.
    pub fn value_rows(&self) -> usize {
        self.kv_heads * self.value_length
    }

    /// Sets the window of every layer where a checkpoint states one. GGUF files of the same models do not mean what they state.
    ///
    /// # Errors
    /// [`LoadError::Setting`] if it is no number.
    pub fn set_window(&mut self, source: &Source) -> Result<(), LoadError> {
        if source.row_order() == RowOrder::HuggingFace {
            let window = source.settings().number("attention.sliding_window")?.filter(|&window| window > 0);
            self.layers.iter_mut().for_each(|layer| layer.window = window);
        }
        Ok(())
    }

    /// Sets the factors of every layer's rotary embedding.
    pub fn set_rope_factors(&mut self, factors: Option<&[f32]>) {
        self.layers.iter_mut().for_each(|layer| layer.rope.factors = factors.map(<[f32]>::to_vec));
    }
}

impl RopeSpec {
    /// The rotary embedding of these settings, without factors.
    ///
    /// # Errors
    /// [`LoadError::Setting`] if a number is impossible or the scaling is one that is not computed.
    pub fn read(source: &Source, key_length: usize) -> Result<Self, LoadError> {
        let settings = source.settings();
        let turned = settings.number("rope.dimension_count")?.filter(|&n| n > 0).unwrap_or(key_length);
        if turned > key_length || !turned.is_multiple_of(2) {
            let why = format!("it must be even and at most the length of a head, {key_length}");
            return Err(settings.refuse("rope.dimension_count", turned, why));
        }
        let factor = match settings.float("rope.scaling.factor")? {
            None => settings.float("rope.scale_linear")?,
            stated => stated,
        };
        let mut magnitude = settings.float("rope.scaling.attn_factor")?.unwrap_or(1.0);
        let scaling = match (settings.text("rope.scaling.type")?, factor) {
            (Some("none"), _) | (None | Some("linear" | "yarn"), None) => RopeScaling::None,
            (Some("longrope"), None) if ROPE_FACTORS.iter().all(|name| source.has(name)) => RopeScaling::None,
            (Some("longrope"), _) => {
                let why = format!("the tensors {} are needed, and no factor beside them", ROPE_FACTORS.join(" and "));
                return Err(settings.refuse("rope.scaling.type", "longrope", why));
            }
            (None | Some("linear"), Some(factor)) => RopeScaling::Linear { factor },
            (Some("yarn"), Some(factor)) => {
                let trained = settings.size("context_length")?;
                let original = settings.number("rope.scaling.original_context_length")?.filter(|&n| n > 0);
                magnitude *= 1.0 + 0.1 * factor.ln();
                let beta_fast = settings.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0);
                let beta_slow = settings.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0);
                if beta_slow >= beta_fast {
                    let why = format!("it must be below rope.scaling.yarn_beta_fast, {beta_fast}");
                    return Err(settings.refuse("rope.scaling.yarn_beta_slow", beta_slow, why));
                }
                let original_context = original.unwrap_or(trained) as f64;
                RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow }
            }
            (Some(other), _) => {
                let why = "only none, linear, yarn and longrope are supported";
                return Err(settings.refuse("rope.scaling.type", format!("{other:?}"), why));
            }
        };
        let base = settings.float("rope.freq_base")?.unwrap_or(10_000.0);
        Ok(Self { base, turned, scaling, factors: None, magnitude })
    }

    /// Radians per position of each pair.
    pub fn frequencies(&self) -> Vec<f64> {
        let scaled = |pair: usize| {
            let exponent = (2 * pair) as f64 / self.turned as f64;
            let factor = self.factors.as_ref().map_or(1.0, |f| f64::from(f[pair]));
            let frequency = self.base.powf(-exponent) / factor;
            match self.scaling {
                RopeScaling::None => frequency,
                RopeScaling::Linear { factor } => frequency / factor,
                RopeScaling::Yarn { factor, .. } => {
                    let kept = self.yarn_kept(pair);
                    frequency / factor * (1.0 - kept) + frequency * kept
                }
            }
        };
        (0..self.turned / 2).map(scaled).collect()
    }

    /// How much of a pair's own frequency YaRN keeps, 0 to 1.
    fn yarn_kept(&self, pair: usize) -> f64 {
        let RopeScaling::Yarn { original_context, beta_fast, beta_slow, .. } = self.scaling else { return 1.0 };
        let turned = self.turned as f64;
        let pair_of_turns =
            |turns: f64| turned * (original_context / (turns * std::f64::consts::TAU)).ln() / (2.0 * self.base.ln());
        let low = pair_of_turns(beta_fast).floor().max(0.0);
        let high = pair_of_turns(beta_slow).ceil().min(turned - 1.0);
        let ramp = (pair as f64 - low) / (high - low).max(0.001);
        1.0 - ramp.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(scaling: RopeScaling) -> RopeSpec {
        RopeSpec { base: 10_000.0, turned: 8, scaling, factors: None, magnitude: 1.0 }
    }

    #[test]
    fn frequencies_fall_from_1_by_the_base() {
        let plain = rope(RopeScaling::None).frequencies();
        assert_eq!(plain.len(), 4);
        assert!((plain[0] - 1.0).abs() < 1e-12 && (plain[1] - 0.1).abs() < 1e-12 && (plain[3] - 0.001).abs() < 1e-12);
        let linear = rope(RopeScaling::Linear { factor: 4.0 }).frequencies();
        assert!(plain.iter().zip(&linear).all(|(p, l)| (p / l - 4.0).abs() < 1e-9));
        let factors = RopeSpec { factors: Some(vec![1.0, 2.0, 4.0, 8.0]), ..rope(RopeScaling::None) }.frequencies();
        assert!((factors[3] * 8.0 - plain[3]).abs() < 1e-12);
    }

    #[test]
    fn yarn_keeps_the_fast_and_divides_the_slow() {
        let plain = rope(RopeScaling::None).frequencies();
        let yarn = RopeScaling::Yarn { factor: 4.0, original_context: 512.0, beta_fast: 32.0, beta_slow: 1.0 };
        let yarn = rope(yarn).frequencies();
        assert!((yarn[0] - plain[0]).abs() < 1e-12, "more than 32 turns in the original context");
        assert!((yarn[3] - plain[3] / 4.0).abs() < 1e-12, "less than one turn");
        assert!(yarn[1] < plain[1] && yarn[1] > plain[1] / 4.0);
    }
}
