//! The architectures: each file reads one's settings into a [`Spec`].

mod gemma2;
mod gemma3;
mod llama;
mod phi3;
mod qwen2;
mod qwen3;
#[cfg(test)]
mod tests;

use crate::LoadError;
use crate::source::{Settings, Source};
use crate::spec::Spec;
use rbee_model::gguf::{Array, Value};

/// Reads an architecture's settings. `context` is the most tokens of a sequence: some models turn otherwise for long ones.
type Read = fn(source: &mut Source, context: usize) -> Result<Spec, LoadError>;

/// Architectures by GGUF's names.
const ARCHITECTURES: [(&str, Read); 6] = [
    ("llama", llama::spec),
    ("qwen2", qwen2::spec),
    ("qwen3", qwen3::spec),
    ("gemma2", gemma2::spec),
    ("gemma3", gemma3::spec),
    ("phi3", phi3::spec),
];

/// Names of the architectures.
pub fn names() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().map(|(name, _)| *name)
}

/// The decoder that a source describes; None if its architecture is none of [`names`].
///
/// # Errors
/// [`LoadError`] if the settings are no decoder's.
pub fn spec(source: &mut Source, context: usize) -> Result<Option<Spec>, LoadError> {
    let found = ARCHITECTURES.iter().find(|(name, _)| *name == source.architecture());
    found.map(|(_, read)| read(source, context)).transpose()
}

/// Which layers have a sliding window: as the file says, a list or a period, else all but every `period`-th.
fn windowed(settings: &Settings, layers: usize, period: usize) -> Result<Vec<bool>, LoadError> {
    const NAME: &str = "attention.sliding_window_pattern";
    let period = match settings.get(NAME) {
        Some(Value::Array(Array::Bool(list))) if list.len() == layers => return Ok(list.clone()),
        Some(value @ Value::Array(_)) => {
            return Err(settings.refuse(NAME, value, format!("{layers} times true or false are needed")));
        }
        _ => settings.number(NAME)?.unwrap_or(period),
    };
    Ok((0..layers).map(|layer| period == 0 || layer % period < period - 1).collect())
}

/// What Gemma 2 and 3 have in common: sandwich norms, scaled embeddings, GELU, and queries of the largest one scaled by its width.
fn gemma(source: &Source, largest_layers: usize) -> Result<Spec, LoadError> {
    let mut spec = Spec::read(source)?;
    spec.activation = crate::spec::Activation::GeluTanh;
    spec.post_norms = true;
    spec.embedding_scale = (spec.embedding as f32).sqrt();
    if spec.layers.len() == largest_layers && source.settings().get("attention.scale").is_none() {
        spec.attention_scale = 1.0 / ((spec.embedding / spec.heads) as f32).sqrt();
    }
    Ok(spec)
}

/// A cap, where 0 stands for none.
fn softcap(settings: &Settings, name: &str, usual: f64) -> Result<Option<f32>, LoadError> {
    let cap = settings.float(name)?.unwrap_or(usual);
    Ok((cap > 0.0).then_some(cap as f32))
}

/// Takes the factors of a rotary embedding, one per pair.
fn rope_factors(source: &mut Source, name: &str, spec: &Spec) -> Result<Option<Vec<f32>>, LoadError> {
    let factors = source.take_optional_vector(name, spec.layers[0].rope.turned / 2)?;
    match &factors {
        Some(list) if list.iter().any(|&factor| factor <= 0.0) => {
            let message = "factors of frequencies must be above 0".to_owned();
            Err(LoadError::Read { name: name.to_owned(), message })
        }
        _ => Ok(factors),
    }
}
