//! Log probabilities in the shapes of OpenAI's API. Pure.

use crate::sampler::{TokenLogprob, TokenLogprobs};
use rbee_wire::openai::{ChatLogprob, ChatLogprobs, CompletionLogprobs, TopLogprob};
use std::fmt::Write;

/// Stands for what is less probable than any number says, as in OpenAI's API: JSON has no infinity.
const LEAST: f32 = -9999.0;

pub fn of_chat(tokens: Vec<TokenLogprobs>) -> ChatLogprobs {
    let content = tokens.into_iter().map(|TokenLogprobs { text, token, top }| ChatLogprob {
        token: text,
        logprob: finite(token.logprob),
        bytes: token.bytes,
        top_logprobs: top.into_iter().map(alternative).collect(),
    });
    ChatLogprobs { content: content.collect(), refusal: None }
}

fn alternative(token: TokenLogprob) -> TopLogprob {
    TopLogprob { token: shown(&token.bytes), logprob: finite(token.logprob), bytes: token.bytes }
}

/// `offset`: where the first token begins in the choice's text, in characters; moved behind the last one.
pub fn of_completion(tokens: Vec<TokenLogprobs>, offset: &mut u32) -> CompletionLogprobs {
    let mut out = CompletionLogprobs::default();
    for TokenLogprobs { text, token, top } in tokens {
        let chosen = finite(token.logprob);
        let mut by_text: std::collections::BTreeMap<String, f32> =
            top.into_iter().rev().map(|t| (shown(&t.bytes), finite(t.logprob))).collect();
        by_text.entry(shown(&token.bytes)).or_insert(chosen);
        out.text_offset.push(*offset);
        *offset += text.chars().count() as u32;
        out.tokens.push(text);
        out.token_logprobs.push(chosen);
        out.top_logprobs.push(by_text);
    }
    out
}

fn finite(logprob: f32) -> f32 {
    logprob.max(LEAST)
}

/// A token's text; what is not whole characters is written as OpenAI does, `bytes:\xf0\x9f`.
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("bytes:".to_owned(), |mut out, byte| {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
            out
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(bytes: &[u8], logprob: f32) -> TokenLogprob {
        TokenLogprob { bytes: bytes.to_vec(), logprob }
    }

    fn said() -> Vec<TokenLogprobs> {
        let half = TokenLogprobs {
            text: String::new(),
            token: token(b"\xc3", -1.0),
            top: vec![token(b"a", -0.5), token(b"\xc3", -1.0)],
        };
        let rest = TokenLogprobs { text: "é!".into(), token: token(b"\xa9!", f32::NEG_INFINITY), top: vec![] };
        let end = TokenLogprobs { text: String::new(), token: token(b"", -0.25), top: vec![] };
        vec![half, rest, end]
    }

    #[test]
    fn completions_have_parallel_lists() {
        let mut offset = 7;
        let CompletionLogprobs { tokens, token_logprobs, top_logprobs, text_offset } =
            of_completion(said(), &mut offset);
        assert_eq!((tokens.concat().as_str(), tokens.len(), offset), ("é!", 3, 9));
        assert_eq!(token_logprobs, [-1.0, LEAST, -0.25]);
        assert_eq!(text_offset, [7, 7, 9]);
        assert_eq!(top_logprobs[0], [("a".to_owned(), -0.5), ("bytes:\\xc3".to_owned(), -1.0)].into());
        assert_eq!(top_logprobs[1], [("bytes:\\xa9\\x21".to_owned(), LEAST)].into());
    }

    #[test]
    fn chats_have_bytes() {
        let content = of_chat(said()).content;
        assert_eq!((content[1].token.as_str(), &content[1].bytes[..]), ("é!", &b"\xa9!"[..]));
        let top: Vec<_> = content[0].top_logprobs.iter().map(|t| (t.token.as_str(), t.logprob)).collect();
        assert_eq!(top, [("a", -0.5), ("bytes:\\xc3", -1.0)]);
    }
}
