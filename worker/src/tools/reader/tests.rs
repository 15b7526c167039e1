//! Answers in the words of each family, whole and cut anywhere.

use super::*;
use proptest::prelude::*;

/// Content, and (name, arguments) of each call.
type Read = (String, Vec<(String, String)>);

fn collect(parts: Vec<Part>) -> Read {
    let mut read = Read::default();
    for part in parts {
        match part {
            Part::Content(text) => read.0 += &text,
            Part::Call { index, name } => {
                assert_eq!(index as usize, read.1.len());
                read.1.push((name, String::new()));
            }
            Part::Arguments { index, text } => read.1[index as usize].1 += &text,
        }
    }
    read
}

fn reader(format: Format, parallel: bool, forced: bool) -> Reader {
    Reader::new(format, vec!["f".into(), "g".into()], parallel, forced)
}

fn cut(mut reader: Reader, text: &str, size: usize) -> Read {
    let mut parts = Vec::new();
    let chars: Vec<char> = text.chars().collect();
    for piece in chars.chunks(size) {
        parts.extend(reader.push(&piece.iter().collect::<String>()));
    }
    parts.extend(reader.finish());
    collect(parts)
}

/// Reads in every cut and asserts that all agree.
fn read(reader: Reader, text: &str) -> Read {
    let whole = cut(reader.clone(), text, usize::MAX);
    for size in 1..12 {
        assert_eq!(cut(reader.clone(), text, size), whole, "{text:?} in pieces of {size}");
    }
    whole
}

fn calls(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(n, a)| ((*n).to_owned(), (*a).to_owned())).collect()
}

#[test]
fn calls_of_every_family_are_read() {
    let two = calls(&[("f", r#"{"a": "</tool_call>"}"#), ("g", "{}")]);
    let cases = [
        (
            Format::Hermes,
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"</tool_call>\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>",
        ),
        (
            Format::Llama,
            "{\"name\": \"f\", \"parameters\": {\"a\": \"</tool_call>\"}}; {\"type\": \"function\", \"name\": \"g\", \"parameters\": {}}",
        ),
        (
            Format::Llama,
            "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"a\": \"</tool_call>\"}}\n{\"name\": \"g\", \"parameters\": {}}",
        ),
        (
            Format::Mistral,
            "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": \"</tool_call>\"}}, {\"name\": \"g\", \"arguments\": {}}]",
        ),
        (Format::Mistral, " [{\"arguments\": {\"a\": \"</tool_call>\"}, \"name\": \"f\"}, {\"name\": \"g\"}]"),
    ];
    for (format, text) in cases {
        assert_eq!(read(reader(format, true, false), text), (String::new(), two.clone()), "{text}");
        assert_eq!(read(reader(format, false, false), text).1, two[..1], "{text}");
    }
}

#[test]
fn text_around_calls_is_content() {
    let call = "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call>";
    let text = format!("I look < that <tool up.\n\n{call}\n\nDone.");
    assert_eq!(
        read(reader(Format::Hermes, true, false), &text),
        ("I look < that <tool up.Done.".into(), calls(&[("f", r#"{"x": 1}"#)]))
    );
}

#[test]
fn plain_answers_stay_as_they_are() {
    let texts = [
        " Hello. {\"name\": \"f\"}",
        "{\"name\": \"other\", \"arguments\": {}} and more",
        "{\"answer\": 42}",
        "{not json",
        "[1, 2]",
        "[{\"a\": 1}]",
        "[",
        "<tool_call>",
        "<tool_call>\nnothing",
        "<tool_",
        "",
        "  ",
    ];
    for format in [Format::Hermes, Format::Llama, Format::Mistral] {
        for text in texts {
            assert_eq!(read(reader(format, true, false), text), (text.into(), vec![]), "{format:?}");
        }
    }
}

#[test]
fn an_answer_that_was_forced_begins_within_the_call() {
    let object = "{\"name\": \"f\", \"arguments\": {\"x\": [1]}}";
    let wanted = (String::new(), calls(&[("f", r#"{"x": [1]}"#)]));
    assert_eq!(read(reader(Format::Hermes, true, true), object), wanted);
    assert_eq!(read(reader(Format::Hermes, true, true), &format!("{object}\n</tool_call>")), wanted);
    assert_eq!(read(reader(Format::Mistral, true, true), &format!("[{object}]")), wanted);
    assert_eq!(read(reader(Format::Llama, true, true), &object.replace("arguments", "parameters")), wanted);
}

#[test]
fn arguments_are_told_while_they_are_written() {
    let mut reader = reader(Format::Hermes, true, false);
    assert_eq!(reader.push("<tool_call>{\"name\": \"f\", \"arguments\": "), []);
    let begun = [Part::Call { index: 0, name: "f".into() }, Part::Arguments { index: 0, text: "{".into() }];
    assert_eq!(reader.push("{"), begun);
    for piece in ["\"a\"", ": \"x", "\"}"] {
        assert_eq!(reader.push(piece), [Part::Arguments { index: 0, text: piece.into() }]);
    }
    assert_eq!(reader.push("}</tool_call>"), []);
    assert_eq!((reader.finish(), reader.calls()), (vec![], 1));
}

#[test]
fn a_call_that_was_cut_off_keeps_what_it_has() {
    let text = "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1";
    assert_eq!(read(reader(Format::Hermes, true, false), text), (String::new(), calls(&[("f", "{\"a\": 1")])));
}

#[test]
fn arguments_that_are_a_string_are_handed_on_as_what_it_says() {
    let wanted = (String::new(), calls(&[("f", r#"{"city": "Oslo"}"#)]));
    let object = r#"{"name": "f", "arguments": "{\"city\": \"Oslo\"}"}"#;
    assert_eq!(read(reader(Format::Hermes, true, false), &format!("<tool_call>{object}</tool_call>")), wanted);
    assert_eq!(read(reader(Format::Mistral, true, false), &format!("[TOOL_CALLS][{object}]")), wanted);
    assert_eq!(read(reader(Format::Llama, true, false), object), wanted);
    for wrong in ["5", r#""Oslo""#, "[1]"] {
        let text = format!(r#"<tool_call>{{"name": "f", "arguments": {wrong}}}</tool_call>"#);
        assert_eq!(read(reader(Format::Hermes, true, false), &text), (text.clone(), vec![]), "no call is invented");
    }
}

#[test]
fn a_call_after_text_is_a_call_in_every_family() {
    let wanted = ("Let me look.".to_owned(), calls(&[("f", r#"{"x": 1}"#)]));
    let cases = [
        (Format::Hermes, "Let me look.\n<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call>"),
        (Format::Llama, "Let me look.<|python_tag|>{\"name\": \"f\", \"parameters\": {\"x\": 1}}"),
        (Format::Mistral, "Let me look.[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"x\": 1}}]"),
        (Format::Mistral, "Let me look. [TOOL_CALLS] {\"name\": \"f\", \"arguments\": {\"x\": 1}}"),
    ];
    for (format, text) in cases {
        assert_eq!(read(reader(format, true, false), text), wanted, "{text}");
        assert_eq!(read(reader(format, true, false).with_hidden_opening(true), text), wanted, "{text}");
    }
}

#[test]
fn an_opening_without_a_call_is_text_unless_it_is_a_control_token() {
    for (format, tag) in [(Format::Llama, "<|python_tag|>"), (Format::Mistral, "[TOOL_CALLS]")] {
        for (before, after) in [("", "print(1)"), ("So:\n", " yes"), ("a", tag)] {
            let text = format!("{before}{tag}{after}");
            assert_eq!(read(reader(format, true, false), &text), (text.clone(), vec![]), "{format:?}");
            let hidden = read(reader(format, true, false).with_hidden_opening(true), &text);
            // What cannot be told from the beginning of a call stays as it is.
            assert_eq!(hidden.0.replace(tag, ""), format!("{before}{after}").replace(tag, ""), "{format:?} {text}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_is_lost_without_calls(text in "[<>/a-z_{}\\[\\]\" \\n;,:é]{0,60}", size in 1usize..9) {
        for format in [Format::Hermes, Format::Llama, Format::Mistral] {
            let (content, calls) = cut(reader(format, true, false), &text, size);
            prop_assert!(calls.is_empty());
            if !text.contains("<tool_call>") {
                prop_assert_eq!(&content, &text);
            }
        }
    }
}
