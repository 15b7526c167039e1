//! The index of a checkpoint in several files: which tensor lies in which.

use super::json::UniqueStrings;
use super::{Header, SafetensorsError, limits};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// `model.safetensors.index.json`. File names are plain: nothing outside the checkpoint's folder can be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    weight_map: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Raw {
    weight_map: UniqueStrings,
}

impl Index {
    /// The usual name of the file.
    pub const FILE_NAME: &'static str = "model.safetensors.index.json";

    /// Reads and checks an index.
    ///
    /// # Errors
    /// [`SafetensorsError::IndexJson`], [`SafetensorsError::FileName`], [`SafetensorsError::TooMany`].
    pub fn parse(text: &[u8]) -> Result<Self, SafetensorsError> {
        let raw: Raw = serde_json::from_slice(text).map_err(|e| SafetensorsError::IndexJson(e.to_string()))?;
        let index = Self { weight_map: raw.weight_map.0 };
        if let Some(name) = index.weight_map.values().find(|name| !is_plain(name)) {
            return Err(SafetensorsError::FileName(name.clone()));
        }
        let count = index.files().len();
        match count <= limits::FILES {
            true => Ok(index),
            false => Err(SafetensorsError::TooMany { what: "files", count: count as u64, limit: limits::FILES as u64 }),
        }
    }

    /// The checkpoint's files, each once, sorted by name.
    pub fn files(&self) -> Vec<&str> {
        let names: BTreeSet<&str> = self.weight_map.values().map(String::as_str).collect();
        names.into_iter().collect()
    }

    /// Whether the files hold what the index says, no tensor less and none more.
    ///
    /// # Errors
    /// [`SafetensorsError::Index`] names the tensor.
    pub fn check(&self, files: &[(&str, &Header)]) -> Result<(), SafetensorsError> {
        let wrong = |name: &str, problem: String| SafetensorsError::Index { name: name.to_owned(), problem };
        let mut found = 0;
        for (file, header) in files {
            for tensor in header.tensors() {
                match self.weight_map.get(&tensor.name) {
                    Some(stated) if stated == file => found += 1,
                    Some(stated) => return Err(wrong(&tensor.name, format!("it is in {file}, not in {stated}"))),
                    None => return Err(wrong(&tensor.name, format!("it is in {file} and not in the index"))),
                }
            }
        }
        if found == self.weight_map.len() {
            return Ok(());
        }
        let held = |name: &String, file: &String| {
            files.iter().any(|(f, header)| f == file && header.tensors().iter().any(|t| t.name == *name))
        };
        match self.weight_map.iter().find(|(name, file)| !held(name, file)) {
            Some((name, file)) => Err(wrong(name, format!("it is not in {file}"))),
            None => Ok(()),
        }
    }
}

fn is_plain(name: &str) -> bool {
    name.len() <= 255
        && name.ends_with(".safetensors")
        && !name.starts_with('.')
        && !name.chars().any(|c| matches!(c, '/' | '\\' | ':') || c.is_control())
}
