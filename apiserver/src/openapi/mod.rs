//! OpenAPI v3 documents per group and version, built from data alone.

use serde_json::Value;

/// One resource of a group and version.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Kind, e.g. `Model`.
    pub kind: String,
    /// List kind, e.g. `ModelList`.
    pub list_kind: String,
    /// Plural name, e.g. `models`.
    pub plural: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// The CRD's `openAPIV3Schema`, or a built-in's.
    pub schema: Option<Value>,
    /// Has a status subresource.
    pub status: bool,
    /// Has a scale subresource.
    pub scale: bool,
    /// Built in, not from a CRD.
    pub builtin: bool,
}

/// The document at `/openapi/v3/apis/GROUP/VERSION` (`/openapi/v3/api/v1` for the core group, whose group is empty).
pub fn document(_group: &str, _version: &str, _resources: &[Resource]) -> Value {
    Value::Null
}

/// Upper-case hex SHA-512 of the serialized document, as in `serverRelativeURL`.
pub fn hash(_document: &Value) -> String {
    String::new()
}

/// The index at `/openapi/v3`: `paths` from (path, hash), e.g. (`apis/rbee.dev/v1alpha1`, …).
pub fn index(_documents: &[(String, String)]) -> Value {
    Value::Null
}
