//! From the bytes of a body to an object that may be stored: decode, coerce, prune, default, validate. Nothing here does I/O.

use serde_json::{Value, json};

use super::json;
use super::meta;
use super::negotiate::Syntax;
use super::protobuf;
use super::query::FieldValidation;
use super::rules;
use super::status::{ApiError, ApiResult, Qualified};
use crate::registry::{Builtin, Resource};
use crate::schema::{ErrorKind, FieldError, metadata};

/// An object as a client sent it, in the version of the request, pruned and defaulted.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// The object.
    pub object: Value,
    /// Texts for Warning headers.
    pub warnings: Vec<String>,
}

/// Reads a body that holds an object of `resource`.
pub fn decode(resource: &Resource, body: &[u8], syntax: Syntax, mode: FieldValidation) -> ApiResult<Incoming> {
    let unrecognized = |why: &str| {
        let kind = &resource.kind;
        let text = format!("the object provided is unrecognized (must be of type {kind}): {why} ({})", summary(body));
        ApiError::bad_request(text)
    };
    let document = match parse(body, syntax) {
        Ok(document) => document,
        Err(why) if why.contains("out of range") => return Err(cannot_handle(resource, &format!("json: {why}"))),
        Err(why) if syntax == Syntax::Protobuf || why.starts_with("yaml: ") => return Err(unrecognized(&why)),
        Err(why) => return Err(unrecognized(&format!("couldn't get version/kind; json parse error: {why}"))),
    };
    let mut object = document.value;
    if object.is_null() && resource.is_custom() && !body.is_empty() {
        return Err(unrecognized("Object 'Kind' is missing in 'null'"));
    }
    if !object.is_object() {
        let why =
            "couldn't get version/kind; json parse error: json: cannot unmarshal value into Go value of type struct";
        return Err(unrecognized(why));
    }
    let mut duplicates = document.duplicates;
    if syntax == Syntax::Yaml && mode == FieldValidation::Strict && !duplicates.is_empty() {
        duplicates = vec![in_yaml(&duplicates)];
    }
    check_type(resource, &mut object, body, &unrecognized)?;
    if object["apiVersion"] != resource.api_version() {
        return Err(of_another_version(resource, object, duplicates, mode));
    }
    settle(resource, object, duplicates, mode).map_err(|e| match e {
        Problem::Strict(problems) => {
            cannot_handle(resource, &format!("strict decoding error: {}", problems.join(", ")))
        }
        Problem::Wrong(why) => cannot_handle(resource, &why),
    })
}

/// `Widget in version "v1" cannot be handled as a Widget: WHY`, 400.
fn cannot_handle(resource: &Resource, why: &str) -> ApiError {
    let (kind, version) = (&resource.kind, &resource.version);
    ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
}

/// Reads JSON or YAML; the error is the parser's words.
pub fn parse(body: &[u8], syntax: Syntax) -> Result<json::Document, String> {
    match syntax {
        Syntax::Json => json::parse(body).map_err(|e| e.to_string()),
        Syntax::Yaml => parse_yaml(body),
        Syntax::Protobuf => protobuf::parse(body)
            .map(|value| json::Document { value, duplicates: Vec::new() })
            .map_err(|e| e.to_string()),
    }
}

/// Keys that occurred twice, in the words of an error of Kubernetes' YAML reader, which has one for all of them.
pub fn in_yaml(duplicates: &[String]) -> String {
    format!("yaml: unmarshal errors:\n  {}", duplicates.join("\n  "))
}

/// Reads one YAML document. What looks like JSON is read as JSON, which is faster; where a key occurs twice, as YAML, which says
/// in which line.
pub fn parse_yaml(body: &[u8]) -> Result<json::Document, String> {
    if body.first() == Some(&b'{')
        && let Ok(document) = json::parse(body)
        && document.duplicates.is_empty()
    {
        return Ok(document);
    }
    let text = std::str::from_utf8(body).map_err(|e| format!("yaml: {e}"))?;
    let documents = rbee_yaml::parse_documents_yaml11(text, "body").map_err(|e| format!("yaml: {e}"))?;
    match documents.into_iter().next() {
        Some(mut document) => {
            document.value.sort_all_objects();
            let again = |r: &rbee_yaml::Repeated| format!("line {}: key {:?} already set in map", r.line, r.key);
            Ok(json::Document { value: document.value, duplicates: document.repeated.iter().map(again).collect() })
        }
        None => Ok(json::Document::default()),
    }
}

/// What an error shows of a body: its first characters, or the hex of what is no object.
fn summary(body: &[u8]) -> String {
    let cut = &body[..body.len().min(30)];
    let more = if body.len() > 30 { " ..." } else { "" };
    match body.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(cut)),
        Some(_) => format!("{}{more}", hex::encode(cut)),
    }
}

fn check_type(
    resource: &Resource,
    object: &mut Value,
    body: &[u8],
    unrecognized: &dyn Fn(&str) -> ApiError,
) -> ApiResult<()> {
    let expected = resource.api_version();
    let text = |object: &Value, key: &str| object[key].as_str().unwrap_or_default().to_string();
    let (kind, api_version) = (text(object, "kind"), text(object, "apiVersion"));
    if !resource.is_custom() {
        // Built-in kinds are typed: what is missing follows from the path.
        for (key, value) in [("kind", &resource.kind), ("apiVersion", &expected)] {
            if text(object, key).is_empty() {
                object[key] = value.as_str().into();
            }
        }
        if !kind.is_empty() && kind != resource.kind {
            let version = if api_version.is_empty() { &expected } else { &api_version };
            let (_, version) = crate::registry::kind::split_api_version(version);
            let own = &resource.kind;
            let why = format!(
                "{kind} in version {version:?} cannot be handled as a {own}: no kind {kind:?} is registered for version {expected:?}"
            );
            return Err(ApiError::bad_request(why));
        }
        if api_version.is_empty() {
            return Ok(());
        }
    } else if kind.is_empty() {
        let body = String::from_utf8_lossy(body);
        return Err(unrecognized(&format!("Object 'Kind' is missing in '{body}'")));
    }
    Ok(())
}

/// 400 for an object of another API version. Fields are looked at first: a version that the kind does not have knows none.
fn of_another_version(
    resource: &Resource,
    mut object: Value,
    mut problems: Vec<String>,
    mode: FieldValidation,
) -> ApiError {
    let given = object["apiVersion"].as_str().unwrap_or_default().to_string();
    let (group, version) = crate::registry::kind::split_api_version(&given);
    if resource.is_custom() {
        let mut unknown = metadata::decode(&mut object["metadata"]).unwrap_or_default();
        if group == resource.group && object["kind"] == resource.kind {
            let known = |key: &&String| matches!(key.as_str(), "apiVersion" | "kind" | "metadata");
            unknown.extend(object.as_object().into_iter().flat_map(|o| o.keys().filter(|k| !known(k)).cloned()));
        }
        unknown.sort_unstable();
        problems.extend(unknown.iter().map(|path| format!("unknown field {path:?}")));
    }
    if mode == FieldValidation::Strict && !problems.is_empty() {
        let kind = &resource.kind;
        let why = format!("strict decoding error: {}", problems.join(", "));
        return ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"));
    }
    let expected = resource.api_version();
    let why = format!("the API version in the data ({given}) does not match the expected API version ({expected})");
    let warnings = if mode == FieldValidation::Warn { problems } else { Vec::new() };
    ApiError::bad_request(why).warning(&warnings)
}

/// Why an object cannot be taken.
#[derive(Debug)]
pub enum Problem {
    /// Unknown or duplicate fields, with `fieldValidation=Strict`.
    Strict(Vec<String>),
    /// Types are wrong.
    Wrong(String),
}

/// Coerces, prunes and defaults. `problems` are strict decoding errors found before.
pub fn settle(
    resource: &Resource,
    mut object: Value,
    mut problems: Vec<String>,
    mode: FieldValidation,
) -> Result<Incoming, Problem> {
    let mut unknown = metadata::decode(&mut object["metadata"]).map_err(Problem::Wrong)?;
    if !resource.is_custom() && resource.builtin != Some(Builtin::Definition) {
        drop_nulls(&mut object);
    }
    if let Some(schema) = &resource.schema {
        unknown.extend(schema.prune(&mut object));
    }
    unknown.sort_unstable();
    problems.extend(unknown.iter().map(|path| format!("unknown field {path:?}")));
    if mode == FieldValidation::Strict && !problems.is_empty() {
        return Err(Problem::Strict(problems));
    }
    check_types(resource, &object)?;
    set_defaults(resource, &mut object);
    let warnings = if mode == FieldValidation::Warn { problems } else { Vec::new() };
    Ok(Incoming { object, warnings })
}

/// A null in a typed kind is a field that was left out.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Defaults of the schema and of the built-in kind.
pub fn set_defaults(resource: &Resource, object: &mut Value) {
    if let Some(schema) = &resource.schema {
        schema.default(object);
    }
    if let Some(builtin) = resource.builtin {
        rules::set_defaults(builtin, object);
    }
}

/// The types of a built-in kind's fields: wrong ones cannot even be decoded.
fn check_types(resource: &Resource, object: &Value) -> Result<(), Problem> {
    if resource.is_custom() {
        return Ok(());
    }
    if resource.builtin == Some(Builtin::Secret)
        && let Some(at) = bad_base64(&object["data"])
    {
        return Err(Problem::Wrong(format!("illegal base64 data at input byte {at}")));
    }
    if let Some((text, layout)) = rules::bad_time(resource.builtin, object) {
        let why = format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\"");
        return Err(Problem::Wrong(why));
    }
    let errors = resource.schema.as_ref().map(|s| s.validate(object, None)).unwrap_or_default();
    match errors.iter().find(|e| e.kind == ErrorKind::TypeInvalid) {
        Some(error) => Err(Problem::Wrong(format!("json: {error}"))),
        None => Ok(()),
    }
}

/// Where the first value that is no base64 goes wrong.
fn bad_base64(data: &Value) -> Option<usize> {
    use base64::Engine as _;
    data.as_object()?.values().filter_map(Value::as_str).find_map(|text| {
        base64::engine::general_purpose::STANDARD.decode(text).err().map(|_| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '\n' | '\r');
            text.find(|c| !plain(c)).unwrap_or(text.len() / 4 * 4)
        })
    })
}

/// Every problem of an object that is about to be stored; `live` is what it replaces, `status`: only its status is written.
pub fn validate(resource: &Resource, object: &Value, live: Option<&Value>, status: bool) -> Vec<FieldError> {
    if resource.is_custom() {
        let errors = type_problems(resource, object);
        if !errors.is_empty() {
            return errors;
        }
    }
    let mut errors = metadata::validate(object, resource.namespaced, resource.name_rule);
    if let Some(live) = live {
        // Kubernetes looks twice, and says so twice in the causes.
        let update = metadata::validate_update(object, live);
        errors.extend(update.iter().cloned());
        errors.extend(update);
    }
    errors.extend(scale_problems(resource, object));
    // Types of built-in kinds were checked when they were decoded.
    if let Some(schema) = resource.schema.as_ref().filter(|_| resource.is_custom()) {
        errors = match live {
            Some(live) if status => schema.validate_status_after(errors, object, live),
            live => schema.validate_after(errors, object, live),
        };
    }
    if let Some(builtin) = resource.builtin {
        errors.extend(rules::validate(builtin, object, live));
    }
    errors
}

/// The kind that errors about an object name: its own.
pub fn kind_of<'a>(resource: &'a Resource, object: &'a Value) -> Qualified<'a> {
    let name = object["kind"].as_str().filter(|k| !k.is_empty()).unwrap_or(&resource.kind);
    // Events of either spelling are the same kind inside.
    let group = if resource.builtin == Some(Builtin::EventsV1) { "" } else { &resource.group };
    Qualified { group, name }
}

fn type_problems(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (field, wanted) in [("kind", resource.kind.clone()), ("apiVersion", resource.api_version())] {
        if object[field] != wanted {
            let value = object[field].as_str().unwrap_or_default();
            errors.push(FieldError::invalid(field, value, format!("must be {wanted}")));
        }
    }
    errors
}

fn scale_problems(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let Some(scale) = &resource.scale else { return Vec::new() };
    let mut errors = Vec::new();
    for path in [&scale.spec_replicas, &scale.status_replicas] {
        let field = format!(".{}", path.join("."));
        match replicas_at(object, path) {
            Err(why) => errors.push(FieldError::invalid(field, 0, why)),
            Ok(Some(n)) if n < 0 => errors.push(FieldError::invalid(field, n, "should be a non-negative integer")),
            Ok(Some(n)) if n > i64::from(i32::MAX) => {
                errors.push(FieldError::invalid(field, n, "should be less than or equal to 2147483647"));
            }
            Ok(_) => {}
        }
    }
    errors
}

fn replicas_at(object: &Value, path: &[String]) -> Result<Option<i64>, String> {
    let dotted = format!(".{}", path.join("."));
    let mut node = object;
    for key in path {
        match node {
            Value::Object(map) => match map.get(key) {
                Some(next) => node = next,
                None => return Ok(None),
            },
            other => {
                let (shown, kind) = go_word(other);
                return Err(format!(
                    "{dotted} accessor error: {shown} is of the type {kind}, expected map[string]interface{{}}"
                ));
            }
        }
    }
    match node {
        Value::Number(n) if n.as_i64().is_some() => Ok(n.as_i64()),
        other => {
            let (shown, kind) = go_word(other);
            Err(format!("{dotted} accessor error: {shown} is of the type {kind}, expected int64"))
        }
    }
}

fn go_word(value: &Value) -> (String, &'static str) {
    match value {
        Value::Null => ("<nil>".into(), "<nil>"),
        Value::Bool(b) => (b.to_string(), "bool"),
        Value::Number(n) => (n.to_string(), if n.is_f64() { "float64" } else { "int64" }),
        Value::String(s) => (s.clone(), "string"),
        Value::Array(items) if items.is_empty() => ("[]".into(), "[]interface {}"),
        Value::Array(_) => (value.to_string(), "[]interface {}"),
        Value::Object(_) => (value.to_string(), "map[string]interface {}"),
    }
}

/// A name for an object that only has `generateName`; `random` are five letters.
pub fn generate_name(object: &mut Value, random: &str) {
    let base = meta::text(object, "generateName").to_string();
    if !meta::name(object).is_empty() || base.is_empty() {
        return;
    }
    let mut base = base;
    while base.len() > 58 {
        base.pop();
    }
    meta::of_mut(object).insert("name".into(), json!(format!("{base}{random}")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    fn config_map(body: &str, mode: FieldValidation) -> ApiResult<Incoming> {
        let registry = Registry::builtin();
        decode(registry.find("", "v1", "configmaps").unwrap(), body.as_bytes(), Syntax::Json, mode)
    }

    #[test]
    fn bodies_that_are_no_object() {
        for body in ["", "{", "null", "[]", "5"] {
            let error = config_map(body, FieldValidation::Warn).unwrap_err();
            assert_eq!(error.code.as_u16(), 400, "{body}");
            assert!(error.message.starts_with("the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: "), "{}", error.message);
        }
    }

    #[test]
    fn another_version_is_refused() {
        let error = config_map(r#"{"apiVersion":"x.dev/v1","kind":"ConfigMap"}"#, FieldValidation::Warn).unwrap_err();
        assert_eq!(
            error.message,
            "the API version in the data (x.dev/v1) does not match the expected API version (v1)"
        );
    }

    #[test]
    fn another_version_knows_no_fields() {
        let mut kind = crate::registry::builtin::resources().swap_remove(0);
        (kind.group, kind.kind, kind.builtin) = ("x.dev".into(), "Widget".into(), None);
        let refused = |version: &str, mode| {
            let body = format!(
                r#"{{"apiVersion":"{version}","kind":"Widget","metadata":{{"name":"a","zap":1}},"spec":{{}},"zip":1}}"#
            );
            decode(&kind, body.as_bytes(), Syntax::Json, mode).unwrap_err()
        };
        let error = refused("x.dev/v2", FieldValidation::Warn);
        assert_eq!(
            error.message,
            "the API version in the data (x.dev/v2) does not match the expected API version (x.dev/v1)"
        );
        let unknown = ["metadata.zap", "spec", "zip"].map(|f| format!("unknown field {f:?}"));
        assert_eq!(error.warnings, unknown);
        assert_eq!(
            refused("x.dev/v2", FieldValidation::Strict).message,
            format!(
                "Widget in version \"v2\" cannot be handled as a Widget: strict decoding error: {}",
                unknown.join(", ")
            )
        );
        assert!(refused("x.dev/v2", FieldValidation::Ignore).warnings.is_empty());
        assert_eq!(refused("other.dev/v1", FieldValidation::Warn).warnings, unknown[..1]);
    }

    #[test]
    fn yaml_is_read_as_kubernetes_reads_it() {
        let registry = Registry::builtin();
        let read = |body: &str| {
            let kind = registry.find("", "v1", "configmaps").unwrap();
            decode(kind, body.as_bytes(), Syntax::Yaml, FieldValidation::Warn)
        };
        let answer = read("metadata: {name: a}\ndata: {a: 'no', b: \"yes\"}").unwrap();
        assert_eq!(answer.object["data"], json!({"a": "no", "b": "yes"}));
        for word in ["no", "Yes", "on", "OFF", "y"] {
            let error = read(&format!("metadata: {{name: a}}\ndata: {{a: {word}}}")).unwrap_err();
            let start = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: ";
            assert!(error.message.starts_with(start), "{word}: {}", error.message);
        }
        let error = read("a: [").unwrap_err();
        let start = "the object provided is unrecognized (must be of type ConfigMap): yaml: ";
        assert!(error.message.starts_with(start), "{}", error.message);
    }

    #[test]
    fn duplicates_are_strict_errors() {
        let body = r#"{"metadata":{"name":"a","name":"b"}}"#;
        let error = config_map(body, FieldValidation::Strict).unwrap_err();
        assert_eq!(
            error.message,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: duplicate field \"metadata.name\""
        );
        assert_eq!(config_map(body, FieldValidation::Warn).unwrap().warnings, ["duplicate field \"metadata.name\""]);
        assert!(config_map(body, FieldValidation::Ignore).unwrap().warnings.is_empty());
    }

    #[test]
    fn names_are_generated_once() {
        let mut object = json!({"metadata": {"generateName": "gen-"}});
        generate_name(&mut object, "abcde");
        assert_eq!(meta::name(&object), "gen-abcde");
        generate_name(&mut object, "zzzzz");
        assert_eq!(meta::name(&object), "gen-abcde");
    }

    #[test]
    fn a_body_is_shown_in_part() {
        assert_eq!(summary(b""), "<empty>");
        assert_eq!(summary(b"{\"a\": 1}"), "{\"a\": 1}");
        assert_eq!(summary(b"null"), "6e756c6c");
        assert!(summary(&[b'{'; 40]).ends_with(" ..."));
    }
}
