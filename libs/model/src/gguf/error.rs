//! What can be wrong with a GGUF file.

use super::ValueType;
use crate::shown::shown;

/// Why a file is refused. Every message names GGUF, and shows of the file only what is harmless to print; the caller adds the path.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GgufError {
    #[error("GGUF header cannot be read: {0}")]
    Io(String),
    #[error("not a GGUF file: it begins with {0:02x?} instead of \"GGUF\"")]
    Magic([u8; 4]),
    #[error("GGUF file is big-endian; only little-endian files are read")]
    BigEndian,
    #[error("GGUF version {0} is not supported; supported: 2, 3")]
    Version(u32),
    #[error("GGUF file is cut: it ends at byte {at} in {what}")]
    Truncated { at: u64, what: String },
    #[error("GGUF header states {count} {what}; at most {limit} are read")]
    TooMany { what: &'static str, count: u64, limit: u64 },
    #[error("GGUF header states {count} {what}, which do not fit in the {left} bytes that are left of the file")]
    DoesNotFit { what: String, count: u64, left: u64 },
    #[error("GGUF arrays are nested deeper than {0}")]
    Nesting(usize),
    #[error("GGUF {what} at byte {at} is not UTF-8")]
    Utf8 { what: String, at: u64 },
    #[error("GGUF metadata has a key without a name at byte {0}")]
    EmptyKey(u64),
    #[error("GGUF metadata key {} is there twice", shown(_0))]
    DuplicateKey(String),
    #[error("GGUF metadata {} has the unknown value type {code}", shown(key))]
    ValueType { key: String, code: u32 },
    #[error("GGUF metadata {} holds the boolean {value}; a boolean is 0 or 1", shown(key))]
    Bool { key: String, value: u8 },
    #[error("GGUF metadata {} is missing", shown(_0))]
    MissingKey(String),
    #[error("GGUF metadata {} is of type {found}; it must be {expected}", shown(key))]
    WrongType { key: String, found: ValueType, expected: &'static str },
    #[error("GGUF metadata {} is {}; it must be {expected}", shown(key), shown(value))]
    OutOfRange { key: String, value: String, expected: String },
    #[error("GGUF metadata contradicts itself: {0}")]
    Contradiction(String),
    #[error("GGUF tensor {0:?} is there twice")]
    DuplicateTensor(String),
    #[error("GGUF tensor {0:?} is missing")]
    MissingTensor(String),
    #[error("GGUF tensor {name:?} has {dims} dimensions; 1 to 4 are possible")]
    Dimensions { name: String, dims: u32 },
    #[error("GGUF tensor {name:?} has the impossible shape {dims:?}: {problem}")]
    Shape { name: String, dims: Vec<u64>, problem: &'static str },
    #[error("GGUF tensor {name:?} has the unknown data type {code}")]
    DType { name: String, code: u32 },
    #[error("GGUF tensor {name:?} lies at offset {offset}, which is no multiple of the alignment {alignment}")]
    Misaligned { name: String, offset: u64, alignment: u64 },
    #[error(
        "GGUF tensor {name:?} needs {bytes} bytes at offset {offset}; the file holds {data_bytes} bytes of tensor data"
    )]
    OutsideFile { name: String, offset: u64, bytes: u64, data_bytes: u64 },
    #[error("GGUF tensors {first:?} and {second:?} overlap")]
    Overlap { first: String, second: String },
    #[error("GGUF tensor {name:?} has the shape {found:?}; the metadata says {expected:?}")]
    ShapeMismatch { name: String, found: Vec<u64>, expected: Vec<u64> },
}
