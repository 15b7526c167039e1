//! Shapes of models that people run, stored as llama.cpp's quantizer stores them.

use super::vocabulary::Vocabulary;
use rbee_model::gguf::{DType, Value};
use rbee_model::testing::{GgufFile, quantize};

/// Different rows of one matrix; then they repeat. What a kernel does does not depend on it.
const ROWS: u64 = 64;

/// Which data types a file has.
#[derive(Clone, Copy, PartialEq)]
enum Mix {
    /// Q4_K, with Q6_K where it pays; Q5_0 and Q8_0 where rows are no multiple of 256.
    Q4KM,
    Q4_0,
    Q8_0,
}

pub struct Shape {
    pub name: &'static str,
    architecture: &'static str,
    pre: &'static str,
    mix: Mix,
    layers: u64,
    width: u64,
    feed_forward: u64,
    heads: u64,
    kv_heads: u64,
    vocabulary: usize,
    context: u32,
    rope_base: f32,
    /// The embedding is the output too, and queries, keys and values have biases.
    qwen: bool,
}

const TINYLLAMA: Shape = Shape {
    name: "tinyllama-q4_k_m",
    architecture: "llama",
    pre: "gpt-2",
    mix: Mix::Q4KM,
    layers: 22,
    width: 2048,
    feed_forward: 5632,
    heads: 32,
    kv_heads: 4,
    vocabulary: 32_000,
    context: 4096,
    rope_base: 10_000.0,
    qwen: false,
};

const QWEN: Shape = Shape {
    name: "qwen2.5-0.5b-q4_k_m",
    architecture: "qwen2",
    pre: "qwen2",
    mix: Mix::Q4KM,
    layers: 24,
    width: 896,
    feed_forward: 4864,
    heads: 14,
    kv_heads: 2,
    vocabulary: 151_936,
    context: 32_768,
    rope_base: 1e6,
    qwen: true,
};

pub const SHAPES: &[Shape] = &[
    TINYLLAMA,
    Shape { name: "tinyllama-q4_0", mix: Mix::Q4_0, ..TINYLLAMA },
    Shape { name: "tinyllama-q8_0", mix: Mix::Q8_0, ..TINYLLAMA },
    QWEN,
    Shape { name: "qwen2.5-0.5b-q8_0", mix: Mix::Q8_0, ..QWEN },
];

impl Shape {
    pub fn file(&self) -> GgufFile {
        let vocabulary = Vocabulary::of_size(self.vocabulary);
        let file = vocabulary.write(self.header(), self.pre);
        let tokens = vocabulary.len() as u64;
        let output = if self.qwen { "token_embd.weight" } else { "output.weight" };
        let mut file = Writer { shape: self, file };
        file.matrix("token_embd.weight", tokens, self.width, 0.02);
        if !self.qwen {
            file.matrix(output, tokens, self.width, 0.04);
        }
        file.vector("output_norm.weight", self.width, 1.0);
        for layer in 0..self.layers {
            file.block(layer);
        }
        file.damp(output, vocabulary.damped())
    }

    fn header(&self) -> GgufFile {
        let key = |suffix: &str| format!("{}.{suffix}", self.architecture);
        let head = (self.width / self.heads) as u32;
        let file = GgufFile::new()
            .with("general.architecture", Value::String(self.architecture.into()))
            .with("general.name", Value::String(format!("random weights {}", self.name)));
        let numbers = [
            ("block_count", self.layers as u32),
            ("context_length", self.context),
            ("embedding_length", self.width as u32),
            ("feed_forward_length", self.feed_forward as u32),
            ("attention.head_count", self.heads as u32),
            ("attention.head_count_kv", self.kv_heads as u32),
            ("rope.dimension_count", head),
            ("vocab_size", self.vocabulary as u32),
        ];
        let file = numbers.into_iter().fold(file, |f, (suffix, n)| f.with(&key(suffix), Value::U32(n)));
        file.with(&key("attention.layer_norm_rms_epsilon"), Value::F32(1e-5))
            .with(&key("rope.freq_base"), Value::F32(self.rope_base))
    }

    /// What llama.cpp's quantizer chooses for a tensor.
    fn dtype(&self, name: &str, columns: u64, layer: u64) -> DType {
        let output = name == if self.qwen { "token_embd.weight" } else { "output.weight" };
        let eighth = self.layers / 8;
        let chosen = layer < eighth || layer >= 7 * eighth || (layer - eighth) % 3 == 2;
        let high = output || (chosen && (name.contains("attn_v") || name.contains("ffn_down")));
        match self.mix {
            Mix::Q8_0 => DType::Q8_0,
            Mix::Q4_0 if output => DType::Q6_K,
            Mix::Q4_0 => DType::Q4_0,
            Mix::Q4KM if !columns.is_multiple_of(256) => {
                if high {
                    DType::Q8_0
                } else {
                    DType::Q5_0
                }
            }
            Mix::Q4KM => {
                if high {
                    DType::Q6_K
                } else {
                    DType::Q4_K
                }
            }
        }
    }
}

/// A file that grows.
struct Writer<'a> {
    shape: &'a Shape,
    file: GgufFile,
}

impl Writer<'_> {
    fn block(&mut self, layer: u64) {
        let Shape { width, feed_forward, heads, kv_heads, .. } = *self.shape;
        let kv = width / heads * kv_heads;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let small = |columns: u64| 1.0 / (columns as f32).sqrt();
        self.vector(&name("attn_norm.weight"), width, 1.0);
        for (part, rows) in [("attn_q", width), ("attn_k", kv), ("attn_v", kv)] {
            self.layer_matrix(layer, &name(&format!("{part}.weight")), rows, width, small(width));
            if self.shape.qwen {
                self.vector(&name(&format!("{part}.bias")), rows, 0.1);
            }
        }
        self.layer_matrix(layer, &name("attn_output.weight"), width, width, small(width));
        self.vector(&name("ffn_norm.weight"), width, 1.0);
        self.layer_matrix(layer, &name("ffn_gate.weight"), feed_forward, width, small(width));
        self.layer_matrix(layer, &name("ffn_up.weight"), feed_forward, width, small(width));
        self.layer_matrix(layer, &name("ffn_down.weight"), width, feed_forward, small(feed_forward));
    }

    fn matrix(&mut self, name: &str, rows: u64, columns: u64, deviation: f32) {
        self.layer_matrix(0, name, rows, columns, deviation);
    }

    fn layer_matrix(&mut self, layer: u64, name: &str, rows: u64, columns: u64, deviation: f32) {
        let dtype = self.shape.dtype(name, columns, layer);
        let mut random = Random::named(name);
        let some: Vec<f32> = (0..ROWS * columns).map(|_| deviation * random.number()).collect();
        let pattern = quantize(dtype, &some);
        let row = pattern.len() / ROWS as usize;
        let data = (0..rows as usize * row).map(|i| pattern[i % pattern.len()]).collect();
        self.file = std::mem::take(&mut self.file).tensor(name, dtype, &[columns, rows], data);
    }

    fn vector(&mut self, name: &str, length: u64, value: f32) {
        let mut random = Random::named(name);
        let data = (0..length).flat_map(|_| (value * (1.0 + 0.1 * random.number())).to_le_bytes()).collect();
        self.file = std::mem::take(&mut self.file).tensor(name, DType::F32, &[length], data);
    }

    /// Sets rows of a matrix to zero, so that their tokens never win.
    fn damp(self, name: &str, rows: impl Iterator<Item = bool>) -> GgufFile {
        let zero: Vec<bool> = rows.collect();
        let dtype = self.shape.dtype(name, self.shape.width, 0);
        let blank = quantize(dtype, &vec![0.0; self.shape.width as usize]);
        self.file.edit_tensor(name, |data| {
            for (row, _) in data.chunks_mut(blank.len()).zip(zero).filter(|(_, zero)| *zero) {
                row.copy_from_slice(&blank);
            }
        })
    }
}

/// Numbers between about -1.7 and 1.7 with a deviation of 1, the same in every run.
struct Random(u64);

impl Random {
    fn named(name: &str) -> Self {
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)) | 1)
    }

    fn number(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * 1.732
    }
}
