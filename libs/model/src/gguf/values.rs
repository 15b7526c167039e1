//! Values of metadata: every one is checked, and kept if somebody reads it.

use std::io::Read;

use super::bytes::Bytes;
use super::{Array, GgufError, Omitted, StringArray, Value, ValueType, limits};
use crate::shown::shown;

/// What is kept of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// All that somebody reads.
    All,
    /// Of the tokenizer only how long its lists are.
    Lengths,
}

/// The lists that make a vocabulary. Nothing else in a header is large.
const VOCABULARY: [&str; 4] =
    ["tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"];

/// Texts that are read by name, and kept whatever comes before them.
const TEXTS: [&str; 5] =
    ["general.architecture", "general.name", "tokenizer.chat_template", "tokenizer.ggml.model", "tokenizer.ggml.pre"];

/// Reads values; counts what may still come.
pub(super) struct Values {
    keep: Keep,
    /// Elements of arrays that may still come.
    elements: u64,
    /// Bytes that the vocabulary takes so far.
    vocabulary: u64,
    /// Bytes of strings and arrays outside of the vocabulary that may still be kept.
    others: u64,
}

impl Values {
    pub fn new(keep: Keep) -> Self {
        Self { keep, elements: limits::ELEMENTS, vocabulary: 0, others: limits::OTHER_BYTES }
    }

    pub fn read<R: Read>(&mut self, source: &mut Bytes<R>, key: &str) -> Result<Value, GgufError> {
        Ok(match value_type(source, key)? {
            ValueType::U8 => Value::U8(u8::from_le_bytes(source.take(key)?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(source.take(key)?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(source.take(key)?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(source.take(key)?)),
            ValueType::U32 => Value::U32(source.u32(key)?),
            ValueType::I32 => Value::I32(i32::from_le_bytes(source.take(key)?)),
            ValueType::U64 => Value::U64(source.u64(key)?),
            ValueType::I64 => Value::I64(i64::from_le_bytes(source.take(key)?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(source.take(key)?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(source.take(key)?)),
            ValueType::Bool => Value::Bool(boolean(source.take(key)?, key)?),
            ValueType::String => self.string(source, key)?,
            ValueType::Array => self.array(source, key)?,
        })
    }

    fn string<R: Read>(&mut self, source: &mut Bytes<R>, key: &str) -> Result<Value, GgufError> {
        let is_read = TEXTS.contains(&key);
        let len = source.length(key, if is_read { limits::OTHER_BYTES } else { limits::STRING_BYTES })?;
        if !self.is_skipped(key) && (is_read || self.afford(len)) {
            return Ok(Value::String(source.text(len, key)?.to_owned()));
        }
        source.skip_text(len, key)?;
        Ok(Value::Omitted(Omitted { element: None, len }))
    }

    fn array<R: Read>(&mut self, source: &mut Bytes<R>, key: &str) -> Result<Value, GgufError> {
        let (element, len) = self.array_start(source, key)?;
        let in_vocabulary = VOCABULARY.contains(&key);
        if in_vocabulary && len > limits::TOKENS {
            return Err(GgufError::TooMany { what: "elements of a vocabulary", count: len, limit: limits::TOKENS });
        }
        let memory = len * element.memory_bytes();
        let kept = match in_vocabulary {
            true => {
                self.spend(memory)?;
                self.keep == Keep::All
            }
            false => !self.is_skipped(key) && self.afford(memory),
        };
        let array = match (element, kept) {
            (ValueType::String, _) => self.strings(source, key, len, in_vocabulary, kept)?.map(Array::String),
            // Nobody reads arrays of arrays.
            (ValueType::Array, _) | (_, false) => {
                self.skip(source, key, element, len, 1)?;
                None
            }
            (ValueType::U8, _) => Some(Array::U8(numbers(source, key, len, |b| Ok(u8::from_le_bytes(b)))?)),
            (ValueType::I8, _) => Some(Array::I8(numbers(source, key, len, |b| Ok(i8::from_le_bytes(b)))?)),
            (ValueType::U16, _) => Some(Array::U16(numbers(source, key, len, |b| Ok(u16::from_le_bytes(b)))?)),
            (ValueType::I16, _) => Some(Array::I16(numbers(source, key, len, |b| Ok(i16::from_le_bytes(b)))?)),
            (ValueType::U32, _) => Some(Array::U32(numbers(source, key, len, |b| Ok(u32::from_le_bytes(b)))?)),
            (ValueType::I32, _) => Some(Array::I32(numbers(source, key, len, |b| Ok(i32::from_le_bytes(b)))?)),
            (ValueType::U64, _) => Some(Array::U64(numbers(source, key, len, |b| Ok(u64::from_le_bytes(b)))?)),
            (ValueType::I64, _) => Some(Array::I64(numbers(source, key, len, |b| Ok(i64::from_le_bytes(b)))?)),
            (ValueType::F32, _) => Some(Array::F32(numbers(source, key, len, |b| Ok(f32::from_le_bytes(b)))?)),
            (ValueType::F64, _) => Some(Array::F64(numbers(source, key, len, |b| Ok(f64::from_le_bytes(b)))?)),
            (ValueType::Bool, _) => Some(Array::Bool(numbers(source, key, len, |b| boolean(b, key))?)),
        };
        Ok(array.map_or(Value::Omitted(Omitted { element: Some(element), len }), Value::Array))
    }

    /// The type of an array's elements and their number, which the file can hold.
    fn array_start<R: Read>(&mut self, source: &mut Bytes<R>, key: &str) -> Result<(ValueType, u64), GgufError> {
        let element = value_type(source, key)?;
        let count = source.u64(key)?;
        if count > self.elements {
            return Err(GgufError::TooMany { what: "elements of arrays", count, limit: limits::ELEMENTS });
        }
        if count * element.min_bytes() > source.left() {
            let what = format!("elements of {}", shown(key));
            return Err(GgufError::DoesNotFit { what, count, left: source.left() });
        }
        self.elements -= count;
        Ok((element, count))
    }

    /// Strings; those outside of the vocabulary are dropped when they cost more than what is left for them.
    fn strings<R: Read>(
        &mut self,
        source: &mut Bytes<R>,
        key: &str,
        count: u64,
        in_vocabulary: bool,
        kept: bool,
    ) -> Result<Option<StringArray>, GgufError> {
        let mut strings = kept.then(|| StringArray::with_capacity(count as usize));
        let limit = if in_vocabulary { limits::TOKEN_BYTES } else { limits::STRING_BYTES };
        for _ in 0..count {
            let len = source.length(key, limit)?;
            if in_vocabulary {
                self.spend(len)?;
            }
            match &mut strings {
                Some(strings) if in_vocabulary || self.afford(len) => strings.push(source.text(len, key)?),
                _ => {
                    source.skip_text(len, key)?;
                    strings = None;
                }
            }
        }
        if let Some(strings) = &mut strings {
            strings.shrink();
        }
        Ok(strings)
    }

    fn skip<R: Read>(
        &mut self,
        source: &mut Bytes<R>,
        key: &str,
        element: ValueType,
        count: u64,
        depth: usize,
    ) -> Result<(), GgufError> {
        if depth > limits::NESTING {
            return Err(GgufError::Nesting(limits::NESTING));
        }
        match element {
            ValueType::Bool => source.elements(count, key, |byte| boolean(byte, key).map(drop)),
            ValueType::String => (0..count).try_for_each(|_| {
                let len = source.length(key, limits::STRING_BYTES)?;
                source.skip_text(len, key)
            }),
            ValueType::Array => (0..count).try_for_each(|_| {
                let (element, count) = self.array_start(source, key)?;
                self.skip(source, key, element, count, depth + 1)
            }),
            _ => source.elements::<1>(count * element.min_bytes(), key, |_| Ok(())),
        }
    }

    /// Whether only the length of a value is wanted.
    fn is_skipped(&self, key: &str) -> bool {
        self.keep == Keep::Lengths && key.starts_with("tokenizer.")
    }

    /// Counts what the vocabulary takes, whether it is kept or not.
    fn spend(&mut self, bytes: u64) -> Result<(), GgufError> {
        self.vocabulary += bytes;
        let (what, count, limit) = ("bytes of vocabulary", self.vocabulary, limits::VOCABULARY_BYTES);
        if count > limit { Err(GgufError::TooMany { what, count, limit }) } else { Ok(()) }
    }

    /// Whether so many bytes more can be kept; then they are.
    fn afford(&mut self, bytes: u64) -> bool {
        let left = self.others.checked_sub(bytes);
        self.others = left.unwrap_or(self.others);
        left.is_some()
    }
}

fn value_type<R: Read>(source: &mut Bytes<R>, key: &str) -> Result<ValueType, GgufError> {
    let code = source.u32(key)?;
    ValueType::from_code(code).ok_or_else(|| GgufError::ValueType { key: key.to_owned(), code })
}

fn boolean([byte]: [u8; 1], key: &str) -> Result<bool, GgufError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(GgufError::Bool { key: key.to_owned(), value }),
    }
}

/// An array of numbers. What it takes was counted, so it is reserved at once.
fn numbers<R: Read, T, const N: usize>(
    source: &mut Bytes<R>,
    key: &str,
    count: u64,
    decode: impl Fn([u8; N]) -> Result<T, GgufError>,
) -> Result<Vec<T>, GgufError> {
    let mut numbers = Vec::with_capacity(count as usize);
    source.elements(count, key, |bytes| {
        numbers.push(decode(bytes)?);
        Ok(())
    })?;
    Ok(numbers)
}
