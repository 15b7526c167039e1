//! The compiled form of an `openAPIV3Schema`.

use serde_json::Value;

use super::FieldError;

/// One node of a structural schema, with its children, patterns and CEL rules compiled.
#[derive(Debug)]
pub struct Structural {}

impl Structural {
    /// Compiles the schema of a CRD version. Errors have paths relative to the schema (`properties[spec].type`);
    /// [`FieldError::under`] puts them below `spec.versions[0].schema.openAPIV3Schema`.
    pub fn compile(_open_api_v3_schema: &Value) -> Result<Self, Vec<FieldError>> {
        Ok(Self {})
    }

    /// Removes what the schema does not know and answers the paths of what was removed, as Kubernetes names them in
    /// `unknown field "spec.wrong"`. `apiVersion`, `kind` and `metadata` of the root stay.
    pub fn prune(&self, _object: &mut Value) -> Vec<String> {
        Vec::new()
    }

    /// Fills in the defaults; a null in a field that has a default and is not nullable is replaced by it.
    pub fn default(&self, _object: &mut Value) {}

    /// Everything that is wrong with the object. With `old` transition rules run, and what was wrong before and did
    /// not change is let pass (ratcheting).
    pub fn validate(&self, _object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        Vec::new()
    }
}
