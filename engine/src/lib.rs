//! A model's forward pass: one narrow trait over slots of key-value cache, with a real and a fake implementation.

pub mod candle;
pub mod fake;
#[cfg(test)]
mod testing;

/// Tokens for the end of one slot's sequence: a piece of a prompt, or the token that was chosen last.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// Below [`Engine::slots`]; in one step each slot occurs at most once.
    pub slot: usize,
    /// Tokens that the slot holds already; equals what the engine was given since the last `reset`.
    pub position: usize,
    /// Not empty.
    pub tokens: &'a [u32],
    /// Whether logits after the last token are wanted.
    pub logits: bool,
}

/// A model with the key-value caches of its slots.
pub trait Engine: Send {
    /// Number of sequences that can be held at once.
    fn slots(&self) -> usize;

    /// Most tokens of one sequence.
    fn context_length(&self) -> usize;

    /// Number of logits per token.
    fn vocab_size(&self) -> usize;

    /// Bytes that weights and full caches take.
    fn memory_bytes(&self) -> u64;

    /// Computes one step for several sequences. The result has one row of logits per chunk that wants them, in the chunks' order.
    /// A row does not depend on the other chunks of the step, but for the rounding of matrices of floats.
    fn step(&mut self, chunks: &[Chunk<'_>]) -> Result<Vec<Vec<f32>>, EngineError>;

    /// Empties a slot.
    fn reset(&mut self, slot: usize);
}

/// A step failed; the sequences in it are lost, the engine goes on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("slot {slot} holds {held} tokens, but {position} were expected")]
    Position { slot: usize, held: usize, position: usize },
    #[error("slot {slot} has no room: {wanted} tokens in a context of {context_length}")]
    ContextFull { slot: usize, wanted: usize, context_length: usize },
    #[error("token {0} is not in the vocabulary")]
    Token(u32),
    #[error("computation failed: {0}")]
    Compute(String),
}
