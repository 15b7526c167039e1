//! YAML nodes with their places, and what becomes of them: JSON values and spans.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use crate::{Repeated, YamlError, line, spans::Spans};

/// A node as the parser gives it.
pub(crate) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Sequence(Vec<Spanned<Node>>),
    Mapping(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping, a sequence, a string, a number, a boolean or null")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Node, E> {
        Err(E::custom(format_args!("the integer {value} does not fit in 64 bits")))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Node, E> {
        Err(E::custom(format_args!("the integer {value} does not fit in 64 bits")))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        Number::from_f64(value).map(Node::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut sequence = Vec::new();
        while let Some(item) = items.next_element()? {
            sequence.push(item);
        }
        Ok(Node::Sequence(sequence))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut mapping = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<Node>>()? {
            let name = match key.value {
                Node::String(name) => name,
                Node::Bool(name) => name.to_string(),
                Node::Number(name) => name.to_string(),
                Node::Null => return Err(A::Error::custom("a key must not be null")),
                Node::Sequence(_) | Node::Mapping(_) => return Err(A::Error::custom("a key must be a scalar")),
            };
            let key = Spanned::new(name, key.referenced, key.defined);
            mapping.push((key, entries.next_value()?));
        }
        Ok(Node::Mapping(mapping))
    }
}

/// A document on its way to JSON.
pub(crate) struct Reading<'a> {
    pub text: &'a str,
    pub file: &'a str,
    /// Keys that came twice; none where that is an error.
    pub repeated: Option<Vec<Repeated>>,
}

impl Reading<'_> {
    /// The JSON value of a node, and where its parts stand in the text.
    pub(crate) fn convert(&mut self, node: Spanned<Node>) -> Result<(Value, Spans), YamlError> {
        let mut spans = Spans::at(line(&node));
        let value = match node.value {
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(value),
            Node::Number(value) => {
                refuse_leading_zero(&node.defined, self.text, self.file)?;
                Value::Number(value)
            }
            Node::String(value) => Value::String(value),
            Node::Sequence(items) => {
                let mut values = Vec::with_capacity(items.len());
                for (index, item) in items.into_iter().enumerate() {
                    let (value, child) = self.convert(item)?;
                    spans.insert(index.to_string(), child);
                    values.push(value);
                }
                Value::Array(values)
            }
            Node::Mapping(entries) => {
                let mut values = Map::new();
                for (key, node) in entries {
                    let value_line = line(&node);
                    let (value, mut child) = self.convert(node)?;
                    child.set_line(line(&key));
                    spans.insert(key.value.clone(), child);
                    // `1` and `"1"` are two keys in YAML and one in JSON.
                    if values.insert(key.value.clone(), value).is_some() {
                        self.repeat(key, value_line)?;
                    }
                }
                Value::Object(values)
            }
        };
        Ok((value, spans))
    }

    fn repeat(&mut self, key: Spanned<String>, value_line: u32) -> Result<(), YamlError> {
        match &mut self.repeated {
            Some(repeated) => {
                repeated.push(Repeated { key: key.value, line: value_line });
                Ok(())
            }
            None => Err(YamlError {
                file: self.file.to_owned(),
                line: line(&key),
                column: u32::try_from(key.referenced.column()).unwrap_or(u32::MAX),
                message: format!("duplicate key {:?}", key.value),
            }),
        }
    }
}

/// `0777` is 777 to some readers and 511 to others.
fn refuse_leading_zero(at: &serde_saphyr::Location, text: &str, file: &str) -> Result<(), YamlError> {
    let source = at.span().byte_offset().zip(at.span().byte_len()).and_then(|(offset, length)| {
        let start = usize::try_from(offset).ok()?;
        text.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    });
    let Some(source) = source else { return Ok(()) };
    let digits = source.trim_end().trim_start_matches(['-', '+']);
    if digits.len() < 2 || !digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(());
    }
    Err(YamlError {
        file: file.to_owned(),
        line: u32::try_from(at.line()).unwrap_or(u32::MAX),
        column: u32::try_from(at.column()).unwrap_or(u32::MAX),
        message: format!(
            "the integer {source} has a leading zero; write 0o{digits} for octal, or quote it for a string"
        ),
    })
}
