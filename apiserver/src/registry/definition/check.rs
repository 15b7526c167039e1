//! What may be wrong with a definition, in Kubernetes' words.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{condition, flag, simple_path, strings, text, versions};
use crate::schema::{BadValue, ErrorKind, FieldError, Structural, names};
use crate::table::Columns;

/// Everything that is wrong with a definition; `old` is what it replaces.
pub fn validate(definition: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let group = text(definition, "/spec/group");
    let plural = text(definition, "/spec/names/plural");
    let name = text(definition, "/metadata/name");
    let expected = format!("{plural}.{group}");
    if old.is_none() && name != expected {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", name, why));
    }
    validate_group(group, &mut errors);
    match text(definition, "/spec/scope") {
        "Namespaced" | "Cluster" => {}
        "" => errors.push(FieldError::required("spec.scope", "")),
        other => errors.push(FieldError::not_supported("spec.scope", other, &["Cluster", "Namespaced"])),
    }
    validate_names(definition, &mut errors);
    validate_versions(definition, &mut errors);
    if let Some(old) = old {
        validate_immutable(definition, old, &mut errors);
    }
    errors
}

fn validate_group(group: &str, errors: &mut Vec<FieldError>) {
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if let wrong = names::dns1123_subdomain(group)
        && !wrong.is_empty()
    {
        errors.push(FieldError::invalid("spec.group", group, wrong.join(",")));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid("spec.group", group, "should be a domain with at least one dot"));
    }
}

fn label(field: String, value: &str, errors: &mut Vec<FieldError>) {
    let wrong = names::dns1035_label(value);
    if !wrong.is_empty() {
        errors.push(FieldError::invalid(field, value, wrong.join(",")));
    }
}

fn validate_names(definition: &Value, errors: &mut Vec<FieldError>) {
    let taken = definition.pointer("/spec/names").unwrap_or(&Value::Null);
    for key in ["plural", "singular", "kind", "listKind"] {
        let value = taken[key].as_str().unwrap_or_default();
        let field = format!("spec.names.{key}");
        if value.is_empty() {
            if key != "singular" {
                errors.push(FieldError::required(field, ""));
            }
        } else if key.ends_with("ind") {
            let wrong = names::dns1035_label(&value.to_lowercase());
            if !wrong.is_empty() {
                let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
                errors.push(FieldError::invalid(field, value, why));
            }
        } else {
            label(field, value, errors);
        }
    }
    for key in ["shortNames", "categories"] {
        for (i, value) in strings(taken.get(key)).iter().enumerate() {
            label(format!("spec.names.{key}[{i}]"), value, errors);
        }
    }
    let (kind, list) = (&taken["kind"], &taken["listKind"]);
    if kind == list && kind.as_str().is_some_and(|k| !k.is_empty()) {
        let why = "kind and listKind may not be the same";
        errors.push(FieldError::invalid("spec.names.listKind", list.clone(), why));
    }
}

fn validate_versions(definition: &Value, errors: &mut Vec<FieldError>) {
    let versions = versions(definition);
    if versions.is_empty() {
        errors.push(FieldError::required("spec.versions", "must have at least one version"));
        return;
    }
    let mut seen = BTreeSet::new();
    for (i, version) in versions.iter().enumerate() {
        let at = format!("spec.versions[{i}]");
        let name = version["name"].as_str().unwrap_or_default();
        if i == 0 {
            label("spec.version".into(), name, errors);
        }
        label(format!("{at}.name"), name, errors);
        if !seen.insert(name) {
            errors.push(shown("spec.versions", go_versions(versions), "must contain unique version names"));
        }
        match version.pointer("/schema/openAPIV3Schema") {
            None | Some(Value::Null) => {
                errors.push(FieldError::required(format!("{at}.schema.openAPIV3Schema"), ""));
            }
            Some(_) if i > 0 && shared(versions, "/schema") => {}
            Some(schema) => {
                let at = if shared(versions, "/schema") { "spec.validation".into() } else { format!("{at}.schema") };
                if let Err(problems) = Structural::compile(schema) {
                    errors.extend(problems.into_iter().map(|e| e.under(&format!("{at}.openAPIV3Schema"))));
                }
            }
        }
        for part in ["additionalPrinterColumns", "subresources", "selectableFields"] {
            let shared = shared(versions, &format!("/{part}"));
            if !shared || i == 0 {
                validate_part(version, part, if shared { "spec" } else { &at }, errors);
            }
        }
    }
    match versions.iter().filter(|v| flag(v, "storage")).count() {
        1 => {}
        _ => {
            let why = "must have exactly one version marked as storage version";
            errors.push(shown("spec.versions", go_versions(versions), why));
        }
    }
    if !versions.iter().any(|v| flag(v, "storage")) {
        errors.push(shown("status.storedVersions", "null".into(), "must have at least one stored version"));
    }
    if text(definition, "/spec/conversion/strategy") == "Webhook" {
        errors.push(FieldError::not_supported("spec.conversion.strategy", "Webhook", &["None"]));
    }
}

/// An error that shows a value as Go prints it.
fn shown(field: &str, value: String, detail: &str) -> FieldError {
    let (field, detail) = (field.to_string(), detail.to_string());
    FieldError { field, kind: ErrorKind::Invalid, bad_value: BadValue::Text(value), detail }
}

/// The versions as Go writes its internal structs, without what they share.
fn go_versions(versions: &[Value]) -> String {
    let one = |v: &Value| {
        let (name, warning) = (&v["name"], &v["deprecationWarning"]);
        let (served, storage, deprecated) = (flag(v, "served"), flag(v, "storage"), flag(v, "deprecated"));
        format!(
            "{{\"Name\":{name},\"Served\":{served},\"Storage\":{storage},\"Deprecated\":{deprecated},\"DeprecationWarning\":{warning},\"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null}}"
        )
    };
    format!("[{}]", versions.iter().map(one).collect::<Vec<_>>().join(","))
}

/// All versions say the same: Kubernetes names the field as if it were the definition's.
fn shared(versions: &[Value], pointer: &str) -> bool {
    versions.iter().all(|v| v.pointer(pointer) == versions[0].pointer(pointer))
}

fn validate_part(version: &Value, part: &str, at: &str, errors: &mut Vec<FieldError>) {
    match part {
        "additionalPrinterColumns" => {
            if let Some(columns) = version.get(part).filter(|c| !c.is_null()) {
                validate_columns(columns, &format!("{at}.{part}"), errors);
            }
        }
        "subresources" => validate_scale(version, &format!("{at}.subresources.scale"), errors),
        _ => validate_selectable(version, at, errors),
    }
}

fn validate_scale(version: &Value, at: &str, errors: &mut Vec<FieldError>) {
    if let Some(scale) = version.pointer("/subresources/scale").and_then(Value::as_object) {
        for (key, prefix) in
            [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status."), ("labelSelectorPath", ".")]
        {
            let field = format!("{at}.{key}");
            match scale.get(key).and_then(Value::as_str).unwrap_or_default() {
                "" if key == "labelSelectorPath" => {}
                "" => errors.push(FieldError::required(field, "")),
                path if simple_path(path).is_none() => {
                    errors.push(FieldError::invalid(field, path, "must be a simple json path starting with ."));
                }
                path if key == "labelSelectorPath" && !path.starts_with(".status.") && !path.starts_with(".spec.") => {
                    let why = "should be a json path under either .spec or .status";
                    errors.push(FieldError::invalid(field, path, why));
                }
                path if !path.starts_with(prefix) => {
                    let why = format!("should be a json path under {}", prefix.trim_end_matches('.'));
                    errors.push(FieldError::invalid(field, path, why));
                }
                _ => {}
            }
        }
    }
}

fn validate_selectable(version: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let fields = version.get("selectableFields").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (i, field) in fields.iter().enumerate() {
        let path = field["jsonPath"].as_str().unwrap_or_default();
        let schema = version.pointer("/schema/openAPIV3Schema").unwrap_or(&Value::Null);
        if leaf_type(schema, path).is_none() {
            let why = "is an invalid path: does not refer to a valid field";
            errors.push(FieldError::invalid(format!("{at}.selectableFields[{i}].jsonPath"), path, why));
        }
    }
}

fn validate_columns(columns: &Value, at: &str, errors: &mut Vec<FieldError>) {
    for (i, column) in columns.as_array().map_or(&[][..], Vec::as_slice).iter().enumerate() {
        let at = format!("{at}[{i}]");
        if column["name"].as_str().unwrap_or_default().is_empty() {
            errors.push(FieldError::required(format!("{at}.name"), ""));
        }
        match column["type"].as_str().unwrap_or_default() {
            "" => {
                let why = "must be one of boolean,date,integer,number,string";
                errors.push(FieldError::required(format!("{at}.type"), why));
            }
            "boolean" | "date" | "integer" | "number" | "string" => {}
            other => {
                let why = "must be one of boolean,date,integer,number,string";
                errors.push(FieldError::invalid(format!("{at}.type"), other, why));
            }
        }
        match column["jsonPath"].as_str().unwrap_or_default() {
            "" => errors.push(FieldError::required(format!("{at}.JSONPath"), "")),
            path if !path.starts_with('.') => {
                let why = "must be a simple json path starting with .";
                errors.push(FieldError::invalid(format!("{at}.JSONPath"), path, why));
            }
            _ => {}
        }
    }
    if let Err(why) = Columns::from_crd(Some(columns)) {
        errors.push(FieldError::invalid(at, columns.clone(), why));
    }
}

fn validate_immutable(definition: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let established = condition(old, "Established") == Some("True");
    for (pointer, field, always) in [
        ("/spec/group", "spec.group", true),
        ("/spec/names/plural", "spec.names.plural", true),
        ("/spec/scope", "spec.scope", established),
        ("/spec/names/kind", "spec.names.kind", established),
    ] {
        if always && definition.pointer(pointer) != old.pointer(pointer) {
            let value = definition.pointer(pointer).cloned().unwrap_or_default();
            errors.push(FieldError::invalid(field, value, "field is immutable"));
        }
    }
    let names: Vec<&str> = versions(definition).iter().filter_map(|v| v["name"].as_str()).collect();
    for (i, stored) in strings(old.pointer("/status/storedVersions")).iter().enumerate() {
        if !names.contains(&stored.as_str()) {
            let why = format!(
                "missing from spec.versions; {stored} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {stored} and removes {stored} from status.storedVersions"
            );
            errors.push(FieldError::invalid(format!("status.storedVersions[{i}]"), stored.as_str(), why));
        }
    }
}

fn leaf_type<'a>(schema: &'a Value, path: &str) -> Option<&'a str> {
    let leaf = simple_path(path)?.iter().try_fold(schema, |node, key| node.get("properties")?.get(key))?;
    leaf["type"].as_str().filter(|t| matches!(*t, "string" | "boolean" | "integer"))
}

#[cfg(test)]
mod tests {
    use super::super::settle;
    use super::super::tests::things;
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_named() {
        let fields = |change: fn(&mut Value)| {
            let mut definition = things();
            change(&mut definition);
            validate(&definition, None).into_iter().map(|e| e.field).collect::<Vec<_>>()
        };
        assert_eq!(fields(|d| d["spec"]["scope"] = "World".into()), ["spec.scope"]);
        let names = fields(|d| d["spec"]["versions"][0]["name"] = "V_1".into());
        assert_eq!(names, ["spec.version", "spec.versions[0].name"]);
        let storage = fields(|d| d["spec"]["versions"][0]["storage"] = false.into());
        assert_eq!(storage, ["spec.versions", "status.storedVersions"]);
        assert_eq!(fields(|d| d["metadata"]["name"] = "wrong.name".into()), ["metadata.name"]);
        let paths = fields(|d| d["spec"]["versions"][0]["subresources"]["scale"] = json!({"specReplicasPath": "spec"}));
        assert_eq!(paths.len(), 2, "{paths:?}");
    }

    #[test]
    fn kind_and_scope_stay() {
        let mut old = things();
        settle(&mut old, &[], "2001-02-03T04:05:06Z");
        let mut new = old.clone();
        new["spec"]["scope"] = "Cluster".into();
        new["spec"]["names"]["kind"] = "Other".into();
        let fields: Vec<String> = validate(&new, Some(&old)).into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["spec.scope", "spec.names.kind"]);
    }
}
