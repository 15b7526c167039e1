//! The index of a checkpoint in several files: which tensor lies in which.

use super::json::{self, Name};
use super::{Header, SafetensorsError, limits};
use crate::shown::shown;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{BufReader, Read};

/// `model.safetensors.index.json`. File names are plain: nothing outside the checkpoint's folder can be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Sorted, each once.
    files: Vec<String>,
    /// By the tensor's name: which of the files.
    tensors: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Raw {
    weight_map: WeightMap,
}

/// Files by their names, and tensors with their files' numbers.
struct WeightMap {
    files: BTreeMap<String, usize>,
    tensors: BTreeMap<String, usize>,
}

impl Index {
    /// The usual name of the file.
    pub const FILE_NAME: &'static str = "model.safetensors.index.json";

    /// Reads and checks an index of at most [`limits::INDEX_BYTES`].
    ///
    /// # Errors
    /// [`SafetensorsError::IndexJson`], [`SafetensorsError::FileName`], [`SafetensorsError::Io`].
    pub fn read(reader: impl Read) -> Result<Self, SafetensorsError> {
        let text = BufReader::new(reader.take(limits::INDEX_BYTES));
        let raw: Raw = json::read(text).map_err(|e| match e.is_io() {
            true => SafetensorsError::Io(e.to_string()),
            false => SafetensorsError::IndexJson(e.to_string()),
        })?;
        let WeightMap { files, mut tensors } = raw.weight_map;
        if let Some(name) = files.keys().find(|name| !is_plain(name)) {
            return Err(SafetensorsError::FileName(name.clone()));
        }
        let mut sorted = vec![0; files.len()];
        files.values().enumerate().for_each(|(place, &number)| sorted[number] = place);
        tensors.values_mut().for_each(|file| *file = sorted[*file]);
        Ok(Self { files: files.into_keys().collect(), tensors })
    }

    /// The checkpoint's files, each once, sorted by name.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// Whether a file holds only tensors that the index says are in it.
    ///
    /// # Errors
    /// [`SafetensorsError::Index`] names the tensor.
    pub fn check(&self, file: &str, header: &Header) -> Result<(), SafetensorsError> {
        for tensor in header.tensors() {
            match self.tensors.get(&tensor.name).map(|&file| &self.files[file]) {
                Some(stated) if stated == file => {}
                Some(stated) => return Err(wrong(&tensor.name, format!("it is in {file}, not in {stated}"))),
                None => return Err(wrong(&tensor.name, format!("it is in {file} and not in the index"))),
            }
        }
        Ok(())
    }

    /// Whether the files hold all that the index says, each of which passed [`Index::check`].
    ///
    /// # Errors
    /// [`SafetensorsError::Index`] names the tensor.
    pub fn check_all(&self, headers: &[&Header]) -> Result<(), SafetensorsError> {
        if headers.iter().map(|header| header.tensors().len()).sum::<usize>() == self.tensors.len() {
            return Ok(());
        }
        let held: BTreeSet<&str> = headers.iter().flat_map(|h| h.tensors()).map(|t| t.name.as_str()).collect();
        match self.tensors.iter().find(|(name, _)| !held.contains(name.as_str())) {
            Some((name, &file)) => Err(wrong(name, format!("it is not in {}", self.files[file]))),
            None => Ok(()),
        }
    }
}

fn wrong(name: &str, problem: String) -> SafetensorsError {
    SafetensorsError::Index { name: name.to_owned(), problem }
}

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of file names by tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
                let (mut files, mut tensors) = (BTreeMap::new(), BTreeMap::new());
                while let Some((Name(name), Name(file))) = map.next_entry()? {
                    let next = files.len();
                    let number = *files.entry(file).or_insert(next);
                    if files.len() > limits::FILES || tensors.len() == limits::TENSORS {
                        let text = format!("more than {} files or {} tensors", limits::FILES, limits::TENSORS);
                        return Err(A::Error::custom(text));
                    }
                    if tensors.contains_key(&name) {
                        return Err(A::Error::custom(format!("{} is there twice", shown(&name))));
                    }
                    tensors.insert(name, number);
                }
                Ok(WeightMap { files, tensors })
            }
        }
        deserializer.deserialize_map(Names)
    }
}

fn is_plain(name: &str) -> bool {
    name.ends_with(".safetensors")
        && !name.starts_with('.')
        && !name.chars().any(|c| matches!(c, '/' | '\\' | ':') || c.is_control())
}
