//! Pure: model references, GGUF header check, shapes, memory estimate.
