//! Numeric constraints, with the rounding and the quirks of kube-openapi, and numbers as Go writes them.

use serde_json::{Number, Value};

use super::FieldError;
use super::error::go_float;
use super::structural::{Structural, Type};
use super::validate::Outcome;

/// Whether a float stands for an integer that JSON can carry (go-openapi's `IsFloat64AJSONInteger`).
pub(crate) fn is_whole(f: f64) -> bool {
    const MAX: f64 = ((1u64 << 53) - 1) as f64;
    if !f.is_finite() || !(-MAX..=MAX).contains(&f) {
        return false;
    }
    if f == f.trunc() {
        return true;
    }
    let near = (f as u64) as f64;
    let sum = f.abs() + near.abs();
    (f - near).abs() / sum.min(f64::MAX) < 1e-9
}

/// Equality of JSON values in which 1 and 1.0 are the same.
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        _ => a == b,
    }
}

/// Puts numbers into the form in which Go would keep them: integers beyond 64 bits become floats, and floats without a
/// fraction are written without one.
pub fn normalise(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(plain) = normal(number) {
                *number = plain;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalise),
        Value::Object(map) => map.values_mut().for_each(normalise),
        _ => {}
    }
}

fn normal(number: &Number) -> Option<Number> {
    let limit = i64::MAX as f64;
    if number.is_i64() {
        return None;
    }
    let float = number.as_f64()?;
    if float.fract() == 0.0 && float.abs() < limit {
        return Some(Number::from(float as i64));
    }
    if number.is_u64() { Number::from_f64(float) } else { None }
}

/// A number as the validator sees it.
#[derive(Clone, Copy)]
enum Native {
    Int(i64),
    Float(f64),
}

impl Native {
    fn of(number: &Number) -> Self {
        number.as_i64().map_or_else(|| Self::Float(number.as_f64().unwrap_or(f64::NAN)), Self::Int)
    }

    fn float(self) -> f64 {
        match self {
            Self::Int(i) => i as f64,
            Self::Float(f) => f,
        }
    }
}

/// Checks range of the type, `multipleOf`, `minimum` and `maximum`.
pub(super) fn check(schema: &Structural, number: &Number, path: &str, out: &mut Outcome) {
    let value = Native::of(number);
    let shown = Value::Number(number.clone());
    if let Some(error) = range_error(schema, value, "Checked", path) {
        out.add(error);
    }
    if let Some(factor) = schema.value.multiple_of {
        multiple(schema, value, &shown, factor, path, out);
    }
    if let Some((bound, exclusive)) = schema.value.minimum {
        let words = if exclusive { "greater than" } else { "greater than or equal to" };
        let broken = |order: std::cmp::Ordering| order.is_lt() || (exclusive && order.is_eq());
        compare(schema, value, &shown, bound, ("Minimum", words), broken, path, out);
    }
    if let Some((bound, exclusive)) = schema.value.maximum {
        let words = if exclusive { "less than" } else { "less than or equal to" };
        let broken = |order: std::cmp::Ordering| order.is_gt() || (exclusive && order.is_eq());
        compare(schema, value, &shown, bound, ("Maximum", words), broken, path, out);
    }
}

#[allow(clippy::too_many_arguments)]
fn compare(
    schema: &Structural,
    value: Native,
    shown: &Value,
    bound: f64,
    (name, words): (&str, &str),
    broken: impl Fn(std::cmp::Ordering) -> bool,
    path: &str,
    out: &mut Outcome,
) {
    let unfit = range_error(schema, Native::Float(bound), &format!("{name} boundary"), path);
    let order = match (value, &unfit) {
        (Native::Int(i), None) => i.cmp(&(bound as i64)),
        _ => value.float().partial_cmp(&bound).unwrap_or(std::cmp::Ordering::Equal),
    };
    let text = match (value, &unfit) {
        (Native::Int(_), None) => (bound as i64).to_string(),
        _ => go_float(bound, 21),
    };
    out_extend(out, unfit);
    if broken(order) {
        out.add(FieldError::invalid(path, shown.clone(), format!("{path} in body should be {words} {text}")));
    }
}

fn multiple(schema: &Structural, value: Native, shown: &Value, factor: f64, path: &str, out: &mut Outcome) {
    let unfit = range_error(schema, Native::Float(factor), "MultipleOf", path);
    let native = unfit.is_none();
    out_extend(out, unfit);
    let positive = |out: &mut Outcome, factor: Value| {
        let detail =
            format!("factor MultipleOf declared for {path} must be positive: {}", super::error::go_value(&factor));
        out.add(FieldError::invalid(path, factor, detail));
    };
    let broken = match value {
        // Kubernetes cuts the factor off for integers: 2 against 0.5 is refused with these words.
        Native::Int(_) if native && factor as i64 <= 0 => return positive(out, Value::from(factor as i64)),
        Native::Int(i) if native => i % (factor as i64) != 0,
        _ if factor <= 0.0 => return positive(out, Value::from(factor)),
        _ if factor < 1.0 => !is_whole(1.0 / factor * value.float()),
        _ => !is_whole(value.float() / factor),
    };
    if broken {
        let text = match value {
            Native::Int(_) if native => (factor as i64).to_string(),
            _ => go_float(factor, 21),
        };
        out.add(FieldError::invalid(path, shown.clone(), format!("{path} in body should be a multiple of {text}")));
    }
}

fn out_extend(out: &mut Outcome, error: Option<FieldError>) {
    error.into_iter().for_each(|e| out.add(e));
}

/// The value (or bound) does not fit the type and format.
fn range_error(schema: &Structural, value: Native, prefix: &str, path: &str) -> Option<FieldError> {
    if schema.int_or_string {
        return None;
    }
    let format = schema.value.format.as_deref().unwrap_or_default();
    let fits = match schema.kind? {
        Type::Integer => {
            let whole = match value {
                Native::Int(i) => Some(i),
                Native::Float(f) if f.fract() == 0.0 && f.abs() < i64::MAX as f64 => Some(f as i64),
                Native::Float(_) => None,
            };
            whole.is_some_and(|i| format != "int32" || i32::try_from(i).is_ok())
        }
        Type::Number => format != "float" || value.float().abs() <= f64::from(f32::MAX),
        _ => true,
    };
    if fits {
        return None;
    }
    let name = schema.type_name();
    let with = if matches!(format, "int32" | "int64" | "float" | "double") {
        format!("with format {format}")
    } else {
        "(default format)".to_string()
    };
    let detail = format!("{prefix} value must be of type {name} {with} in {path}");
    Some(FieldError::invalid("", "", detail))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_become_what_go_would_write() {
        let mut value: Value =
            serde_json::from_str(r#"{"a":4.0,"b":1e2,"c":12345678901234567890,"d":1.5,"e":-0.0}"#).expect("JSON");
        normalise(&mut value);
        assert_eq!(value["a"], json!(4));
        assert_eq!(value["b"], json!(100));
        assert_eq!(value["c"].as_f64(), Some(12_345_678_901_234_567_000.0));
        assert!(value["c"].is_f64());
        assert_eq!(value["d"], json!(1.5));
    }

    #[test]
    fn whole_floats_are_integers() {
        assert!(is_whole(4.0) && is_whole(-3.0) && !is_whole(1.5) && !is_whole(1e20));
        assert!(is_whole(1.0 / 0.5 * 1.5) && !is_whole(1.0 / 0.5 * 0.7));
    }
}
