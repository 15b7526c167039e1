//! Words between processes: OpenAI types, worker control, SSE, error envelope and codes.
//!
//! Everything here is pure: bytes in, typed values or typed errors out. Clock, randomness and I/O belong to the callers.

pub mod error;
pub mod hive;
mod json;
pub mod openai;
pub mod sse;
pub mod token;
pub mod worker;

pub use error::{ApiError, ErrorCode};

/// Version of the HTTP words between keeper, hive and worker. Two parts fit when this and MAJOR.MINOR are equal.
pub const API_VERSION: &str = "v1";

/// Largest JSON body of a request, in bytes.
pub const MAX_BODY_BYTES: usize = 8 << 20;

/// Largest prompt (all message texts together), in bytes.
pub const MAX_PROMPT_BYTES: usize = 4 << 20;
