//! The part of JSONPath that CRDs use: fields, indices, wildcards and filters with one comparison.

use serde_json::Value;
use thiserror::Error;

/// A path that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct BadPath(String);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    Filter(Vec<Step>, Operator, Value),
    Exists(Vec<Step>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath(Vec<Step>);

impl JsonPath {
    /// Reads `.spec.size`, `.status.conditions[?(@.type=="Ready")].status`, `.metadata.labels.a\.b`, `.list[0]`; braces
    /// around and a missing first dot are allowed.
    pub fn parse(source: &str) -> Result<Self, BadPath> {
        let inner = source.strip_prefix('{').and_then(|s| s.strip_suffix('}')).unwrap_or(source);
        let inner = inner.strip_prefix('$').unwrap_or(inner);
        steps(inner).map(Self)
    }

    /// Everything the path leads to; nothing where a field is missing.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        walk(&self.0, value)
    }
}

fn steps(source: &str) -> Result<Vec<Step>, BadPath> {
    let mut out = Vec::new();
    let mut rest = source;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (step, after) = bracket(after)?;
            out.push(step);
            rest = after;
            continue;
        }
        let after = match rest.strip_prefix('.') {
            Some(after) => after,
            None if out.is_empty() => rest,
            None => return Err(BadPath(format!("unexpected {rest:?}"))),
        };
        if after.starts_with('.') {
            return Err(BadPath("recursive descent is not supported".into()));
        }
        let (name, after) = field(after);
        match name.as_str() {
            "" if after.starts_with('[') => {}
            "" if after.is_empty() && !out.is_empty() => return Err(BadPath("path ends with a dot".into())),
            "" => {}
            "*" => out.push(Step::All),
            _ => out.push(Step::Field(name)),
        }
        rest = after;
    }
    Ok(out)
}

/// A field's name up to the next `.` or `[`; a backslash takes the next character as it is.
fn field(source: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = source.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => return (name, &source[at..]),
            c => name.push(c),
        }
    }
    (name, "")
}

fn bracket(source: &str) -> Result<(Step, &str), BadPath> {
    let end = closing(source).ok_or_else(|| BadPath("unterminated array".into()))?;
    let (inner, rest) = (source[..end].trim(), &source[end + 1..]);
    let step = if inner == "*" {
        Step::All
    } else if let Some(filter) = inner.strip_prefix("?(").and_then(|f| f.strip_suffix(')')) {
        filter_step(filter)?
    } else if let Some(name) = quoted(inner) {
        Step::Field(name)
    } else {
        Step::Index(inner.parse().map_err(|_| BadPath(format!("invalid array index {inner}")))?)
    };
    Ok((step, rest))
}

/// Where the bracket closes, outside of quotes.
fn closing(source: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0;
    for (at, c) in source.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn quoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    Some(inner.replace("\\", ""))
}

fn filter_step(source: &str) -> Result<Step, BadPath> {
    const OPERATORS: [(&str, Operator); 6] = [
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ];
    let path = |text: &str| {
        let inner =
            text.trim().strip_prefix('@').ok_or_else(|| BadPath(format!("filter {source:?} must start with @")))?;
        steps(inner)
    };
    for (sign, operator) in OPERATORS {
        if let Some((left, right)) = source.split_once(sign) {
            return Ok(Step::Filter(path(left)?, operator, literal(right.trim())?));
        }
    }
    Ok(Step::Exists(path(source)?))
}

fn literal(text: &str) -> Result<Value, BadPath> {
    if let Some(text) = quoted(text) {
        return Ok(Value::String(text));
    }
    serde_json::from_str(text).map_err(|_| BadPath(format!("unrecognized value {text:?} in a filter")))
}

fn walk<'a>(steps: &[Step], value: &'a Value) -> Vec<&'a Value> {
    let Some((step, rest)) = steps.split_first() else { return vec![value] };
    let next: Vec<&Value> = match (step, value) {
        (Step::Field(name), Value::Object(map)) => map.get(name).into_iter().collect(),
        (Step::Index(index), Value::Array(items)) => {
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let at = if *index < 0 { index + length } else { *index };
            usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
        }
        (Step::All, Value::Array(items)) => items.iter().collect(),
        (Step::All, Value::Object(map)) => map.values().collect(),
        (Step::Exists(path), Value::Array(items)) => items.iter().filter(|i| !walk(path, i).is_empty()).collect(),
        (Step::Filter(path, operator, against), Value::Array(items)) => {
            items.iter().filter(|i| walk(path, i).first().is_some_and(|v| holds(v, *operator, against))).collect()
        }
        _ => Vec::new(),
    };
    next.into_iter().flat_map(|value| walk(rest, value)).collect()
}

fn holds(value: &Value, operator: Operator, against: &Value) -> bool {
    let order = match (value, against) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    };
    let Some(order) = order else { return operator == Operator::NotEqual };
    match operator {
        Operator::Equal => order.is_eq(),
        Operator::NotEqual => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_where_they_say() {
        let value = json!({"a": {"b.c": 1, "list": [{"t": "x", "n": 1}, {"t": "y", "n": 2}]}});
        let cases = [
            (".a.list[0].t", json!(["x"])),
            ("{.a.list[-1].t}", json!(["y"])),
            ("a.list[*].n", json!([1, 2])),
            (".a.list[?(@.t==\"y\")].n", json!([2])),
            (".a.list[?(@.t == 'y')].n", json!([2])),
            (".a.list[?(@.n>1)].t", json!(["y"])),
            (".a.list[?(@.none)].t", json!([])),
            (".a.b\\.c", json!([1])),
            (".a['b.c']", json!([1])),
            (".none.x", json!([])),
            (".a.list[9]", json!([])),
        ];
        for (path, want) in cases {
            let found: Vec<Value> = JsonPath::parse(path).expect(path).find(&value).into_iter().cloned().collect();
            assert_eq!(Value::Array(found), want, "{path}");
        }
        for wrong in [".a[", ".a[x]", ".a[?(b==1)]", "..a", ".a[?(@.b==c)]"] {
            assert!(JsonPath::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "[.a\\[\\]?(@)='\"*\\\\0-9-]{0,24}") {
            if let Ok(path) = JsonPath::parse(&path) {
                path.find(&json!({"a": [{"a": 1}]}));
            }
        }
    }
}
