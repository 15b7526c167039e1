//! Pure: model references, GGUF header check, shapes, memory estimate.
//!
//! Nothing here touches a file system, a clock or a network: bytes and readers are arguments.

pub mod builtin;
pub mod checkpoint;
pub mod format;
pub mod gguf;
pub mod memory;
pub mod reference;
pub mod safetensors;
mod shown;
pub mod testing;

pub use reference::ModelRef;
pub use shown::shown;
