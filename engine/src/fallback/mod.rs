//! Architectures that only candle-transformers has: slow, because nothing is batched and no prefix is shared, and right.
//!
//! Its models hold one sequence each and can only forget it whole, so every slot has a model of its own (weights are shared) and
//! remembers its tokens: what a model cannot take back is computed again. Each step computes the tokens whose pieces are settled
//! whatever follows, and the others when logits are wanted; so a result does not depend on how a prompt was cut or on other slots,
//! and no step computes a whole prompt.

mod finite;
mod form;
mod model;
mod pieces;
#[cfg(test)]
mod tests;

use crate::backend::{Backend, Device};
use crate::load::Options;
use crate::source::Source;
use crate::{Chunk, Engine, EngineError, LoadError, Output};
use form::Form;
use model::Model;
use rayon::ThreadPool;

/// A model of candle-transformers as an [`Engine`].
pub struct Fallback {
    slots: Vec<Slot>,
    form: Form,
    context_length: usize,
    memory_bytes: u64,
    device: candle_core::Device,
    pool: ThreadPool,
}

struct Slot {
    model: Model,
    tokens: Vec<u32>,
    /// How many of the tokens the model holds; 0 means that it begins anew.
    computed: usize,
}

impl Fallback {
    /// Builds the model of a source.
    ///
    /// # Errors
    /// [`LoadError`] if a setting or a tensor is missing, impossible or unknown.
    pub fn load(mut source: Source, options: Options) -> Result<Self, LoadError> {
        let form = Form::read(&source)?;
        let device = if options.device == Device::Cpu { Device::CandleCpu } else { options.device };
        let device = Backend::new(device, options.threads)?.device().clone();
        let context_length = options.context_length.min(form.context_length);
        let weights = source.bytes_total();
        let model = Model::load(&form, &mut source, context_length, &device)?;
        source.finish()?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads.max(1)).build();
        let pool = pool.map_err(|e| LoadError::Threads(std::io::Error::other(e)))?;
        let slot = || Slot { model: model.clone(), tokens: Vec::new(), computed: 0 };
        let kv = (options.slots * context_length * form.kv_elements * size_of::<f32>()) as u64;
        Ok(Self {
            slots: (0..options.slots).map(|_| slot()).collect(),
            form,
            context_length,
            memory_bytes: weights + kv,
            device,
            pool,
        })
    }

    fn check(&self, chunk: &Chunk<'_>) -> Result<(), EngineError> {
        let (slot, held) = (chunk.slot, self.slots[chunk.slot].tokens.len());
        if held != chunk.position {
            return Err(EngineError::Position { slot, held, position: chunk.position });
        }
        let wanted = held + chunk.tokens.len();
        if wanted > self.context_length {
            return Err(EngineError::ContextFull { slot, wanted, context_length: self.context_length });
        }
        if let Some(&token) = chunk.tokens.iter().find(|&&t| t as usize >= self.form.vocabulary) {
            return Err(EngineError::Token { slot, token });
        }
        match chunk.output {
            Output::Hidden => Err(EngineError::Refused {
                slot,
                why: format!("{} models give no hidden states", self.form.architecture),
            }),
            Output::None | Output::Logits => Ok(()),
        }
    }
}

impl Slot {
    /// Computes up to the `end` of some tokens, and gives the logits after the last.
    fn compute(&mut self, end: usize, device: &candle_core::Device) -> candle_core::Result<Vec<f32>> {
        let mut logits = Vec::new();
        let begin = self.computed;
        // If it fails the model holds nobody knows what.
        self.computed = 0;
        for piece in pieces::of(begin, end) {
            logits = self.model.forward(&self.tokens[piece.clone()], piece.start, device)?;
        }
        self.computed = end;
        Ok(logits)
    }
}

impl Engine for Fallback {
    fn gives_hidden(&self) -> bool {
        false
    }

    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn vocab_size(&self) -> usize {
        self.form.vocabulary
    }

    fn embedding_length(&self) -> usize {
        self.form.embedding
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn step(&mut self, chunks: &[Chunk<'_>]) -> Result<Vec<Vec<f32>>, EngineError> {
        chunks.iter().try_for_each(|chunk| self.check(chunk))?;
        let Self { slots, pool, device, .. } = self;
        let mut results = Vec::new();
        let mut failure = None;
        for chunk in chunks {
            let slot = &mut slots[chunk.slot];
            slot.tokens.extend_from_slice(chunk.tokens);
            let end = match chunk.output {
                Output::Logits => slot.tokens.len(),
                Output::None | Output::Hidden => pieces::settled(slot.tokens.len()).max(slot.computed),
            };
            if failure.is_some() {
                continue;
            }
            match model::guarded(|| pool.install(|| slot.compute(end, device))) {
                Ok(logits) if chunk.output == Output::Logits => results.push(logits),
                Ok(_) => {}
                Err(message) => failure = Some(message),
            }
        }
        let Some(message) = failure else { return Ok(results) };
        for chunk in chunks {
            self.truncate(chunk.slot, chunk.position);
        }
        Err(EngineError::Compute(message))
    }

    fn truncate(&mut self, slot: usize, length: usize) {
        let slot = &mut self.slots[slot];
        slot.tokens.truncate(length);
        if slot.computed > slot.tokens.len() {
            slot.computed = 0;
        }
    }

    fn copy(&mut self, from: usize, to: usize, length: usize) -> bool {
        let tokens = self.slots[from].tokens[..length].to_vec();
        let slot = &mut self.slots[to];
        (slot.tokens, slot.computed) = (tokens, 0);
        true
    }
}
