//! Validates an object against its structural schema, in the words of kube-openapi's validator.

use serde_json::Value;

use super::correlate::Old;
use super::structural::{Additional, Structural, Type, join};
use super::{BadValue, ErrorKind, FieldError, cel, embedded, lists, numbers};

/// What Kubernetes adds when CEL rules were not run.
const RULES_NOT_CHECKED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

impl Structural {
    /// Everything that is wrong with the object. With `old` transition rules run, and what was wrong before and did
    /// not change is let pass (ratcheting).
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        self.validate_after(Vec::new(), object, old)
    }

    /// Like [`Self::validate`], with errors found before (metadata, scale) in front: CEL rules do not run when one of
    /// them says that the object has not the shape they rely on.
    pub fn validate_after(&self, mut errors: Vec<FieldError>, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let correlated = old.map(|value| Old { value, schema: self });
        let found = ratchet(self, object, correlated, "").errors;
        errors.extend(found.into_iter().map(|e| at_root(e, "<nil>")));
        errors.extend(embedded::validate(self, object));
        self.finish(errors, object, old)
    }

    /// Validates an update of the status subresource: the schema of `status` alone, then lists and rules of the whole.
    pub fn validate_status_after(&self, mut errors: Vec<FieldError>, object: &Value, old: &Value) -> Vec<FieldError> {
        if let (Some(status), Some(schema)) = (object.get("status"), self.properties.get("status")) {
            let correlated = old.get("status").map(|value| Old { value, schema });
            let found = ratchet(schema, status, correlated, "").errors;
            errors.extend(found.into_iter().map(|e| at_root(e, "status")).map(under_status));
        }
        self.finish(errors, object, Some(old))
    }

    fn finish(&self, mut errors: Vec<FieldError>, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        if old.is_none_or(|old| lists::validate(self, old).is_empty()) {
            errors.extend(lists::validate(self, object));
        }
        if self.has_rules {
            if errors.iter().any(blocks_rules) {
                errors.push(FieldError::invalid("<nil>", Value::Null, RULES_NOT_CHECKED));
            } else {
                errors.extend(cel::validate(self, object, old));
            }
        }
        errors
    }
}

fn at_root(mut error: FieldError, root: &str) -> FieldError {
    if error.field.is_empty() {
        error.field = root.to_string();
    }
    error
}

fn under_status(error: FieldError) -> FieldError {
    if error.field == "status" { error } else { error.under("status") }
}

fn blocks_rules(error: &FieldError) -> bool {
    use ErrorKind::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
    matches!(error.kind, NotSupported | Required | TooLong | TooMany | TypeInvalid)
}

/// Errors of a node and below, and how many checks passed (it decides which branch of oneOf is reported).
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub errors: Vec<FieldError>,
    matches: usize,
}

impl Outcome {
    pub fn add(&mut self, error: FieldError) {
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn merge(&mut self, other: Outcome) {
        self.matches += other.matches;
        other.errors.into_iter().for_each(|e| self.add(e));
    }

    fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }
}

/// What is wrong with a value that is no resource; errors about the value itself have an empty field.
pub(super) fn value(schema: &Structural, value: &Value) -> Vec<FieldError> {
    ratchet(schema, value, None, "").errors
}

/// A node whose errors are let pass when its value did not change.
fn ratchet(schema: &Structural, value: &Value, old: Option<Old<'_>>, path: &str) -> Outcome {
    let mut outcome = node(schema, value, old, path);
    if !outcome.is_valid() && old.is_some_and(|old| old.same(value)) {
        outcome.errors.clear();
    }
    outcome
}

fn node(schema: &Structural, value: &Value, old: Option<Old<'_>>, path: &str) -> Outcome {
    let mut out = Outcome::default();
    if value.is_null() {
        type_check(schema, value, path, &mut out);
        enum_check(schema, value, path, &mut out);
        return out;
    }
    if schema.kind.is_some() || schema.int_or_string || schema.value.format.is_some() {
        type_check(schema, value, path, &mut out);
        out.matches += 1;
    }
    junctors(schema, value, old, path, &mut out);
    out.matches += 2;
    match value {
        Value::String(text) => {
            string_check(schema, text, path, &mut out);
            out.matches += 1;
            if let Some(format) = &schema.value.format {
                out.matches += 1;
                if !super::formats::matches(format, text) {
                    out.add(wrong_type(path, format, text));
                }
            }
        }
        Value::Number(number) => {
            numbers::check(schema, number, path, &mut out);
            out.matches += 2;
        }
        Value::Array(items) => {
            array_check(schema, items, old, path, &mut out);
            out.matches += 2;
        }
        _ => {}
    }
    enum_check(schema, value, path, &mut out);
    out.matches += 1;
    if let Value::Object(map) = value {
        object_check(schema, map, old, path, &mut out);
        out.matches += 1;
    }
    out.matches += 1;
    out
}

/// `PATH: Invalid value: "GOT": PATH in body must be of type WANT: "GOT"`.
fn wrong_type(path: &str, want: &str, got: &str) -> FieldError {
    let detail = format!("{path} in body must be of type {want}: {}", super::error::go_quote(got));
    FieldError::type_invalid(path, got, detail)
}

fn types(schema: &Structural) -> Vec<Type> {
    match (schema.int_or_string, schema.kind) {
        (true, _) => vec![Type::Integer, Type::String],
        (false, kind) => kind.into_iter().collect(),
    }
}

fn type_check(schema: &Structural, value: &Value, path: &str, out: &mut Outcome) {
    let types = types(schema);
    let names = || types.iter().map(|t| t.name()).collect::<Vec<_>>().join(",");
    let (got, got_format) = match value {
        Value::Null => {
            if !types.is_empty() && !schema.nullable {
                out.add(wrong_type(path, &names(), "null"));
            }
            return;
        }
        Value::Bool(_) => (Type::Boolean, ""),
        Value::String(_) => (Type::String, ""),
        Value::Number(n) if n.is_i64() => (Type::Integer, "int64"),
        Value::Number(_) => (Type::Number, "float64"),
        Value::Array(_) => (Type::Array, ""),
        Value::Object(_) => (Type::Object, ""),
    };
    let whole = got == Type::Number && value.as_f64().is_some_and(numbers::is_whole);
    let fits = types.contains(&got)
        || (whole && types.contains(&Type::Integer))
        || (got == Type::Integer && types.contains(&Type::Number));
    let format = schema.value.format.as_deref().unwrap_or_default();
    let textual = matches!(value, Value::String(_) | Value::Array(_));
    if !textual && !format.is_empty() && !fits && format != got_format {
        out.add(wrong_type(path, format, got_format));
        return;
    }
    let numeric = types.contains(&Type::Number) || types.contains(&Type::Integer);
    if textual && !format.is_empty() && !numeric {
        out.matches += 1;
        return;
    }
    if fits {
        out.matches += 1;
    } else {
        out.add(wrong_type(path, &names(), got.name()));
    }
}

fn enum_check(schema: &Structural, value: &Value, path: &str, out: &mut Outcome) {
    let Some(allowed) = &schema.value.allowed else { return };
    if allowed.iter().any(|a| numbers::equal(a, value)) {
        return;
    }
    let names: Vec<String> =
        allowed.iter().map(|v| v.as_str().map_or_else(|| super::error::go_json(v), str::to_string)).collect();
    out.add(FieldError::not_supported(path, value.clone(), &names));
}

fn string_check(schema: &Structural, text: &str, path: &str, out: &mut Outcome) {
    let rules = &schema.value;
    let length = text.chars().count() as u64;
    if let Some(max) = rules.max_length.filter(|max| length > *max) {
        out.add(FieldError::too_long(path, usize::try_from(max).unwrap_or(usize::MAX)));
    } else if let Some(min) = rules.min_length.filter(|min| length < *min) {
        out.add(FieldError::invalid(path, text, format!("{path} in body should be at least {min} chars long")));
    } else if let Some((source, _)) = rules.pattern.as_ref().filter(|(_, regex)| !regex.is_match(text)) {
        out.add(FieldError::invalid(path, text, format!("{path} in body should match '{source}'")));
    }
}

fn array_check(schema: &Structural, items: &[Value], old: Option<Old<'_>>, path: &str, out: &mut Outcome) {
    if let Some(inner) = schema.items.as_deref() {
        for (i, item) in items.iter().enumerate() {
            let at = format!("{path}[{i}]");
            out.merge(ratchet(inner, item, old.and_then(|o| o.element(item)), &at));
        }
    }
    let size = items.len() as u64;
    if let Some(min) = schema.value.min_items.filter(|min| size < *min) {
        out.add(FieldError::invalid(path, size, format!("{path} in body should have at least {min} items")));
    }
    if let Some(max) = schema.value.max_items.filter(|max| size > *max) {
        out.add(FieldError::too_many(path, items.len(), usize::try_from(max).unwrap_or(usize::MAX)));
    }
}

fn object_check(
    schema: &Structural,
    map: &serde_json::Map<String, Value>,
    old: Option<Old<'_>>,
    path: &str,
    out: &mut Outcome,
) {
    let size = map.len() as u64;
    if let Some(min) = schema.value.min_properties.filter(|min| size < *min) {
        out.add(FieldError::invalid(path, size, format!("{path} in body should have at least {min} properties")));
    }
    if let Some(max) = schema.value.max_properties.filter(|max| size > *max) {
        out.add(FieldError::too_many(path, map.len(), usize::try_from(max).unwrap_or(usize::MAX)));
    }
    for (key, value) in map {
        let inner = match (schema.properties.get(key), &schema.additional) {
            (Some(property), _) => property,
            (None, Some(Additional::Schema(inner))) => inner,
            _ => continue,
        };
        let visible = !(path.is_empty() && matches!(key.as_str(), "kind" | "apiVersion"));
        let old = old.filter(|_| visible).and_then(|o| o.key(key));
        out.merge(ratchet(inner, value, old, &join(path, key)));
    }
    for key in schema.value.required.iter().filter(|key| !map.contains_key(*key)) {
        out.add(FieldError::required(join(path, key), ""));
    }
}

/// `PATH: Invalid value: "": "PATH" must …`, without a field of its own.
fn composite(detail: String) -> FieldError {
    FieldError { field: String::new(), kind: ErrorKind::Invalid, bad_value: BadValue::Json("".into()), detail }
}

fn junctors(schema: &Structural, value: &Value, old: Option<Old<'_>>, path: &str, out: &mut Outcome) {
    let quoted = super::error::go_quote(path);
    any_of(schema, value, old, path, &quoted, out);
    one_of(schema, value, old, path, &quoted, out);
    let all = &schema.value.all_of;
    let mut valid = 0;
    for inner in all {
        let outcome = node(inner, value, old, path);
        valid += usize::from(outcome.is_valid());
        out.merge(outcome);
    }
    if valid != all.len() {
        let none = if valid == 0 { ". None validated" } else { "" };
        out.add(composite(format!("{quoted} must validate all the schemas (allOf){none}")));
    }
    if let Some(not) = &schema.value.not
        && node(not, value, old, path).is_valid()
    {
        out.add(composite(format!("{quoted} must not validate the schema (not)")));
    }
}

fn any_of(schema: &Structural, value: &Value, old: Option<Old<'_>>, path: &str, quoted: &str, out: &mut Outcome) {
    let mut best: Option<Outcome> = None;
    for inner in &schema.value.any_of {
        let outcome = node(inner, value, old, path);
        if outcome.is_valid() {
            out.merge(outcome);
            return;
        }
        if best.as_ref().is_none_or(|b| outcome.matches > b.matches) {
            best = Some(outcome);
        }
    }
    if let Some(best) = best {
        out.add(composite(format!("{quoted} must validate at least one schema (anyOf)")));
        out.merge(best);
    }
}

fn one_of(schema: &Structural, value: &Value, old: Option<Old<'_>>, path: &str, quoted: &str, out: &mut Outcome) {
    if schema.value.one_of.is_empty() {
        return;
    }
    let outcomes: Vec<Outcome> = schema.value.one_of.iter().map(|inner| node(inner, value, old, path)).collect();
    let valid = outcomes.iter().filter(|o| o.is_valid()).count();
    if valid == 1 {
        outcomes.into_iter().filter(Outcome::is_valid).for_each(|o| out.merge(o));
        return;
    }
    let found = if valid == 0 { "Found none valid".to_string() } else { format!("Found {valid} valid alternatives") };
    out.add(composite(format!("{quoted} must validate one and only one schema (oneOf). {found}")));
    // The failures of the branch that came furthest are reported.
    if valid == 0 {
        let mut best: Option<Outcome> = None;
        for outcome in outcomes {
            if best.as_ref().is_none_or(|b| outcome.matches > b.matches) {
                best = Some(outcome);
            }
        }
        best.into_iter().for_each(|b| out.merge(b));
    }
}
