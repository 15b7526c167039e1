//! A schema with every feature that CRDs here use, for tests.

use serde_json::Value;

use super::Structural;

/// The schema of a Widget, as JSON.
pub(crate) fn widget_json() -> Value {
    serde_json::from_str(include_str!("testdata/widget.json")).expect("JSON")
}

/// The schema of a Widget, compiled.
pub(crate) fn widget() -> Structural {
    Structural::compile(&widget_json()).unwrap_or_else(|e| panic!("{}", super::join_messages(&e)))
}
