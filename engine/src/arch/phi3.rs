//! Phi 3 and 4: queries, keys and values in one matrix, gate and up in another; long contexts turn by other factors than short ones.

use super::rope_factors;
use crate::LoadError;
use crate::source::Source;
use crate::spec::Spec;

pub fn spec(source: &mut Source, context: usize) -> Result<Spec, LoadError> {
    let mut spec = Spec::read(source)?;
    spec.fused_gate_up = true;
    spec.set_window(source)?;
    let original = source.settings().number("rope.scaling.original_context_length")?.unwrap_or(spec.context_length);
    let long = rope_factors(source, "rope_factors_long.weight", &spec)?;
    let short = rope_factors(source, "rope_factors_short.weight", &spec)?;
    let factors = if context > original { long } else { short };
    spec.set_rope_factors(factors.as_deref());
    Ok(spec)
}
