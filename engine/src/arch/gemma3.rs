//! Gemma 3: five of six layers see a window and turn by a base of their own; queries and keys are normed per head.

use super::{gemma, softcap, windowed};
use crate::LoadError;
use crate::source::Source;
use crate::spec::{RopeScaling, Spec};

/// The model of 27 billion parameters.
const LARGEST_LAYERS: usize = 62;

pub fn spec(source: &mut Source, _context: usize) -> Result<Spec, LoadError> {
    let mut spec = gemma(source, LARGEST_LAYERS)?;
    let settings = source.settings();
    spec.qk_norm = true;
    spec.final_softcap = softcap(settings, "final_logit_softcapping", 0.0)?;
    let Some(window) = settings.number("attention.sliding_window")?.filter(|&window| window > 0) else {
        return Ok(spec);
    };
    let local_base = settings.float("rope.freq_base_swa")?.unwrap_or(10_000.0);
    let pattern = windowed(settings, spec.layers.len(), 6)?;
    for (layer, _) in spec.layers.iter_mut().zip(pattern).filter(|(_, windowed)| *windowed) {
        layer.window = Some(window);
        layer.rope.base = local_base;
        layer.rope.scaling = RopeScaling::None;
    }
    Ok(spec)
}
