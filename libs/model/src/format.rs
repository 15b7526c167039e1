//! What the worker can serve: formats, architectures, quantizations.

mod settings;

pub use settings::{RANGES, Range, Uncomputed, range_of, uncomputed};

use crate::gguf::{DType, Header};
use crate::shown::shown;

/// Architectures of decoders that the engine computes itself, as in `general.architecture`.
pub const ARCHITECTURES: &[&str] = &["llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"];

/// Architectures of encoders, which give embeddings and no text.
pub const ENCODERS: &[&str] = &["bert"];

/// Architectures of decoders that are computed by candle-transformers.
pub const FALLBACKS: &[&str] = &["glm4", "phi2"];

/// Every architecture that is served.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    [ARCHITECTURES, FALLBACKS, ENCODERS].into_iter().flatten().copied()
}

/// Whether a model of this architecture gives embeddings and no text.
pub fn is_encoder(architecture: &str) -> bool {
    ENCODERS.contains(&architecture)
}

/// Data types of tensors.
pub const DTYPES: &[DType] = &[
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::Q8_0,
    DType::Q4_0,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q2_K,
    DType::Q3_K,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
];

/// Endings of files that are never opened, because opening them can run code.
const PICKLES: &[&str] = &[".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"];

/// A model that is sound and not served. The message lists what is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedFormat {
    #[error("{file} is a pickle file, and those are never opened; supported: GGUF, safetensors")]
    Pickle { file: String },
    #[error("architecture \"{}\" is not supported; supported: {}", shown(found), architecture_names())]
    Architecture { found: String },
    #[error("quantization {found} (tensor {tensor:?}) is not supported; supported: {}", dtype_names())]
    Quantization { found: DType, tensor: String },
    #[error("the model is split over {count} files, which is not supported; supported: one GGUF file")]
    Split { count: u64 },
    #[error("a mixture of {count} experts is not supported; supported: dense models of {}", architecture_names())]
    Experts { count: u64 },
    #[error("setting {key} is {}, {why}; the model would answer wrongly", shown(value))]
    Setting { key: String, value: String, why: String },
}

fn architecture_names() -> String {
    architectures().collect::<Vec<_>>().join(", ")
}

fn dtype_names() -> String {
    DTYPES.iter().map(|d| d.name()).collect::<Vec<_>>().join(", ")
}

/// Refuses file names of formats that are never opened.
///
/// # Errors
/// [`UnsupportedFormat::Pickle`].
pub fn check_file_name(name: &str) -> Result<(), UnsupportedFormat> {
    let lower = name.to_ascii_lowercase();
    match PICKLES.iter().any(|ending| lower.ends_with(ending)) {
        true => Err(UnsupportedFormat::Pickle { file: name.to_owned() }),
        false => Ok(()),
    }
}

/// Whether the worker can serve a model with this header.
///
/// # Errors
/// [`UnsupportedFormat`] names what was found and lists what is supported.
pub fn check(header: &Header) -> Result<(), UnsupportedFormat> {
    let architecture = header.architecture();
    if !architectures().any(|known| known == architecture) {
        return Err(UnsupportedFormat::Architecture { found: architecture.to_owned() });
    }
    if header.is_split() {
        return Err(UnsupportedFormat::Split { count: header.u64("split.count").unwrap_or(0) });
    }
    if let Some(count) = header.arch_u64("expert_count").filter(|&n| n > 0) {
        return Err(UnsupportedFormat::Experts { count });
    }
    let setting = |name: &str| header.get(&format!("{architecture}.{name}"));
    if let Some(Uncomputed { name, value, why }) = uncomputed(architecture, setting) {
        return Err(UnsupportedFormat::Setting { key: format!("{architecture}.{name}"), value, why });
    }
    match header.tensors().iter().find(|t| !DTYPES.contains(&t.dtype)) {
        Some(t) => Err(UnsupportedFormat::Quantization { found: t.dtype, tensor: t.name.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Value;
    use crate::testing::{GgufFile, ModelSpec};

    #[test]
    fn what_is_not_served_is_refused_with_a_list_of_what_is() {
        let header = |file: GgufFile| Header::from_bytes(&file.bytes()).expect("a sound header");
        let llama = || ModelSpec::default().file();
        assert_eq!(check(&header(llama())), Ok(()));
        let other = GgufFile::new().with("general.architecture", Value::String("rwkv7".into()));
        let text = check(&header(other)).unwrap_err().to_string();
        assert!(
            text.contains("rwkv7")
                && text.contains("supported: llama, qwen2, qwen3, gemma2, gemma3, phi3, glm4, phi2, bert"),
            "{text}"
        );
        let odd = header(llama().with("llama.attention.causal", Value::Bool(false)));
        let text = check(&odd).unwrap_err().to_string();
        assert!(text.starts_with("setting llama.attention.causal is false, only true is computed"), "{text}");
        let other = GgufFile::new().with("general.architecture", Value::String("\u{1b}[31m".into()));
        let text = check(&header(other)).unwrap_err().to_string();
        assert!(text.starts_with("architecture \"\\u{1b}[31m\" is not"), "{text}");
        let split = header(llama().with("split.count", Value::U16(3)));
        assert_eq!(check(&split), Err(UnsupportedFormat::Split { count: 3 }));
        let odd = header(llama().tensor("extra.weight", DType::IQ4_XS, &[256], vec![0; 136]));
        let text = check(&odd).unwrap_err().to_string();
        assert!(text.contains("IQ4_XS") && text.contains("Q4_K"), "{text}");
    }

    #[test]
    fn pickles_are_known_by_their_name() {
        assert!(check_file_name("pytorch_model.BIN").is_err());
        assert!(check_file_name("a/model.pt").is_err());
        assert_eq!(check_file_name("model.gguf"), Ok(()));
    }
}
