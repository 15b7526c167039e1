//! Why a sound model file cannot be served by this engine.

use rbee_model::gguf::DType;
use rbee_model::shown;

/// Why a model cannot be loaded. The file is named by whoever opened it.
/// What the file says is shown without what a terminal would act on.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("architecture \"{}\" is not supported; supported: {supported}", shown(found))]
    Architecture { found: String, supported: String },
    #[error("tensor \"{}\" is missing", shown(_0))]
    MissingTensor(String),
    #[error("tensor \"{}\" is not used by this engine, so the model would answer wrongly", shown(_0))]
    UnknownTensor(String),
    #[error("tensor \"{}\" has the shape {found:?}, {expected:?} is needed (rows first)", shown(name))]
    Shape { name: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("tensor \"{}\" has the data type {dtype}, which is not supported {place}", shown(name))]
    DType { name: String, dtype: DType, place: &'static str },
    #[error("tensor \"{}\" cannot be read: {message}", shown(name))]
    Read { name: String, message: String },
    #[error("tensor \"{}\" is damaged: it holds numbers that are not finite", shown(_0))]
    NotFinite(String),
    #[error("setting \"{}\" is missing", shown(_0))]
    MissingSetting(String),
    #[error("setting \"{}\" is {}, {why}", shown(key), shown(value))]
    Setting { key: String, value: String, why: String },
    #[error("cannot reserve {bytes} bytes for the key-value caches: {error}; use fewer slots or a shorter context")]
    Cache { bytes: u64, error: String },
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
    #[error("the device failed: {0}")]
    Device(#[from] candle_core::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_of_a_file_are_shown_without_control_characters() {
        let odd = || "a\u{1b}[31m\n".to_owned();
        for error in [
            LoadError::Architecture { found: odd(), supported: "llama".into() },
            LoadError::MissingTensor(odd()),
            LoadError::UnknownTensor(odd()),
            LoadError::NotFinite(odd()),
            LoadError::MissingSetting(odd()),
            LoadError::Setting { key: odd(), value: odd(), why: "a number is needed".into() },
            LoadError::Setting { key: "x".repeat(5000), value: "x".repeat(5000), why: "a number is needed".into() },
            LoadError::Read { name: odd(), message: "it is cut".into() },
        ] {
            let text = error.to_string();
            assert!(!text.contains(|c: char| c.is_control()) && text.len() < 400, "{text:?}");
        }
    }
}
