//! One JSON object as it is written: where its members `name` and `arguments` lie, before it is complete.

use serde_json::{Map, Value};

/// Names of the member with the arguments.
const ARGUMENTS: [&str; 2] = ["arguments", "parameters"];

/// What the next character belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the opening brace.
    Start,
    /// A key or the closing brace.
    Key,
    /// Within a key that begins here.
    InKey(usize),
    Colon,
    /// Before a value.
    Value,
    /// Within a value that begins here, so many brackets deep.
    InValue {
        begin: usize,
        depth: usize,
    },
    Done,
    Broken,
}

/// What is known of the arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arguments<'a> {
    /// Nothing yet, or there are none.
    Unknown,
    /// An object, as far as it is written; or one that was written as a string, of which that is undone.
    Object(&'a str),
    /// Something that is no object.
    Wrong,
}

/// Where complete arguments are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    /// In the text.
    At(usize, usize),
    /// They were a string.
    Text(String),
    Wrong,
}

/// An object that grows.
#[derive(Debug, Clone)]
pub struct Object {
    text: String,
    place: Place,
    /// Within a string, and after a backslash.
    string: bool,
    escaped: bool,
    key: String,
    name: Option<String>,
    arguments: Option<Found>,
}

impl Object {
    pub fn new() -> Self {
        let (text, key) = (String::new(), String::new());
        Self { text, place: Place::Start, string: false, escaped: false, key, name: None, arguments: None }
    }

    /// Takes characters up to the end of the object, or to where it is none. Gives how many bytes were taken.
    pub fn push(&mut self, text: &str) -> usize {
        for (at, c) in text.char_indices() {
            if matches!(self.place, Place::Done | Place::Broken) {
                return at;
            }
            self.take(c);
            self.text.push(c);
        }
        text.len()
    }

    /// Everything that was taken.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn is_done(&self) -> bool {
        self.place == Place::Done
    }

    /// It is no JSON object.
    pub fn is_broken(&self) -> bool {
        self.place == Place::Broken
    }

    /// The function's name, once it is complete.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What there is of the arguments.
    pub fn arguments(&self) -> Arguments<'_> {
        match (&self.arguments, self.place) {
            (Some(Found::At(begin, end)), _) => Arguments::Object(&self.text[*begin..*end]),
            (Some(Found::Text(text)), _) => Arguments::Object(text),
            (Some(Found::Wrong), _) => Arguments::Wrong,
            (None, Place::InValue { begin, .. }) if self.is_arguments() && self.text[begin..].starts_with('{') => {
                Arguments::Object(&self.text[begin..])
            }
            _ => Arguments::Unknown,
        }
    }

    /// Whether the value that follows the key, or is being written, is the arguments.
    fn is_arguments(&self) -> bool {
        self.arguments.is_none() && ARGUMENTS.contains(&self.key.as_str())
    }

    /// Moves on by a character that will stand at the end of the text.
    fn take(&mut self, c: char) {
        let at = self.text.len();
        if self.string {
            match c {
                _ if self.escaped => self.escaped = false,
                '\\' => self.escaped = true,
                '"' => {
                    self.string = false;
                    self.end_string(at);
                }
                _ => {}
            }
            return;
        }
        let space = matches!(c, ' ' | '\t' | '\n' | '\r');
        self.place = match (self.place, c) {
            (Place::InValue { begin, depth }, _) => self.in_value(begin, depth, c, at),
            (place, _) if space => place,
            (Place::Start, '{') => Place::Key,
            (Place::Key, ',') => Place::Key,
            (Place::Key, '}') => Place::Done,
            (Place::Key, '"') => {
                self.string = true;
                Place::InKey(at)
            }
            (Place::Colon, ':') => Place::Value,
            (Place::Value, _) => self.in_value(at, 0, c, at),
            _ => Place::Broken,
        };
    }

    fn in_value(&mut self, begin: usize, depth: usize, c: char, at: usize) -> Place {
        let here = Place::InValue { begin, depth };
        match (c, depth) {
            ('"', _) => {
                self.string = true;
                here
            }
            ('{' | '[', _) => Place::InValue { begin, depth: depth + 1 },
            ('}' | ']', 1) => {
                self.end_value(begin, at + 1);
                Place::Key
            }
            ('}' | ']', 2..) => Place::InValue { begin, depth: depth - 1 },
            // A number or a word ends where the next thing begins.
            (',', 0) => {
                self.end_value(begin, at);
                Place::Key
            }
            ('}', 0) => {
                self.end_value(begin, at);
                Place::Done
            }
            (']', 0) => Place::Broken,
            _ => here,
        }
    }

    /// The string that ends with the quote at `at` was a key or a part of a value.
    fn end_string(&mut self, at: usize) {
        match self.place {
            Place::InKey(begin) => {
                self.key = self.text[begin + 1..at].to_owned();
                self.place = Place::Colon;
            }
            Place::InValue { begin, depth: 0 } => {
                let value = serde_json::from_str(&format!("{}\"", &self.text[begin..at])).ok();
                self.string_value(value);
                self.place = Place::Key;
            }
            _ => {}
        }
    }

    fn string_value(&mut self, value: Option<String>) {
        if self.key == "name" && self.name.is_none() {
            self.name = value;
        } else if self.is_arguments() {
            self.arguments = match value {
                Some(text) if text.trim().is_empty() => None,
                Some(text) if serde_json::from_str::<Map<String, Value>>(&text).is_ok() => Some(Found::Text(text)),
                _ => Some(Found::Wrong),
            };
        }
    }

    fn end_value(&mut self, begin: usize, end: usize) {
        if self.is_arguments() {
            // A closing bracket is not in the text yet.
            self.arguments = match self.text[begin..].trim() {
                "null" => None,
                value if value.starts_with('{') => Some(Found::At(begin, end)),
                _ => Some(Found::Wrong),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> (Object, usize) {
        let mut object = Object::new();
        let taken = object.push(text);
        (object, taken)
    }

    #[test]
    fn members_are_found_in_any_order() {
        for text in [
            r#"{"name": "f", "arguments": {"a": "}\"{", "b": [1, {}]}}"#,
            r#" {"id": 7, "arguments": {"a": "}\"{", "b": [1, {}]} , "more": null, "name":"f"}"#,
            r#"{"x": {"name": "g", "arguments": {}}, "name": "f", "parameters": {"a": "}\"{", "b": [1, {}]}}"#,
        ] {
            let (object, taken) = read(&format!("{text} rest"));
            assert!(object.is_done() && taken == text.len(), "{text}: {object:?}");
            assert_eq!(object.name(), Some("f"));
            assert_eq!(object.arguments(), Arguments::Object(r#"{"a": "}\"{", "b": [1, {}]}"#));
        }
    }

    #[test]
    fn parts_are_known_as_soon_as_they_are_there() {
        let (object, _) = read(r#"{"name": "f", "arguments": {"ci"#);
        assert_eq!(
            (object.name(), object.arguments(), object.is_done()),
            (Some("f"), Arguments::Object(r#"{"ci"#), false)
        );
        assert_eq!(read(r#"{"name": "f"#).0.name(), None);
    }

    #[test]
    fn arguments_are_an_object_or_the_text_of_one() {
        let cases = [
            (r#""{\"a\": \"\u00e9\\n\"}""#, Arguments::Object("{\"a\": \"é\\n\"}")),
            (r#""{}""#, Arguments::Object("{}")),
            (r#""""#, Arguments::Unknown),
            ("null", Arguments::Unknown),
            (r#""Oslo""#, Arguments::Wrong),
            (r#""{\"a\"""#, Arguments::Wrong),
            (r#""\x""#, Arguments::Wrong),
            ("5", Arguments::Wrong),
            ("true", Arguments::Wrong),
            (r#"[{"a": 1}]"#, Arguments::Wrong),
        ];
        for (value, wanted) in cases {
            for text in [
                format!(r#"{{"name": "f", "arguments": {value}}}"#),
                format!(r#"{{"parameters": {value} , "name": "f"}}"#),
            ] {
                let (object, _) = read(&text);
                assert_eq!((object.arguments(), object.is_done()), (wanted, true), "{text}");
            }
        }
        assert_eq!(read(r#"{"arguments": "{\"a"#).0.arguments(), Arguments::Unknown);
    }

    #[test]
    fn what_is_no_object_is_broken() {
        for text in ["x", "[1]", "{x", r#"{"a" 1"#, r#"{"a": ]"#] {
            assert!(read(text).0.is_broken(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_in_any_cut_reads_the_same(text in r#"[ {}\[\]",:a\\1é-]{0,60}"#, cut in 1usize..6) {
            let (whole, taken) = read(&text);
            let mut object = Object::new();
            let chars: Vec<char> = text.chars().collect();
            let mut sum = 0;
            for piece in chars.chunks(cut) {
                sum += object.push(&piece.iter().collect::<String>());
            }
            prop_assert_eq!(sum, taken);
            prop_assert_eq!(object.text(), whole.text());
            prop_assert_eq!(object.arguments(), whole.arguments());
        }

        #[test]
        fn every_object_ends_where_it_ends(values in prop::collection::hash_map("[a-z\"{}]{1,5}", "[ -~é]{0,10}", 0..5)) {
            let text = serde_json::json!(values).to_string();
            let (object, taken) = read(&format!("{text}}}]"));
            prop_assert!(object.is_done() && taken == text.len());
        }
    }
}
