//! Special tokens in text: found in templates, and told apart from the same characters in a user's text.

use std::borrow::Cow;
use std::collections::HashMap;

/// A noncharacter of Unicode that no text should hold. Inside a user's text it breaks what looks like a control token;
/// it is taken out before the text is encoded.
const SHIELD: char = '\u{FDD0}';

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    Token(u32),
    Text(Cow<'a, str>),
}

struct Special {
    text: Box<str>,
    id: u32,
    control: bool,
}

/// The special tokens of a vocabulary.
pub struct Specials {
    /// By first byte, longest first.
    by_first: HashMap<u8, Vec<Special>>,
    by_id: HashMap<u32, Box<str>>,
}

impl Specials {
    /// Takes (text, id, whether it is a control token).
    pub fn new<'a>(tokens: impl Iterator<Item = (&'a str, u32, bool)>) -> Self {
        let mut by_first: HashMap<u8, Vec<Special>> = HashMap::new();
        let mut by_id = HashMap::new();
        for (text, id, control) in tokens {
            by_id.insert(id, text.into());
            let first = text.as_bytes().first().copied().unwrap_or_default();
            by_first.entry(first).or_default().push(Special { text: text.into(), id, control });
        }
        for list in by_first.values_mut() {
            list.sort_by_key(|s| std::cmp::Reverse(s.text.len()));
        }
        Self { by_first, by_id }
    }

    /// Text of a special token.
    pub fn text(&self, id: u32) -> Option<&str> {
        self.by_id.get(&id).map(AsRef::as_ref)
    }

    /// Cuts a text at its special tokens; control tokens only count when `control` is set. Shields are taken out of the rest.
    pub fn split<'a>(&self, text: &'a str, control: bool) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        let mut start = 0;
        let mut at = 0;
        while let Some(found) = self.find(text, &mut at, control) {
            push_text(&mut parts, &text[start..at], control);
            parts.push(Part::Token(found.id));
            at += found.text.len();
            start = at;
        }
        push_text(&mut parts, &text[start..], control);
        parts
    }

    /// Breaks every control token in a user's text by a shield after its first character.
    pub fn shield(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        let mut start = 0;
        let clean;
        let text = if text.contains(SHIELD) {
            clean = text.replace(SHIELD, "");
            &clean
        } else {
            text
        };
        while let Some(found) = self.find(text, &mut at, true) {
            let first = found.text.chars().next().map_or(1, char::len_utf8);
            if found.control {
                out.push_str(&text[start..at + first]);
                out.push(SHIELD);
                start = at + first;
            }
            at += first;
        }
        out.push_str(&text[start..]);
        out
    }

    /// The next special token from `at` on; `at` moves to it.
    fn find(&self, text: &str, at: &mut usize, control: bool) -> Option<&Special> {
        let bytes = text.as_bytes();
        while *at < bytes.len() {
            if let Some(list) = self.by_first.get(&bytes[*at]) {
                let rest = &bytes[*at..];
                let hit = list.iter().find(|s| (control || !s.control) && rest.starts_with(s.text.as_bytes()));
                if hit.is_some() {
                    return hit;
                }
            }
            *at += 1;
        }
        None
    }
}

fn push_text<'a>(parts: &mut Vec<Part<'a>>, text: &'a str, shielded: bool) {
    if text.is_empty() {
        return;
    }
    let text = match shielded && text.contains(SHIELD) {
        true => Cow::Owned(text.replace(SHIELD, "")),
        false => Cow::Borrowed(text),
    };
    parts.push(Part::Text(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specials() -> Specials {
        Specials::new([("<s>", 1, true), ("<s>x", 2, true), ("«", 3, false)].into_iter())
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
}
