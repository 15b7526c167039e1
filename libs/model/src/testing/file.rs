//! A GGUF file to be, with any metadata and tensors, sound or not.

use crate::gguf::{Array, DType, Value};

/// A GGUF file to be. Nothing is checked: tests make broken files with it too.
#[derive(Debug, Clone)]
pub struct GgufFile {
    version: u32,
    alignment: u64,
    metadata: Vec<(String, Value)>,
    tensors: Vec<TensorData>,
}

#[derive(Debug, Clone)]
struct TensorData {
    name: String,
    dtype: u32,
    dims: Vec<u64>,
    /// Where the header says the tensor lies, if not where it does.
    stated_offset: Option<u64>,
    data: Vec<u8>,
}

impl Default for GgufFile {
    fn default() -> Self {
        Self::new()
    }
}

impl GgufFile {
    /// A file of version 3 with nothing in it.
    pub fn new() -> Self {
        Self { version: 3, alignment: 32, metadata: Vec::new(), tensors: Vec::new() }
    }

    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Sets a key; a key that is there is replaced where it stands.
    pub fn with(mut self, key: &str, value: Value) -> Self {
        match self.metadata.iter_mut().find(|(k, _)| k == key) {
            Some(entry) => entry.1 = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
        self
    }

    /// Adds a key even if it is there already.
    pub fn with_again(mut self, key: &str, value: Value) -> Self {
        self.metadata.push((key.to_owned(), value));
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.metadata.retain(|(k, _)| k != key);
        self
    }

    pub fn tensor(self, name: &str, dtype: DType, dims: &[u64], data: Vec<u8>) -> Self {
        self.raw_tensor(name, dtype.code(), dims, None, data)
    }

    /// A tensor with any type code and, maybe, a lie about where it lies.
    pub fn raw_tensor(
        mut self,
        name: &str,
        dtype: u32,
        dims: &[u64],
        stated_offset: Option<u64>,
        data: Vec<u8>,
    ) -> Self {
        self.tensors.push(TensorData { name: name.to_owned(), dtype, dims: dims.to_vec(), stated_offset, data });
        self
    }

    /// Changes the bytes of a tensor.
    pub fn edit_tensor(mut self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) -> Self {
        if let Some(tensor) = self.tensors.iter_mut().find(|t| t.name == name) {
            edit(&mut tensor.data);
        }
        self
    }

    pub fn without_tensor(mut self, name: &str) -> Self {
        self.tensors.retain(|t| t.name != name);
        self
    }

    /// The length of the header and of the padding after it, in bytes.
    pub fn data_offset(&self) -> usize {
        self.header().len()
    }

    fn header(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            write_str(&mut out, key);
            out.extend(value.value_type().code().to_le_bytes());
            write_value(&mut out, value);
        }
        let mut offset = 0u64;
        for t in &self.tensors {
            write_str(&mut out, &t.name);
            out.extend((t.dims.len() as u32).to_le_bytes());
            for d in &t.dims {
                out.extend(d.to_le_bytes());
            }
            out.extend(t.dtype.to_le_bytes());
            out.extend(t.stated_offset.unwrap_or(offset).to_le_bytes());
            offset = (offset + t.data.len() as u64).next_multiple_of(self.alignment);
        }
        pad(&mut out, self.alignment);
        out
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        let mut last = out.len();
        for t in &self.tensors {
            pad(&mut out, self.alignment);
            out.extend(&t.data);
            last = out.len();
        }
        out.truncate(last);
        out
    }
}

fn pad(out: &mut Vec<u8>, alignment: u64) {
    out.resize(out.len().next_multiple_of(alignment as usize), 0);
}

fn write_str(out: &mut Vec<u8>, s: &str) {
    out.extend((s.len() as u64).to_le_bytes());
    out.extend(s.as_bytes());
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => out.push(*v),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => write_str(out, v),
        Value::Array(v) => write_array(out, v),
        // Nothing is known of it; a file that is written was never read.
        Value::Omitted(_) => {}
    }
}

fn write_array(out: &mut Vec<u8>, array: &Array) {
    out.extend(array.element_type().code().to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(v) => out.extend(v),
        Array::I8(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::U16(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I16(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::U32(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I32(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::U64(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::I64(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::F32(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::F64(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::Bool(v) => v.iter().for_each(|x| out.push(u8::from(*x))),
        Array::String(v) => v.iter().for_each(|x| write_str(out, x)),
    }
}
