//! Go's regular expressions, translated for the regex crate where the two differ.

use regex::Regex;

/// Compiles a pattern with Go's meaning: `\d`, `\w`, `\s` and `\b` are ASCII, and `[`, `&&`, `--`, `~~` in a class are
/// plain characters.
pub(crate) fn compile(source: &str) -> Result<Regex, regex::Error> {
    regex::RegexBuilder::new(&translate(source)).size_limit(4 << 20).build()
}

fn translate(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 16);
    let mut chars = source.chars().peekable();
    let mut class = false;
    let mut first = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                escape(chars.next(), class, &mut out);
                first = false;
            }
            '[' if !class => {
                class = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                first = true;
            }
            '[' if chars.peek() == Some(&':') => {
                out.push('[');
                for inner in chars.by_ref() {
                    out.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
                first = false;
            }
            '[' => {
                out.push_str("\\[");
                first = false;
            }
            ']' if class && first => {
                out.push_str("\\]");
                first = false;
            }
            ']' if class => {
                class = false;
                out.push(']');
            }
            '&' | '~' if class => {
                out.push('\\');
                out.push(c);
                first = false;
            }
            '-' if class && chars.peek() == Some(&'-') => {
                out.push_str("\\-");
                first = false;
            }
            c => {
                out.push(c);
                first = false;
            }
        }
    }
    out
}

fn escape(escaped: Option<char>, class: bool, out: &mut String) {
    let ascii = match escaped {
        Some('d') => "[0-9]",
        Some('w') => "[0-9A-Za-z_]",
        Some('s') => "[\\t\\n\\x0C\\r ]",
        Some('D') => "[^0-9]",
        Some('W') => "[^0-9A-Za-z_]",
        Some('S') => "[^\\t\\n\\x0C\\r ]",
        Some('b') if !class => "(?-u:\\b)",
        Some(other) => {
            out.push('\\');
            out.push(other);
            return;
        }
        None => "\\",
    };
    out.push_str(ascii);
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        let cases = [
            (r"^\d+$", "12", true),
            (r"^\d+$", "\u{0661}", false),
            (r"^[\w.]+$", "a_1.", true),
            (r"^[[]$", "[", true),
            (r"^[]a]+$", "]a", true),
            (r"^[a&&b]+$", "a&b", true),
            (r"^[[:alpha:]]+$", "ab", true),
            (r"^[^\s]$", " ", false),
            (r"^[a-z]+-[0-9]+$", "ab-1", true),
            (r"^[a\-z]+$", "-", true),
        ];
        for (pattern, text, want) in cases {
            assert_eq!(compile(pattern).expect(pattern).is_match(text), want, "{pattern} {text}");
        }
        assert!(compile("(").is_err());
    }
}
