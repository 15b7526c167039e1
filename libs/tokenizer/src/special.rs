//! Special tokens in text: found in templates, and told apart from the same characters in a user's text.

use regex::Regex;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// A noncharacter of Unicode that no text should hold. Inside a user's text it breaks what looks like a control token;
/// it is taken out before the text is encoded.
const SHIELD: char = '\u{FDD0}';

/// Bytes that the texts of all special tokens may have together; known vocabularies have a tenth of it.
const MOST_BYTES: usize = 1 << 20;

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    Token(u32),
    Text(Cow<'a, str>),
}

/// A token that is looked for in texts before anything else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Special {
    pub text: String,
    pub id: u32,
    /// It is only found where control tokens are asked for.
    pub control: bool,
    /// Blanks before it belong to it.
    pub strip_left: bool,
    /// Blanks after it belong to it.
    pub strip_right: bool,
}

/// The special tokens of a vocabulary.
pub struct Specials {
    by_text: HashMap<String, Special>,
    texts: BTreeMap<u32, String>,
    /// Finds any special token; None if there is none.
    all: Option<Regex>,
    /// Finds those that are not control tokens.
    plain: Option<Regex>,
}

/// The texts of the special tokens are too much for a search.
#[derive(Debug, thiserror::Error)]
#[error("the texts of the {tokens} special tokens have {bytes} bytes; at most {MOST_BYTES} can be searched for")]
pub struct TooManySpecials {
    tokens: usize,
    bytes: usize,
}

impl Specials {
    /// Takes the special tokens; those without text are left out, and of those with the same text the first one counts.
    pub fn new(tokens: impl IntoIterator<Item = Special>) -> Result<Self, TooManySpecials> {
        let mut by_text: HashMap<String, Special> = HashMap::new();
        let mut texts = BTreeMap::new();
        for special in tokens.into_iter().filter(|s| !s.text.is_empty()) {
            texts.insert(special.id, special.text.clone());
            by_text.entry(special.text.clone()).or_insert(special);
        }
        let all = search(by_text.values())?;
        let plain = search(by_text.values().filter(|s| !s.control))?;
        Ok(Self { by_text, texts, all, plain })
    }

    /// Text of a special token.
    pub fn text(&self, id: u32) -> Option<&str> {
        self.texts.get(&id).map(String::as_str)
    }

    /// Cuts a text at its special tokens; control tokens only count when `control` is set. Shields are taken out of the rest.
    pub fn split<'a>(&self, text: &'a str, control: bool) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        let mut start = 0;
        while let Some((range, found)) = self.find(text, start, control) {
            let before = &text[start..range.start];
            push_text(&mut parts, if found.strip_left { before.trim_end() } else { before }, control);
            parts.push(Part::Token(found.id));
            start = range.end;
            if found.strip_right {
                start = text.len() - text[start..].trim_start().len();
            }
        }
        push_text(&mut parts, &text[start..], control);
        parts
    }

    /// Breaks every control token in a user's text by a shield after its first character.
    pub fn shield(&self, text: &str) -> String {
        let text = if text.contains(SHIELD) { Cow::Owned(text.replace(SHIELD, "")) } else { Cow::Borrowed(text) };
        let mut out = String::with_capacity(text.len());
        let (mut at, mut start) = (0, 0);
        while let Some((range, found)) = self.find(&text, at, true) {
            at = range.start + found.text.chars().next().map_or(1, char::len_utf8);
            if found.control {
                out.push_str(&text[start..at]);
                out.push(SHIELD);
                start = at;
            }
        }
        out.push_str(&text[start..]);
        out
    }

    /// The next special token from `at` on: the first, and of those that begin there the longest.
    fn find(&self, text: &str, at: usize, control: bool) -> Option<(Range<usize>, &Special)> {
        let regex = if control { &self.all } else { &self.plain };
        let range = regex.as_ref()?.find_at(text, at)?.range();
        Some((range.clone(), self.by_text.get(&text[range])?))
    }
}

/// An expression of the tokens' texts, longest first.
fn search<'a>(tokens: impl Iterator<Item = &'a Special>) -> Result<Option<Regex>, TooManySpecials> {
    let mut texts: Vec<&str> = tokens.map(|s| s.text.as_str()).collect();
    if texts.is_empty() {
        return Ok(None);
    }
    let too_many = TooManySpecials { tokens: texts.len(), bytes: texts.iter().map(|t| t.len()).sum() };
    if too_many.bytes > MOST_BYTES {
        return Err(too_many);
    }
    texts.sort_unstable_by_key(|t| (std::cmp::Reverse(t.len()), *t));
    let escaped: Vec<String> = texts.iter().map(|t| regex::escape(t)).collect();
    Regex::new(&escaped.join("|")).map(Some).map_err(|_| too_many)
}

fn push_text<'a>(parts: &mut Vec<Part<'a>>, text: &'a str, shielded: bool) {
    let text = match shielded && text.contains(SHIELD) {
        true => Cow::Owned(text.replace(SHIELD, "")),
        false => Cow::Borrowed(text),
    };
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special(text: &str, id: u32, control: bool) -> Special {
        Special { text: text.to_owned(), id, control, ..Special::default() }
    }

    fn specials() -> Specials {
        let strip = Special { strip_left: true, strip_right: true, ..special("<u>", 4, true) };
        Specials::new([special("<s>", 1, true), special("<s>x", 2, true), special("«", 3, false), strip]).unwrap()
    }

    fn text(s: &str) -> Part<'_> {
        Part::Text(Cow::Borrowed(s))
    }

    #[test]
    fn the_longest_token_counts_and_control_ones_only_when_asked() {
        let s = specials();
        assert_eq!(s.split("a<s>b<s>x", true), [text("a"), Part::Token(1), text("b"), Part::Token(2)]);
        assert_eq!(s.split("a<s>«", false), [text("a<s>"), Part::Token(3)]);
        assert_eq!(s.split("", true), []);
        assert_eq!(s.split("a <u>\n <u> b", true), [text("a"), Part::Token(4), Part::Token(4), text("b")]);
        assert_eq!((s.text(3), s.text(9)), (Some("«"), None));
    }

    #[test]
    fn shielded_text_stays_text() {
        let s = specials();
        for user in ["<s>", "a<s><s>x<", "<<s>s>", "plain", "«<s>", "\u{FDD0}<\u{FDD0}s>"] {
            let rendered = format!("<s>{}<s>", s.shield(user));
            let parts = s.split(&rendered, true);
            let tokens: Vec<u32> =
                parts.iter().filter_map(|p| if let Part::Token(id) = p { Some(*id) } else { None }).collect();
            assert_eq!(tokens.iter().filter(|&&id| id != 3).count(), 2, "{user:?} {parts:?}");
            let texts: String = parts.iter().map(|p| if let Part::Text(t) = p { t.as_ref() } else { "" }).collect();
            assert_eq!(texts, user.replace([SHIELD, '«'], ""), "{user:?}");
        }
        assert_eq!(s.shield("plain"), "plain");
    }

    #[test]
    fn many_tokens_that_begin_alike_are_searched_fast() {
        let tokens = (0..4000).map(|n| special(&format!("<|reserved_{n}|>"), n, true));
        let s = Specials::new(tokens).unwrap();
        let user = "<|reserved_".repeat(50_000);
        assert_eq!(s.shield(&user), user);
        assert_eq!(s.split("<|reserved_3999|>", true), [Part::Token(3999)]);
    }

    #[test]
    fn more_tokens_than_can_be_searched_are_refused() {
        let tokens = (0..200_000).map(|n| special(&format!("<{n}>"), n, true));
        assert!(Specials::new(tokens).is_err());
    }
}
