//! CEL rules (`x-kubernetes-validations`): compiled once per schema, run against objects.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kube::core::cel::KubeCelExt;
use kube::core::cel::cel::extractors::This;
use kube::core::cel::cel::{Context, ExecutionError, FunctionContext, Program, Value as CelValue};
use regex::Regex;
use serde_json::Value;

use super::cel_check;
use super::cel_value::{self, optional};
use super::correlate::{Old, find_element};
use super::error::go_json;
use super::structural::{Additional, ListType, Structural, join};
use super::{BadValue, ErrorKind, FieldError};

/// One compiled rule.
#[derive(Debug)]
pub struct Rule {
    source: String,
    program: Program,
    uses_old_self: bool,
    message: Option<String>,
    message_expression: Option<Program>,
    kind: ErrorKind,
    field_path: String,
    optional_old_self: bool,
}

impl Rule {
    /// What errors call the rule: its message, else its source.
    fn name(&self) -> &str {
        self.message.as_deref().unwrap_or(&self.source).trim()
    }
}

/// Compiles the rules of a node; what is wrong with them goes to `errors`.
pub(super) fn compile_rules(
    raw: Option<&Value>,
    node: &Structural,
    path: &str,
    errors: &mut Vec<FieldError>,
) -> Vec<Rule> {
    let rules = raw.and_then(Value::as_array).into_iter().flatten().enumerate();
    let at = join(path, "x-kubernetes-validations");
    rules.filter_map(|(i, rule)| compile(rule, node, &format!("{at}[{i}]"), errors)).collect()
}

fn compile(raw: &Value, node: &Structural, path: &str, errors: &mut Vec<FieldError>) -> Option<Rule> {
    let text = |key: &str| raw.get(key).and_then(Value::as_str).filter(|s| !s.trim().is_empty()).map(str::to_string);
    let before = errors.len();
    let message = text("message");
    if let Some(message) = message.as_deref().filter(|m| m.trim().contains('\n')) {
        errors.push(FieldError::invalid(format!("{path}.message"), message, "must not contain line breaks"));
    }
    let Some(source) = text("rule") else {
        errors.push(FieldError::required(format!("{path}.rule"), "rule is not specified"));
        return None;
    };
    if source.trim().contains('\n') && message.is_none() {
        let words = "message must be specified if rule contains line breaks";
        errors.push(FieldError::required(format!("{path}.message"), words));
    }
    let expression = Expression { raw, node, path };
    let program = expression.program(&source, "rule", errors);
    let message_expression =
        text("messageExpression").and_then(|e| expression.program(&e, "messageExpression", errors));
    let field_path = text("fieldPath").and_then(|p| match field_path(&p, node) {
        Some(path) => Some(path),
        None => {
            errors.push(FieldError::invalid(format!("{path}.fieldPath"), p, "must be a valid path"));
            None
        }
    });
    let kind = match text("reason").as_deref() {
        Some("FieldValueForbidden") => ErrorKind::Forbidden,
        Some("FieldValueRequired") => ErrorKind::Required,
        Some("FieldValueDuplicate") => ErrorKind::Duplicate,
        Some("FieldValueInvalid") | None => ErrorKind::Invalid,
        Some(other) => {
            let known = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
            errors.push(FieldError::not_supported(format!("{path}.reason"), other, &known));
            ErrorKind::Invalid
        }
    };
    let program = program.filter(|_| errors.len() == before)?;
    Some(Rule {
        uses_old_self: program.references().has_variable("oldSelf"),
        program,
        message,
        message_expression,
        kind,
        field_path: field_path.unwrap_or_default(),
        optional_old_self: raw.get("optionalOldSelf").and_then(Value::as_bool).unwrap_or(false),
        source,
    })
}

/// A rule's place, for compiling what is written in it.
struct Expression<'a> {
    raw: &'a Value,
    node: &'a Structural,
    path: &'a str,
}

impl Expression<'_> {
    fn program(&self, source: &str, key: &str, errors: &mut Vec<FieldError>) -> Option<Program> {
        let compiled = catch_unwind(AssertUnwindSafe(|| Program::compile(source)));
        let problem = match compiled {
            Ok(Ok(program)) => match cel_check::problem(&program, source, self.node) {
                None => return Some(program),
                Some(problem) => format!("compilation failed: {problem}"),
            },
            Ok(Err(error)) => format!("compilation failed: {}", error.to_string().trim().replace("\n| ", "\n | ")),
            Err(_) => "compilation failed: the expression cannot be parsed".to_string(),
        };
        let detail = if key == "rule" { problem } else { format!("messageExpression {problem}") };
        errors.push(FieldError {
            field: format!("{}.{key}", self.path),
            kind: ErrorKind::Invalid,
            bad_value: BadValue::Text(self.as_go()),
            detail,
        });
        None
    }

    /// The rule as Go writes its internal struct.
    fn as_go(&self) -> String {
        let json = |key: &str, absent: &str| {
            self.raw.get(key).filter(|v| !v.is_null()).map_or_else(|| absent.to_string(), go_json)
        };
        format!(
            "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
            json("rule", "\"\""),
            json("message", "\"\""),
            json("messageExpression", "\"\""),
            json("reason", "null"),
            json("fieldPath", "\"\""),
            json("optionalOldSelf", "null"),
        )
    }
}

/// `.spec.host` and `['a-b']` as a path below the node, checked against its schema.
fn field_path(source: &str, node: &Structural) -> Option<String> {
    let mut rest = source;
    let mut schema = node;
    let mut path = String::new();
    while !rest.is_empty() {
        let name = if let Some(after) = rest.strip_prefix("['") {
            let (name, after) = after.split_once("']")?;
            rest = after;
            name
        } else if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            rest = &after[end..];
            &after[..end]
        } else {
            return None;
        };
        if let Some(property) = schema.properties.get(name) {
            path = join(&path, name);
            schema = property;
        } else if let Some(Additional::Schema(inner)) = &schema.additional {
            path = format!("{path}[{name}]");
            schema = inner;
        } else {
            return None;
        }
    }
    Some(path)
}

thread_local! {
    /// Kubernetes' functions, registered once per thread.
    static FUNCTIONS: Context<'static> = {
        let mut functions = Context::default().with_all();
        functions.add_function("matches", matches);
        functions
    };
    /// Patterns of `matches`, compiled: rules use the same ones for every object.
    static PATTERNS: RefCell<HashMap<Arc<String>, Regex>> = RefCell::new(HashMap::new());
}

/// Patterns kept; beyond that (a rule may take them from objects) all are dropped.
const KEPT_PATTERNS: usize = 256;

/// `text.matches(pattern)`; the interpreter's own compiles the pattern at every call.
fn matches(
    context: &FunctionContext<'_, '_>,
    This(text): This<Arc<String>>,
    pattern: Arc<String>,
) -> Result<bool, ExecutionError> {
    PATTERNS.with_borrow_mut(|patterns| {
        if let Some(regex) = patterns.get(&pattern) {
            return Ok(regex.is_match(&text));
        }
        let wrong = |e: regex::Error| context.error(format!("'{pattern}' not a valid regex:\n{e}"));
        let regex = Regex::new(&pattern).map_err(wrong)?;
        let found = regex.is_match(&text);
        if patterns.len() >= KEPT_PATTERNS {
            patterns.clear();
        }
        patterns.insert(pattern.clone(), regex);
        Ok(found)
    })
}

/// Runs the rules of a schema and of everything below it.
pub(super) fn validate(schema: &Structural, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let ratchet = Ratchet { current: old.map(|value| (Old { value, schema }, object)), parent: None };
    let mut errors = Vec::new();
    FUNCTIONS.with(|functions| {
        let place = Place { schema, value: object, old, ratchet, root: true };
        walk(functions, &place, "", &mut errors);
    });
    errors
}

/// Where a change is looked for when an error is to be let pass: the node, else the nearest node that correlates.
#[derive(Clone, Copy, Default)]
struct Ratchet<'a> {
    current: Option<(Old<'a>, &'a Value)>,
    parent: Option<(Old<'a>, &'a Value)>,
}

impl<'a> Ratchet<'a> {
    fn unchanged(self) -> bool {
        self.current.or(self.parent).is_some_and(|(old, new)| old.same(new))
    }

    fn below(self, child: impl Fn(Old<'a>) -> Option<Old<'a>>, new: &'a Value) -> Self {
        match self.current {
            None => self,
            Some((old, _)) => Self { current: child(old).map(|o| (o, new)), parent: self.current },
        }
    }

    fn key(self, name: &str, new: &'a Value) -> Self {
        if self.current.is_some() && self.parent.is_none() && matches!(name, "apiVersion" | "kind") {
            return Self::default();
        }
        self.below(|old| old.key(name), new)
    }
}

struct Place<'a> {
    schema: &'a Structural,
    value: &'a Value,
    old: Option<&'a Value>,
    ratchet: Ratchet<'a>,
    root: bool,
}

fn walk(functions: &Context<'_>, place: &Place<'_>, path: &str, errors: &mut Vec<FieldError>) {
    if place.value.is_null() || !place.schema.has_rules {
        return;
    }
    if !place.schema.rules.is_empty() {
        evaluate(functions, place, path, errors);
    }
    match place.value {
        Value::Object(map) => {
            for (key, value) in map {
                let (schema, at) = match (place.schema.properties.get(key), &place.schema.additional) {
                    (Some(property), _) => (property, join(path, key)),
                    (None, Some(Additional::Schema(inner))) => (&**inner, format!("{path}[{key}]")),
                    _ => continue,
                };
                let old = place.old.and_then(|o| o.get(key));
                let ratchet = place.ratchet.key(key, value);
                let inner = Place { schema, value, old, ratchet, root: schema.embedded_resource };
                walk(functions, &inner, &at, errors);
            }
        }
        Value::Array(items) => {
            let Some(schema) = place.schema.items.as_deref() else { return };
            let correlated = place.old.and_then(Value::as_array).filter(|_| place.schema.list_type == ListType::Map);
            for (i, value) in items.iter().enumerate() {
                let old = correlated.and_then(|old| find_element(place.schema, old, value));
                let ratchet = place.ratchet.below(|o| o.element(value), value);
                let inner = Place { schema, value, old, ratchet, root: schema.embedded_resource };
                walk(functions, &inner, &format!("{path}[{i}]"), errors);
            }
        }
        _ => {}
    }
}

fn evaluate(functions: &Context<'_>, place: &Place<'_>, path: &str, errors: &mut Vec<FieldError>) {
    let old = place.old.filter(|o| !o.is_null());
    let mut scope = functions.new_inner_scope();
    scope.add_variable_from_value("self", cel_value::convert(place.value, place.schema, place.root));
    let old_value = old.map(|o| cel_value::convert(o, place.schema, place.root));
    if let Some(value) = &old_value {
        scope.add_variable_from_value("oldSelf", value.clone());
    }
    let mut optional_scope = scope.new_inner_scope();
    optional_scope.add_variable_from_value("oldSelf", optional(old_value.clone()));
    let at = if path.is_empty() { "<nil>" } else { path };
    for rule in &place.schema.rules {
        if rule.uses_old_self && old.is_none() && !rule.optional_old_self {
            continue;
        }
        let variables = if rule.optional_old_self { &optional_scope } else { &scope };
        match run(&rule.program, variables) {
            Ok(CelValue::Bool(true)) => {}
            Ok(CelValue::Bool(false)) => {
                if rule.uses_old_self || !place.ratchet.unchanged() {
                    errors.push(failure(rule, variables, place, path));
                }
            }
            Ok(other) => {
                let detail = format!("rule must evaluate to a bool, but is {:?}: {}", other.type_of(), rule.name());
                errors.push(FieldError::invalid(at, place.schema.type_name(), detail));
            }
            Err(detail) => {
                let detail = if detail.starts_with("no such overload") {
                    format!(
                        "'{detail}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                        rule.name()
                    )
                } else {
                    format!("{detail} evaluating rule: {}", rule.name())
                };
                errors.push(FieldError::invalid(at, place.schema.type_name(), detail));
            }
        }
    }
}

/// Runs a program; a panic inside the interpreter is an error like any other.
fn run(program: &Program, scope: &Context<'_>) -> Result<CelValue, String> {
    match catch_unwind(AssertUnwindSafe(|| program.execute(scope))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(words(&error)),
        Err(_) => Err("internal error".to_string()),
    }
}

/// An evaluation error in cel-go's words.
fn words(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        ExecutionError::DivisionByZero(_) => "division by zero".into(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".into(),
        ExecutionError::Overflow(..) => "integer overflow".into(),
        ExecutionError::UndeclaredReference(name) => format!("undeclared reference to '{name}'"),
        ExecutionError::NoSuchOverload
        | ExecutionError::ValuesNotComparable(..)
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::UnsupportedUnaryOperator(..) => "no such overload".into(),
        ExecutionError::IndexOutOfBounds(CelValue::Int(i)) => format!("index out of bounds: {i}"),
        ExecutionError::FunctionError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

fn failure(rule: &Rule, scope: &Context<'_>, place: &Place<'_>, path: &str) -> FieldError {
    let expressed = rule.message_expression.as_ref().and_then(|program| match run(program, scope) {
        Ok(CelValue::String(text)) => {
            let text = text.trim();
            (!text.is_empty() && text.len() <= 5 * 1024 && !text.contains('\n')).then(|| text.to_string())
        }
        _ => None,
    });
    let detail = expressed.unwrap_or_else(|| match &rule.message {
        Some(message) => message.trim().to_string(),
        None => format!("failed rule: {}", rule.name()),
    });
    let mut field = if rule.field_path.is_empty() {
        path.to_string()
    } else if rule.field_path.starts_with('[') {
        format!("{path}{}", rule.field_path)
    } else {
        join(path, &rule.field_path)
    };
    if field.is_empty() {
        field = "<nil>".into();
    }
    let bad_value = match place.value {
        Value::Object(_) | Value::Array(_) => BadValue::Omitted,
        scalar => BadValue::Json(scalar.clone()),
    };
    let detail = if rule.kind == ErrorKind::Duplicate { String::new() } else { detail };
    FieldError { field, kind: rule.kind, bad_value, detail }
}
