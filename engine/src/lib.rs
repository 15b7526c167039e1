//! A model's forward pass: one narrow trait over slots of key-value cache, with a real and a fake implementation.

mod arch;
mod backend;
mod buffers;
mod causal;
mod decoder;
mod encoder;
mod error;
pub mod fake;
mod fallback;
mod layers;
mod load;
pub mod source;
mod spec;
#[cfg(test)]
mod testing;

pub use backend::Device;
pub use error::LoadError;
pub use load::{Options, Progress, load};
pub use rbee_kernels::Isa;

/// Tokens for the end of one slot's sequence: a piece of a prompt, or the token that was chosen last.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// Below [`Engine::slots`]; in one step each slot occurs at most once.
    pub slot: usize,
    /// Tokens that the slot holds already; equals what the engine was given since the last `reset`.
    pub position: usize,
    /// Not empty.
    pub tokens: &'a [u32],
    pub output: Output,
}

/// What is wanted of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Nothing yet: more of the prompt follows.
    None,
    /// One row of [`Engine::vocab_size`] logits, after the last token.
    Logits,
    /// For every token [`Engine::embedding_length`] numbers, one token after the other: the last hidden state, normed.
    Hidden,
}

/// How a model reads a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// From left to right: tokens can be added to what a slot holds.
    #[default]
    Causal,
    /// Every token sees all others: a sequence is one chunk at position 0, [`Output::Hidden`] is all there is, and slots
    /// hold nothing afterwards.
    Encoder,
}

/// How the hidden states of a sequence become one embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pooling {
    /// Their mean.
    #[default]
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
}

/// A model with the key-value caches of its slots.
pub trait Engine: Send {
    /// How sequences are read.
    fn kind(&self) -> Kind {
        Kind::Causal
    }

    /// Whether [`Output::Hidden`] can be asked for; without it there are no embeddings.
    fn gives_hidden(&self) -> bool {
        true
    }

    /// What the model's file says about embeddings.
    fn pooling(&self) -> Pooling {
        Pooling::Mean
    }

    /// Number of sequences that can be held at once.
    fn slots(&self) -> usize;

    /// Most tokens of one sequence.
    fn context_length(&self) -> usize;

    /// Number of logits per token.
    fn vocab_size(&self) -> usize;

    /// Length of a hidden state.
    fn embedding_length(&self) -> usize;

    /// Bytes that weights and full caches take.
    fn memory_bytes(&self) -> u64;

    /// Computes one step for several sequences. The result has one row per chunk that wants output, in the chunks' order.
    /// A row depends neither on the other chunks of the step nor on how its sequence was cut into chunks, to the last bit.
    fn step(&mut self, chunks: &[Chunk<'_>]) -> Result<Vec<Vec<f32>>, EngineError>;

    /// Forgets a slot's tokens from `length` on; what it holds stays valid for another sequence that begins with the same tokens.
    fn truncate(&mut self, slot: usize, length: usize);

    /// Makes slot `to` hold the first `length` tokens of slot `from`, which holds at least so many. False if that did not
    /// work; slot `to` then holds nothing.
    fn copy(&mut self, from: usize, to: usize, length: usize) -> bool;
}

/// A step failed; the engine goes on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("slot {slot} holds {held} tokens, but {position} were expected")]
    Position { slot: usize, held: usize, position: usize },
    #[error("slot {slot} has no room: {wanted} tokens in a context of {context_length}")]
    ContextFull { slot: usize, wanted: usize, context_length: usize },
    #[error("slot {slot} was given token {token}, which is not in the vocabulary")]
    Token { slot: usize, token: u32 },
    #[error("slot {slot} cannot be computed: {why}")]
    Refused { slot: usize, why: String },
    /// The sequences of the step are lost.
    #[error("computation failed: {0}")]
    Compute(String),
}

impl EngineError {
    /// The slot whose chunk cannot be computed, where that was found before anything was: all slots hold what they held, and
    /// the other chunks can be given again.
    pub fn slot(&self) -> Option<usize> {
        match *self {
            Self::Position { slot, .. }
            | Self::ContextFull { slot, .. }
            | Self::Token { slot, .. }
            | Self::Refused { slot, .. } => Some(slot),
            Self::Compute(_) => None,
        }
    }
}
