//! Table answers (`application/json;as=Table`): columns of a kind and the cells of an object.

use serde_json::Value;

/// What a row carries of its object (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// PartialObjectMetadata.
    #[default]
    Metadata,
    /// The object.
    Object,
}

/// The columns of one kind.
#[derive(Debug, Clone)]
pub struct Columns {}

impl Columns {
    /// From a CRD version's `additionalPrinterColumns` (absent: Name and Age).
    pub fn from_crd(_columns: Option<&Value>) -> Result<Self, String> {
        Ok(Self {})
    }

    /// Of a built-in kind, as kubectl shows it.
    pub fn builtin(_group: &str, _kind: &str) -> Option<Self> {
        None
    }

    /// A `meta.k8s.io/v1` Table. `list_metadata` becomes `metadata`; `now` is Unix seconds, for ages. With
    /// `headers` false `columnDefinitions` is null (watch events after the first).
    pub fn table(&self, _objects: &[&Value], _list_metadata: Value, _include: IncludeObject, _headers: bool, _now: i64) -> Value {
        Value::Null
    }
}
