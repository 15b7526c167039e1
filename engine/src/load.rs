//! The one way from a model's source to an engine.

use crate::backend::Device;
use crate::causal::CausalEngine;
use crate::encoder::Encoder;
use crate::fallback::Fallback;
use crate::source::Source;
use crate::{Engine, LoadError, arch};
use rbee_model::format;

/// What an engine is made of besides the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub slots: usize,
    /// Most tokens of one sequence.
    pub context_length: usize,
    /// Threads that compute on the CPU.
    pub threads: usize,
    pub device: Device,
}

/// How far loading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub layers_loaded: usize,
    pub layers_total: usize,
    /// Bytes of weights.
    pub bytes: u64,
    pub bytes_total: u64,
}

/// Makes the engine of a model. `progress` is told as layers are loaded, and at the end.
///
/// # Errors
/// [`LoadError`]: the architecture is none that is supported, the tensors are not what it needs, or memory or threads are missing.
pub fn load(
    mut source: Source,
    options: Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Box<dyn Engine>, LoadError> {
    if let Some(spec) = arch::spec(&mut source, options.context_length)? {
        return Ok(Box::new(CausalEngine::load(source, &spec, options, progress)?));
    }
    let bytes_total = source.bytes_total();
    let engine: Box<dyn Engine> = match source.architecture() {
        encoder if format::is_encoder(encoder) => Box::new(Encoder::load(source, options)?),
        other if format::FALLBACKS.contains(&other) => Box::new(Fallback::load(source, options)?),
        unknown => {
            let others = format::FALLBACKS.iter().chain(format::ENCODERS).copied();
            let supported = arch::names().chain(others).collect::<Vec<_>>().join(", ");
            return Err(LoadError::Architecture { found: unknown.to_owned(), supported });
        }
    };
    // These are loaded in one go.
    progress(Progress { layers_loaded: 1, layers_total: 1, bytes: bytes_total, bytes_total });
    Ok(engine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decoders_are_those_that_the_model_library_lists() {
        assert!(arch::names().eq(format::ARCHITECTURES.iter().copied()));
    }
}
