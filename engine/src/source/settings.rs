//! A model's settings under GGUF's names, read with errors that name the whole key.

use crate::{LoadError, Pooling};
use rbee_model::format::{self, Uncomputed};
use rbee_model::gguf::{Header, Value};
use std::collections::BTreeMap;
use std::fmt::Display;

/// Settings of one model. Names are without the architecture (`attention.head_count`), except those that GGUF has without one
/// (`tokenizer.ggml.add_bos_token`).
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// What stands in front of names in messages.
    prefix: String,
    values: BTreeMap<String, Value>,
}

impl Settings {
    /// Settings of which messages say `PREFIX.name`.
    pub fn new(prefix: &str, values: impl IntoIterator<Item = (String, Value)>) -> Self {
        Self { prefix: prefix.to_owned(), values: values.into_iter().collect() }
    }

    /// A header's settings.
    pub fn of_header(header: &Header) -> Self {
        let architecture = header.architecture();
        let bare = |key: &str| key.strip_prefix(architecture).and_then(|k| k.strip_prefix('.')).map(str::to_owned);
        let entry = |(key, value): (&String, &Value)| (bare(key).unwrap_or_else(|| key.clone()), value.clone());
        // The lists of a vocabulary are long, and no engine reads them.
        let read =
            header.metadata().iter().filter(|(key, value)| !(key.starts_with("tokenizer.") && value.array().is_some()));
        Self::new(architecture, read.map(entry))
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// The whole key, as messages name it.
    pub fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// The refusal of a setting's value.
    pub fn refuse(&self, name: &str, value: impl Display, why: impl Into<String>) -> LoadError {
        LoadError::Setting { key: self.key(name), value: value.to_string(), why: why.into() }
    }

    /// A whole number, if it is stated.
    ///
    /// # Errors
    /// [`LoadError::Setting`] if it is something else than a number from 0 to 2^32.
    pub fn number(&self, name: &str) -> Result<Option<usize>, LoadError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_u64().filter(|&n| n <= 1 << 32) {
            Some(number) => Ok(Some(number as usize)),
            None => Err(self.refuse(name, value, "a whole number is needed")),
        }
    }

    /// A whole number that must be stated and at least 1.
    ///
    /// # Errors
    /// [`LoadError::MissingSetting`], [`LoadError::Setting`].
    pub fn size(&self, name: &str) -> Result<usize, LoadError> {
        match self.number(name)? {
            None => Err(LoadError::MissingSetting(self.key(name))),
            Some(0) => Err(self.refuse(name, 0, "at least 1 is needed")),
            Some(number) => Ok(number),
        }
    }

    /// Refuses settings that change what a model of this architecture computes, and that nothing here computes.
    ///
    /// # Errors
    /// [`LoadError::Setting`] names the first.
    pub fn check(&self, architecture: &str) -> Result<(), LoadError> {
        match format::uncomputed(architecture, |name| self.get(name)) {
            Some(Uncomputed { name, value, why }) => Err(self.refuse(name, value, why)),
            None => Ok(()),
        }
    }

    /// How hidden states become one embedding; the mean where nothing or "none" is stated.
    ///
    /// # Errors
    /// [`LoadError::Setting`] if it is a way that is not computed.
    pub fn pooling(&self) -> Result<Pooling, LoadError> {
        const NAME: &str = "pooling_type";
        match self.number(NAME)? {
            None | Some(0 | 1) => Ok(Pooling::Mean),
            Some(2) => Ok(Pooling::Cls),
            Some(3) => Ok(Pooling::Last),
            Some(found) => Err(self.refuse(NAME, found, "supported: 1 (mean), 2 (cls), 3 (last)")),
        }
    }

    /// A finite number that can be meant, if it is stated.
    ///
    /// # Errors
    /// [`LoadError::Setting`] if it is something else.
    pub fn float(&self, name: &str) -> Result<Option<f64>, LoadError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_f64().or_else(|| value.as_u64().map(|n| n as f64));
        match (number.filter(|n| n.is_finite()), format::range_of(name)) {
            (Some(number), Some(range)) if !range.holds(number) => {
                Err(self.refuse(name, number, format!("{range} is needed")))
            }
            (Some(number), _) => Ok(Some(number)),
            (None, _) => Err(self.refuse(name, value, "a finite number is needed")),
        }
    }

    /// A text, if it is stated.
    ///
    /// # Errors
    /// [`LoadError::Setting`] if it is something else.
    pub fn text(&self, name: &str) -> Result<Option<&str>, LoadError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.refuse(name, value, "a text is needed"))
    }
}
