//! Phi 3 and 4: queries, keys and values in one matrix, gate and up in another; long contexts turn by other factors than short ones.

use super::rope_factors;
use crate::LoadError;
use crate::source::Source;
use crate::spec::{ROPE_FACTORS, Spec};

pub fn spec(source: &mut Source, context: usize) -> Result<Spec, LoadError> {
    let mut spec = Spec::read(source)?;
    spec.fused_gate_up = true;
    spec.set_window(source)?;
    let original = source.settings().number("rope.scaling.original_context_length")?.filter(|&n| n > 0);
    let original = original.unwrap_or(spec.context_length);
    let [long, short] = ROPE_FACTORS;
    // One without the other would leave some lengths unscaled.
    if source.has(long) != source.has(short) {
        let missing = if source.has(long) { short } else { long };
        return Err(LoadError::MissingTensor(missing.to_owned()));
    }
    let long = rope_factors(source, long, &spec)?;
    let short = rope_factors(source, short, &spec)?;
    let factors = if context > original { long } else { short };
    spec.set_rope_factors(factors.as_deref());
    Ok(spec)
}
