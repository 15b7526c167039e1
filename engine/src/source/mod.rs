//! Where a model's tensors and settings come from: one form for every file format.
//!
//! Names of tensors and settings are GGUF's (`blk.0.attn_q.weight`, `attention.head_count`). Reading takes a tensor out, so what is left at
//! the end is what the engine would have ignored, and [`Source::finish`] refuses it.

mod gguf;
mod map;
pub mod safetensors;
mod settings;
#[cfg(test)]
mod tests;

pub use map::map_file;
pub use settings::Settings;

use crate::LoadError;
use bytes::Bytes;
use rbee_model::gguf::DType;
use std::collections::BTreeMap;

/// A tensor as its file stores it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    pub dtype: DType,
    /// Rows first: a matrix is `[rows, columns]`, the elements of a row lie together. GGUF and Candle's quantized types have blocks in a row.
    pub shape: Vec<usize>,
    /// A view of the mapped file, or of its own memory.
    pub bytes: Bytes,
}

/// How the halves of a pair that is turned together lie in the rows of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// As GGUF files of the architecture have them.
    Gguf,
    /// As Hugging Face checkpoints have them: for llama that is not GGUF's order.
    HuggingFace,
}

/// A model's settings and tensors.
#[derive(Debug, Clone)]
pub struct Source {
    architecture: String,
    row_order: RowOrder,
    settings: Settings,
    tensors: BTreeMap<String, Stored>,
    bytes_total: u64,
    bytes_taken: u64,
}

impl Source {
    /// Settings under GGUF's names without the architecture in front, tensors under GGUF's names.
    pub fn new(
        architecture: &str,
        row_order: RowOrder,
        settings: Settings,
        tensors: impl IntoIterator<Item = (String, Stored)>,
    ) -> Self {
        let tensors: BTreeMap<String, Stored> = tensors.into_iter().collect();
        let bytes_total = tensors.values().map(|t| t.bytes.len() as u64).sum();
        Self { architecture: architecture.to_owned(), row_order, settings, tensors, bytes_total, bytes_taken: 0 }
    }

    /// `general.architecture`, as GGUF names it.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    pub fn row_order(&self) -> RowOrder {
        self.row_order
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Bytes of all tensors.
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// Bytes of the tensors that were taken.
    pub fn bytes_taken(&self) -> u64 {
        self.bytes_taken
    }

    /// Whether there is a tensor of that name that was not taken.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of a tensor that was not taken, rows first.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|t| t.shape.as_slice())
    }

    /// Rows of the token embedding; a number of tokens that is stated must be the same.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`], [`LoadError::Setting`].
    pub fn vocabulary(&self) -> Result<usize, LoadError> {
        const NAME: &str = "token_embd.weight";
        let rows = self.shape(NAME).and_then(|shape| shape.first().copied());
        let rows = rows.ok_or_else(|| LoadError::MissingTensor(NAME.to_owned()))?;
        match self.settings.number("vocab_size")?.filter(|&stated| stated != rows) {
            Some(stated) => Err(self.settings.refuse("vocab_size", stated, format!("and {NAME} has {rows} rows"))),
            None => Ok(rows),
        }
    }

    /// Takes a tensor of a shape, as stored.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`], [`LoadError::Shape`].
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Stored, LoadError> {
        let stored = self.tensors.remove(name).ok_or_else(|| LoadError::MissingTensor(name.to_owned()))?;
        self.bytes_taken += stored.bytes.len() as u64;
        if stored.shape != shape {
            return Err(LoadError::Shape { name: name.to_owned(), found: stored.shape, expected: shape.to_vec() });
        }
        Ok(stored)
    }

    /// Takes a vector of finite numbers.
    ///
    /// # Errors
    /// As [`Self::take`]; [`LoadError::DType`] if it is quantized, [`LoadError::NotFinite`].
    pub fn take_vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, LoadError> {
        let stored = self.take(name, &[length])?;
        let values = stored.floats().ok_or_else(|| LoadError::DType {
            name: name.to_owned(),
            dtype: stored.dtype,
            place: "for a vector; supported: F32, F16, BF16",
        })?;
        match values.iter().all(|v| v.is_finite()) {
            true => Ok(values),
            false => Err(LoadError::NotFinite(name.to_owned())),
        }
    }

    /// Takes a vector if there is one.
    ///
    /// # Errors
    /// As [`Self::take_vector`].
    pub fn take_optional_vector(&mut self, name: &str, length: usize) -> Result<Option<Vec<f32>>, LoadError> {
        self.has(name).then(|| self.take_vector(name, length)).transpose()
    }

    /// Reads the tensors ahead that every step needs, in the background and in the order of their files. Of an embedding table that is
    /// not the output's too, a step needs a few rows: its pages come as they are used, and most never do.
    pub fn prefetch(&self) {
        let is_looked_up = |name: &str| name == "token_embd.weight" && self.has("output.weight");
        let needed = self.tensors.iter().filter(|(name, _)| !is_looked_up(name));
        let mut pieces: Vec<Bytes> = needed.map(|(_, stored)| stored.bytes.clone()).collect();
        pieces.sort_by_key(|piece| piece.as_ptr());
        map::prefetch(pieces);
    }

    /// The end of reading.
    ///
    /// # Errors
    /// [`LoadError::UnknownTensor`] if a tensor was not taken: a model that is computed without a part of it answers wrongly.
    pub fn finish(self) -> Result<(), LoadError> {
        match self.tensors.into_keys().next() {
            Some(name) => Err(LoadError::UnknownTensor(name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
impl Source {
    /// Adds or replaces a tensor.
    pub(crate) fn insert(&mut self, name: &str, stored: Stored) {
        self.bytes_total += stored.bytes.len() as u64;
        self.tensors.insert(name.to_owned(), stored);
    }

    /// Every tensor as F32: exact arithmetic, to compare with.
    pub(crate) fn widened(mut self) -> Self {
        for stored in self.tensors.values_mut() {
            let (rows, columns) = match *stored.shape.as_slice() {
                [rows, columns] => (rows, columns),
                _ => (1, stored.shape.iter().product()),
            };
            let matrix =
                rbee_kernels::Matrix::new(stored.dtype, rows, columns, stored.bytes.clone()).expect("a matrix");
            let mut row = vec![0.0; columns];
            let mut bytes = Vec::new();
            for index in 0..rows {
                matrix.row(index, &mut row);
                bytes.extend(row.iter().flat_map(|v| v.to_le_bytes()));
            }
            (stored.dtype, stored.bytes) = (DType::F32, Bytes::from(bytes));
        }
        self
    }
}

impl Stored {
    /// The numbers of a tensor that is not quantized; None if it is, or if bytes are missing.
    pub fn floats(&self) -> Option<Vec<f32>> {
        let halves = || self.bytes.as_chunks::<2>().0.iter();
        let values: Vec<f32> = match self.dtype {
            DType::F32 => self.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            DType::F16 => halves().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
            DType::BF16 => halves().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
            _ => return None,
        };
        (values.len() == self.shape.iter().product::<usize>()).then_some(values)
    }
}
