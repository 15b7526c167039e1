//! Writes small GGUF files for tests: any metadata and tensors, sound or not, and Llama models with random weights.

use crate::gguf::{Array, DType, StringArray, Value};

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
        Array::Array(v) => v.iter().for_each(|x| write_array(out, x)),
    }
}

/// A Llama model with random weights in F32 and a byte-level vocabulary: the 256 bytes, then `<|endoftext|>` (EOS).
#[derive(Debug, Clone, Copy)]
pub struct LlamaSpec {
    pub layers: u64,
    pub width: u64,
    pub heads: u64,
    pub kv_heads: u64,
    pub feed_forward: u64,
    pub context: u64,
    pub seed: u64,
}

impl Default for LlamaSpec {
    fn default() -> Self {
        Self { layers: 2, width: 16, heads: 4, kv_heads: 2, feed_forward: 32, context: 64, seed: 1 }
    }
}

impl LlamaSpec {
    pub fn file(&self) -> GgufFile {
        let tokens: StringArray =
            (0..=255u8).map(|byte| byte_token(byte).to_string()).chain(["<|endoftext|>".to_owned()]).collect();
        let vocabulary = tokens.len() as u64;
        let types = Array::I32((0..vocabulary).map(|i| if i < 256 { 1 } else { 3 }).collect());
        let mut file = GgufFile::new()
            .with("general.architecture", Value::String("llama".into()))
            .with("general.file_type", Value::U32(0))
            .with("llama.block_count", Value::U32(self.layers as u32))
            .with("llama.context_length", Value::U32(self.context as u32))
            .with("llama.embedding_length", Value::U32(self.width as u32))
            .with("llama.feed_forward_length", Value::U32(self.feed_forward as u32))
            .with("llama.attention.head_count", Value::U32(self.heads as u32))
            .with("llama.attention.head_count_kv", Value::U32(self.kv_heads as u32))
            .with("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5))
            .with("llama.rope.dimension_count", Value::U32((self.width / self.heads) as u32))
            .with("llama.rope.freq_base", Value::F32(10_000.0))
            .with("tokenizer.ggml.model", Value::String("gpt2".into()))
            .with("tokenizer.ggml.pre", Value::String("gpt-2".into()))
            .with("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)))
            .with("tokenizer.ggml.token_type", Value::Array(types))
            .with("tokenizer.ggml.merges", Value::Array(Array::String(StringArray::default())))
            .with("tokenizer.ggml.eos_token_id", Value::U32(256));
        let mut random = Random(self.seed);
        let kv = self.width / self.heads * self.kv_heads;
        let mut add = |file: GgufFile, name: &str, dims: &[u64]| {
            let elements = dims.iter().product::<u64>();
            let scale = if dims.len() == 1 { None } else { Some(1.0 / (dims[0] as f32).sqrt()) };
            let data = (0..elements).flat_map(|_| scale.map_or(1.0, |s| random.unit() * s).to_le_bytes()).collect();
            file.tensor(name, DType::F32, dims, data)
        };
        file = add(file, "token_embd.weight", &[self.width, vocabulary]);
        for layer in 0..self.layers {
            for (part, dims) in [
                ("attn_norm", vec![self.width]),
                ("attn_q", vec![self.width, self.width]),
                ("attn_k", vec![self.width, kv]),
                ("attn_v", vec![self.width, kv]),
                ("attn_output", vec![self.width, self.width]),
                ("ffn_norm", vec![self.width]),
                ("ffn_gate", vec![self.width, self.feed_forward]),
                ("ffn_up", vec![self.width, self.feed_forward]),
                ("ffn_down", vec![self.feed_forward, self.width]),
            ] {
                file = add(file, &format!("blk.{layer}.{part}.weight"), &dims);
            }
        }
        file = add(file, "output_norm.weight", &[self.width]);
        add(file, "output.weight", &[self.width, vocabulary])
    }
}

/// GPT-2's printable stand-in for a byte.
fn byte_token(byte: u8) -> char {
    let printable = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(256 + before).unwrap_or('?')
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// From -1 to 1.
    fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}
