//! An engine for tests whose logits are a function of the tokens that a slot holds, and that tells what it was asked.

use rbee_engine::{Chunk, Engine, EngineError, Kind, Output, Pooling};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

/// What an engine was asked.
#[derive(Debug, Default, Clone)]
pub struct Asked {
    /// Per step: slot, position, number of tokens, output.
    pub steps: Vec<Vec<(usize, usize, usize, Output)>>,
    /// From, to, length.
    pub copies: Vec<(usize, usize, usize)>,
}

impl Asked {
    /// Tokens that were computed, in all steps together.
    pub fn computed(&self) -> usize {
        self.steps.iter().flatten().map(|chunk| chunk.2).sum()
    }
}

type Logits = Box<dyn Fn(&[u32]) -> Vec<f32> + Send>;

pub struct TestEngine {
    slots: Vec<Vec<u32>>,
    context_length: usize,
    logits: Logits,
    asked: Arc<Mutex<Asked>>,
    gate: Option<Receiver<()>>,
    kind: Kind,
    pooling: Pooling,
    /// Whether copies work.
    copies: bool,
    hidden: bool,
}

pub const VOCAB: usize = 1280;

/// Random logits, always the same ones for the same tokens.
pub fn noise(tokens: &[u32]) -> Vec<f32> {
    let mut state =
        tokens.iter().fold(0x9E37_79B9_7F4A_7C15u64, |h, &t| (h ^ u64::from(t)).wrapping_mul(0x100_0000_01B3));
    let next = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 40) as f32 / (1 << 24) as f32 * 8.0
    };
    (0..VOCAB).map(|_| next(&mut state)).collect()
}

impl TestEngine {
    pub fn new(slots: usize, context_length: usize, logits: impl Fn(&[u32]) -> Vec<f32> + Send + 'static) -> Self {
        Self {
            slots: vec![Vec::new(); slots],
            context_length,
            logits: Box::new(logits),
            asked: Arc::default(),
            gate: None,
            kind: Kind::Causal,
            pooling: Pooling::Mean,
            copies: true,
            hidden: true,
        }
    }

    /// Every step waits for a message, until the sender is gone.
    pub fn gated(mut self, gate: Receiver<()>) -> Self {
        self.gate = Some(gate);
        self
    }

    pub fn encoder(mut self, pooling: Pooling) -> Self {
        (self.kind, self.pooling) = (Kind::Encoder, pooling);
        self
    }

    /// No copy of a beginning works.
    pub fn without_copies(mut self) -> Self {
        self.copies = false;
        self
    }

    /// It gives logits only.
    pub fn without_hidden(mut self) -> Self {
        self.hidden = false;
        self
    }

    pub fn asked(&self) -> Arc<Mutex<Asked>> {
        self.asked.clone()
    }
}

impl Engine for TestEngine {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn gives_hidden(&self) -> bool {
        self.hidden
    }

    fn pooling(&self) -> Pooling {
        self.pooling
    }

    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn vocab_size(&self) -> usize {
        VOCAB
    }

    fn embedding_length(&self) -> usize {
        2
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
        let mut asked = self.asked.lock().unwrap();
        asked.steps.push(chunks.iter().map(|c| (c.slot, c.position, c.tokens.len(), c.output)).collect());
        for chunk in chunks {
            let (slot, held) = (chunk.slot, self.slots[chunk.slot].len());
            if held != chunk.position {
                return Err(EngineError::Position { slot, held, position: chunk.position });
            }
            let (wanted, context_length) = (held + chunk.tokens.len(), self.context_length);
            if wanted > context_length {
                return Err(EngineError::ContextFull { slot, wanted, context_length });
            }
            if let Some(&token) = chunk.tokens.iter().find(|&&token| token as usize >= VOCAB) {
                return Err(EngineError::Token { slot, token });
            }
        }
        let mut rows = Vec::new();
        for chunk in chunks {
            let held = &mut self.slots[chunk.slot];
            if self.kind == Kind::Causal {
                held.extend_from_slice(chunk.tokens);
            }
            match chunk.output {
                Output::None => {}
                Output::Logits => rows.push((self.logits)(held)),
                Output::Hidden => rows.push(chunk.tokens.iter().flat_map(|&t| [t as f32, 1.0]).collect()),
            }
        }
        Ok(rows)
    }

    fn truncate(&mut self, slot: usize, length: usize) {
        self.slots[slot].truncate(length);
    }

    fn copy(&mut self, from: usize, to: usize, length: usize) -> bool {
        self.asked.lock().unwrap().copies.push((from, to, length));
        self.slots[to] = if self.copies { self.slots[from][..length].to_vec() } else { Vec::new() };
        self.copies
    }
}
