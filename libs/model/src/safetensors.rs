//! Safetensors: the header of a checkpoint file, read and checked before anything of the file is believed.
//!
//! A file is the header's length (8 bytes, little-endian), the header (JSON) and the data. [`Header::read`] takes any
//! reader and the file's length, holds no more of the header than its tensors, and returns only headers whose tensors fill
//! the data without holes or overlaps. Layout: <https://github.com/huggingface/safetensors#format>.

mod index;
mod json;
#[cfg(test)]
mod tests;

pub use index::Index;

use crate::gguf::DType;
use crate::shown::shown;
use std::fmt;
use std::io::{ErrorKind, Read};

/// What a header may hold at most. A header that asks for more is refused.
pub mod limits {
    /// Bytes of the header: 256 for each of the most tensors, twice of what is usual.
    pub const HEADER_BYTES: u64 = 1 << 23;
    /// Bytes of an index.
    pub const INDEX_BYTES: u64 = 1 << 23;
    /// Tensors of a file, and of all files of a checkpoint.
    pub const TENSORS: usize = 1 << 15;
    /// Bytes of a tensor's name.
    pub const NAME_BYTES: usize = 256;
    /// Entries of the metadata.
    pub const METADATA: usize = 1 << 10;
    /// Dimensions of a tensor.
    pub const DIMENSIONS: usize = 8;
    /// Files of one checkpoint.
    pub const FILES: usize = 1 << 10;
}

/// How the elements of a tensor are stored, under the format's names.
#[allow(non_camel_case_types)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ElementType {
    BOOL,
    U8,
    I8,
    F8_E4M3,
    F8_E5M2,
    U16,
    I16,
    F16,
    BF16,
    U32,
    I32,
    F32,
    U64,
    I64,
    F64,
}

impl ElementType {
    const ALL: [(Self, &'static str, u64); 15] = [
        (Self::BOOL, "BOOL", 1),
        (Self::U8, "U8", 1),
        (Self::I8, "I8", 1),
        (Self::F8_E4M3, "F8_E4M3", 1),
        (Self::F8_E5M2, "F8_E5M2", 1),
        (Self::U16, "U16", 2),
        (Self::I16, "I16", 2),
        (Self::F16, "F16", 2),
        (Self::BF16, "BF16", 2),
        (Self::U32, "U32", 4),
        (Self::I32, "I32", 4),
        (Self::F32, "F32", 4),
        (Self::U64, "U64", 8),
        (Self::I64, "I64", 8),
        (Self::F64, "F64", 8),
    ];

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n, _)| *n == name).map(|&(t, _, _)| t)
    }

    /// The format's name.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        Self::ALL[self as usize].2
    }

    /// The same type among ggml's, if weights can be computed with in it.
    pub fn dtype(self) -> Option<DType> {
        match self {
            Self::F32 => Some(DType::F32),
            Self::F16 => Some(DType::F16),
            Self::BF16 => Some(DType::BF16),
            _ => None,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One tensor. Its bytes lie inside the file and belong to no other tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    pub name: String,
    pub element_type: ElementType,
    /// Number of elements per dimension, the one that lies together in memory last. Empty for a single number.
    pub shape: Vec<u64>,
    /// Bytes from the start of the data.
    pub offset: u64,
    /// Bytes of the data.
    pub bytes: u64,
}

/// A header that was read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// By where they lie.
    tensors: Vec<Tensor>,
    data_offset: u64,
    file_bytes: u64,
}

impl Header {
    /// Reads and checks the header of a file of `file_bytes` bytes. The reader may end after the header.
    ///
    /// # Errors
    /// [`SafetensorsError`] says what is wrong.
    pub fn read(mut reader: impl Read, file_bytes: u64) -> Result<Self, SafetensorsError> {
        let mut length = [0; 8];
        if file_bytes < 8 {
            return Err(SafetensorsError::Truncated { at: file_bytes });
        }
        fill(&mut reader, &mut length, 0)?;
        let length = u64::from_le_bytes(length);
        if length > limits::HEADER_BYTES {
            return Err(SafetensorsError::TooMany {
                what: "bytes of header",
                count: length,
                limit: limits::HEADER_BYTES,
            });
        }
        if length > file_bytes - 8 {
            return Err(SafetensorsError::HeaderLength { length, file_bytes });
        }
        let entries = json::parse(reader, length)?;
        let mut tensors = entries.into_iter().map(tensor).collect::<Result<Vec<_>, _>>()?;
        let data_offset = 8 + length;
        check_layout(&mut tensors, file_bytes - data_offset)?;
        Ok(Self { tensors, data_offset, file_bytes })
    }

    /// All tensors, in the order of their data.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|t| t.name == name)
    }

    /// Where the data begins, in bytes from the start of the file.
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// Length of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }
}

/// Why a file is refused. Every message names the format; the caller adds the path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SafetensorsError {
    #[error("safetensors header cannot be read: {0}")]
    Io(String),
    #[error("safetensors file is cut: it ends at byte {at} in the header")]
    Truncated { at: u64 },
    #[error("safetensors header states a length of {length} bytes, and the file has {file_bytes}")]
    HeaderLength { length: u64, file_bytes: u64 },
    #[error("safetensors header states {count} {what}; at most {limit} are read")]
    TooMany { what: &'static str, count: u64, limit: u64 },
    #[error("not a safetensors file: the header does not begin with {{")]
    Start,
    #[error("safetensors header is no sound JSON: {}", shown(_0))]
    Json(String),
    #[error("safetensors tensor {name:?} has the unknown data type {found:?}")]
    ElementType { name: String, found: String },
    #[error("safetensors tensor {name:?} has the shape {shape:?}, which has more bytes than can be counted")]
    Shape { name: String, shape: Vec<u64> },
    #[error("safetensors tensor {name:?} lies at bytes {start} to {end}, and its shape {shape:?} needs {bytes} bytes")]
    Length { name: String, start: u64, end: u64, shape: Vec<u64>, bytes: u64 },
    #[error("safetensors tensor {name:?} ends at byte {end} of the data; the file holds {data_bytes} bytes of data")]
    OutsideFile { name: String, end: u64, data_bytes: u64 },
    #[error("safetensors tensors {first:?} and {second:?} overlap")]
    Overlap { first: String, second: String },
    #[error("safetensors file has a hole: bytes {start} to {end} of the data belong to no tensor")]
    Hole { start: u64, end: u64 },
    #[error("safetensors index is no sound JSON: {}", shown(_0))]
    IndexJson(String),
    #[error(
        "safetensors index names the file \"{}\"; a name that ends in .safetensors, without a folder, is needed",
        shown(_0)
    )]
    FileName(String),
    #[error("safetensors index and files disagree about the tensor {name:?}: {problem}")]
    Index { name: String, problem: String },
}

fn fill(reader: &mut impl Read, buffer: &mut [u8], at: u64) -> Result<(), SafetensorsError> {
    reader.read_exact(buffer).map_err(|e| match e.kind() {
        ErrorKind::UnexpectedEof => SafetensorsError::Truncated { at },
        _ => SafetensorsError::Io(e.to_string()),
    })
}

fn tensor((name, entry): (String, json::Entry)) -> Result<Tensor, SafetensorsError> {
    let element_type = match entry.dtype {
        Ok(element_type) => element_type,
        Err(found) => return Err(SafetensorsError::ElementType { name, found }),
    };
    let (shape, [start, end]) = (entry.shape.0, entry.data_offsets);
    let bytes = shape.iter().try_fold(element_type.bytes(), |product, &d| product.checked_mul(d));
    match bytes {
        None => Err(SafetensorsError::Shape { name, shape }),
        Some(bytes) if end.checked_sub(start) != Some(bytes) => {
            Err(SafetensorsError::Length { name, start, end, shape, bytes })
        }
        Some(bytes) => Ok(Tensor { name, element_type, shape, offset: start, bytes }),
    }
}

/// Sorts tensors by where they lie; together they are the data, each byte of it once.
fn check_layout(tensors: &mut [Tensor], data_bytes: u64) -> Result<(), SafetensorsError> {
    tensors.sort_by(|a, b| (a.offset, a.bytes, &a.name).cmp(&(b.offset, b.bytes, &b.name)));
    let mut at = 0;
    let mut last: Option<&Tensor> = None;
    for tensor in tensors.iter() {
        let end = tensor.offset + tensor.bytes;
        if end > data_bytes {
            return Err(SafetensorsError::OutsideFile { name: tensor.name.clone(), end, data_bytes });
        }
        match last {
            Some(last) if tensor.offset < at => {
                return Err(SafetensorsError::Overlap { first: last.name.clone(), second: tensor.name.clone() });
            }
            _ if tensor.offset > at => return Err(SafetensorsError::Hole { start: at, end: tensor.offset }),
            _ => {}
        }
        at = end;
        last = Some(tensor);
    }
    if at < data_bytes {
        return Err(SafetensorsError::Hole { start: at, end: data_bytes });
    }
    Ok(())
}
