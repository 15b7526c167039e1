//! Typed access to the keys of GGUF metadata that a tokenizer is made of. A value of another type than the key has is refused
//! by name: a guess in its place would give wrong tokens without a word.

use super::TokenizerError;
use rbee_model::gguf::{Array, Header, StringArray, Value};

pub struct Keys<'a>(pub &'a Header);

impl<'a> Keys<'a> {
    fn get<T>(
        &self,
        key: &str,
        expected: &'static str,
        typed: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, TokenizerError> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        let wrong = || {
            let found = match value {
                Value::Array(array) => format!("an array of {}", array.element_type()),
                other => other.value_type().to_string(),
            };
            TokenizerError::Type { key: key.to_owned(), found, expected }
        };
        typed(value).map(Some).ok_or_else(wrong)
    }

    pub fn text(&self, key: &'static str) -> Result<Option<&'a str>, TokenizerError> {
        self.get(key, "a string", Value::as_str)
    }

    pub fn bool(&self, key: &str) -> Result<Option<bool>, TokenizerError> {
        self.get(key, "a bool", Value::as_bool)
    }

    /// Strings that must be there.
    pub fn texts(&self, key: &'static str) -> Result<&'a StringArray, TokenizerError> {
        let texts = self.get(key, "an array of strings", |value| match value {
            Value::Array(Array::String(texts)) => Some(texts),
            _ => None,
        });
        texts?.ok_or(TokenizerError::Missing(key))
    }

    /// A number for each of `count` tokens; they must be there.
    pub fn scores(&self, key: &'static str, count: usize) -> Result<impl Fn(usize) -> f32 + 'a, TokenizerError> {
        // Scores that are all whole numbers are written as such by some.
        let array = self.get(key, "an array of float32", |value| match value {
            Value::Array(array @ (Array::F32(_) | Array::I32(_))) => Some(array),
            _ => None,
        });
        let array = array?.ok_or(TokenizerError::Missing(key))?;
        same_length(key, array.len(), count)?;
        Ok(move |at: usize| match array {
            Array::F32(scores) => scores[at],
            Array::I32(scores) => scores[at] as f32,
            _ => f32::NAN,
        })
    }

    /// A whole number for each of `count` tokens, if the key is there.
    pub fn codes(&self, key: &'static str, count: usize) -> Result<Option<impl Fn(usize) -> i64 + 'a>, TokenizerError> {
        let array = self.get(key, "an array of int32", |value| match value {
            Value::Array(array @ (Array::I32(_) | Array::U32(_))) => Some(array),
            _ => None,
        });
        let Some(array) = array? else { return Ok(None) };
        same_length(key, array.len(), count)?;
        Ok(Some(move |at: usize| match array {
            Array::I32(codes) => codes[at].into(),
            Array::U32(codes) => codes[at].into(),
            _ => 0,
        }))
    }

    /// The id of one of `count` tokens.
    pub fn id(&self, key: &str, count: usize) -> Result<Option<u32>, TokenizerError> {
        let found = self.get(key, "the id of a token", |value| match value {
            // -1 is how some writers say that there is none.
            Value::I32(-1) | Value::U32(u32::MAX) => Some(None),
            _ => value.as_u64().map(Some),
        });
        match found?.flatten() {
            None => Ok(None),
            Some(id) if id < count as u64 => Ok(Some(id as u32)),
            Some(id) => Err(TokenizerError::Id { key: key.to_owned(), id, count }),
        }
    }
}

fn same_length(key: &'static str, found: usize, expected: usize) -> Result<(), TokenizerError> {
    if found == expected { Ok(()) } else { Err(TokenizerError::Length { key, found, expected }) }
}
