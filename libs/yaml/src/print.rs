//! YAML as kubectl prints it: block style, keys in alphabetical order, strings quoted where they would read as something else.

use std::fmt::Write;

use serde_json::Value;

/// The value as one YAML document, ending with a newline.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(&mut out, map, 0),
        Value::Array(items) if !items.is_empty() => write_items(&mut out, items, 0),
        scalar => {
            write_inline(&mut out, scalar, 0);
        }
    }
    out
}

/// The values as YAML documents with `---` between them.
pub fn to_string_multiple<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    values.into_iter().map(to_string).collect::<Vec<_>>().join("---\n")
}

fn write_map(out: &mut String, map: &serde_json::Map<String, Value>, indent: usize) {
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    for (index, (key, value)) in entries.into_iter().enumerate() {
        // The first key of an item stands behind its dash.
        if index > 0 || !out.ends_with("- ") {
            pad(out, indent);
        }
        write_scalar_string(out, key);
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                write_map(out, map, indent + 2);
            }
            // kubectl does not indent items below their key.
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                write_items(out, items, indent);
            }
            scalar => {
                out.push(' ');
                write_inline(out, scalar, indent + 2);
            }
        }
    }
}

fn write_items(out: &mut String, items: &[Value], indent: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || !out.ends_with("- ") {
            pad(out, indent);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => write_map(out, map, indent + 2),
            Value::Array(items) if !items.is_empty() => write_items(out, items, indent + 2),
            scalar => write_inline(out, scalar, indent + 2),
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A scalar or an empty collection, and the newline after it.
fn write_inline(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(value) => {
            let _ = write!(out, "{value}");
        }
        Value::String(value) if is_block(value) => return write_block(out, value, indent),
        Value::String(value) => write_scalar_string(out, value),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
    out.push('\n');
}

/// Texts of several lines that a literal block gives back as they are.
fn is_block(text: &str) -> bool {
    let body = text.trim_end_matches('\n');
    body.contains('\n')
        && text.len() - body.len() <= 1
        && text.chars().all(|c| c == '\n' || (is_printable(c) && c != '\t'))
        && body.lines().all(|line| !line.ends_with(' '))
        && !body.starts_with([' ', '\n'])
}

fn write_block(out: &mut String, text: &str, indent: usize) {
    out.push_str(if text.ends_with('\n') { "|\n" } else { "|-\n" });
    for line in text.lines() {
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
        out.push('\n');
    }
}

fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{85}')
}

fn write_scalar_string(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
    } else if text.chars().all(is_printable) && !text.contains('\'') && (text.contains(['"', '\\'])) {
        let _ = write!(out, "'{text}'");
    } else {
        write_double_quoted(out, text);
    }
}

fn write_double_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) <= 0xff => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
        }
    }
    out.push('"');
}

/// Whether the text, unquoted, reads as this string to readers of YAML 1.1 and 1.2.
fn is_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return false };
    let starts_well = first.is_alphanumeric() || matches!(first, '/' | '_' | '.' | '$' | '(' | '+' | '<');
    let all_well =
        text.chars().all(is_printable) && !text.ends_with([' ', ':']) && !text.contains(": ") && !text.contains(" #");
    starts_well && all_well && !text.contains('\u{a0}') && !reads_as_other(text)
}

fn reads_as_other(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let word = matches!(
        lower.as_str(),
        "true"
            | "false"
            | "yes"
            | "no"
            | "on"
            | "off"
            | "y"
            | "n"
            | "null"
            | "~"
            | ".nan"
            | ".inf"
            | "+.inf"
            | "<<"
            | "..."
            | "---"
    );
    // Anything that begins like a number or a date is quoted unless a letter or another sign makes it neither.
    let unsigned = lower.strip_prefix('+').unwrap_or(&lower);
    let number_like = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.chars().all(|c| {
            c.is_ascii_hexdigit() || matches!(c, '.' | '_' | 'e' | '+' | '-' | 'x' | 'o' | ':' | ' ' | 't' | 'z')
        });
    let is_number = number_like && !is_clearly_text(unsigned);
    word || is_number || text.starts_with("...") || unsigned.is_empty()
}

/// Versions, addresses, hashes and durations: like numbers at first sight, and none to any reader.
fn is_clearly_text(text: &str) -> bool {
    let version = text.split('.').count() > 2 && text.split('.').all(|part| part.bytes().all(|b| b.is_ascii_digit()));
    let hash = text.len() >= 16
        && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        && text.bytes().any(|b| b.is_ascii_alphabetic() && b != b'e');
    (version && !text.contains("..")) || hash || text == "."
}
