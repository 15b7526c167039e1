//! GGUF: the header of a model file, read and checked before anything of the file is believed.
//!
//! [`Header::read`] takes any reader and the file's length and reads the header only, so a file of many gigabytes costs
//! as much as its metadata. It keeps what somebody reads, within [`limits`], and returns only headers whose tensors lie in the file
//! and whose metadata agrees with them. Layout: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod bytes;
mod check;
mod dtype;
mod error;
mod read;
mod shape;
mod summary;
mod value;
mod values;

pub use dtype::DType;
pub use error::GgufError;
pub use summary::Summary;
pub(crate) use summary::of_most_bytes;
pub use value::{Array, Omitted, StringArray, Value, ValueType};

use std::collections::BTreeMap;
use std::io::Read;

use values::Keep;

/// What a header may hold at most. A header that asks for more is refused.
pub mod limits {
    /// Key-value pairs of metadata.
    pub const KEY_VALUES: u64 = 1 << 13;
    /// Tensors.
    pub const TENSORS: u64 = 1 << 15;
    /// Elements of all arrays together.
    pub const ELEMENTS: u64 = 1 << 24;
    /// Elements of one of the lists that make a vocabulary.
    pub const TOKENS: u64 = 1 << 20;
    /// Bytes of the lists that make a vocabulary, in memory. The largest that are known take half of it.
    pub const VOCABULARY_BYTES: u64 = 24 << 20;
    /// Bytes of one string in those lists.
    pub const TOKEN_BYTES: u64 = 1 << 16;
    /// Bytes of all other strings and arrays that are kept. What comes later is checked and omitted.
    pub const OTHER_BYTES: u64 = 1 << 20;
    /// Bytes of one string.
    pub const STRING_BYTES: u64 = 1 << 25;
    /// Bytes of a metadata key.
    pub const KEY_BYTES: u64 = 1 << 10;
    /// Bytes of all keys together.
    pub const KEYS_BYTES: u64 = 1 << 20;
    /// Bytes of the name of an architecture.
    pub const NAME_BYTES: usize = 64;
    /// Bytes of a tensor's name.
    pub const TENSOR_NAME_BYTES: u64 = 64;
    /// Arrays in arrays.
    pub const NESTING: usize = 4;
    /// Bytes of the whole header.
    pub const HEADER_BYTES: u64 = 1 << 27;
    /// Dimensions of a tensor.
    pub const DIMENSIONS: u32 = 4;
    /// `general.alignment`, in bytes.
    pub const ALIGNMENT: u64 = 1 << 16;
}

/// One tensor as the header describes it. Its bytes lie inside the file and belong to no other tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    pub name: String,
    pub dtype: DType,
    /// Number of elements per dimension, the one that lies together in memory first (GGUF's order).
    pub dims: Vec<u64>,
    /// Bytes from the start of the tensor data.
    pub offset: u64,
    /// Bytes of the data.
    pub bytes: u64,
}

impl Tensor {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }
}

/// A header that was read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    version: u32,
    metadata: BTreeMap<String, Value>,
    tensors: Vec<Tensor>,
    alignment: u64,
    data_offset: u64,
    file_bytes: u64,
}

impl Header {
    /// Reads and checks a header from the start of a file of `file_bytes` bytes. The reader may end after the header.
    ///
    /// # Errors
    /// [`GgufError`] says what is wrong; [`GgufError::Truncated`] with `at` below `file_bytes` means that the reader ended
    /// before the header did.
    pub fn read(reader: impl Read, file_bytes: u64) -> Result<Self, GgufError> {
        Self::read_and_keep(reader, file_bytes, Keep::All)
    }

    /// As [`Header::read`], with the same checks, but of the tokenizer only the lengths are kept: enough for [`Header::summary`]
    /// and [`crate::format::check`], in much less memory.
    ///
    /// # Errors
    /// As [`Header::read`].
    pub fn read_without_tokenizer(reader: impl Read, file_bytes: u64) -> Result<Self, GgufError> {
        Self::read_and_keep(reader, file_bytes, Keep::Lengths)
    }

    fn read_and_keep(reader: impl Read, file_bytes: u64, keep: Keep) -> Result<Self, GgufError> {
        let header = read::header(reader, file_bytes, keep)?;
        check::tensors(&header)?;
        check::metadata(&header)?;
        Ok(header)
    }

    /// Reads and checks the header of a whole file in memory.
    ///
    /// # Errors
    /// As [`Header::read`].
    pub fn from_bytes(file: &[u8]) -> Result<Self, GgufError> {
        Self::read(file, file.len() as u64)
    }

    /// The format's version, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// All metadata, by key.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    /// All tensors, in the file's order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|t| t.name == name)
    }

    /// Where the tensor data begins, in bytes from the start of the file.
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// Length of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// The value of a key, if it is a string.
    pub fn str(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// The value of a key, if it is an integer that is not negative.
    pub fn u64(&self, key: &str) -> Option<u64> {
        self.get(key)?.as_u64()
    }

    /// The value of a key, if it is a float.
    pub fn f64(&self, key: &str) -> Option<f64> {
        self.get(key)?.as_f64()
    }

    /// The value of a key, if it is a boolean.
    pub fn bool(&self, key: &str) -> Option<bool> {
        self.get(key)?.as_bool()
    }

    /// The value of a key, if it is an array of strings.
    pub fn strings(&self, key: &str) -> Option<&StringArray> {
        match self.get(key)? {
            Value::Array(Array::String(strings)) => Some(strings),
            _ => None,
        }
    }

    /// `general.architecture`; every checked header has one.
    pub fn architecture(&self) -> &str {
        self.str("general.architecture").unwrap_or_default()
    }

    /// The value of `ARCHITECTURE.suffix`, if it is an integer that is not negative.
    pub fn arch_u64(&self, suffix: &str) -> Option<u64> {
        self.u64(&format!("{}.{suffix}", self.architecture()))
    }

    /// The value of `ARCHITECTURE.suffix`, if it is a float.
    pub fn arch_f64(&self, suffix: &str) -> Option<f64> {
        self.f64(&format!("{}.{suffix}", self.architecture()))
    }

    /// Whether the file is one of several that make one model.
    pub fn is_split(&self) -> bool {
        self.u64("split.count").is_some_and(|n| n > 1)
    }

    /// What people want to know of a model.
    pub fn summary(&self) -> Summary {
        summary::summary(self)
    }
}

#[cfg(test)]
mod tests;
