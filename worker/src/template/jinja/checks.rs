//! Tests of values: what stands behind `is`.

use super::Failure;
use super::args::Args;
use super::ast::Comparison;
use super::meter::Meter;
use super::operators::{compare, math};
use super::value::Value;
use super::{ast, filters};

/// Whether a value passes a test.
pub fn holds(meter: &Meter, name: &str, value: &Value, mut args: Args<'_>) -> Result<bool, Failure> {
    if let Some(comparison) = comparison(name) {
        let other = args.need("other")?;
        args.done()?;
        return compare(meter, comparison, value, &other);
    }
    let holds = match name {
        "defined" => !matches!(value, Value::Undefined),
        "undefined" => matches!(value, Value::Undefined),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "string" => matches!(value, Value::Text(_)),
        "number" => matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        "sequence" => matches!(value, Value::List(_) | Value::Undefined),
        // In Python none cannot be iterated, and templates ask for that before they look into `tools`.
        "iterable" => matches!(value, Value::List(_) | Value::Dict(_) | Value::Text(_) | Value::Undefined),
        "callable" => matches!(value, Value::Macro(_) | Value::Function(_)),
        "odd" => rest(meter, value, Value::Int(2))? == Some(1),
        "even" => rest(meter, value, Value::Int(2))? == Some(0),
        "divisibleby" => rest(meter, value, args.need("number")?)? == Some(0),
        "lower" | "upper" => {
            let Value::Text(text) = value else { return Ok(false) };
            meter.look(text.len())?;
            let is_other = if name == "lower" { char::is_uppercase } else { char::is_lowercase };
            text.chars().any(char::is_alphabetic) && !text.chars().any(is_other)
        }
        "filter" => matches!(value, Value::Text(name) if filters::NAMES.contains(&&**name)),
        _ => return Err(Failure::new(format!("the test {name} is not known"))),
    };
    args.done()?;
    Ok(holds)
}

fn comparison(name: &str) -> Option<Comparison> {
    Some(match name {
        "eq" | "equalto" | "sameas" | "==" => Comparison::Equal,
        "ne" | "!=" => Comparison::NotEqual,
        "lt" | "lessthan" | "<" => Comparison::Less,
        "le" | "<=" => Comparison::LessOrEqual,
        "gt" | "greaterthan" | ">" => Comparison::Greater,
        "ge" | ">=" => Comparison::GreaterOrEqual,
        "in" => Comparison::In,
        _ => return None,
    })
}

fn rest(meter: &Meter, value: &Value, divisor: Value) -> Result<Option<i128>, Failure> {
    let rest = math(meter, ast::Operator::Remainder, value.clone(), divisor)?;
    Ok(if let Value::Int(rest) = rest { Some(rest) } else { None })
}
