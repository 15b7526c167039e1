//! Server-side apply and managed fields for objects of one version.

use serde_json::Value;
use thiserror::Error;

use crate::schema::Structural;

/// Who writes what, with which schema.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Schema of the whole object; `metadata` has its own built-in one.
    pub schema: &'a Structural,
    /// Field manager; at most 128 printable characters.
    pub manager: &'a str,
    /// Take over fields that others own.
    pub force: bool,
    /// RFC 3339, seconds, `Z`.
    pub now: &'a str,
    /// `""` for the main resource, else `status` or `scale`.
    pub subresource: &'a str,
    /// `group/version` of the request.
    pub api_version: &'a str,
    /// The kind has a status subresource: writes to the main resource do not own `status`, and the other way round.
    pub has_status: bool,
}

/// A field that another manager owns with another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// `"kubectl" using rbee.dev/v1alpha1` (with subresource and time where Kubernetes shows them).
    pub manager: String,
    /// `.spec.replicas`.
    pub field: String,
}

/// Why an apply was refused.
#[derive(Debug, Error, PartialEq)]
pub enum ApplyError {
    /// 409 Conflict with one cause (`FieldManagerConflict`) per field.
    #[error("{message}")]
    Conflict {
        /// `Apply failed with 1 conflict: …`.
        message: String,
        /// The fields, sorted.
        conflicts: Vec<Conflict>,
    },
    /// The request is wrong (400 BadRequest).
    #[error("{0}")]
    BadRequest(String),
    /// The configuration does not fit the schema (Kubernetes answers 500 with these words).
    #[error("{0}")]
    Typed(String),
    /// This server does not do that (422).
    #[error("{0}")]
    Unsupported(String),
}

/// The object after `config` was applied to `live` (none: it is created). An apply that changes nothing answers a value
/// equal to `live`.
pub fn apply(_live: Option<&Value>, _config: &Value, _ctx: &Context<'_>) -> Result<Value, ApplyError> {
    Err(ApplyError::Unsupported("server-side apply".into()))
}

/// Writes the managedFields of `new` after a create, update or patch (operation `Update`). Never fails: where the
/// old entries cannot be read they start anew.
pub fn track_update(_live: Option<&Value>, _new: &mut Value, _ctx: &Context<'_>) {}
