//! The filter `tojson` as in Python's transformers: nothing is escaped for HTML, and characters stay as they are.

use super::Failure;
use super::args::Args;
use super::meter::Meter;
use super::value::{Text, Value};

/// `ensure_ascii`, `separators` and `sort_keys` are accepted and change nothing.
pub fn to_json(meter: &Meter, value: &Value, mut args: Args<'_>) -> Result<Value, Failure> {
    let indent = args.int("indent")?;
    for ignored in ["ensure_ascii", "separators", "sort_keys"] {
        args.take_named(ignored);
    }
    args.done()?;
    let indent = match indent.map(usize::try_from) {
        None => None,
        Some(Ok(width)) if width <= 16 => Some(width),
        Some(_) => return Err(Failure::new("JSON is indented by 0 to 16 spaces")),
    };
    let mut writer = Writer { meter, indent, text: Text::default() };
    writer.value(value, 0)?;
    Ok(writer.text.into_value())
}

struct Writer<'m> {
    meter: &'m Meter,
    indent: Option<usize>,
    text: Text,
}

impl Writer<'_> {
    fn push(&mut self, text: &str) -> Result<(), Failure> {
        self.text.push(self.meter, text)
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Failure> {
        self.meter.step()?;
        match value {
            Value::Undefined | Value::None => self.push("null"),
            Value::Bool(value) => self.push(if *value { "true" } else { "false" }),
            Value::Int(number) => self.push(&number.to_string()),
            Value::Float(number) => match serde_json::Number::from_f64(*number) {
                Some(number) => self.push(&number.to_string()),
                None => self.push("null"),
            },
            Value::Text(text) => self.quoted(text),
            Value::List(list) => {
                self.push("[")?;
                for (at, item) in list.items.iter().enumerate() {
                    self.begin_item(at == 0, depth + 1)?;
                    self.value(item, depth + 1)?;
                }
                self.end("]", list.items.is_empty(), depth)
            }
            Value::Dict(dict) => {
                self.push("{")?;
                for (at, (key, item)) in dict.entries.iter().enumerate() {
                    self.begin_item(at == 0, depth + 1)?;
                    self.quoted(key)?;
                    self.push(": ")?;
                    self.value(item, depth + 1)?;
                }
                self.end("}", dict.entries.is_empty(), depth)
            }
            other => Err(Failure::new(format!("{} cannot be written as JSON", other.kind()))),
        }
    }

    fn begin_item(&mut self, first: bool, depth: usize) -> Result<(), Failure> {
        match self.indent {
            None => self.push(if first { "" } else { ", " }),
            Some(width) => {
                self.push(if first { "\n" } else { ",\n" })?;
                self.spaces(width * depth)
            }
        }
    }

    fn end(&mut self, close: &str, empty: bool, depth: usize) -> Result<(), Failure> {
        if let (Some(width), false) = (self.indent, empty) {
            self.push("\n")?;
            self.spaces(width * depth)?;
        }
        self.push(close)
    }

    fn spaces(&mut self, count: usize) -> Result<(), Failure> {
        (0..count).try_for_each(|_| self.push(" "))
    }

    fn quoted(&mut self, text: &str) -> Result<(), Failure> {
        self.push("\"")?;
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
            self.push(&rest[..at])?;
            match rest.as_bytes()[at] {
                b'"' => self.push("\\\"")?,
                b'\\' => self.push("\\\\")?,
                b'\n' => self.push("\\n")?,
                b'\r' => self.push("\\r")?,
                b'\t' => self.push("\\t")?,
                0x08 => self.push("\\b")?,
                0x0c => self.push("\\f")?,
                other => self.push(&format!("\\u{other:04x}"))?,
            }
            rest = &rest[at + 1..];
        }
        self.push(rest)?;
        self.push("\"")
    }
}
