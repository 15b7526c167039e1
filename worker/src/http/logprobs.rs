//! Log probabilities in the shapes of OpenAI's API. Pure.

use crate::sampler::{TokenLogprob, TokenLogprobs};
use rbee_wire::openai::{ChatLogprob, ChatLogprobs, CompletionLogprobs, TopLogprob};
use std::fmt::Write;

/// Stands for what is less probable than any number says, as in OpenAI's API: JSON has no infinity.
const LEAST: f32 = -9999.0;

pub fn of_chat(tokens: Vec<TokenLogprobs>) -> ChatLogprobs {
    // OpenAI's chats have no entry for the token that ends them; its completions, like llama.cpp's and vLLM's, have one.
    let said = tokens.into_iter().filter(|token| !token.end);
    let content = said.map(|TokenLogprobs { text, token, top, .. }| ChatLogprob {
        token: text,
        logprob: finite(token.logprob),
        bytes: bytes(&token),
        top_logprobs: top.into_iter().map(alternative).collect(),
    });
    ChatLogprobs { content: content.collect(), refusal: None }
}

fn alternative(token: TokenLogprob) -> TopLogprob {
    TopLogprob { token: shown(&token), logprob: finite(token.logprob), bytes: bytes(&token) }
}

/// None for a control token.
fn bytes(token: &TokenLogprob) -> Option<Vec<u8>> {
    token.special.is_none().then(|| token.bytes.clone())
}

/// `offset`: where the first token begins in the choice's text, in characters; moved behind the last one.
pub fn of_completion(tokens: Vec<TokenLogprobs>, offset: &mut u32) -> CompletionLogprobs {
    let mut out = CompletionLogprobs::default();
    for TokenLogprobs { text, token, top, .. } in tokens {
        let chosen = finite(token.logprob);
        let mut by_text: std::collections::BTreeMap<String, f32> =
            top.into_iter().rev().map(|t| (shown(&t), finite(t.logprob))).collect();
        by_text.entry(shown(&token)).or_insert(chosen);
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
fn shown(token: &TokenLogprob) -> String {
    if let Some(text) = &token.special {
        return text.clone();
    }
    match std::str::from_utf8(&token.bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => token.bytes.iter().fold("bytes:".to_owned(), |mut out, byte| {
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
        TokenLogprob { bytes: bytes.to_vec(), special: None, logprob }
    }

    fn said() -> Vec<TokenLogprobs> {
        let half = TokenLogprobs {
            text: String::new(),
            end: false,
            token: token(b"\xc3", -1.0),
            top: vec![token(b"a", -0.5), token(b"\xc3", -1.0)],
        };
        let rest =
            TokenLogprobs { text: "é!".into(), end: false, token: token(b"\xa9!", f32::NEG_INFINITY), top: vec![] };
        let special = |text: &str| TokenLogprob { special: Some(text.into()), ..token(b"", -0.25) };
        let top = vec![special("<|im_end|>"), special("<|im_start|>")];
        let end = TokenLogprobs { text: String::new(), end: true, token: special("<|im_end|>"), top };
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
        assert_eq!(top_logprobs[2], [("<|im_end|>".to_owned(), -0.25), ("<|im_start|>".to_owned(), -0.25)].into());
        assert_eq!(top_logprobs[1], [("bytes:\\xa9\\x21".to_owned(), LEAST)].into());
    }

    #[test]
    fn chats_have_bytes() {
        let content = of_chat(said()).content;
        assert_eq!(content.len(), 2, "the end is no part of the answer");
        assert_eq!((content[1].token.as_str(), content[1].bytes.as_deref()), ("é!", Some(&b"\xa9!"[..])));
        let control = alternative(said()[2].top[1].clone());
        assert_eq!((control.token.as_str(), control.bytes), ("<|im_start|>", None));
        let top: Vec<_> = content[0].top_logprobs.iter().map(|t| (t.token.as_str(), t.logprob)).collect();
        assert_eq!(top, [("a", -0.5), ("bytes:\\xc3", -1.0)]);
    }
}
