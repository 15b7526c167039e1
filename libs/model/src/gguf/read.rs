//! Reads a header: how many keys and tensors there are, then each. Where tensors lie and what metadata means is not looked at.

use std::collections::BTreeMap;
use std::io::Read;

use super::bytes::Bytes;
use super::values::{Keep, Values};
use super::{DType, GgufError, Header, Tensor, Value, limits};

const DEFAULT_ALIGNMENT: u64 = 32;

pub(super) fn header(reader: impl Read, file_bytes: u64, keep: Keep) -> Result<Header, GgufError> {
    let mut source = Bytes::new(reader, file_bytes);
    let version = version(&mut source)?;
    let tensor_count = source.count("tensors", limits::TENSORS, 8 + 4 + 8 + 4 + 8)?;
    let key_count = source.count("keys", limits::KEY_VALUES, 8 + 4 + 1)?;
    let metadata = metadata(&mut source, key_count, keep)?;
    let alignment = alignment(&metadata)?;
    let tensors = (0..tensor_count).map(|_| tensor(&mut source)).collect::<Result<Vec<_>, _>>()?;
    check_names(&tensors)?;
    let data_offset = source.at().next_multiple_of(alignment);
    if data_offset > file_bytes && !tensors.is_empty() {
        return Err(GgufError::Truncated { at: file_bytes, what: "the padding before the tensor data".to_owned() });
    }
    Ok(Header { version, metadata, tensors, alignment, data_offset, file_bytes })
}

fn metadata(source: &mut Bytes<impl Read>, count: u64, keep: Keep) -> Result<BTreeMap<String, Value>, GgufError> {
    let mut values = Values::new(keep);
    let mut metadata = BTreeMap::new();
    let mut key_bytes = 0;
    for _ in 0..count {
        let at = source.at();
        let len = source.length("a metadata key", limits::KEY_BYTES)?;
        key_bytes += len;
        if key_bytes > limits::KEYS_BYTES {
            return Err(GgufError::TooMany { what: "bytes of keys", count: key_bytes, limit: limits::KEYS_BYTES });
        }
        let key = source.text(len, "a metadata key")?.to_owned();
        if key.is_empty() {
            return Err(GgufError::EmptyKey(at));
        }
        let value = values.read(source, &key)?;
        if metadata.contains_key(&key) {
            return Err(GgufError::DuplicateKey(key));
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn tensor(source: &mut Bytes<impl Read>) -> Result<Tensor, GgufError> {
    let len = source.length("the name of a tensor", limits::TENSOR_NAME_BYTES)?;
    let name = source.text(len, "the name of a tensor")?.to_owned();
    let dimensions = source.u32("the dimensions of a tensor")?;
    if dimensions == 0 || dimensions > limits::DIMENSIONS {
        return Err(GgufError::Dimensions { name, dims: dimensions });
    }
    let mut dims = Vec::with_capacity(dimensions as usize);
    for _ in 0..dimensions {
        dims.push(source.u64("the dimensions of a tensor")?);
    }
    let code = source.u32("the data type of a tensor")?;
    let dtype = DType::from_code(code).ok_or_else(|| GgufError::DType { name: name.clone(), code })?;
    let offset = source.u64("the offset of a tensor")?;
    match data_bytes(dtype, &dims) {
        Ok(bytes) => Ok(Tensor { name, dtype, dims, offset, bytes }),
        Err(problem) => Err(GgufError::Shape { name, dims, problem }),
    }
}

/// Every tensor has a name of its own.
fn check_names(tensors: &[Tensor]) -> Result<(), GgufError> {
    let mut names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(GgufError::DuplicateTensor(pair[0].to_owned())),
        None => Ok(()),
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

fn version(source: &mut Bytes<impl Read>) -> Result<u32, GgufError> {
    let magic = source.take::<4>("the magic number")?;
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
