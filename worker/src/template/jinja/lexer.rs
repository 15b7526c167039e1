//! From a template's text to tokens, with Jinja's rules for white space: `trim_blocks` and `lstrip_blocks` as in Python's
//! transformers.

use super::Failure;

#[derive(Debug, Clone, PartialEq)]
pub enum Token<'s> {
    /// Text outside of any mark.
    Data(&'s str),
    /// `{{`
    PrintOpen,
    /// `}}`
    PrintClose,
    /// `{%`
    TagOpen,
    /// `%}`
    TagClose,
    Name(&'s str),
    Text(String),
    Int(i128),
    Float(f64),
    Sign(&'static str),
    /// The end of the template.
    End,
}

/// Signs, each before its own beginnings.
const SIGNS: &[&str] = &[
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", ".", ",", ":", "~", "|", "=", ">", "<", "(", ")", "[",
    "]", "{", "}",
];

/// The tokens of a template with their lines.
pub fn lex(source: &str) -> Result<Vec<(Token<'_>, usize)>, Failure> {
    // Jinja drops one line end at the end.
    let source = source.strip_suffix('\n').unwrap_or(source);
    let source = source.strip_suffix('\r').unwrap_or(source);
    let mut lexer = Lexer { source, at: 0, line: 1, counted: 0, trim: false, tokens: Vec::new() };
    match lexer.run() {
        Ok(()) => Ok(lexer.tokens),
        Err(message) => Err(Failure { line: lexer.line(), message: message.to_owned() }),
    }
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    /// The line of byte `counted`.
    line: usize,
    counted: usize,
    /// White space that follows is dropped.
    trim: bool,
    tokens: Vec<(Token<'s>, usize)>,
}

impl<'s> Lexer<'s> {
    fn line(&mut self) -> usize {
        self.line += self.source[self.counted..self.at].bytes().filter(|&b| b == b'\n').count();
        self.counted = self.at;
        self.line
    }

    fn push(&mut self, token: Token<'s>) {
        let line = self.line();
        self.tokens.push((token, line));
    }

    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn byte(&self, offset: usize) -> Option<u8> {
        self.source.as_bytes().get(self.at + offset).copied()
    }

    fn run(&mut self) -> Result<(), &'static str> {
        while let Some(offset) = open(self.rest()) {
            let (kind, control) = (self.byte(offset + 1), self.byte(offset + 2));
            let mut data = &self.rest()[..offset];
            match control {
                Some(b'-') => data = data.trim_end(),
                Some(b'+') => (),
                _ if kind != Some(b'{') && self.begins_line(self.at + offset) => {
                    data = data.trim_end_matches(|c: char| c.is_whitespace() && c != '\n' && c != '\r');
                }
                _ => (),
            }
            self.data(data);
            self.at += offset;
            let inside = if matches!(control, Some(b'-' | b'+')) { 3 } else { 2 };
            match kind {
                Some(b'#') => self.comment(inside)?,
                Some(b'%') => match self.raw_tag("raw", self.at + inside) {
                    Some((end, control)) => self.raw(end, control)?,
                    None => {
                        self.push(Token::TagOpen);
                        self.at += inside;
                        self.inside("%}")?;
                    }
                },
                _ => {
                    self.push(Token::PrintOpen);
                    self.at += inside;
                    self.inside("}}")?;
                }
            }
        }
        self.data(self.rest());
        self.at = self.source.len();
        self.push(Token::End);
        Ok(())
    }

    fn data(&mut self, data: &'s str) {
        let data = if std::mem::take(&mut self.trim) { data.trim_start() } else { data };
        if !data.is_empty() {
            self.push(Token::Data(data));
        }
    }

    /// Whether only white space stands between the line's start and this place.
    fn begins_line(&self, at: usize) -> bool {
        let before = self.source[..at].chars().rev().find(|c| !c.is_whitespace() || *c == '\n' || *c == '\r');
        before.is_none_or(char::is_whitespace)
    }

    fn comment(&mut self, inside: usize) -> Result<(), &'static str> {
        let length = self.rest()[inside..].find("#}").ok_or("a comment does not end")?;
        let control = if length > 0 { self.byte(inside + length - 1) } else { None };
        self.at += inside + length + 2;
        self.after_tag(control);
        Ok(())
    }

    /// What a mark's end does to the white space behind it.
    fn after_tag(&mut self, control: Option<u8>) {
        match control {
            Some(b'-') => self.trim = true,
            Some(b'+') => (),
            _ => {
                let rest = self.rest();
                let line_end = if rest.starts_with("\r\n") { 2 } else { usize::from(rest.starts_with('\n')) };
                self.at += line_end;
            }
        }
    }

    /// The end of a tag that is this word alone, and what stands before its `%}`.
    fn raw_tag(&self, word: &str, at: usize) -> Option<(usize, Option<u8>)> {
        let rest = self.source[at..].trim_ascii_start().strip_prefix(word)?.trim_ascii_start();
        let control = rest.bytes().next().filter(|b| matches!(b, b'-' | b'+'));
        let rest = if control.is_some() { &rest[1..] } else { rest };
        let rest = rest.strip_prefix("%}")?;
        Some((self.source.len() - rest.len(), control))
    }

    fn raw(&mut self, start: usize, control: Option<u8>) -> Result<(), &'static str> {
        self.at = start;
        self.after_tag(control);
        let mut from = self.at;
        while let Some(offset) = self.source[from..].find("{%") {
            let tag = from + offset;
            let control = self.source.as_bytes().get(tag + 2).copied();
            let inside = if matches!(control, Some(b'-' | b'+')) { 3 } else { 2 };
            if let Some((end, after)) = self.raw_tag("endraw", tag + inside) {
                let data = &self.source[self.at..tag];
                self.data(if control == Some(b'-') { data.trim_end() } else { data });
                self.at = end;
                self.after_tag(after);
                return Ok(());
            }
            from = tag + 2;
        }
        Err("a raw block does not end")
    }

    /// The tokens of a tag or of an expression, up to its end.
    fn inside(&mut self, end: &str) -> Result<(), &'static str> {
        let mut open = 0_usize;
        loop {
            let rest = self.rest().trim_ascii_start();
            self.at = self.source.len() - rest.len();
            if open == 0 {
                let control = rest.bytes().next().filter(|b| matches!(b, b'-' | b'+'));
                if rest[usize::from(control.is_some())..].starts_with(end) {
                    self.push(if end == "%}" { Token::TagClose } else { Token::PrintClose });
                    self.at += end.len() + usize::from(control.is_some());
                    match (end, control) {
                        ("%}", control) => self.after_tag(control),
                        (_, control) => self.trim = control == Some(b'-'),
                    }
                    return Ok(());
                }
            }
            let Some(first) = rest.bytes().next() else { return Err("a tag does not end") };
            match first {
                b'(' | b'[' | b'{' => open += 1,
                b')' | b']' | b'}' => open = open.saturating_sub(1),
                _ => (),
            }
            match first {
                b'\'' | b'"' => self.text(first)?,
                b'0'..=b'9' => self.number()?,
                b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                    let length = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
                    self.push(Token::Name(&rest[..length]));
                    self.at += length;
                }
                _ => {
                    let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign)).ok_or("unexpected character")?;
                    self.push(Token::Sign(sign));
                    self.at += sign.len();
                }
            }
        }
    }

    fn text(&mut self, quote: u8) -> Result<(), &'static str> {
        let rest = &self.rest()[1..];
        let mut escaped = false;
        let length = rest.bytes().position(|b| {
            let ends = b == quote && !escaped;
            escaped = b == b'\\' && !escaped;
            ends
        });
        let length = length.ok_or("a text does not end")?;
        self.push(Token::Text(unescape(&rest[..length]).ok_or("a text has a broken escape")?));
        self.at += length + 2;
        Ok(())
    }

    fn number(&mut self) -> Result<(), &'static str> {
        let rest = self.rest();
        let digits = |from: usize| rest[from..].bytes().take_while(|b| b.is_ascii_digit() || *b == b'_').count();
        let mut length = digits(0);
        // `a.1.0` is an item of an item.
        let is_item = self.at > 0 && self.source.as_bytes()[self.at - 1] == b'.';
        let mut whole = true;
        if !is_item && self.byte(length) == Some(b'.') && self.byte(length + 1).is_some_and(|b| b.is_ascii_digit()) {
            length += 1 + digits(length + 1);
            whole = false;
        }
        if matches!(self.byte(length), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.byte(length + 1), Some(b'+' | b'-')));
            let exponent = digits(length + 1 + sign);
            if exponent > 0 {
                length += 1 + sign + exponent;
                whole = false;
            }
        }
        let text = rest[..length].replace('_', "");
        let token = match whole {
            true => Token::Int(text.parse().map_err(|_| "a number is too large")?),
            false => Token::Float(text.parse().map_err(|_| "a number cannot be read")?),
        };
        self.push(token);
        self.at += length;
        Ok(())
    }
}

/// Where the next mark begins.
fn open(text: &str) -> Option<usize> {
    text.as_bytes().windows(2).position(|pair| matches!(pair, b"{{" | b"{%" | b"{#"))
}

/// A text without Python's escapes; an unknown one stays as it is.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let escape = rest.chars().next()?;
        let digits = match escape {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        rest = &rest[escape.len_utf8()..];
        match escape {
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            '0' => out.push('\0'),
            '\\' | '\'' | '"' | '/' => out.push(escape),
            'x' | 'u' | 'U' => {
                let code = u32::from_str_radix(rest.get(..digits)?, 16).ok()?;
                rest = &rest[digits..];
                // A character outside of the basic plane may be written as two halves.
                let code = match rest.strip_prefix("\\u").and_then(|r| r.get(..4)) {
                    Some(low) if (0xd800..0xdc00).contains(&code) => {
                        rest = &rest[6..];
                        0x10000 + ((code - 0xd800) << 10) + (u32::from_str_radix(low, 16).ok()?.checked_sub(0xdc00)?)
                    }
                    _ => code,
                };
                out.push(char::from_u32(code)?);
            }
            _ => {
                out.push('\\');
                out.push(escape);
            }
        }
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(source: &str) -> Vec<&str> {
        let tokens = lex(source).unwrap();
        tokens.iter().filter_map(|(t, _)| if let Token::Data(text) = t { Some(*text) } else { None }).collect()
    }

    #[test]
    fn white_space_goes_where_marks_say_so() {
        assert_eq!(data("a \n  {% x %}\n b {% x %} c\n"), ["a \n", " b ", " c"]);
        assert_eq!(data("a \n  {%- x -%}\n b"), ["a", "b"]);
        assert_eq!(data("a \n  {%+ x +%}\n b"), ["a \n  ", "\n b"]);
        assert_eq!(data("a  {{ x }}\n b {{- x -}} \n c"), ["a  ", "\n b", "c"]);
        assert_eq!(data("a\n  {# x #}\nb {#- x -#} c"), ["a\n", "b", "c"]);
        assert_eq!(data("a {% raw %} {{ {% {% endraw %} b"), ["a ", " {{ {% ", " b"]);
        assert_eq!(data("{{ x }}  {% y %}"), ["  "]);
        assert_eq!(data("a { b } { % {"), ["a { b } { % {"]);
    }

    #[test]
    fn brackets_texts_and_numbers_are_told() {
        let tokens: Vec<Token<'_>> = lex("{{ {'a': {}}['\\'\\n\\u00e9\\q'] -1_0 2.5 1e3 a.0.1 }}")
            .unwrap()
            .into_iter()
            .map(|(t, _)| t)
            .collect();
        assert!(tokens.contains(&Token::Text("'\né\\q".into())), "{tokens:?}");
        assert!(tokens.contains(&Token::Int(10)) && tokens.contains(&Token::Float(2.5)));
        assert!(tokens.contains(&Token::Float(1000.0)) && tokens.contains(&Token::Int(0)));
        assert_eq!(tokens.iter().filter(|t| **t == Token::PrintClose).count(), 1);
    }

    #[test]
    fn what_does_not_end_is_told_with_its_line() {
        for source in ["\n{{ 'a }}", "\n{{ a", "\n{% a", "\n{# a", "\n{% raw %}", "\n{{ ? }}", "\n{{ '\\u12' }}"] {
            assert_eq!(lex(source).unwrap_err().line, 2, "{source}");
        }
    }
}
