//! Whether a header is possible: tensors lie in the file, and the metadata agrees with itself and with them.

use super::shape::Shape;
use super::{GgufError, Header, Value, ValueType, limits};
use crate::format::{self, Range};

/// Every tensor is aligned, lies in the file and shares no byte with another.
pub(super) fn tensors(header: &Header) -> Result<(), GgufError> {
    let data_bytes = header.file_bytes.saturating_sub(header.data_offset);
    let mut spans = Vec::with_capacity(header.tensors.len());
    for tensor in &header.tensors {
        let (name, offset, bytes) = (tensor.name.clone(), tensor.offset, tensor.bytes);
        if !offset.is_multiple_of(header.alignment) {
            return Err(GgufError::Misaligned { name, offset, alignment: header.alignment });
        }
        match offset.checked_add(bytes) {
            Some(end) if end <= data_bytes => spans.push((offset, end, &tensor.name)),
            _ => return Err(GgufError::OutsideFile { name, offset, bytes, data_bytes }),
        }
    }
    spans.sort_unstable();
    for pair in spans.windows(2) {
        if pair[1].0 < pair[0].1 {
            return Err(GgufError::Overlap { first: pair[0].2.clone(), second: pair[1].2.clone() });
        }
    }
    Ok(())
}

/// The metadata describes a model that can exist; for architectures that are served also: the one in the tensors.
pub(super) fn metadata(header: &Header) -> Result<(), GgufError> {
    let meta = Meta(header);
    let architecture = meta.required_name("general.architecture")?;
    let key = |suffix: &str| format!("{architecture}.{suffix}");
    meta.range(&key("block_count"), 1, 1 << 12)?;
    meta.range(&key("embedding_length"), 1, 1 << 20)?;
    meta.range(&key("context_length"), 1, 1 << 30)?;
    for (suffix, range) in format::RANGES {
        meta.float(&key(suffix), *range)?;
    }
    meta.vocabulary()?;
    if is_checked(header) {
        Shape::read(&meta, architecture)?.check(header)?;
    }
    Ok(())
}

/// Typed access to metadata; what is there and cannot be is an error that names the key.
pub(super) struct Meta<'a>(pub(super) &'a Header);

impl Meta<'_> {
    fn required_name(&self, key: &str) -> Result<&str, GgufError> {
        match self.0.get(key) {
            None => Err(GgufError::MissingKey(key.to_owned())),
            Some(Value::String(s)) if (1..=limits::NAME_BYTES).contains(&s.len()) => Ok(s),
            Some(other) if other.value_type() == ValueType::String => {
                let expected = format!("a string of 1 to {} bytes", limits::NAME_BYTES);
                Err(GgufError::OutOfRange { key: key.to_owned(), value: other.to_string(), expected })
            }
            Some(other) => Err(wrong_type(key, other, "a string")),
        }
    }

    /// An integer in a range, if the key is there.
    pub(super) fn range(&self, key: &str, min: u64, max: u64) -> Result<Option<u64>, GgufError> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        match value.as_u64() {
            Some(n) if (min..=max).contains(&n) => Ok(Some(n)),
            // A few architectures give one value per layer.
            None if value.array().is_some() && !is_checked(self.0) => Ok(None),
            None if !value.is_integer() => Err(wrong_type(key, value, "an integer")),
            _ => Err(GgufError::OutOfRange {
                key: key.to_owned(),
                value: value.to_string(),
                expected: format!("from {min} to {max}"),
            }),
        }
    }

    pub(super) fn required_range(&self, key: &str, min: u64, max: u64) -> Result<u64, GgufError> {
        self.range(key, min, max)?.ok_or_else(|| GgufError::MissingKey(key.to_owned()))
    }

    /// A float in its range, if the key is there.
    fn float(&self, key: &str, range: Range) -> Result<(), GgufError> {
        let Some(value) = self.0.get(key) else { return Ok(()) };
        match value.as_f64() {
            Some(x) if range.holds(x) => Ok(()),
            Some(x) => {
                Err(GgufError::OutOfRange { key: key.to_owned(), value: x.to_string(), expected: range.to_string() })
            }
            None => Err(wrong_type(key, value, "a float")),
        }
    }

    /// Token lists have one length, and special tokens are in the list.
    fn vocabulary(&self) -> Result<(), GgufError> {
        let Some(tokens) = self.0.get("tokenizer.ggml.tokens") else { return Ok(()) };
        let Some((ValueType::String, size)) = tokens.array() else {
            return Err(wrong_type("tokenizer.ggml.tokens", tokens, "an array of strings"));
        };
        if size == 0 {
            return Err(GgufError::Contradiction("tokenizer.ggml.tokens is empty".to_owned()));
        }
        for key in ["tokenizer.ggml.scores", "tokenizer.ggml.token_type"] {
            let Some(value) = self.0.get(key) else { continue };
            let Some((_, len)) = value.array() else { return Err(wrong_type(key, value, "an array")) };
            if len != size {
                return Err(GgufError::Contradiction(format!("{key} has {len} elements for {size} tokens")));
            }
        }
        for kind in ["bos", "eos", "eot", "eom", "unknown", "seperator", "padding", "mask", "cls"] {
            let key = format!("tokenizer.ggml.{kind}_token_id");
            let Some(value) = self.0.get(&key) else { continue };
            match value {
                // -1 is how some writers say that there is none.
                Value::I32(-1) | Value::U32(u32::MAX) => {}
                _ if value.as_u64().is_some_and(|id| id < size) => {}
                _ => {
                    let expected = format!("below the number of tokens, {size}");
                    return Err(GgufError::OutOfRange { key, value: value.to_string(), expected });
                }
            }
        }
        Ok(())
    }
}

/// Whether the shapes of this architecture's tensors are known here: of every one that is served.
fn is_checked(header: &Header) -> bool {
    format::architectures().any(|known| known == header.architecture())
}

fn wrong_type(key: &str, value: &Value, expected: &'static str) -> GgufError {
    GgufError::WrongType { key: key.to_owned(), found: value.value_type(), expected }
}
