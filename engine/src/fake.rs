//! An engine for tests: it says a fixed list of tokens, as fast or as slowly as the test wants.

use crate::{Chunk, Engine, EngineError, Output};
use std::sync::mpsc::Receiver;

/// Says `script[n]` as the n-th token of every answer, then `end`.
pub struct FakeEngine {
    slots: Vec<Vec<u32>>,
    /// Tokens given without a wish for logits or with several: the prompt.
    prompts: Vec<usize>,
    context_length: usize,
    vocab_size: usize,
    script: Vec<u32>,
    end: u32,
    /// Each step first takes one of these; when the sender is gone steps are free.
    gate: Option<Receiver<()>>,
    /// Steps fail after so many.
    fail_after: Option<usize>,
}

impl FakeEngine {
    pub fn new(slots: usize, context_length: usize, vocab_size: usize, script: Vec<u32>, end: u32) -> Self {
        Self {
            slots: vec![Vec::new(); slots],
            prompts: vec![0; slots],
            context_length,
            vocab_size,
            script,
            end,
            gate: None,
            fail_after: None,
        }
    }

    /// Every step waits for a message.
    pub fn gated(mut self, gate: Receiver<()>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// The steps after the first `steps` fail.
    pub fn failing_after(mut self, steps: usize) -> Self {
        self.fail_after = Some(steps);
        self
    }

    fn check(&self, chunk: &Chunk<'_>) -> Result<(), EngineError> {
        let (slot, held) = (chunk.slot, self.slots[chunk.slot].len());
        if held != chunk.position {
            return Err(EngineError::Position { slot, held, position: chunk.position });
        }
        let (wanted, context_length) = (held + chunk.tokens.len(), self.context_length);
        if wanted > context_length {
            return Err(EngineError::ContextFull { slot, wanted, context_length });
        }
        match chunk.tokens.iter().find(|&&token| token as usize >= self.vocab_size) {
            Some(&token) => Err(EngineError::Token { slot, token }),
            None => Ok(()),
        }
    }
}

impl Engine for FakeEngine {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn embedding_length(&self) -> usize {
        4
    }

    fn memory_bytes(&self) -> u64 {
        0
    }

    fn step(&mut self, chunks: &[Chunk<'_>]) -> Result<Vec<Vec<f32>>, EngineError> {
        if let Some(gate) = &self.gate
            && gate.recv().is_err()
        {
            self.gate = None;
        }
        if let Some(left) = &mut self.fail_after {
            *left = left.checked_sub(1).ok_or_else(|| EngineError::Compute("as the test wanted".into()))?;
        }
        chunks.iter().try_for_each(|chunk| self.check(chunk))?;
        let mut rows = Vec::new();
        for chunk in chunks {
            let held = &mut self.slots[chunk.slot];
            let first_answer = chunk.output == Output::Logits && self.prompts[chunk.slot] == 0;
            held.extend_from_slice(chunk.tokens);
            if chunk.output == Output::Hidden {
                rows.push(chunk.tokens.iter().flat_map(|&t| [t as f32, 1.0, 0.0, 0.0]).collect());
            }
            if first_answer {
                self.prompts[chunk.slot] = held.len();
            }
            if chunk.output == Output::Logits {
                let said = held.len() - self.prompts[chunk.slot];
                let token = self.script.get(said).copied().unwrap_or(self.end);
                let mut row = vec![0.0; self.vocab_size];
                row[token as usize] = 1000.0;
                rows.push(row);
            }
        }
        Ok(rows)
    }

    fn truncate(&mut self, slot: usize, length: usize) {
        self.slots[slot].truncate(length);
        self.prompts[slot] = 0;
    }

    fn copy(&mut self, from: usize, to: usize, length: usize) -> bool {
        self.slots[to] = self.slots[from][..length].to_vec();
        self.prompts[to] = 0;
        true
    }
}
