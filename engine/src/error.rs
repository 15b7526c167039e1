//! Why a sound model file cannot be served by this engine.

use rbee_model::gguf::DType;

/// Why a model cannot be loaded. The file is named by whoever opened it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("architecture {found:?} is not supported; supported: {supported}")]
    Architecture { found: String, supported: String },
    #[error("tensor {0:?} is missing")]
    MissingTensor(String),
    #[error("tensor {0:?} is not used by this engine, so the model would answer wrongly")]
    UnknownTensor(String),
    #[error("tensor {name:?} has the shape {found:?}, {expected:?} is needed (rows first)")]
    Shape { name: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("tensor {name:?} has the data type {dtype}, which is not supported {place}")]
    DType { name: String, dtype: DType, place: &'static str },
    #[error("tensor {name:?} cannot be read: {message}")]
    Read { name: String, message: String },
    #[error("tensor {0:?} is damaged: it holds numbers that are not finite")]
    NotFinite(String),
    #[error("setting {0:?} is missing")]
    MissingSetting(String),
    #[error("setting {key:?} is {value}, {why}")]
    Setting { key: String, value: String, why: String },
    #[error("cannot reserve {bytes} bytes for the key-value caches: {error}; use fewer slots or a shorter context")]
    Cache { bytes: u64, error: String },
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
    #[error("the device failed: {0}")]
    Device(#[from] candle_core::Error),
}

impl LoadError {
    /// Whether the file's content is at fault, not what this engine supports.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::NotFinite(_) | Self::Read { .. })
    }
}
