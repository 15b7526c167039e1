//! CustomResourceDefinitions as data: defaults, what may be wrong with them, names they take, and the resources they
//! become.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::kind::{Resource, ScalePaths, SchemaRef, api_version, stored_name};
use super::storage_hash;
use crate::schema::metadata::NameRule;
use crate::schema::{BadValue, ErrorKind, FieldError, Structural, names};
use crate::table::Columns;

/// Finalizer that holds a definition until its objects are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn strings(value: Option<&Value>) -> Vec<String> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(ToString::to_string).collect()
}

fn versions(definition: &Value) -> &[Value] {
    definition.pointer("/spec/versions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn flag(version: &Value, key: &str) -> bool {
    version[key].as_bool().unwrap_or(false)
}

/// Fills in what Kubernetes fills in: singular name, list kind, conversion.
pub fn set_defaults(definition: &mut Value) {
    let kind = text(definition, "/spec/names/kind").to_string();
    if let Some(names) = definition.pointer_mut("/spec/names").and_then(Value::as_object_mut) {
        let absent =
            |names: &Map<String, Value>, key: &str| names.get(key).and_then(Value::as_str).unwrap_or("").is_empty();
        if absent(names, "singular") {
            names.insert("singular".into(), kind.to_lowercase().into());
        }
        if absent(names, "listKind") && !kind.is_empty() {
            names.insert("listKind".into(), format!("{kind}List").into());
        }
    }
    if let Some(spec) = definition.get_mut("spec").and_then(Value::as_object_mut) {
        spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
        if spec.get("preserveUnknownFields") == Some(&Value::Bool(false)) {
            spec.remove("preserveUnknownFields");
        }
    }
}

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

/// Status of a condition.
pub fn condition<'a>(definition: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = definition.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|c| c["type"] == kind)?["status"].as_str()
}

/// Sets a condition; its time changes only with its status.
pub fn set_condition(definition: &mut Value, kind: &str, status: &str, reason: &str, message: &str, now: &str) {
    let Some(object) = definition.as_object_mut() else { return };
    let slot = object.entry("status").or_insert_with(|| json!({}));
    let Some(slot) = slot.as_object_mut().map(|s| s.entry("conditions").or_insert_with(|| json!([]))) else { return };
    if !slot.is_array() {
        *slot = json!([]);
    }
    let Some(conditions) = slot.as_array_mut() else { return };
    let mut wanted =
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now});
    match conditions.iter_mut().find(|c| c["type"] == kind) {
        Some(condition) => {
            if condition["status"] == status {
                wanted["lastTransitionTime"] = condition["lastTransitionTime"].clone();
            }
            *condition = wanted;
        }
        None => conditions.push(wanted),
    }
}

/// Writes the status that follows from the spec: stored versions, accepted names, conditions. `others` are the other
/// definitions; `now` is RFC 3339.
pub fn settle(definition: &mut Value, others: &[&Value], now: &str) {
    if let Some(object) = definition.as_object_mut() {
        object.entry("status").or_insert_with(|| json!({}));
    }
    let storage = versions(definition).iter().find(|v| flag(v, "storage")).map(|v| v["name"].clone());
    let mut stored = strings(definition.pointer("/status/storedVersions"));
    if let Some(Value::String(storage)) = storage
        && !stored.contains(&storage)
    {
        stored.push(storage);
    }
    definition["status"]["storedVersions"] = json!(stored);
    let problem = accept_names(definition, others);
    match &problem {
        Some((reason, message)) => set_condition(definition, "NamesAccepted", "False", reason, message, now),
        None => set_condition(definition, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now),
    }
    if condition(definition, "Established") != Some("True") {
        match problem {
            Some(_) => {
                set_condition(definition, "Established", "False", "NotAccepted", "not all names are accepted", now);
            }
            None => {
                let message = "the initial names have been accepted";
                set_condition(definition, "Established", "True", "InitialNamesAccepted", message, now);
            }
        }
    }
}

/// Writes `status.acceptedNames`; answers reason and message of the last name that another definition has.
fn accept_names(definition: &mut Value, others: &[&Value]) -> Option<(&'static str, String)> {
    let group = text(definition, "/spec/group").to_string();
    let own = text(definition, "/metadata/name").to_string();
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for other in others.iter().filter(|o| text(o, "/spec/group") == group && text(o, "/metadata/name") != own) {
        let names = other.pointer("/status/acceptedNames").unwrap_or(&Value::Null);
        resources.extend(["plural", "singular"].iter().filter_map(|k| names[*k].as_str()).map(ToString::to_string));
        resources.extend(strings(names.get("shortNames")));
        kinds.extend(["kind", "listKind"].iter().filter_map(|k| names[*k].as_str()).map(ToString::to_string));
    }
    let wanted = definition.pointer("/spec/names").cloned().unwrap_or_default();
    let mut accepted =
        definition.pointer("/status/acceptedNames").cloned().unwrap_or_else(|| json!({"plural": "", "kind": ""}));
    let mut problem = None;
    let mut take = |key: &str, reason: &'static str, used: &BTreeSet<String>| {
        let values = match &wanted[key] {
            Value::Array(_) => strings(wanted.get(key)),
            Value::String(s) => vec![s.clone()],
            _ => return,
        };
        match values.iter().find(|v| used.contains(*v)) {
            Some(value) => problem = Some((reason, format!("{value:?} is already in use"))),
            None => accepted[key] = wanted[key].clone(),
        }
    };
    take("plural", "PluralConflict", &resources);
    take("singular", "SingularConflict", &resources);
    take("shortNames", "ShortNamesConflict", &resources);
    take("kind", "KindConflict", &kinds);
    take("listKind", "ListKindConflict", &kinds);
    if wanted.get("categories").is_some_and(|c| !c.is_null()) {
        accepted["categories"] = wanted["categories"].clone();
    }
    definition["status"]["acceptedNames"] = accepted;
    problem
}

/// The resources that an established definition serves, one per served version. A version whose schema does not compile
/// is left out (it was validated when it was written).
pub fn resources(definition: &Value) -> Vec<Resource> {
    if condition(definition, "Established") != Some("True") {
        return Vec::new();
    }
    versions(definition).iter().filter(|v| flag(v, "served")).filter_map(|v| resource(definition, v)).collect()
}

fn resource(definition: &Value, version: &Value) -> Option<Resource> {
    let names = definition.pointer("/status/acceptedNames")?;
    let name = |key: &str| names[key].as_str().unwrap_or_default().to_string();
    let group = text(definition, "/spec/group").to_string();
    let storage = versions(definition).iter().find(|v| flag(v, "storage"))?["name"].as_str()?.to_string();
    let raw = version.pointer("/schema/openAPIV3Schema").cloned()?;
    let schema = Arc::new(Structural::compile(&raw).ok()?);
    let version_name = version["name"].as_str()?.to_string();
    let kind = name("kind");
    let selectable = version.get("selectableFields").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let deprecation = flag(version, "deprecated").then(|| {
        let own = version["deprecationWarning"].as_str().map(ToString::to_string);
        own.unwrap_or_else(|| deprecation(definition, &group, &version_name, &kind))
    });
    Some(Resource {
        storage_hash: storage_hash(&group, &storage, &kind),
        stored_api_version: api_version(&group, &storage),
        list_kind: name("listKind"),
        plural: name("plural"),
        singular: name("singular"),
        short_names: strings(names.get("shortNames")),
        categories: strings(names.get("categories")),
        namespaced: text(definition, "/spec/scope") == "Namespaced",
        name_rule: NameRule::Subdomain,
        stored_as: stored_name(&group, &name("plural")),
        status: version.pointer("/subresources/status").is_some_and(|s| !s.is_null()),
        scale: version.pointer("/subresources/scale").and_then(scale),
        selectable: selectable
            .iter()
            .filter_map(|f| {
                let path = simple_path(f["jsonPath"].as_str()?)?;
                Some((path.join("."), path))
            })
            .collect(),
        schema: Some(SchemaRef::Definition(schema)),
        raw_schema: Some(raw),
        columns: Columns::from_crd(version.get("additionalPrinterColumns")).ok().map(Arc::new),
        builtin: None,
        generation: true,
        reread: definition.pointer("/metadata/generation").and_then(Value::as_i64) != Some(1),
        deprecation,
        terminating: condition(definition, "Terminating") == Some("True"),
        kind,
        group,
        version: version_name,
    })
}

/// What is said of a deprecated version, with the version to use instead if there is one.
fn deprecation(definition: &Value, group: &str, version: &str, kind: &str) -> String {
    let good = |v: &&Value| flag(v, "served") && !flag(v, "deprecated");
    let mut better: Vec<&str> = versions(definition).iter().filter(good).filter_map(|v| v["name"].as_str()).collect();
    better.sort_by(|a, b| super::discovery::newer_first(a, b));
    match better.first() {
        Some(better) => format!("{group}/{version} {kind} is deprecated; use {group}/{better} {kind}"),
        None => format!("{group}/{version} {kind} is deprecated"),
    }
}

fn scale(value: &Value) -> Option<ScalePaths> {
    Some(ScalePaths {
        spec_replicas: simple_path(value["specReplicasPath"].as_str()?)?,
        status_replicas: simple_path(value["statusReplicasPath"].as_str()?)?,
        selector: value["labelSelectorPath"].as_str().and_then(simple_path),
    })
}

/// The segments of `.spec.replicas`.
fn simple_path(path: &str) -> Option<Vec<String>> {
    let segments: Vec<String> = path.strip_prefix('.')?.split('.').map(ToString::to_string).collect();
    segments.iter().all(|s| !s.is_empty() && !s.contains(['[', ']', '*', '\''])).then_some(segments)
}

fn leaf_type<'a>(schema: &'a Value, path: &str) -> Option<&'a str> {
    let leaf = simple_path(path)?.iter().try_fold(schema, |node, key| node.get("properties")?.get(key))?;
    leaf["type"].as_str().filter(|t| matches!(*t, "string" | "boolean" | "integer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn things() -> Value {
        let mut definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "things.x.dev", "generation": 1},
            "spec": {"group": "x.dev", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}}}}}}]}});
        set_defaults(&mut definition);
        definition
    }

    #[test]
    fn a_definition_becomes_a_resource() {
        let mut definition = things();
        assert_eq!(validate(&definition, None), []);
        settle(&mut definition, &[], "2001-02-03T04:05:06Z");
        let served = resources(&definition);
        assert_eq!(served.len(), 1);
        assert_eq!((served[0].singular.as_str(), served[0].list_kind.as_str()), ("thing", "ThingList"));
        assert!(served[0].status && served[0].namespaced);
        assert_eq!(served[0].scale.as_ref().unwrap().spec_replicas, ["spec", "n"]);
    }

    #[test]
    fn a_taken_name_is_not_established() {
        let mut first = things();
        settle(&mut first, &[], "2001-02-03T04:05:06Z");
        let mut second = things();
        second["metadata"]["name"] = "stuffs.x.dev".into();
        second["spec"]["names"]["plural"] = "stuffs".into();
        settle(&mut second, &[&first], "2001-02-03T04:05:06Z");
        assert_eq!(condition(&second, "NamesAccepted"), Some("False"));
        assert_eq!(condition(&second, "Established"), Some("False"));
        assert!(resources(&second).is_empty());
    }

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
