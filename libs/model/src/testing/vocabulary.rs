//! Small vocabularies of every kind that GGUF knows here.

use super::GgufFile;
use crate::gguf::{Array, Value};

/// How text becomes tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vocabulary {
    /// `gpt2`: the 256 bytes, then `<|endoftext|>` (BOS and EOS); no merges.
    Bytes {
        /// `tokenizer.ggml.pre`.
        pre: &'static str,
    },
    /// `llama`: SentencePiece by scores with byte fallback; BOS is added.
    SentencePiece,
    /// `bert`: WordPiece; `[CLS]` and `[SEP]` are added.
    WordPiece,
}

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// Pieces that SentencePiece and WordPiece know besides single letters, shortest first, so that merges can reach the longer ones.
const PIECES: &[&str] = &["th", "he", "in", "er", "an", "the", "ing", "and", "bee", "hive", "honey"];

impl Vocabulary {
    /// Tokens with their `tokenizer.ggml.token_type`.
    pub(super) fn tokens(self) -> Vec<(String, i32)> {
        let letters = || ('a'..='z').chain('A'..='Z').chain('0'..='9').chain(".,;:!?'\"-()".chars());
        let words = || letters().map(String::from).chain(PIECES.iter().map(|p| (*p).to_owned()));
        let normal = |text: String| (text, NORMAL);
        match self {
            Self::Bytes { .. } => (0..=255u8)
                .map(|byte| normal(byte_letter(byte).to_string()))
                .chain([("<|endoftext|>".to_owned(), CONTROL)])
                .collect(),
            Self::SentencePiece => [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
                .map(|(text, kind)| (text.to_owned(), kind))
                .into_iter()
                .chain((0..=255u8).map(|byte| (format!("<0x{byte:02X}>"), BYTE)))
                .chain(["▁".to_owned()].into_iter().chain(words()).map(normal))
                .chain(words().map(|word| normal(format!("▁{word}"))))
                .collect(),
            Self::WordPiece => ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
                .map(|text| (text.to_owned(), CONTROL))
                .into_iter()
                .chain(words().map(|word| normal(format!("▁{word}"))))
                .chain(words().map(normal))
                .collect(),
        }
    }

    /// The rows of the output that never win: control tokens, and pieces that alone are no valid UTF-8.
    pub(super) fn damped(self) -> Vec<bool> {
        let bytes = matches!(self, Self::Bytes { .. });
        self.tokens().iter().enumerate().map(|(id, (_, kind))| *kind != NORMAL || (bytes && id >= 128)).collect()
    }

    pub(super) fn write(self, file: GgufFile) -> GgufFile {
        let tokens = self.tokens();
        let (model, pre) = match self {
            Self::Bytes { pre } => ("gpt2", pre),
            Self::SentencePiece => ("llama", "default"),
            Self::WordPiece => ("bert", "default"),
        };
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let text = |s: &str| Value::String(s.to_owned());
        let strings = |s: Vec<&str>| Value::Array(Array::String(s.into_iter().collect()));
        let file = file
            .with(&key("model"), text(model))
            .with(&key("pre"), text(pre))
            .with(&key("tokens"), strings(tokens.iter().map(|t| t.0.as_str()).collect()))
            .with(&key("token_type"), Value::Array(Array::I32(tokens.iter().map(|t| t.1).collect())));
        let ids = |file: GgufFile, ids: &[(&str, u32)]| {
            ids.iter().fold(file, |file, (name, id)| file.with(&key(&format!("{name}_token_id")), Value::U32(*id)))
        };
        match self {
            Self::Bytes { .. } => {
                let file =
                    file.with(&key("merges"), strings(Vec::new())).with(&key("add_bos_token"), Value::Bool(false));
                ids(file, &[("bos", 256), ("eos", 256)])
            }
            Self::SentencePiece => {
                let scores = (0..tokens.len()).map(|id| -(id as f32)).collect();
                let file = file
                    .with(&key("scores"), Value::Array(Array::F32(scores)))
                    .with(&key("add_bos_token"), Value::Bool(true));
                ids(file, &[("bos", 1), ("eos", 2), ("unknown", 0)])
            }
            Self::WordPiece => {
                let file = file.with(&key("token_type_count"), Value::U32(2));
                let of =
                    [("padding", 0), ("unknown", 1), ("cls", 2), ("bos", 2), ("seperator", 3), ("eos", 3), ("mask", 4)];
                ids(file, &of)
            }
        }
    }
}

/// GPT-2's printable stand-in for a byte.
fn byte_letter(byte: u8) -> char {
    let printable = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(256 + before).unwrap_or('?')
}
