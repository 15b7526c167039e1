//! Llama 1 to 3, TinyLlama, Mistral and what else has their form.

use super::rope_factors;
use crate::LoadError;
use crate::source::{RowOrder, Source};
use crate::spec::{RopeStyle, Spec};

pub fn spec(source: &mut Source, _context: usize) -> Result<Spec, LoadError> {
    let mut spec = Spec::read(source)?;
    spec.rope_style = match source.row_order() {
        RowOrder::Gguf => RopeStyle::Interleaved,
        RowOrder::HuggingFace => RopeStyle::Halves,
    };
    spec.set_window(source)?;
    let factors = rope_factors(source, "rope_freqs.weight", &spec)?;
    spec.set_rope_factors(factors.as_deref());
    Ok(spec)
}
