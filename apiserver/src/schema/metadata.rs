//! Validation of ObjectMeta: names, labels, annotations, finalizers, owner references.

use serde_json::Value;

use super::FieldError;

/// Which rule a kind's names follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, at most 253 characters: custom resources, Secrets, ConfigMaps, Leases, ServiceAccounts.
    Subdomain,
    /// RFC 1123 label, at most 63 characters: Namespaces.
    Label,
}

/// What is wrong with `object.metadata`. `namespaced` says whether the kind has a namespace (it is required then).
pub fn validate(_object: &Value, _namespaced: bool, _rule: NameRule) -> Vec<FieldError> {
    Vec::new()
}

/// What an update may not change: name, namespace, uid, creationTimestamp, deletionTimestamp,
/// deletionGracePeriodSeconds, finalizers added while deletion runs.
pub fn validate_update(_new: &Value, _old: &Value) -> Vec<FieldError> {
    Vec::new()
}
