//! Validation of ObjectMeta: names, labels, annotations, finalizers and owner references.

use serde_json::Value;

use super::error::{go_json, go_quote};
use super::{BadValue, ErrorKind, FieldError, names};

pub use super::object_meta::decode;

/// Which rule a kind's names follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, at most 253 bytes: custom resources, Secrets, ConfigMaps, Leases, ServiceAccounts.
    Subdomain,
    /// RFC 1123 label, at most 63 bytes: Namespaces.
    Label,
}

impl NameRule {
    /// What is wrong with a name; a prefix (`generateName`) may end with a dash.
    pub fn check(self, name: &str, prefix: bool) -> Vec<String> {
        let masked = match name.strip_suffix('-') {
            Some(rest) if prefix && !rest.is_empty() => {
                let mut kept: String = rest.chars().take(rest.chars().count() - 1).collect();
                kept.push('a');
                kept
            }
            _ => name.to_string(),
        };
        match self {
            Self::Subdomain => names::dns1123_subdomain(&masked),
            Self::Label => names::dns1123_label(&masked),
        }
    }
}

/// Largest sum of the bytes of all annotations' keys and values.
pub const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

fn text<'a>(meta: &'a Value, key: &str) -> &'a str {
    meta.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What is wrong with `object.metadata` of an object to be created. `namespaced` says whether the kind has a namespace
/// (it is required then).
pub fn validate(object: &Value, namespaced: bool, rule: NameRule) -> Vec<FieldError> {
    let meta = object.get("metadata").unwrap_or(&Value::Null);
    let mut errors = Vec::new();
    let generate = text(meta, "generateName");
    if !generate.is_empty() {
        invalid_each(&mut errors, "metadata.generateName", generate, rule.check(generate, true));
    }
    let name = text(meta, "name");
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        invalid_each(&mut errors, "metadata.name", name, rule.check(name, false));
    }
    namespace(meta, namespaced, "metadata", &mut errors);
    common(meta, "metadata", true, &mut errors);
    errors
}

/// The metadata of an embedded resource, which may lack a name.
pub(super) fn validate_embedded(meta: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, prefix) in [("generateName", true), ("name", false)] {
        let name = text(meta, key);
        if !name.is_empty() {
            invalid_each(&mut errors, &format!("{path}.{key}"), name, names::path_segment(name, prefix));
        }
    }
    namespace(meta, !text(meta, "namespace").is_empty(), path, &mut errors);
    common(meta, path, true, &mut errors);
    errors
}

fn namespace(meta: &Value, namespaced: bool, path: &str, errors: &mut Vec<FieldError>) {
    let at = format!("{path}.namespace");
    let namespace = text(meta, "namespace");
    match (namespaced, namespace.is_empty()) {
        (true, true) => errors.push(FieldError::required(at, "")),
        (true, false) => invalid_each(errors, &at, namespace, names::dns1123_label(namespace)),
        (false, false) => errors.push(FieldError::forbidden(at, "not allowed on this type")),
        (false, true) => {}
    }
}

fn common(meta: &Value, path: &str, creating: bool, errors: &mut Vec<FieldError>) {
    if creating && let Some(generation) = meta.get("generation").and_then(Value::as_i64).filter(|g| *g < 0) {
        let words = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(format!("{path}.generation"), generation, words));
    }
    let at = format!("{path}.labels");
    for (key, value) in entries(meta, "labels") {
        invalid_each(errors, &at, key, names::qualified_name(key));
        let value = value.as_str().unwrap_or_default();
        invalid_each(errors, &at, value, names::label_value(value));
    }
    let at = format!("{path}.annotations");
    let mut size = 0;
    for (key, value) in entries(meta, "annotations") {
        invalid_each(errors, &at, key, names::qualified_name(&key.to_lowercase()));
        size += key.len() + value.as_str().unwrap_or_default().len();
    }
    if size > ANNOTATIONS_MAX_BYTES {
        errors.push(FieldError::too_long(at, ANNOTATIONS_MAX_BYTES));
    }
    owner_references(meta, &format!("{path}.ownerReferences"), errors);
    if creating {
        finalizers(meta, &format!("{path}.finalizers"), errors);
    }
    managed_fields(meta, &format!("{path}.managedFields"), errors);
}

fn entries<'a>(meta: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    meta.get(key).and_then(Value::as_object).into_iter().flatten()
}

fn items<'a>(meta: &'a Value, key: &str) -> &'a [Value] {
    meta.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn invalid_each(errors: &mut Vec<FieldError>, field: &str, value: &str, wrong: Vec<String>) {
    errors.extend(wrong.into_iter().map(|words| FieldError::invalid(field, value, words)));
}

fn owner_references(meta: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let references = items(meta, "ownerReferences");
    let mut controller: Option<String> = None;
    for reference in references {
        let version = text(reference, "apiVersion");
        if version.is_empty() {
            errors.push(FieldError::invalid(format!("{path}.apiVersion"), "", "version must not be empty"));
        }
        for key in ["kind", "name", "uid"] {
            if text(reference, key).is_empty() {
                errors.push(FieldError::invalid(format!("{path}.{key}"), "", "must not be empty"));
            }
        }
        if version == "v1" && text(reference, "kind") == "Event" {
            let words = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(struct_invalid(path, owner_json(reference), words.into()));
        }
        if reference.get("controller") == Some(&Value::Bool(true)) {
            let name = format!("{}/{}", text(reference, "kind"), text(reference, "name"));
            if let Some(first) = &controller {
                let words = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                );
                let all: Vec<String> = references.iter().map(owner_json).collect();
                errors.push(struct_invalid(path, format!("[{}]", all.join(",")), words));
            } else {
                controller = Some(name);
            }
        }
    }
}

fn struct_invalid(field: &str, shown: String, detail: String) -> FieldError {
    FieldError { field: field.into(), kind: ErrorKind::Invalid, bad_value: BadValue::Text(shown), detail }
}

/// An owner reference with its fields in the order in which Go writes the struct.
fn owner_json(reference: &Value) -> String {
    let required = ["apiVersion", "kind", "name", "uid"].into_iter();
    let mut fields: Vec<String> =
        required.map(|k| format!("\"{k}\":{}", go_json(&Value::from(text(reference, k))))).collect();
    for key in ["controller", "blockOwnerDeletion"] {
        if let Some(value) = reference.get(key).filter(|v| !v.is_null()) {
            fields.push(format!("\"{key}\":{}", go_json(value)));
        }
    }
    format!("{{{}}}", fields.join(","))
}

fn finalizers(meta: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let names: Vec<&str> = items(meta, "finalizers").iter().filter_map(Value::as_str).collect();
    for name in &names {
        invalid_each(errors, path, name, names::qualified_name(name));
    }
    if names.contains(&ORPHAN) && names.contains(&FOREGROUND) {
        let words = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.push(FieldError::invalid(
            path,
            names.as_slice().iter().map(|n| Value::from(*n)).collect::<Vec<_>>(),
            words,
        ));
    }
}

fn managed_fields(meta: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (i, entry) in items(meta, "managedFields").iter().enumerate() {
        let operation = text(entry, "operation");
        if !matches!(operation, "Apply" | "Update") {
            let words = "must be `Apply` or `Update`";
            errors.push(FieldError::invalid(format!("{path}[{i}].operation"), operation, words));
        }
        let kind = text(entry, "fieldsType");
        if !matches!(kind, "" | "FieldsV1") {
            errors.push(FieldError::invalid(format!("{path}[{i}].fieldsType"), kind, "must be `FieldsV1`"));
        }
        errors.extend(field_manager(text(entry, "manager"), &format!("{path}[{i}].manager")));
        if text(entry, "subresource").len() > 256 {
            errors.push(FieldError::too_long(format!("{path}[{i}].subresource"), 256));
        }
    }
}

/// A field manager: at most 128 bytes, printable.
pub fn field_manager(name: &str, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if name.len() > 128 {
        errors.push(FieldError::too_long(field, 128));
    }
    for (at, c) in name.char_indices() {
        if c.is_control() || (c.is_whitespace() && c != ' ') {
            let words = format!("invalid character U+{:04X} (at position {at})", c as u32);
            errors.push(FieldError::invalid(field, name, words));
        }
    }
    errors
}

/// What an update may not change: name, namespace, uid, creationTimestamp, deletionTimestamp,
/// deletionGracePeriodSeconds, generation backwards, finalizers added while deletion runs.
pub fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let null = Value::Null;
    let (new, old) = (new.get("metadata").unwrap_or(&null), old.get("metadata").unwrap_or(&null));
    let mut errors = Vec::new();
    if old.get("deletionTimestamp").is_some_and(|t| !t.is_null()) {
        no_new_finalizers(new, old, &mut errors);
    }
    if text(new, "resourceVersion").is_empty() {
        errors.push(FieldError::invalid("metadata.resourceVersion", "", "must be specified for an update"));
    }
    let generation = |meta: &Value| meta.get("generation").and_then(Value::as_i64).unwrap_or_default();
    if generation(new) < generation(old) {
        let words = "must not be decremented";
        errors.push(FieldError::invalid("metadata.generation", generation(new), words));
    }
    for key in ["name", "namespace", "uid"] {
        if text(new, key) != text(old, key) {
            errors.push(FieldError::invalid(format!("metadata.{key}"), text(new, key), "field is immutable"));
        }
    }
    for key in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let value = |meta: &Value| meta.get(key).cloned().unwrap_or_default();
        if value(new) != value(old) {
            let shown = match value(new) {
                // Times and pointers are written as JSON, not with %q or %v: the quotes stay the same.
                Value::Null => BadValue::Text("null".into()),
                other => BadValue::Json(other),
            };
            errors.push(FieldError {
                field: format!("metadata.{key}"),
                kind: ErrorKind::Invalid,
                bad_value: shown,
                detail: "field is immutable".into(),
            });
        }
    }
    common(new, "metadata", false, &mut errors);
    errors
}

fn no_new_finalizers(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let old = items(old, "finalizers");
    let mut extra: Vec<&str> =
        items(new, "finalizers").iter().filter(|f| !old.contains(f)).filter_map(Value::as_str).collect();
    if extra.is_empty() {
        return;
    }
    extra.sort_unstable();
    extra.dedup();
    let listed: Vec<String> = extra.into_iter().map(go_quote).collect();
    let words = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        listed.join(", ")
    );
    errors.push(FieldError::forbidden("metadata.finalizers", words));
}

/// Warnings for finalizers that a write adds (`Warning` headers, code 299).
pub fn finalizer_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let of = |object: &Value| -> Vec<String> {
        let meta = object.get("metadata").unwrap_or(&Value::Null);
        items(meta, "finalizers").iter().filter_map(|f| f.as_str().map(str::to_string)).collect()
    };
    let before = old.map(of).unwrap_or_default();
    let mut added: Vec<String> = of(new).into_iter().filter(|f| !before.contains(f)).collect();
    added.sort();
    added.dedup();
    let mut warnings = Vec::new();
    for name in added {
        let quoted = go_quote(&name);
        for words in names::qualified_name(&name) {
            warnings.push(format!("metadata.finalizers: {quoted}: {words}"));
        }
        if name.contains('/') || matches!(name.as_str(), ORPHAN | FOREGROUND | "kubernetes") {
            continue;
        }
        let path = if name.contains('.') { " including a path (/)" } else { "" };
        warnings.push(format!(
            "metadata.finalizers: {quoted}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(object: Value) -> Vec<String> {
        validate(&object, true, NameRule::Subdomain).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_are_checked_in_kubernetes_words() {
        let got = words(json!({"metadata": {"name": "Upper", "namespace": "n"}}));
        assert_eq!(
            got,
            [
                "metadata.name: Invalid value: \"Upper\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        let got = words(json!({"metadata": {}}));
        assert_eq!(
            got,
            ["metadata.name: Required value: name or generateName is required", "metadata.namespace: Required value"]
        );
        assert!(words(json!({"metadata": {"name": "a-0.b", "generateName": "gen-", "namespace": "n"}})).is_empty());
    }

    #[test]
    fn labels_owners_and_finalizers_are_checked() {
        let got = words(json!({"metadata": {"name": "a", "namespace": "n", "labels": {"ok": "bad value!"}}}));
        assert_eq!(
            got,
            [
                "metadata.labels: Invalid value: \"bad value!\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            ]
        );
        let owner = |n: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": n, "uid": n, "controller": true});
        let got =
            words(json!({"metadata": {"name": "a", "namespace": "n", "ownerReferences": [owner("x"), owner("y")]}}));
        assert_eq!(
            got,
            [
                "metadata.ownerReferences: Invalid value: [{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"name\":\"x\",\"uid\":\"x\",\"controller\":true},{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"name\":\"y\",\"uid\":\"y\",\"controller\":true}]: Only one reference can have Controller set to true. Found \"true\" in references for ConfigMap/x and ConfigMap/y"
            ]
        );
        let big = "x".repeat(ANNOTATIONS_MAX_BYTES);
        let got = words(json!({"metadata": {"name": "a", "namespace": "n", "annotations": {"k": big}}}));
        assert_eq!(got, ["metadata.annotations: Too long: may not be more than 262144 bytes"]);
    }

    #[test]
    fn updates_keep_identity() {
        let old = json!({"metadata": {"name": "a", "uid": "1", "resourceVersion": "1", "deletionTimestamp": "2001-02-03T04:05:06Z", "finalizers": ["x/y"]}});
        let mut new = old.clone();
        new["metadata"]["uid"] = json!("2");
        new["metadata"]["finalizers"] = json!(["x/y", "x/z"]);
        let got: Vec<String> = validate_update(&new, &old).iter().map(ToString::to_string).collect();
        assert_eq!(
            got,
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"x/z\"}",
                "metadata.uid: Invalid value: \"2\": field is immutable"
            ]
        );
    }
}
