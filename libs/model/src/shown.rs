//! Text of a file as messages show it: on one line, without control characters, and short.

/// Most letters of a text that are shown.
const LETTERS: usize = 120;

/// The text with everything escaped that a terminal or a log would not print as it is, cut where it gets long.
pub fn shown(text: &str) -> String {
    let mut letters = text.chars();
    let mut out: String = letters.by_ref().take(LETTERS).flat_map(escaped).collect();
    if letters.next().is_some() {
        out.push_str(&format!("… ({} bytes)", text.len()));
    }
    out
}

/// Quotes and backslashes stay as they are: only what is no visible letter is escaped.
fn escaped(letter: char) -> impl Iterator<Item = char> {
    let plain = matches!(letter, '"' | '\'' | '\\');
    let (one, escape) = if plain { (Some(letter), None) } else { (None, Some(letter.escape_debug())) };
    one.into_iter().chain(escape.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped_and_what_is_long_is_cut() {
        assert_eq!(shown("llama.block_count \"é\" 'x'"), "llama.block_count \"é\" 'x'");
        assert_eq!(shown("a\u{1b}[31m\nb\u{202e}"), "a\\u{1b}[31m\\nb\\u{202e}");
        let long = shown(&"é\n".repeat(1000));
        assert!(long.chars().count() < 220 && long.ends_with("… (3000 bytes)"), "{long}");
    }
}
