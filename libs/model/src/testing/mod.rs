//! Writes small GGUF files for tests: any metadata and tensors, sound or not, and models with random weights of every architecture.
//!
//! Everything is made from a seed by integer arithmetic, so the same model has the same bytes on every machine.

mod file;
mod models;
mod quantize;
mod random;
mod spec;
mod vocabulary;
mod weights;

pub use file::GgufFile;
pub use models::{Named, models};
pub use quantize::quantize;
pub use spec::{ModelSpec, Scaling};
pub use vocabulary::Vocabulary;
