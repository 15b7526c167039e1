//! Cutting text into the pieces inside which merges happen, after `tokenizer.ggml.pre`.
//!
//! Everything here runs in time linear in the text: the expressions have no look-around and no backtracking.

mod names;

pub use names::{find, known};

use regex::Regex;

/// The end of many published expressions. A run of blanks that a word follows gives its last blank to the word.
const BLANKS: [&str; 2] = [r"|\s+(?!\S)|\s+", r"|\s+(?!\S)"];

/// Cuts text in one or more stages; each one cuts the pieces of the one before.
pub struct Splitter {
    stages: Vec<Stage>,
}

struct Stage {
    regex: Regex,
    /// What is done with the last blank of a run.
    blanks: Blanks,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Blanks {
    /// Nothing: the expression does not ask for it.
    Keep,
    /// It is left to the word that follows.
    Give,
    /// It is left to the word that follows, but runs that end in a line break are whole pieces.
    GiveUnlessBreak,
}

impl Splitter {
    /// A splitter of expressions as they are published; a look-ahead is understood only at their end, as in [`BLANKS`].
    fn new(expressions: &[&str]) -> Result<Self, Box<regex::Error>> {
        let stages = expressions.iter().map(|e| Stage::new(e)).collect::<Result<_, _>>()?;
        Ok(Self { stages })
    }

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
    fn new(expression: &str) -> Result<Self, Box<regex::Error>> {
        let (regex, blanks) = match BLANKS.iter().find_map(|end| expression.strip_suffix(end)) {
            None => (Regex::new(expression)?, Blanks::Keep),
            Some(rest) => {
                let breaks = rest.contains(r"|\s*[\r\n]");
                let blanks = if breaks { Blanks::GiveUnlessBreak } else { Blanks::Give };
                (Regex::new(&format!(r"{rest}|\s+"))?, blanks)
            }
        };
        Ok(Self { regex, blanks })
    }

    /// Matches, and what lies between them.
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
        if self.blanks == Blanks::Keep || end == text.len() {
            return end;
        }
        let Some(last) = run.chars().next_back().filter(|c| c.is_whitespace()) else { return end };
        let whole = self.blanks == Blanks::GiveUnlessBreak && matches!(last, '\r' | '\n');
        let longer = run.len() > last.len_utf8();
        if longer && !whole && run.chars().all(char::is_whitespace) { end - last.len_utf8() } else { end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces<'a>(pre: &str, text: &'a str) -> Vec<&'a str> {
        let mut ends = Vec::new();
        let mut at = 0;
        find(pre).unwrap().splitter().each(text, |piece| {
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
        assert_eq!(pieces("default", "12345 a"), ["123", "45", " a"]);
    }

    #[test]
    fn words_are_cut_where_their_case_changes_in_any_script() {
        assert_eq!(
            pieces("tekken", "ÉLAN vitalÉtat fooBar it's"),
            ["ÉLAN", " vital", "État", " foo", "Bar", " it", "'s"]
        );
        assert_eq!(pieces("gpt-4o", "ÉLAN'S नमस्ते 12345/\n"), ["ÉLAN'S", " नमस्ते", " ", "123", "45", "/\n"]);
    }

    #[test]
    fn pieces_together_are_the_text() {
        for pre in known() {
            for text in ["", " ", "\u{a0}\u{2003}é 蜂\t\r\n\u{1F41D}!!", "   a\n \n b", "\u{0}\u{ffff}'"] {
                assert_eq!(pieces(pre, text).concat(), text, "{pre}");
            }
        }
    }
}
