//! Rotary positions in `config.json`: `rope_theta` beside `rope_scaling`, or both in `rope_parameters`.

use super::{Config, ConfigError, Keys, unsupported};
use std::f64::consts::PI;

/// How positions turn pairs of elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    pub base: f64,
    /// The base in layers with a window, where it is another.
    pub base_window: Option<f64>,
    /// Elements of a head that are turned; even.
    pub dimensions: u64,
    pub scaling: Scaling,
}

/// How angles are stretched for contexts longer than the trained one.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    None,
    Linear {
        factor: f64,
    },
    /// Llama 3.1's: low frequencies are divided, high ones kept.
    Llama3 {
        factor: f64,
        low_frequency: f64,
        high_frequency: f64,
        original_context: u64,
    },
    Yarn {
        factor: f64,
        original_context: u64,
        attention_factor: Option<f64>,
        beta_fast: Option<f64>,
        beta_slow: Option<f64>,
    },
    /// Phi 3's: every pair has a divisor for long contexts, and another for those up to the original one.
    Long {
        long: Vec<f32>,
        short: Vec<f32>,
        original_context: u64,
        /// Sines and cosines are multiplied with it.
        magnitude: f64,
    },
}

pub(super) fn read(keys: &Keys<'_>, architecture: &str, head: u64, context: u64) -> Result<Rope, ConfigError> {
    let parameters = keys.object("rope_parameters")?;
    // Gemma 3 has one set of parameters for each type of layer.
    let (global, local) = match &parameters {
        Some(p) if p.has("full_attention") => (p.object("full_attention")?, p.object("sliding_attention")?),
        _ => (None, None),
    };
    let place = global.as_ref().or(parameters.as_ref());
    let from = place.unwrap_or(keys);
    let default_base = if architecture == "gemma3" { 1e6 } else { 1e4 };
    let base = theta(from)?.or(theta(keys)?).unwrap_or(default_base);
    let base_window = match (architecture, &local) {
        ("gemma3", Some(local)) => Some(theta(local)?.unwrap_or(1e4)),
        ("gemma3", None) => Some(keys.within("rope_local_base_freq", "rope.freq_base_swa")?.unwrap_or(1e4)),
        _ => None,
    };
    let share = match from.positive("partial_rotary_factor")? {
        Some(share) => share,
        None => keys.positive("partial_rotary_factor")?.unwrap_or(1.0),
    };
    let dimensions = (head as f64 * share) as u64;
    if share > 1.0 || dimensions == 0 || !dimensions.is_multiple_of(2) {
        let text =
            format!("partial_rotary_factor {share} of heads of {head} elements gives {dimensions} turned elements");
        return Err(ConfigError::Contradiction(format!("{text}; an even number of at least 2 is needed")));
    }
    let stretched = match place {
        Some(_) => None,
        None => keys.object("rope_scaling")?,
    };
    let scaling = match place.or(stretched.as_ref()) {
        Some(place) if architecture == "phi3" && is_long(place)? => long(keys, place, dimensions, context)?,
        Some(place) => scaling(place, context)?,
        None => Scaling::None,
    };
    Ok(Rope { base, base_window, dimensions, scaling })
}

/// The key that names the kind of scaling.
fn kind(keys: &Keys<'_>) -> &'static str {
    if keys.has("rope_type") { "rope_type" } else { "type" }
}

fn is_long(keys: &Keys<'_>) -> Result<bool, ConfigError> {
    Ok(matches!(keys.string(kind(keys))?, Some("longrope" | "su")))
}

/// Formula: `_compute_longrope_parameters` in transformers' `modeling_rope_utils.py`.
fn long(config: &Keys<'_>, keys: &Keys<'_>, dimensions: u64, context: u64) -> Result<Scaling, ConfigError> {
    const ORIGINAL: &str = "original_max_position_embeddings";
    let from = if config.has(ORIGINAL) { config } else { keys };
    let original_context = from.required(ORIGINAL, 2, 1 << 30)?;
    let factors = |key: &str| {
        let numbers = keys.numbers(key)?.ok_or_else(|| ConfigError::Missing(keys.name(key)))?;
        match numbers.len() as u64 * 2 == dimensions {
            true => Ok(numbers),
            false => {
                let text = format!("{} has {} numbers; {} are needed", keys.name(key), numbers.len(), dimensions / 2);
                Err(ConfigError::Contradiction(text))
            }
        }
    };
    let stretch = context as f64 / original_context as f64;
    let usual = if stretch > 1.0 { (1.0 + stretch.ln() / (original_context as f64).ln()).sqrt() } else { 1.0 };
    let magnitude = keys.within("attention_factor", "rope.scaling.attn_factor")?.unwrap_or(usual);
    Ok(Scaling::Long { long: factors("long_factor")?, short: factors("short_factor")?, original_context, magnitude })
}

fn scaling(keys: &Keys<'_>, context: u64) -> Result<Scaling, ConfigError> {
    let key = kind(keys);
    let original = || keys.integer("original_max_position_embeddings", 1, 1 << 30);
    match keys.string(key)? {
        None | Some("default") => Ok(Scaling::None),
        Some("linear") => Ok(Scaling::Linear { factor: factor(keys)? }),
        Some("llama3") => {
            let (low_frequency, high_frequency) =
                (keys.required_positive("low_freq_factor")?, keys.required_positive("high_freq_factor")?);
            if low_frequency >= high_frequency {
                let (low, high) = (keys.name("low_freq_factor"), keys.name("high_freq_factor"));
                let text = format!("{low} {low_frequency} must be below {high} {high_frequency}");
                return Err(ConfigError::Contradiction(text));
            }
            let original_context =
                original()?.ok_or_else(|| ConfigError::Missing(keys.name("original_max_position_embeddings")))?;
            Ok(Scaling::Llama3 { factor: factor(keys)?, low_frequency, high_frequency, original_context })
        }
        Some("yarn") => {
            for key in ["mscale", "mscale_all_dim"] {
                if keys.has(key) {
                    return Err(unsupported(keys, key, "it belongs to another architecture"));
                }
            }
            Ok(Scaling::Yarn {
                factor: factor(keys)?,
                original_context: original()?.unwrap_or(context),
                attention_factor: keys.positive("attention_factor")?,
                beta_fast: keys.within("beta_fast", "rope.scaling.yarn_beta_fast")?,
                beta_slow: keys.within("beta_slow", "rope.scaling.yarn_beta_slow")?,
            })
        }
        Some(found) => Err(ConfigError::Unsupported {
            key: keys.name(key),
            found: found.to_owned(),
            advice: "supported: default, linear, llama3, yarn, and longrope for Phi 3".to_owned(),
        }),
    }
}

fn theta(keys: &Keys<'_>) -> Result<Option<f64>, ConfigError> {
    keys.within("rope_theta", "rope.freq_base")
}

fn factor(keys: &Keys<'_>) -> Result<f64, ConfigError> {
    keys.within("factor", "rope.scaling.factor")?.ok_or_else(|| ConfigError::Missing(keys.name("factor")))
}

impl Config {
    /// What GGUF holds in the tensors `rope_factors_long.weight` and `rope_factors_short.weight`.
    pub fn long_factors(&self) -> Option<(&[f32], &[f32])> {
        match &self.rope.as_ref()?.scaling {
            Scaling::Long { long, short, .. } => Some((long, short)),
            _ => None,
        }
    }

    /// Numbers by which the angle of each turned pair is divided: GGUF's `rope_freqs.weight`. Only Llama 3's scaling has them.
    /// Formula: `_compute_llama3_parameters` in transformers' `modeling_rope_utils.py`.
    pub fn rope_factors(&self) -> Option<Vec<f32>> {
        let rope = self.rope.as_ref()?;
        let Scaling::Llama3 { factor, low_frequency, high_frequency, original_context } = rope.scaling else {
            return None;
        };
        let original = original_context as f64;
        let pair = |i: u64| {
            let angle = rope.base.powf(-((2 * i) as f64) / rope.dimensions as f64);
            let wavelength = 2.0 * PI / angle;
            if wavelength < original / high_frequency {
                1.0
            } else if wavelength > original / low_frequency {
                factor
            } else {
                let smooth = (original / wavelength - low_frequency) / (high_frequency - low_frequency);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        Some((0..rope.dimensions / 2).map(|i| pair(i) as f32).collect())
    }
}
