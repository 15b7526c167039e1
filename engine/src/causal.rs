//! The engine of decoders: slots, checks of what a step asks for, and a [`Decoder`] that computes it.

use crate::backend::Backend;
use crate::decoder::Decoder;
use crate::layers::attention::{Batch, Sequence};
use crate::layers::cache::Caches;
use crate::load::{Options, Progress};
use crate::source::Source;
use crate::spec::Spec;
use crate::{Chunk, Engine, EngineError, LoadError, Output, Pooling};
use candle_core::{Result, Tensor};
use rbee_kernels::Row;

/// A decoder with its slots.
pub struct CausalEngine {
    backend: Backend,
    decoder: Decoder,
    caches: Caches,
    context_length: usize,
    vocabulary: usize,
    embedding: usize,
    pooling: Pooling,
    memory_bytes: u64,
}

/// The rows of a step and what is wanted of them.
struct Plan {
    tokens: Vec<u32>,
    batch: Batch,
    /// Rows of which the hidden state is wanted, in order.
    wanted: Vec<u32>,
    /// Of `wanted`, those whose logits are wanted.
    for_logits: Vec<u32>,
}

impl CausalEngine {
    /// Loads a decoder of the given form.
    ///
    /// # Errors
    /// [`LoadError`] if the tensors are not the form's, or threads or memory are missing.
    pub fn load(
        source: Source,
        spec: &Spec,
        options: Options,
        progress: &mut dyn FnMut(Progress),
    ) -> std::result::Result<Self, LoadError> {
        let Options { slots, context_length, threads, device } = options;
        let backend = Backend::new(device, threads)?;
        let weights = source.bytes_total();
        let decoder = Decoder::take(&backend, source, spec, progress)?;
        Ok(Self {
            caches: Caches::new(&backend, spec, slots, context_length)?,
            backend,
            decoder,
            context_length,
            vocabulary: spec.vocabulary,
            embedding: spec.embedding,
            pooling: spec.pooling,
            memory_bytes: weights + Caches::bytes(spec, slots, context_length),
        })
    }

    fn check(&self, chunks: &[Chunk<'_>]) -> std::result::Result<(), EngineError> {
        for chunk in chunks {
            let (slot, held) = (chunk.slot, self.caches.length(chunk.slot));
            if chunk.tokens.is_empty() {
                return Err(EngineError::Refused { slot, why: "it was given no tokens".into() });
            }
            if held != chunk.position {
                return Err(EngineError::Position { slot, held, position: chunk.position });
            }
            let wanted = held + chunk.tokens.len();
            if wanted > self.context_length {
                return Err(EngineError::ContextFull { slot, wanted, context_length: self.context_length });
            }
            if let Some(&token) = chunk.tokens.iter().find(|&&t| t as usize >= self.vocabulary) {
                return Err(EngineError::Token { slot, token });
            }
        }
        Ok(())
    }

    fn forward(&mut self, chunks: &[Chunk<'_>]) -> Result<Vec<Vec<f32>>> {
        let Self { backend, decoder, caches, .. } = self;
        let plan = Plan::new(chunks);
        let Some(hidden) = decoder.hidden(backend, &plan.tokens, &plan.batch, &plan.wanted, caches)? else {
            return Ok(Vec::new());
        };
        let mut logits = plan.logits(backend, decoder, &hidden)?.into_iter();
        let mut results = Vec::new();
        let mut row = 0;
        for chunk in chunks {
            match chunk.output {
                Output::None => {}
                Output::Logits => {
                    results.extend(logits.next());
                    row += 1;
                }
                Output::Hidden => {
                    results.push(hidden.narrow(0, row, chunk.tokens.len())?.flatten_all()?.to_vec1()?);
                    row += chunk.tokens.len();
                }
            }
        }
        Ok(results)
    }
}

impl Plan {
    fn new(chunks: &[Chunk<'_>]) -> Self {
        let mut plan = Self {
            tokens: Vec::new(),
            batch: Batch { rows: Vec::new(), sequences: Vec::new() },
            wanted: Vec::new(),
            for_logits: Vec::new(),
        };
        for chunk in chunks {
            let first = plan.tokens.len();
            plan.tokens.extend_from_slice(chunk.tokens);
            let end = plan.tokens.len();
            let row = |i: usize| Row { cache: chunk.slot, position: chunk.position + i };
            plan.batch.rows.extend((0..chunk.tokens.len()).map(row));
            plan.batch.sequences.push(Sequence { slot: chunk.slot, position: chunk.position, rows: first..end });
            match chunk.output {
                Output::None => {}
                Output::Logits => {
                    plan.for_logits.push(plan.wanted.len() as u32);
                    plan.wanted.push(end as u32 - 1);
                }
                Output::Hidden => plan.wanted.extend(first as u32..end as u32),
            }
        }
        plan
    }

    /// One row of logits for each row of which they are wanted.
    fn logits(&self, backend: &Backend, decoder: &Decoder, hidden: &Tensor) -> Result<Vec<Vec<f32>>> {
        if self.for_logits.is_empty() {
            return Ok(Vec::new());
        }
        let logits = if self.for_logits.len() == self.wanted.len() {
            decoder.logits(backend, hidden)?
        } else {
            let rows = Tensor::new(self.for_logits.as_slice(), backend.device())?;
            decoder.logits(backend, &hidden.index_select(&rows, 0)?)?
        };
        let rows = logits.to_vec2()?;
        backend.recycle(logits)?;
        Ok(rows)
    }
}

impl Engine for CausalEngine {
    fn pooling(&self) -> Pooling {
        self.pooling
    }

    fn slots(&self) -> usize {
        self.caches.slots()
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn vocab_size(&self) -> usize {
        self.vocabulary
    }

    fn embedding_length(&self) -> usize {
        self.embedding
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn step(&mut self, chunks: &[Chunk<'_>]) -> std::result::Result<Vec<Vec<f32>>, EngineError> {
        self.check(chunks)?;
        if chunks.is_empty() {
            return Ok(Vec::new());
        }
        // Lengths grow only at the end, so that a step that failed leaves the slots as they were.
        let results = self.forward(chunks).map_err(|e| EngineError::Compute(e.to_string()))?;
        for chunk in chunks {
            self.caches.set_length(chunk.slot, chunk.position + chunk.tokens.len());
        }
        Ok(results)
    }

    fn truncate(&mut self, slot: usize, length: usize) {
        let held = self.caches.length(slot);
        self.caches.set_length(slot, length.min(held));
    }

    fn copy(&mut self, from: usize, to: usize, length: usize) -> bool {
        if let Err(error) = self.caches.copy(from, to, length) {
            tracing::warn!(%error, from, to, "a prefix could not be copied");
            self.caches.set_length(to, 0);
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests;
