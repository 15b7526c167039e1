//! Cutting text into the pieces inside which merges happen, after `tokenizer.ggml.pre`.

use regex::Regex;

/// Values of `tokenizer.ggml.pre` that are supported.
pub const NAMES: &[&str] = &[
    "gpt-2",
    "gpt2",
    "default",
    "llama-bpe",
    "llama3",
    "llama-v3",
    "falcon3",
    "smollm",
    "starcoder",
    "refact",
    "qwen2",
];

/// What else depends on `tokenizer.ggml.pre`.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// A piece that is a token as a whole is not merged.
    pub ignore_merges: bool,
    /// BOS goes in front unless `tokenizer.ggml.add_bos_token` says otherwise.
    pub add_bos: bool,
}

/// The expressions as published, but for `\s+(?!\S)`: a run of blanks that a word follows gives its last blank back, which
/// [`Stage::each`] does itself.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
const LLAMA3: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const DIGIT: &str = r"\p{N}";

/// Cuts text in one or more stages.
pub struct Splitter {
    stages: Vec<Stage>,
}

struct Stage {
    regex: Regex,
    /// Runs of blanks that end in a line break are whole pieces.
    line_breaks_end_pieces: bool,
}

/// The splitter and rules of a name; None if it is not supported.
pub fn for_pre(pre: &str) -> Option<(Splitter, Rules)> {
    let (expressions, line_breaks, rules): (&[&str], bool, Rules) = match pre {
        "gpt-2" | "gpt2" | "default" => (&[GPT2], false, Rules { ignore_merges: false, add_bos: false }),
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" => {
            (&[LLAMA3], true, Rules { ignore_merges: true, add_bos: true })
        }
        "smollm" | "starcoder" | "refact" => (&[DIGIT, GPT2], false, Rules { ignore_merges: false, add_bos: false }),
        "qwen2" => (&[QWEN2], true, Rules { ignore_merges: false, add_bos: false }),
        _ => return None,
    };
    let stage = |e: &&str| Some(Stage { regex: Regex::new(e).ok()?, line_breaks_end_pieces: line_breaks });
    Some((Splitter { stages: expressions.iter().map(stage).collect::<Option<_>>()? }, rules))
}

impl Splitter {
    /// Calls `take` with every piece, in order; the pieces together are the text.
    pub fn each(&self, text: &str, mut take: impl FnMut(&str)) {
        self.stage(0, text, &mut take);
    }

    fn stage(&self, at: usize, text: &str, take: &mut dyn FnMut(&str)) {
        match self.stages.get(at) {
            None => take(text),
            Some(stage) => stage.each(text, |piece| self.stage(at + 1, piece, take)),
        }
    }
}

impl Stage {
    fn each(&self, text: &str, mut take: impl FnMut(&str)) {
        let mut at = 0;
        while let Some(found) = self.regex.find_at(text, at) {
            if found.start() > at {
                take(&text[at..found.start()]);
            }
            let end = self.end(text, found.start(), found.end());
            take(&text[found.start()..end]);
            at = end;
        }
        if at < text.len() {
            take(&text[at..]);
        }
    }

    /// The end of a match, without the last blank if a word follows a run of them.
    fn end(&self, text: &str, start: usize, end: usize) -> usize {
        let run = &text[start..end];
        let Some(last) = run.chars().next_back() else { return end };
        let word_follows = end < text.len();
        let whole = self.line_breaks_end_pieces && matches!(last, '\r' | '\n');
        let longer = run.len() > last.len_utf8();
        if word_follows && longer && !whole && last.is_whitespace() && run.chars().all(char::is_whitespace) {
            return end - last.len_utf8();
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces<'a>(pre: &str, text: &'a str) -> Vec<&'a str> {
        let mut ends = Vec::new();
        let mut at = 0;
        for_pre(pre).unwrap().0.each(text, |piece| {
            ends.push((at, at + piece.len()));
            at += piece.len();
        });
        ends.into_iter().map(|(a, b)| &text[a..b]).collect()
    }

    #[test]
    fn pieces_are_those_of_the_published_expressions() {
        let sample = "Hello'Ve we've 1234\n\n  foo  ";
        assert_eq!(pieces("gpt-2", sample), ["Hello", "'", "Ve", " we", "'ve", " 1234", "\n\n ", " foo", "  "]);
        assert_eq!(
            pieces("llama-bpe", sample),
            ["Hello", "'Ve", " we", "'ve", " ", "123", "4", "\n\n", " ", " foo", "  "]
        );
        assert_eq!(
            pieces("qwen2", sample),
            ["Hello", "'Ve", " we", "'ve", " ", "1", "2", "3", "4", "\n\n", " ", " foo", "  "]
        );
        assert_eq!(pieces("smollm", "a 12 b"), ["a", " ", "1", "2", " b"]);
        assert_eq!(pieces("gpt-2", "x\n\ny"), ["x", "\n", "\n", "y"]);
        assert_eq!(pieces("llama-bpe", "x!\n\n y"), ["x", "!\n\n", " y"]);
        assert!(for_pre("no-such").is_none());
        for name in NAMES {
            assert!(for_pre(name).is_some(), "{name}");
        }
    }

    #[test]
    fn pieces_together_are_the_text() {
        for pre in NAMES {
            for text in ["", " ", "\u{a0}\u{2003}é 蜂\t\r\n\u{1F41D}!!", "   a\n \n b", "\u{0}\u{ffff}'"] {
                assert_eq!(pieces(pre, text).concat(), text, "{pre}");
            }
        }
    }
}
