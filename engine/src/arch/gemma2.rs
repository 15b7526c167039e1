//! Gemma 2: every other layer sees a window; attention scores and logits are capped.

use super::{gemma, softcap, windowed};
use crate::LoadError;
use crate::source::Source;
use crate::spec::Spec;

/// The model of 27 billion parameters.
const LARGEST_LAYERS: usize = 46;

pub fn spec(source: &mut Source, _context: usize) -> Result<Spec, LoadError> {
    let mut spec = gemma(source, LARGEST_LAYERS)?;
    let settings = source.settings();
    // Unlike Gemma 3 all its layers turn by one base.
    if let Some(base) = settings.float("rope.freq_base_swa")?.filter(|&base| base != spec.layers[0].rope.base) {
        return Err(settings.refuse("rope.freq_base_swa", base, "rope.freq_base is computed in all layers"));
    }
    let window = settings.number("attention.sliding_window")?.unwrap_or(4096);
    let pattern = windowed(settings, spec.layers.len(), 2)?;
    for (layer, windowed) in spec.layers.iter_mut().zip(pattern) {
        layer.window = (windowed && window > 0).then_some(window);
    }
    spec.attention_softcap = softcap(settings, "attn_logit_softcapping", 50.0)?;
    spec.final_softcap = softcap(settings, "final_logit_softcapping", 30.0)?;
    Ok(spec)
}
