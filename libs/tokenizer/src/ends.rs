//! Which tokens end an answer: those that the metadata names, and those whose text is known to.

/// Texts of tokens that end an answer, whatever the metadata calls them; llama.cpp's list.
const TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "</s>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
    // Code models end a file, or what fills a gap, with these.
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

/// Whether a text is one that ends answers. Such a token is a control token, whatever its type says.
pub fn is_end_text(text: &str) -> bool {
    // Most tokens begin otherwise, and every token of a vocabulary is asked for.
    text.starts_with(['<', '[', '_']) && TEXTS.contains(&text)
}

/// The tokens that end an answer, in order and each once: `named` by the metadata, and those of `special` (text and id) with
/// such a text.
pub fn end_tokens<'a>(named: impl IntoIterator<Item = u32>, special: impl Iterator<Item = (&'a str, u32)>) -> Vec<u32> {
    let known: Vec<(&str, u32)> = special.filter(|(text, _)| is_end_text(text)).collect();
    let has = |text: &str| known.iter().any(|k| k.0 == text);
    // In vocabularies that end an answer otherwise, `<|end|>` only ends a message.
    let end_is_inner = (has("<|return|>") && has("<|call|>")) || (has("<|calls|>") && has("<|flush|>"));
    let known = known.iter().filter(|(text, _)| !(end_is_inner && *text == "<|end|>")).map(|k| k.1);
    let mut ids: Vec<u32> = named.into_iter().chain(known).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_of_the_list_is_known() {
        assert!(TEXTS.iter().all(|text| is_end_text(text)) && !is_end_text("<") && !is_end_text(""));
    }

    #[test]
    fn ends_are_those_named_and_those_known() {
        let ends = |named: &[u32], texts: &[&str]| {
            end_tokens(named.iter().copied(), texts.iter().zip(10..).map(|(text, id)| (*text, id)))
        };
        assert_eq!(ends(&[3, 11, 3], &["<|im_start|>", "<|im_end|>", "<|end|>"]), [3, 11, 12]);
        assert_eq!(ends(&[], &["<|end|>", "<|return|>", "<|call|>"]), [11, 12], "a message ends, the answer goes on");
        assert_eq!(ends(&[10], &["<|end|>", "<|calls|>", "<|flush|>"]), [10, 11, 12], "the metadata knows better");
        assert_eq!(ends(&[], &["x"]), [] as [u32; 0]);
    }
}
