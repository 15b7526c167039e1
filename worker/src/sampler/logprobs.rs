//! What is told of a chosen token's probability.

/// A chosen token and the likeliest ones in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    pub token: TokenLogprob,
    /// The likeliest first; as many as were asked for.
    pub top: Vec<TokenLogprob>,
}

/// A token's bytes, which need not be whole characters, and the natural logarithm of its probability.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    pub bytes: Vec<u8>,
    pub logprob: f32,
}
