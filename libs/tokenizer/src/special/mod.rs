//! Special tokens in text: found in templates, and told apart from the same characters in a user's text.
//!
//! A user's text goes into a template with shields: noncharacters of Unicode, which no text should hold. A control token is
//! not read across a shield. Before the text is encoded they are taken out, so that its tokens are those of the text alone.

mod table;

use std::borrow::Cow;
use table::{ByEnd, Found, Table};

/// No control token is read across it.
const SHIELD: char = '\u{FDD0}';

/// The first of the characters that stand in a shielded text for those that are control tokens by themselves; nothing can be
/// put into the middle of one. They are noncharacters up to U+FDEF.
const STAND_IN: char = '\u{FDD1}';

/// Number of stand-ins.
const MOST_SINGLE: usize = 31;

/// Bytes that the texts of all special tokens may have together; known vocabularies have less than 800,000.
const MOST_BYTES: usize = 1 << 20;

/// Bytes that the text of one special token may have; known ones have less than 200.
const MOST_BYTES_OF_ONE: usize = 1 << 10;

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    Token(u32),
    Text(&'a str),
}

/// A token that is looked for in texts before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Special<'a> {
    pub text: &'a str,
    pub id: u32,
    /// It is only found where control tokens are asked for.
    pub control: bool,
    /// Blanks before it belong to it.
    pub strip_left: bool,
    /// Blanks after it belong to it.
    pub strip_right: bool,
}

/// The special tokens of a vocabulary.
#[derive(Default)]
pub struct Specials {
    control: Table,
    control_by_end: ByEnd,
    /// User-defined tokens.
    plain: Table,
    /// Control tokens of one character.
    singles: Vec<char>,
    /// Ids in order, with where their text is: in `control` (true) or `plain`.
    ids: Vec<(u32, bool, u32)>,
}

/// Special tokens that are not searched for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecialsError {
    #[error("the texts of the special tokens have more than {MOST_BYTES} bytes; at most that many are searched for")]
    Bytes,
    #[error("the text of the special token {id} has {bytes} bytes; at most {MOST_BYTES_OF_ONE} are searched for")]
    Long { id: u32, bytes: usize },
    #[error("more than {MOST_SINGLE} control tokens are single characters; at most that many can be told from text")]
    Single,
}

/// Adds up what special tokens ask for, so that too much is refused before it is held.
#[derive(Default)]
pub struct Budget {
    bytes: usize,
}

impl Budget {
    /// Takes one more special token into account.
    pub fn take(&mut self, id: u32, text: &str) -> Result<(), SpecialsError> {
        if text.len() > MOST_BYTES_OF_ONE {
            return Err(SpecialsError::Long { id, bytes: text.len() });
        }
        self.bytes += text.len();
        if self.bytes > MOST_BYTES { Err(SpecialsError::Bytes) } else { Ok(()) }
    }
}

impl Specials {
    /// Takes the special tokens; those without text are left out, and of those with the same text the first one counts.
    pub fn new<'a>(tokens: impl IntoIterator<Item = Special<'a>>) -> Result<Self, SpecialsError> {
        let mut budget = Budget::default();
        let mut sorted: Vec<Special<'a>> = Vec::new();
        for token in tokens.into_iter().filter(|t| !t.text.is_empty()) {
            budget.take(token.id, token.text)?;
            sorted.push(token);
        }
        sorted.sort_by_key(|t| t.text);
        let mut all = Self::default();
        for same in sorted.chunk_by(|a, b| a.text == b.text) {
            let token = same[0];
            let table = if token.control { &mut all.control } else { &mut all.plain };
            all.ids.extend(same.iter().map(|t| (t.id, token.control, table.len() as u32)));
            table.push(token.text, token.id, token.strip_left, token.strip_right);
            let mut characters = token.text.chars();
            if let (true, Some(single), None) = (token.control, characters.next(), characters.next()) {
                all.singles.push(single);
            }
        }
        if all.singles.len() > MOST_SINGLE {
            return Err(SpecialsError::Single);
        }
        all.ids.sort_unstable();
        all.ids.shrink_to_fit();
        all.control.shrink();
        all.plain.shrink();
        all.control_by_end = ByEnd::new(&all.control);
        Ok(all)
    }

    /// Text of a special token.
    pub fn text(&self, id: u32) -> Option<&str> {
        let at = self.ids.binary_search_by_key(&id, |entry| entry.0).ok()?;
        let (_, control, entry) = self.ids[at];
        Some(if control { self.control.get(entry) } else { self.plain.get(entry) })
    }

    /// Cuts a text at its special tokens and gives the parts in order. Control tokens only count when `control` is set, and
    /// then shields are taken out.
    pub fn split(&self, text: &str, control: bool, mut take: impl FnMut(Part<'_>)) {
        let Bare { text, marks } = if control { self.bare(text) } else { Bare::of(text) };
        let marks = control.then_some(&marks[..]);
        let mut start = 0;
        while let Some((at, found)) = self.find(&text, start, marks) {
            let before = &text[start..at];
            let before = if found.strip_left { before.trim_end() } else { before };
            if !before.is_empty() {
                take(Part::Text(before));
            }
            take(Part::Token(found.id));
            start = at + found.length;
            if found.strip_right {
                start = text.len() - text[start..].trim_start().len();
            }
        }
        if start < text.len() {
            take(Part::Text(&text[start..]));
        }
    }

    /// The next special token from `at` on: the first, and of those that begin there the longest. Control tokens count when
    /// there are `marks`, and only outside of them.
    fn find(&self, text: &str, mut at: usize, marks: Option<&[usize]>) -> Option<(usize, Found)> {
        let bytes = text.as_bytes();
        let begins = |&byte: &u8| self.plain.begins(byte) || (marks.is_some() && self.control.begins(byte));
        loop {
            at += bytes[at..].iter().position(begins)?;
            let control = marks.and_then(|marks| {
                let next = marks.get(marks.partition_point(|&mark| mark <= 2 * at));
                self.control.longest_at(&bytes[at..next.map_or(bytes.len(), |mark| mark / 2)])
            });
            let plain = self.plain.longest_at(&bytes[at..]);
            if let Some(found) = [control, plain].into_iter().flatten().max_by_key(|found| found.length) {
                return Some((at, found));
            }
            at += 1;
        }
    }

    /// Takes the shields out.
    fn bare<'a>(&self, text: &'a str) -> Bare<'a> {
        if !text.contains(is_reserved) {
            return Bare::of(text);
        }
        let (mut plain, mut marks) = (String::with_capacity(text.len()), Vec::new());
        for c in text.chars() {
            if c == SHIELD {
                marks.push(2 * plain.len());
            } else if is_reserved(c) {
                marks.push(2 * plain.len() + 1);
                plain.extend(self.singles.get(c as usize - STAND_IN as usize));
            } else {
                plain.push(c);
            }
        }
        Bare { text: plain.into(), marks }
    }

    /// Protects a user's text: every control token in it gets a shield after its first character, or a stand-in if it has no
    /// more than that. The text's ends, also without the blanks there, get one where they could become a control token
    /// together with what a template puts beside them.
    pub fn shield(&self, text: &str) -> String {
        let text: Cow<'_, str> =
            if text.contains(is_reserved) { text.replace(is_reserved, "").into() } else { text.into() };
        let bytes = text.as_bytes();
        let ends = self.open_ends(&text);
        let mut out = String::with_capacity(text.len() + ends.len() * SHIELD.len_utf8());
        for (at, c) in text.char_indices() {
            if ends.contains(&at) {
                out.push(SHIELD);
            }
            let single = self.singles.iter().position(|&single| single == c);
            out.push(single.and_then(|nth| char::from_u32(STAND_IN as u32 + nth as u32)).unwrap_or(c));
            if self.control.longest_at(&bytes[at..]).is_some_and(|found| found.length > c.len_utf8()) {
                out.push(SHIELD);
            }
        }
        if ends.contains(&text.len()) {
            out.push(SHIELD);
        }
        out
    }

    /// Where the ends of a text could belong to a control token that goes beyond them.
    fn open_ends(&self, text: &str) -> Vec<usize> {
        let bytes = text.as_bytes();
        let starts = [0, text.len() - text.trim_start().len()];
        let ends = [text.trim_end().len(), text.len()];
        let open_start = |&at: &usize| self.control_by_end.may_come_from_before(&self.control, &bytes[at..]);
        let open_end = |&at: &usize| self.control.may_go_on(&bytes[..at]);
        starts.into_iter().filter(open_start).chain(ends.into_iter().filter(open_end)).collect()
    }
}

/// A text without shields.
struct Bare<'a> {
    text: Cow<'a, str>,
    /// Where control tokens are not read, in order: 2 n between the bytes n - 1 and n, 2 n + 1 for the character at byte n.
    marks: Vec<usize>,
}

impl<'a> Bare<'a> {
    /// A text that has none.
    fn of(text: &'a str) -> Self {
        Self { text: text.into(), marks: Vec::new() }
    }
}

/// Whether shields are made of it.
fn is_reserved(c: char) -> bool {
    (SHIELD..='\u{FDEF}').contains(&c)
}

#[cfg(test)]
mod tests;
