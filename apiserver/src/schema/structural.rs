//! The compiled form of an `openAPIV3Schema`: one tree for pruning, defaulting, validating and applying.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::cel::Rule;
use super::{FieldError, check};

/// JSON type of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `object`
    Object,
    /// `array`
    Array,
    /// `string`
    String,
    /// `integer`
    Integer,
    /// `number`
    Number,
    /// `boolean`
    Boolean,
}

impl Type {
    /// The schema's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Object, Self::Array, Self::String, Self::Integer, Self::Number, Self::Boolean]
            .into_iter()
            .find(|t| t.name() == name)
    }
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListType {
    /// Replaced as a whole.
    #[default]
    Atomic,
    /// Scalars, each once.
    Set,
    /// Objects, told apart by their keys.
    Map,
}

/// `additionalProperties`.
#[derive(Debug)]
pub enum Additional {
    /// `true`: anything.
    Any,
    /// Values of this schema.
    Schema(Box<Structural>),
}

/// What a value has to satisfy beside its structure.
#[derive(Debug, Default)]
pub struct ValueValidation {
    /// A format that is known for the type; others are dropped when compiled.
    pub format: Option<String>,
    /// `minimum`, and whether it is exclusive.
    pub minimum: Option<(f64, bool)>,
    /// `maximum`, and whether it is exclusive.
    pub maximum: Option<(f64, bool)>,
    /// `multipleOf`
    pub multiple_of: Option<f64>,
    /// `minLength`, in characters.
    pub min_length: Option<u64>,
    /// `maxLength`, in characters.
    pub max_length: Option<u64>,
    /// `pattern` with its source.
    pub pattern: Option<(String, Regex)>,
    /// `minItems`
    pub min_items: Option<u64>,
    /// `maxItems`
    pub max_items: Option<u64>,
    /// `minProperties`
    pub min_properties: Option<u64>,
    /// `maxProperties`
    pub max_properties: Option<u64>,
    /// `required`
    pub required: Vec<String>,
    /// `enum`
    pub allowed: Option<Vec<Value>>,
    /// `allOf`
    pub all_of: Vec<Structural>,
    /// `anyOf`
    pub any_of: Vec<Structural>,
    /// `oneOf`
    pub one_of: Vec<Structural>,
    /// `not`
    pub not: Option<Box<Structural>>,
}

/// One node of a structural schema, with its children, patterns and CEL rules compiled.
#[derive(Debug, Default)]
pub struct Structural {
    /// `type`; absent with `x-kubernetes-int-or-string` and `x-kubernetes-preserve-unknown-fields`.
    pub kind: Option<Type>,
    /// `nullable`
    pub nullable: bool,
    /// `x-kubernetes-int-or-string`
    pub int_or_string: bool,
    /// `x-kubernetes-preserve-unknown-fields`
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`
    pub embedded_resource: bool,
    /// `x-kubernetes-list-type`
    pub list_type: ListType,
    /// `x-kubernetes-list-map-keys`
    pub list_keys: Vec<String>,
    /// `x-kubernetes-map-type: atomic`
    pub atomic_map: bool,
    /// `properties`
    pub properties: BTreeMap<String, Structural>,
    /// `additionalProperties`
    pub additional: Option<Additional>,
    /// `items`
    pub items: Option<Box<Structural>>,
    /// `default`
    pub default: Option<Value>,
    /// Constraints on the value.
    pub value: ValueValidation,
    /// `x-kubernetes-validations`, compiled.
    pub rules: Vec<Rule>,
    /// There are rules here or below.
    pub has_rules: bool,
}

impl Structural {
    /// Compiles the schema of a CRD version. Errors have paths relative to the schema (`properties[spec].type`);
    /// [`FieldError::under`] puts them below `spec.versions[0].schema.openAPIV3Schema`.
    pub fn compile(open_api_v3_schema: &Value) -> Result<Self, Vec<FieldError>> {
        let mut errors = check::structural(open_api_v3_schema);
        let node = parse(open_api_v3_schema, "", &mut errors, 0);
        match node {
            Some(node) if errors.is_empty() && defaults_fit(&node, "", &mut errors) => Ok(node),
            _ => {
                errors.sort_by_key(ToString::to_string);
                errors.dedup();
                Err(errors)
            }
        }
    }

    /// Compiles a schema written in this source; what would be an error in a CRD (a bare type, metadata) is allowed.
    pub(crate) fn trusted(schema: &Value) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        match parse(schema, "", &mut errors, 0) {
            Some(node) if errors.is_empty() => Ok(node),
            _ => Err(errors),
        }
    }

    /// The schema of a child: a property, else `additionalProperties`.
    pub fn child(&self, name: &str) -> Option<&Structural> {
        self.properties.get(name).or(match &self.additional {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        })
    }

    /// The type's name, empty where there is none.
    pub fn type_name(&self) -> &'static str {
        self.kind.map_or("", Type::name)
    }
}

/// Whether every default satisfies its own schema; what does not goes to `errors`.
fn defaults_fit(node: &Structural, path: &str, errors: &mut Vec<FieldError>) -> bool {
    if let Some(default) = &node.default {
        let at = join(path, "default");
        let mut pruned = default.clone();
        super::prune::prune_value(&mut pruned, node);
        if pruned != *default {
            errors.push(FieldError::invalid(at, default.clone(), "must not have unknown fields"));
        } else {
            let mut value = default.clone();
            node.default(&mut value);
            errors.extend(super::validate::value(node, &value).into_iter().map(|e| e.under(&at)));
        }
    }
    for (name, property) in &node.properties {
        defaults_fit(property, &format!("{}[{name}]", join(path, "properties")), errors);
    }
    if let Some(items) = &node.items {
        defaults_fit(items, &join(path, "items"), errors);
    }
    if let Some(Additional::Schema(inner)) = &node.additional {
        defaults_fit(inner, &join(path, "additionalProperties"), errors);
    }
    errors.is_empty()
}

/// Schemas deeper than this are refused.
const MAX_DEPTH: usize = 128;

fn parse(schema: &Value, path: &str, errors: &mut Vec<FieldError>, depth: usize) -> Option<Structural> {
    let Some(map) = schema.as_object() else {
        errors.push(FieldError::invalid(path, schema.clone(), "must be a schema object"));
        return None;
    };
    if depth > MAX_DEPTH {
        errors.push(FieldError::invalid(path, "", format!("schema is nested deeper than {MAX_DEPTH}")));
        return None;
    }
    let mut node = Structural {
        nullable: flag(map, "nullable"),
        int_or_string: flag(map, "x-kubernetes-int-or-string"),
        preserve_unknown: flag(map, "x-kubernetes-preserve-unknown-fields"),
        embedded_resource: flag(map, "x-kubernetes-embedded-resource"),
        atomic_map: map.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic"),
        list_keys: strings(map, "x-kubernetes-list-map-keys"),
        default: map.get("default").filter(|v| !v.is_null()).cloned(),
        ..<Structural as Default>::default()
    };
    node.kind = parse_type(map, path, errors);
    node.list_type = match map.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map,
        _ => ListType::Atomic,
    };
    parse_children(map, path, errors, depth, &mut node);
    node.value = parse_values(map, path, errors, depth, &node);
    node.rules = super::cel::compile_rules(map.get("x-kubernetes-validations"), &node, path, errors);
    node.has_rules = !node.rules.is_empty() || any_child(&node, |c| c.has_rules);
    Some(node)
}

fn any_child(node: &Structural, test: impl Fn(&Structural) -> bool) -> bool {
    node.properties.values().any(&test)
        || node.items.as_deref().is_some_and(&test)
        || matches!(&node.additional, Some(Additional::Schema(s)) if test(s))
}

fn parse_type(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) -> Option<Type> {
    let name = map.get("type").and_then(Value::as_str).filter(|s| !s.is_empty())?;
    let kind = Type::parse(name);
    if kind.is_none() {
        let known = ["array", "boolean", "integer", "number", "object", "string"];
        errors.push(FieldError::not_supported(join(path, "type"), name, &known));
    }
    kind
}

fn parse_children(
    map: &Map<String, Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
    depth: usize,
    node: &mut Structural,
) {
    for (name, schema) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let at = format!("{}[{name}]", join(path, "properties"));
        if let Some(child) = parse(schema, &at, errors, depth + 1) {
            node.properties.insert(name.clone(), child);
        }
    }
    node.additional = match map.get("additionalProperties") {
        Some(Value::Bool(true)) => Some(Additional::Any),
        Some(schema @ Value::Object(_)) => parse(schema, &join(path, "additionalProperties"), errors, depth + 1)
            .map(|s| Additional::Schema(Box::new(s))),
        _ => None,
    };
    if let Some(items) = map.get("items") {
        if items.is_array() {
            errors.push(FieldError::forbidden(join(path, "items"), "items must be a schema object and not an array"));
        } else {
            node.items = parse(items, &join(path, "items"), errors, depth + 1).map(Box::new);
        }
    }
}

fn parse_values(
    map: &Map<String, Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
    depth: usize,
    node: &Structural,
) -> ValueValidation {
    let number = |key: &str| map.get(key).and_then(Value::as_f64);
    let count = |key: &str| map.get(key).and_then(Value::as_u64);
    let pattern = map.get("pattern").and_then(Value::as_str).filter(|p| !p.is_empty()).and_then(|source| {
        match super::pattern::compile(source) {
            Ok(regex) => Some((source.to_string(), regex)),
            Err(error) => {
                let detail = format!("must be a valid regular expression, but isn't: {}", regex_words(source, &error));
                errors.push(FieldError::invalid(join(path, "pattern"), source, detail));
                None
            }
        }
    });
    let list = |key: &str, errors: &mut Vec<FieldError>| -> Vec<Structural> {
        let entries = map.get(key).and_then(Value::as_array).into_iter().flatten().enumerate();
        entries.filter_map(|(i, s)| parse(s, &format!("{}[{i}]", join(path, key)), errors, depth + 1)).collect()
    };
    let all_of = list("allOf", errors);
    let any_of = list("anyOf", errors);
    let one_of = list("oneOf", errors);
    ValueValidation {
        format: map.get("format").and_then(Value::as_str).and_then(|f| super::formats::supported(f, node)),
        minimum: number("minimum").map(|n| (n, flag(map, "exclusiveMinimum"))),
        maximum: number("maximum").map(|n| (n, flag(map, "exclusiveMaximum"))),
        multiple_of: number("multipleOf"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        pattern,
        min_items: count("minItems"),
        max_items: count("maxItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        required: strings(map, "required"),
        allowed: map.get("enum").and_then(Value::as_array).cloned(),
        all_of,
        any_of,
        one_of,
        not: map.get("not").and_then(|s| parse(s, &join(path, "not"), errors, depth + 1)).map(Box::new),
    }
}

/// Go's words for a pattern that does not parse, as far as they can be told.
fn regex_words(source: &str, error: &regex::Error) -> String {
    let text = error.to_string();
    let reason = if text.contains("unclosed group") {
        "missing closing )"
    } else if text.contains("unopened group") {
        "unexpected )"
    } else if text.contains("unclosed character class") {
        "missing closing ]"
    } else if text.contains("repetition operator missing expression") {
        "missing argument to repetition operator"
    } else {
        return text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string();
    };
    format!("error parsing regexp: {reason}: `{source}`")
}

fn flag(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn strings(map: &Map<String, Value>, key: &str) -> Vec<String> {
    map.get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_str().map(str::to_string))
        .collect()
}

/// `a.b`, or `b` below the root.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}
