//! The one way from a model's source to an engine.

use crate::backend::Device;
use crate::causal::CausalEngine;
use crate::encoder::{self, Encoder};
use crate::fallback::{self, Fallback};
use crate::source::Source;
use crate::{Engine, LoadError, arch};

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
    if encoder::ARCHITECTURES.contains(&source.architecture()) {
        return Ok(Box::new(Encoder::load(source, options)?));
    }
    if fallback::ARCHITECTURES.contains(&source.architecture()) {
        return Ok(Box::new(Fallback::load(source, options)?));
    }
    let others = [encoder::ARCHITECTURES, fallback::ARCHITECTURES].concat();
    let supported = arch::names().chain(others).collect::<Vec<_>>().join(", ");
    Err(LoadError::Architecture { found: source.architecture().to_owned(), supported })
}
