//! Reads the header's bytes. No length from the file is believed before that many bytes can be there, and nothing is
//! reserved beyond what was read.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufReader, ErrorKind, Read};

use super::{Array, DType, GgufError, Header, StringArray, Tensor, Value, ValueType, limits};

/// The most elements that are reserved at once.
const RESERVE: usize = 4096;
const DEFAULT_ALIGNMENT: u64 = 32;

struct Source<R> {
    reader: BufReader<R>,
    at: u64,
    file_bytes: u64,
    /// Elements of arrays that may still come.
    elements_left: u64,
    scratch: Vec<u8>,
}

impl<R: Read> Source<R> {
    fn left(&self) -> u64 {
        self.file_bytes.saturating_sub(self.at)
    }

    fn fill(&mut self, buffer: &mut [u8], what: &str) -> Result<(), GgufError> {
        let cut = |at: u64| GgufError::Truncated { at, what: what.to_owned() };
        let wanted = buffer.len() as u64;
        if self.at + wanted > limits::HEADER_BYTES {
            return Err(GgufError::TooMany {
                what: "bytes of header",
                count: self.at + wanted,
                limit: limits::HEADER_BYTES,
            });
        }
        if wanted > self.left() {
            return Err(cut(self.file_bytes));
        }
        match self.reader.read_exact(buffer) {
            Ok(()) => {
                self.at += wanted;
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Err(cut(self.at)),
            Err(e) => Err(GgufError::Io(e.to_string())),
        }
    }

    fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let mut buffer = [0; N];
        self.fill(&mut buffer, what)?;
        Ok(buffer)
    }

    fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.bytes(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.bytes(what)?))
    }

    /// A number of things that take at least `min_bytes` each.
    fn count(&mut self, what: &'static str, limit: u64, min_bytes: u64) -> Result<u64, GgufError> {
        let count = self.u64(what)?;
        if count > limit {
            return Err(GgufError::TooMany { what, count, limit });
        }
        if count * min_bytes > self.left() {
            return Err(GgufError::DoesNotFit { what: what.to_owned(), count, left: self.left() });
        }
        Ok(count)
    }

    /// A string, valid until the next read.
    fn str(&mut self, what: &str, limit: u64) -> Result<&str, GgufError> {
        let bytes = self.u64(what)?;
        if bytes > limit {
            return Err(GgufError::TooMany { what: "bytes of a string", count: bytes, limit });
        }
        if bytes > self.left() {
            return Err(GgufError::DoesNotFit { what: format!("bytes of {what}"), count: bytes, left: self.left() });
        }
        let at = self.at;
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let mut missing = usize::try_from(bytes).unwrap_or(usize::MAX);
        // In steps, so that a short reader with a big promise costs one step.
        while missing > 0 {
            let start = scratch.len();
            let step = missing.min(1 << 16);
            scratch.resize(start + step, 0);
            self.fill(&mut scratch[start..], what)?;
            missing -= step;
        }
        self.scratch = scratch;
        std::str::from_utf8(&self.scratch).map_err(|_| GgufError::Utf8 { what: what.to_owned(), at })
    }

    fn bool(&mut self, key: &str) -> Result<bool, GgufError> {
        match self.bytes::<1>(key)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(GgufError::Bool { key: key.to_owned(), value }),
        }
    }

    fn value_type(&mut self, key: &str) -> Result<ValueType, GgufError> {
        let code = self.u32(key)?;
        ValueType::from_code(code).ok_or_else(|| GgufError::ValueType { key: key.to_owned(), code })
    }

    fn value(&mut self, key: &str) -> Result<Value, GgufError> {
        Ok(match self.value_type(key)? {
            ValueType::U8 => Value::U8(u8::from_le_bytes(self.bytes(key)?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(self.bytes(key)?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(self.bytes(key)?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(self.bytes(key)?)),
            ValueType::U32 => Value::U32(self.u32(key)?),
            ValueType::I32 => Value::I32(i32::from_le_bytes(self.bytes(key)?)),
            ValueType::U64 => Value::U64(self.u64(key)?),
            ValueType::I64 => Value::I64(i64::from_le_bytes(self.bytes(key)?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(self.bytes(key)?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(self.bytes(key)?)),
            ValueType::Bool => Value::Bool(self.bool(key)?),
            ValueType::String => Value::String(self.str(key, limits::STRING_BYTES)?.to_owned()),
            ValueType::Array => Value::Array(self.array(key, 1)?),
        })
    }

    fn array(&mut self, key: &str, depth: usize) -> Result<Array, GgufError> {
        if depth > limits::NESTING {
            return Err(GgufError::Nesting(limits::NESTING));
        }
        let element = self.value_type(key)?;
        let count = self.u64(key)?;
        // An array in memory is much larger than the few bytes that an empty one takes in the file.
        let cost = if element == ValueType::Array { count.saturating_mul(64) } else { count };
        if cost > self.elements_left {
            return Err(GgufError::TooMany { what: "elements of arrays", count, limit: limits::ELEMENTS });
        }
        if count * element.min_bytes() > self.left() {
            return Err(GgufError::DoesNotFit { what: format!("elements of {key}"), count, left: self.left() });
        }
        self.elements_left -= cost;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Ok(match element {
            ValueType::U8 => Array::U8(self.numbers(key, count, u8::from_le_bytes)?),
            ValueType::I8 => Array::I8(self.numbers(key, count, i8::from_le_bytes)?),
            ValueType::U16 => Array::U16(self.numbers(key, count, u16::from_le_bytes)?),
            ValueType::I16 => Array::I16(self.numbers(key, count, i16::from_le_bytes)?),
            ValueType::U32 => Array::U32(self.numbers(key, count, u32::from_le_bytes)?),
            ValueType::I32 => Array::I32(self.numbers(key, count, i32::from_le_bytes)?),
            ValueType::U64 => Array::U64(self.numbers(key, count, u64::from_le_bytes)?),
            ValueType::I64 => Array::I64(self.numbers(key, count, i64::from_le_bytes)?),
            ValueType::F32 => Array::F32(self.numbers(key, count, f32::from_le_bytes)?),
            ValueType::F64 => Array::F64(self.numbers(key, count, f64::from_le_bytes)?),
            ValueType::Bool => Array::Bool(self.elements(count, |s| s.bool(key))?),
            ValueType::Array => Array::Array(self.elements(count, |s| s.array(key, depth + 1))?),
            ValueType::String => {
                let mut strings = StringArray::default();
                for _ in 0..count {
                    strings.push(self.str(key, limits::STRING_BYTES)?);
                }
                Array::String(strings)
            }
        })
    }

    fn numbers<T, const N: usize>(
        &mut self,
        key: &str,
        count: usize,
        decode: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, GgufError> {
        self.elements(count, |s| Ok(decode(s.bytes(key)?)))
    }

    fn elements<T>(
        &mut self,
        count: usize,
        mut next: impl FnMut(&mut Self) -> Result<T, GgufError>,
    ) -> Result<Vec<T>, GgufError> {
        let mut elements = Vec::with_capacity(count.min(RESERVE));
        for _ in 0..count {
            elements.push(next(self)?);
        }
        Ok(elements)
    }

    fn tensor(&mut self) -> Result<Tensor, GgufError> {
        let name = self.str("the name of a tensor", limits::TENSOR_NAME_BYTES)?.to_owned();
        let dimensions = self.u32("the dimensions of a tensor")?;
        if dimensions == 0 || dimensions > limits::DIMENSIONS {
            return Err(GgufError::Dimensions { name, dims: dimensions });
        }
        let mut dims = Vec::with_capacity(4);
        for _ in 0..dimensions {
            dims.push(self.u64("the dimensions of a tensor")?);
        }
        let code = self.u32("the data type of a tensor")?;
        let dtype = DType::from_code(code).ok_or_else(|| GgufError::DType { name: name.clone(), code })?;
        let offset = self.u64("the offset of a tensor")?;
        match data_bytes(dtype, &dims) {
            Ok(bytes) => Ok(Tensor { name, dtype, dims, offset, bytes }),
            Err(problem) => Err(GgufError::Shape { name, dims, problem }),
        }
    }
}

/// Bytes of a tensor's data.
fn data_bytes(dtype: DType, dims: &[u64]) -> Result<u64, &'static str> {
    if dims.contains(&0) {
        return Err("a dimension is 0");
    }
    let elements = dims
        .iter()
        .try_fold(1u64, |product, &d| product.checked_mul(d))
        .filter(|&n| n <= i64::MAX as u64)
        .ok_or("it has more elements than can be counted")?;
    if !dims[0].is_multiple_of(dtype.block_elements()) {
        return Err("its rows are no multiple of the block size of its data type");
    }
    (elements / dtype.block_elements()).checked_mul(dtype.block_bytes()).ok_or("it has more bytes than can be counted")
}

/// Reads a header; where its tensors lie and what its metadata means is not looked at.
pub(super) fn header(reader: impl Read, file_bytes: u64) -> Result<Header, GgufError> {
    let mut source = Source {
        reader: BufReader::with_capacity(1 << 16, reader),
        at: 0,
        file_bytes,
        elements_left: limits::ELEMENTS,
        scratch: Vec::new(),
    };
    let version = version(&mut source)?;
    let tensor_count = source.count("tensors", limits::TENSORS, 8 + 4 + 8 + 4 + 8)?;
    let key_count = source.count("keys", limits::KEY_VALUES, 8 + 4 + 1)?;

    let mut metadata = BTreeMap::new();
    for _ in 0..key_count {
        let at = source.at;
        let key = source.str("a metadata key", limits::KEY_BYTES)?.to_owned();
        if key.is_empty() {
            return Err(GgufError::EmptyKey(at));
        }
        let value = source.value(&key)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(GgufError::DuplicateKey(key));
        }
    }
    let alignment = alignment(&metadata)?;

    let mut names = HashSet::new();
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        let tensor = source.tensor()?;
        if !names.insert(tensor.name.clone()) {
            return Err(GgufError::DuplicateTensor(tensor.name));
        }
        tensors.push(tensor);
    }
    let data_offset = source.at.next_multiple_of(alignment);
    if data_offset > file_bytes && !tensors.is_empty() {
        return Err(GgufError::Truncated { at: file_bytes, what: "the padding before the tensor data".to_owned() });
    }
    Ok(Header { version, metadata, tensors, alignment, data_offset, file_bytes })
}

fn version(source: &mut Source<impl Read>) -> Result<u32, GgufError> {
    let magic = source.bytes::<4>("the magic number")?;
    if magic != *b"GGUF" {
        return Err(if magic == *b"FUGG" { GgufError::BigEndian } else { GgufError::Magic(magic) });
    }
    match source.u32("the version")? {
        version @ (2 | 3) => Ok(version),
        version if matches!(version.swap_bytes(), 1..=3) => Err(GgufError::BigEndian),
        version => Err(GgufError::Version(version)),
    }
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, GgufError> {
    const KEY: &str = "general.alignment";
    let alignment = match metadata.get(KEY) {
        None => return Ok(DEFAULT_ALIGNMENT),
        Some(Value::U32(alignment)) => u64::from(*alignment),
        Some(other) => {
            return Err(GgufError::WrongType { key: KEY.into(), found: other.value_type(), expected: "uint32" });
        }
    };
    if (8..=limits::ALIGNMENT).contains(&alignment) && alignment.is_power_of_two() {
        return Ok(alignment);
    }
    Err(GgufError::OutOfRange {
        key: KEY.into(),
        value: alignment.to_string(),
        expected: format!("a power of two from 8 to {}", limits::ALIGNMENT),
    })
}
