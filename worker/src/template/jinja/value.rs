//! Values of a template. Each one knows how deep it is; lists and dictionaries are shared, and never change.

use super::Failure;
use super::meter::Meter;
use std::fmt::Write;
use std::sync::Arc;

/// Deepest nesting of a value that a template makes. A request's own JSON is not deeper than 128 levels.
const MAX_DEPTH: usize = 160;

#[derive(Clone)]
pub enum Value {
    Undefined,
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Arc<str>),
    List(Arc<List>),
    Dict(Arc<Dict>),
    /// A namespace, a loop, a macro: their places with what runs.
    Namespace(usize),
    Loop(usize),
    Macro(usize),
    Function(Function),
}

/// What is defined without being given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Range,
    Namespace,
    Dict,
    RaiseException,
    StrftimeNow,
}

#[derive(Default)]
pub struct List {
    pub items: Vec<Value>,
    depth: usize,
}

/// Entries in their order. Lookups walk through them: a request's objects are small, and what walks pays.
#[derive(Default)]
pub struct Dict {
    pub entries: Entries,
    depth: usize,
}

pub type Entries = Vec<(Arc<str>, Value)>;

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl Value {
    /// A list of a request, which is not paid for.
    pub fn list(items: Vec<Self>) -> Self {
        let depth = items.iter().map(Self::depth).max().unwrap_or(0) + 1;
        Self::List(Arc::new(List { items, depth }))
    }

    /// A dictionary of a request, which is not paid for. No key comes twice.
    pub fn dict(entries: Entries) -> Self {
        let depth = entries.iter().map(|(_, value)| value.depth()).max().unwrap_or(0) + 1;
        Self::Dict(Arc::new(Dict { entries, depth }))
    }

    /// A list whose places are paid for.
    pub fn made_list(items: Vec<Self>) -> Result<Self, Failure> {
        Self::list(items).checked()
    }

    /// A dictionary whose places are paid for.
    pub fn made_dict(entries: Entries) -> Result<Self, Failure> {
        Self::dict(entries).checked()
    }

    fn checked(self) -> Result<Self, Failure> {
        match self.depth() > MAX_DEPTH {
            true => Err(Failure::new(format!("a value is nested deeper than {MAX_DEPTH} levels"))),
            false => Ok(self),
        }
    }

    /// A text that is paid for here.
    pub fn made_text(meter: &Meter, text: &str) -> Result<Self, Failure> {
        meter.make(text.len())?;
        Ok(Self::from(text))
    }

    fn depth(&self) -> usize {
        match self {
            Self::List(list) => list.depth,
            Self::Dict(dict) => dict.depth,
            _ => 0,
        }
    }

    /// Bytes of a request's value, about.
    pub fn size(&self) -> u64 {
        64 + match self {
            Self::Text(text) => text.len() as u64,
            Self::List(list) => list.items.iter().map(Self::size).sum(),
            Self::Dict(dict) => dict.entries.iter().map(|(key, value)| key.len() as u64 + value.size()).sum(),
            _ => 0,
        }
    }

    pub fn is_true(&self) -> bool {
        match self {
            Self::Undefined | Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Dict(dict) => !dict.entries.is_empty(),
            Self::Namespace(_) | Self::Loop(_) | Self::Macro(_) | Self::Function(_) => true,
        }
    }

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Undefined => "an undefined value",
            Self::None => "none",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
            Self::Namespace(_) => "a namespace",
            Self::Loop(_) => "a loop",
            Self::Macro(_) => "a macro",
            Self::Function(_) => "a function",
        }
    }
}

/// The entry of a key.
pub fn entry<'e>(meter: &Meter, entries: &'e Entries, key: &str) -> Result<Option<&'e Value>, Failure> {
    Ok(place(meter, entries, key)?.map(|place| &entries[place].1))
}

/// Sets the entry of a key, and pays for a place if it has none.
pub fn set_entry(meter: &Meter, entries: &mut Entries, key: Arc<str>, value: Value) -> Result<(), Failure> {
    match place(meter, entries, &key)? {
        Some(place) => entries[place].1 = value,
        None => {
            meter.slots(1)?;
            entries.push((key, value));
        }
    }
    Ok(())
}

fn place(meter: &Meter, entries: &Entries, key: &str) -> Result<Option<usize>, Failure> {
    meter.look(entries.len() * 8)?;
    for (place, (name, _)) in entries.iter().enumerate() {
        if name.len() == key.len() {
            meter.look(key.len())?;
            if **name == *key {
                return Ok(Some(place));
            }
        }
    }
    Ok(None)
}

/// A text that grows, paid for before.
#[derive(Default)]
pub struct Text(String);

impl Text {
    pub fn push(&mut self, meter: &Meter, text: &str) -> Result<(), Failure> {
        meter.make(text.len())?;
        self.0.push_str(text);
        Ok(())
    }

    /// A value as templates print it.
    pub fn print(&mut self, meter: &Meter, value: &Value) -> Result<(), Failure> {
        match value {
            Value::Text(text) => self.push(meter, text),
            Value::Undefined => Ok(()),
            value => self.print_nested(meter, value),
        }
    }

    /// A value as Python writes it within another.
    fn print_nested(&mut self, meter: &Meter, value: &Value) -> Result<(), Failure> {
        meter.step()?;
        match value {
            Value::Undefined => self.push(meter, "Undefined"),
            Value::None => self.push(meter, "None"),
            Value::Bool(value) => self.push(meter, if *value { "True" } else { "False" }),
            Value::Int(number) => self.push(meter, &number.to_string()),
            Value::Float(number) => self.push(meter, &float(*number)),
            Value::Text(text) => self.print_quoted(meter, text),
            Value::List(list) => {
                self.push(meter, "[")?;
                for (at, item) in list.items.iter().enumerate() {
                    self.push(meter, if at > 0 { ", " } else { "" })?;
                    self.print_nested(meter, item)?;
                }
                self.push(meter, "]")
            }
            Value::Dict(dict) => {
                self.push(meter, "{")?;
                for (at, (key, item)) in dict.entries.iter().enumerate() {
                    self.push(meter, if at > 0 { ", " } else { "" })?;
                    self.print_quoted(meter, key)?;
                    self.push(meter, ": ")?;
                    self.print_nested(meter, item)?;
                }
                self.push(meter, "}")
            }
            // What has no text in Python either but an address.
            Value::Namespace(_) | Value::Loop(_) | Value::Macro(_) | Value::Function(_) => {
                self.push(meter, &format!("<{}>", value.kind()))
            }
        }
    }

    /// In the quotes that Python would choose.
    fn print_quoted(&mut self, meter: &Meter, text: &str) -> Result<(), Failure> {
        meter.look(text.len())?;
        let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
        let mut out = [0; 4];
        self.push(meter, quote.encode_utf8(&mut out))?;
        for c in text.chars() {
            match c {
                '\\' => self.push(meter, "\\\\")?,
                '\n' => self.push(meter, "\\n")?,
                '\r' => self.push(meter, "\\r")?,
                '\t' => self.push(meter, "\\t")?,
                c if c == quote => {
                    self.push(meter, "\\")?;
                    self.push(meter, c.encode_utf8(&mut out))?;
                }
                c if c.is_control() => self.push(meter, &format!("\\x{:02x}", u32::from(c)))?,
                c => self.push(meter, c.encode_utf8(&mut out))?,
            }
        }
        self.push(meter, quote.encode_utf8(&mut out))
    }

    pub fn into_value(self) -> Value {
        Value::from(self.0)
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    let mut text = String::new();
    // Writing to a text does not fail.
    let _ = write!(text, "{number}");
    if number.is_finite() && !text.contains('.') {
        text.push_str(".0");
    }
    text
}
