//! A model's tokens as llguidance wants them: a trie of bytes.

use super::ConstraintError;
use llguidance::ParserFactory;
use llguidance::api::ParserLimits;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{INVALID_TOKEN, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use rbee_tokenizer::Tokenizer;
use std::sync::Arc;

/// Longest token in bytes that the trie can hold.
const LONGEST_TOKEN: usize = 1000;
/// Bytes of all tokens together; the trie has at most 2^22 nodes.
const MOST_BYTES: usize = 1 << 22;

/// Bounds of the work for one grammar, so that a bomb ends soon: building the lexer takes at most about 40 ms, a mask 20 ms,
/// and the lexer's states at most 60 MB.
fn limits() -> ParserLimits {
    ParserLimits {
        initial_lexer_fuel: 2_000_000,
        max_lexer_states: 30_000,
        max_grammar_size: 300_000,
        max_items_in_row: 20_000,
        step_max_items: 200_000,
        precompute_large_lexemes: false,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

/// Makes what compiles grammars for a tokenizer's vocabulary. Takes tens of milliseconds for a large one.
pub(super) fn factory(tokenizer: &Tokenizer) -> Result<ParserFactory, ConstraintError> {
    let env: TokEnv = Arc::new(Env { trie: trie(tokenizer)? });
    let slices = SlicedBiasComputer::general_slices();
    let mut factory = ParserFactory::new(&env, InferenceCapabilities::default(), &slices)
        .map_err(|e| ConstraintError::Vocabulary(super::gist(&e)))?;
    factory.quiet();
    *factory.limits_mut() = limits();
    Ok(factory)
}

fn trie(tokenizer: &Tokenizer) -> Result<TokTrie, ConstraintError> {
    let words: Vec<Vec<u8>> = (0..tokenizer.vocab_size() as u32)
        .map(|id| match tokenizer.bytes(id) {
            _ if tokenizer.is_end(id) => Vec::new(),
            bytes if bytes.len() > LONGEST_TOKEN => Vec::new(),
            // A first byte 0xFF marks llguidance's special tokens; it occurs in no text.
            bytes if bytes.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER) => Vec::new(),
            bytes => bytes.to_vec(),
        })
        .collect();
    let bytes: usize = words.iter().map(Vec::len).sum();
    if bytes >= MOST_BYTES {
        return Err(ConstraintError::Vocabulary(format!(
            "its tokens have {bytes} bytes, at most {MOST_BYTES} are supported"
        )));
    }
    let ends: Vec<TokenId> = (0..words.len() as u32).filter(|&id| tokenizer.is_end(id)).collect();
    let first = ends.first().copied().unwrap_or(INVALID_TOKEN);
    let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, first), &words);
    Ok(if ends.is_empty() { trie } else { trie.with_eos_tokens(&ends) })
}

/// The trie as an environment that never forces a tokenization on the model: where a grammar leaves one text only, the model
/// still chooses by which tokens it says it.
struct Env {
    trie: TokTrie,
}

impl TokenizerEnv for Env {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        self.trie.greedy_tokenize(text)
    }

    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}
