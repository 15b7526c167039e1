//! Small structural schemas of the built-in kinds, for server-side apply, strict decoding and OpenAPI.

use super::Structural;

/// The schema of a built-in kind served here, or none.
pub fn schema(_group: &str, _kind: &str) -> Option<&'static Structural> {
    None
}
