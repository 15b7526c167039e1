//! From token bytes to text that may leave: half characters and possible beginnings of stop strings are held back.

/// What a token made sendable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Piece {
    pub text: String,
    /// A stop string was met; the text ends before it and nothing may follow.
    pub stopped: bool,
}

/// Text of one answer as it grows.
#[derive(Debug)]
pub struct TextStream {
    stops: Vec<String>,
    /// Bytes of a character that is not complete.
    half: Vec<u8>,
    /// Text that may be the beginning of a stop string.
    held: String,
}

impl TextStream {
    /// `stops` are not empty strings.
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, half: Vec::new(), held: String::new() }
    }

    /// Takes the bytes of the next token.
    pub fn push(&mut self, bytes: &[u8]) -> Piece {
        self.half.extend_from_slice(bytes);
        self.decode(false);
        self.release(false)
    }

    /// The answer is over: what was held back, with U+FFFD for half a character.
    pub fn finish(&mut self) -> Piece {
        self.decode(true);
        self.release(true)
    }

    /// Moves whole characters from `half` to `held`.
    fn decode(&mut self, end: bool) {
        let bytes = std::mem::take(&mut self.half);
        let mut rest = &bytes[..];
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.held.push_str(text);
                    return;
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    self.held.push_str(&String::from_utf8_lossy(good));
                    match error.error_len() {
                        None if !end => {
                            self.half = bad.to_vec();
                            return;
                        }
                        length => {
                            self.held.push('\u{FFFD}');
                            rest = &bad[length.unwrap_or(bad.len())..];
                        }
                    }
                }
            }
        }
    }

    fn release(&mut self, end: bool) -> Piece {
        if let Some(at) = self.stops.iter().filter_map(|s| self.held.find(s.as_str())).min() {
            let mut text = std::mem::take(&mut self.held);
            text.truncate(at);
            return Piece { text, stopped: true };
        }
        let keep = if end { 0 } else { self.stops.iter().map(|s| overlap(&self.held, s)).max().unwrap_or(0) };
        let held = self.held.split_off(self.held.len() - keep);
        Piece { text: std::mem::replace(&mut self.held, held), stopped: false }
    }
}

/// Bytes at the end of `text` that are a beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len() - 1);
    (1..=longest).rev().find(|&n| stop.is_char_boundary(n) && text.ends_with(&stop[..n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], tokens: &[&[u8]]) -> (Vec<String>, bool) {
        let mut stream = TextStream::new(stops.iter().map(|s| (*s).to_owned()).collect());
        let mut out = Vec::new();
        for token in tokens {
            let piece = stream.push(token);
            out.push(piece.text);
            if piece.stopped {
                return (out, true);
            }
        }
        let last = stream.finish();
        out.push(last.text);
        (out, last.stopped)
    }

    #[test]
    fn half_characters_wait() {
        let bee = "🐝".as_bytes();
        assert_eq!(
            run(&[], &[&bee[..1], &bee[1..3], &bee[3..]]),
            (vec!["".into(), "".into(), "🐝".into(), "".into()], false)
        );
        assert_eq!(run(&[], &[b"a", &bee[..2]]).0, ["a", "", "\u{FFFD}"]);
        assert_eq!(run(&[], &[b"\xffb"]).0, ["\u{FFFD}b", ""]);
    }

    #[test]
    fn stop_strings_are_found_across_tokens() {
        assert_eq!(run(&["END"], &[b"a E", b"N", b"D b"]), (vec!["a ".into(), "".into(), "".into()], true));
        assert_eq!(run(&["END"], &[b"a E", b"N", b"x"]).0, ["a ", "", "ENx", ""]);
        assert_eq!(run(&["END"], &[b"a EN"]).0, ["a ", "EN"]);
        assert_eq!(run(&["bc", "ab"], &[b"xabc"]), (vec!["x".into()], true));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_text(text in "[ab🐝é]{0,30}", stop in "[ab🐝]{1,4}", cut in 1usize..5) {
            let tokens: Vec<&[u8]> = text.as_bytes().chunks(cut).collect();
            let (pieces, stopped) = run(&[&stop], &tokens);
            let expected = text.split(stop.as_str()).next().unwrap_or_default();
            prop_assert_eq!(pieces.concat(), expected);
            prop_assert_eq!(stopped, text.contains(stop.as_str()));
        }
    }
}
