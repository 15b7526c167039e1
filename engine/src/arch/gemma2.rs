//! Gemma 2: every other layer sees a window; attention scores and logits are capped.

use super::{gemma, windowed};
use crate::LoadError;
use crate::source::Source;
use crate::spec::Spec;

/// The model of 27 billion parameters.
const LARGEST_LAYERS: usize = 46;

pub fn spec(source: &mut Source, _context: usize) -> Result<Spec, LoadError> {
    let mut spec = gemma(source, LARGEST_LAYERS)?;
    let settings = source.settings();
    let window = settings.number("attention.sliding_window")?.unwrap_or(4096);
    let pattern = windowed(settings, spec.layers.len(), 2)?;
    for (layer, windowed) in spec.layers.iter_mut().zip(pattern) {
        layer.window = (windowed && window > 0).then_some(window);
    }
    spec.attention_softcap = Some(settings.positive("attn_logit_softcapping")?.unwrap_or(50.0) as f32);
    spec.final_softcap = Some(settings.positive("final_logit_softcapping")?.unwrap_or(30.0) as f32);
    Ok(spec)
}
