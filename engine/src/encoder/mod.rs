//! Encoders: models that read a whole text at once and give a hidden state for every token, for embeddings.

mod bert;
mod norm;
#[cfg(test)]
mod tests;

use crate::backend::Backend;
use crate::load::Options;
use crate::source::Source;
use crate::{Chunk, Engine, EngineError, Kind, LoadError, Output, Pooling};
use bert::Bert;
use rayon::ThreadPool;
use rbee_model::format;

/// A BERT as an [`Engine`]. Sequences are computed one after the other, so none depends on another; nothing is kept of them.
pub struct Encoder {
    backend: Backend,
    bert: Bert,
    slots: usize,
    context_length: usize,
    pooling: Pooling,
    /// For what Candle computes, whatever the backend is.
    pool: ThreadPool,
}

impl Encoder {
    /// Builds the model of a source.
    ///
    /// # Errors
    /// [`LoadError`] if a setting or a tensor is missing, impossible or unknown.
    pub fn load(mut source: Source, options: Options) -> Result<Self, LoadError> {
        if !format::is_encoder(source.architecture()) {
            let (found, supported) = (source.architecture().to_owned(), format::ENCODERS.join(", "));
            return Err(LoadError::Architecture { found, supported });
        }
        let pooling = source.settings().pooling()?;
        let backend = Backend::new(options.device, options.threads)?;
        let bert = Bert::take(&backend, &mut source)?;
        source.finish()?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads.max(1)).build();
        let pool = pool.map_err(|e| LoadError::Threads(std::io::Error::other(e)))?;
        let context_length = options.context_length.min(bert.context_length());
        Ok(Self { backend, bert, slots: options.slots, context_length, pooling, pool })
    }

    fn check(&self, chunk: &Chunk<'_>) -> Result<(), EngineError> {
        let (slot, wanted) = (chunk.slot, chunk.tokens.len());
        if chunk.position != 0 {
            return Err(EngineError::Position { slot, held: 0, position: chunk.position });
        }
        if wanted > self.context_length {
            return Err(EngineError::ContextFull { slot, wanted, context_length: self.context_length });
        }
        if let Some(&token) = chunk.tokens.iter().find(|&&t| t as usize >= self.bert.vocab_size()) {
            return Err(EngineError::Token { slot, token });
        }
        let why = match chunk.output {
            Output::Hidden if wanted > 0 => return Ok(()),
            Output::Hidden => "a sequence without tokens has no hidden states",
            Output::None | Output::Logits => "an encoder gives hidden states of whole sequences only",
        };
        Err(EngineError::Refused { slot, why: why.into() })
    }
}

impl Engine for Encoder {
    fn kind(&self) -> Kind {
        Kind::Encoder
    }

    fn pooling(&self) -> Pooling {
        self.pooling
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn vocab_size(&self) -> usize {
        self.bert.vocab_size()
    }

    fn embedding_length(&self) -> usize {
        self.bert.embedding_length()
    }

    fn memory_bytes(&self) -> u64 {
        self.bert.bytes()
    }

    fn step(&mut self, chunks: &[Chunk<'_>]) -> Result<Vec<Vec<f32>>, EngineError> {
        chunks.iter().try_for_each(|chunk| self.check(chunk))?;
        let Self { backend, bert, pool, .. } = self;
        pool.install(|| {
            chunks.iter().map(|chunk| bert.forward(backend, chunk.tokens)).collect::<candle_core::Result<_>>()
        })
        .map_err(|e| EngineError::Compute(e.to_string()))
    }

    fn truncate(&mut self, _slot: usize, _length: usize) {}

    fn copy(&mut self, _from: usize, _to: usize, length: usize) -> bool {
        length == 0
    }
}
