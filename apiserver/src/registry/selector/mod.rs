//! Label selectors and field selectors: parsed once, then matched against objects.

mod field;
mod label;

pub use field::{FieldSelector, FieldTerm};
pub use label::LabelSelector;

/// A selector that cannot be read; the words are Kubernetes'.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);
