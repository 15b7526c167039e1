//! JSON patch, merge patch and strategic merge patch over JSON values, with limits.

use serde_json::Value;
use thiserror::Error;

/// Why a patch was not applied. The variant says which HTTP status it answers with.
#[derive(Debug, Error, PartialEq)]
pub enum PatchError {
    /// The patch cannot be read (400 BadRequest).
    #[error("{0}")]
    BadRequest(String),
    /// The patch can be read but not applied to this object (422 Invalid).
    #[error("{0}")]
    Invalid(String),
    /// The patch or its result is too large (413).
    #[error("{0}")]
    TooLarge(String),
    /// This server does not do that (422).
    #[error("{0}")]
    Unsupported(String),
}

/// Applies an RFC 6902 patch.
pub fn json(_document: &Value, _patch: &Value) -> Result<Value, PatchError> {
    Err(PatchError::Unsupported("json patch".into()))
}

/// Applies an RFC 7386 merge patch.
pub fn merge(_document: &Value, _patch: &Value) -> Result<Value, PatchError> {
    Err(PatchError::Unsupported("merge patch".into()))
}

/// Applies a strategic merge patch to an object of a built-in kind.
pub fn strategic(_group: &str, _kind: &str, _document: &Value, _patch: &Value) -> Result<Value, PatchError> {
    Err(PatchError::Unsupported("strategic merge patch".into()))
}
