//! What operators make of values: arithmetic, comparison, containment, slices.

use super::Failure;
use super::ast::{Comparison, Operator};
use super::meter::Meter;
use super::value::{Text, Value, entry};
use std::cmp::Ordering;

/// A number as arithmetic takes it.
enum Number {
    Int(i128),
    Float(f64),
}

fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Bool(value) => Some(Number::Int((*value).into())),
        Value::Int(number) => Some(Number::Int(*number)),
        Value::Float(number) => Some(Number::Float(*number)),
        _ => None,
    }
}

impl Number {
    fn float(&self) -> f64 {
        match self {
            Self::Int(number) => *number as f64,
            Self::Float(number) => *number,
        }
    }
}

pub fn math(meter: &Meter, operator: Operator, left: Value, right: Value) -> Result<Value, Failure> {
    match (operator, &left, &right) {
        (Operator::Concatenate, _, _) => {
            let mut text = Text::default();
            text.print(meter, &left)?;
            text.print(meter, &right)?;
            Ok(text.into_value())
        }
        (Operator::Add, Value::Text(a), Value::Text(b)) => {
            meter.make(a.len() + b.len())?;
            Ok(Value::from([&**a, b].concat()))
        }
        (Operator::Add, Value::List(a), Value::List(b)) => {
            meter.slots(a.items.len() + b.items.len())?;
            Value::made_list(a.items.iter().chain(&b.items).cloned().collect())
        }
        (Operator::Multiply, Value::Text(text), Value::Int(count))
        | (Operator::Multiply, Value::Int(count), Value::Text(text)) => {
            let count = usize::try_from((*count).max(0)).unwrap_or(usize::MAX);
            meter.make(text.len().saturating_mul(count))?;
            Ok(Value::from(if text.is_empty() { String::new() } else { text.repeat(count) }))
        }
        (Operator::Multiply, Value::List(list), Value::Int(count)) => {
            let count = usize::try_from((*count).max(0)).unwrap_or(usize::MAX);
            meter.slots(list.items.len().saturating_mul(count))?;
            let count = if list.items.is_empty() { 0 } else { count };
            Value::made_list(std::iter::repeat_n(&list.items, count).flatten().cloned().collect())
        }
        _ => match (number(&left), number(&right)) {
            (Some(a), Some(b)) => arithmetic(operator, &a, &b),
            _ => {
                let (left, right) = (left.kind(), right.kind());
                Err(Failure::new(format!("{left} and {right} cannot be calculated with")))
            }
        },
    }
}

fn arithmetic(operator: Operator, left: &Number, right: &Number) -> Result<Value, Failure> {
    let impossible = || Failure::new("a number is too large, or divided by zero");
    if let (Number::Int(a), Number::Int(b)) = (left, right) {
        let (a, b) = (*a, *b);
        let whole = match operator {
            Operator::Add => a.checked_add(b),
            Operator::Subtract => a.checked_sub(b),
            Operator::Multiply => a.checked_mul(b),
            Operator::FloorDivide => floor(a, b).map(|(quotient, _)| quotient),
            Operator::Remainder => floor(a, b).map(|(_, rest)| rest),
            Operator::Power if b >= 0 => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
            Operator::Power | Operator::Divide | Operator::Concatenate => {
                return float(operator, a as f64, b as f64).ok_or_else(impossible);
            }
        };
        return whole.map(Value::Int).ok_or_else(impossible);
    }
    float(operator, left.float(), right.float()).ok_or_else(impossible)
}

/// Quotient and rest, rounded down as Python does.
fn floor(a: i128, b: i128) -> Option<(i128, i128)> {
    let (quotient, rest) = (a.checked_div(b)?, a.checked_rem(b)?);
    let down = rest != 0 && (rest < 0) != (b < 0);
    Some(if down { (quotient - 1, rest + b) } else { (quotient, rest) })
}

fn float(operator: Operator, a: f64, b: f64) -> Option<Value> {
    let divides = matches!(operator, Operator::Divide | Operator::FloorDivide | Operator::Remainder);
    if divides && b == 0.0 {
        return None;
    }
    Some(Value::Float(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        Operator::FloorDivide => (a / b).floor(),
        Operator::Remainder => a - b * (a / b).floor(),
        Operator::Power => a.powf(b),
        Operator::Concatenate => return None,
    }))
}

pub fn compare(meter: &Meter, comparison: Comparison, left: &Value, right: &Value) -> Result<bool, Failure> {
    Ok(match comparison {
        Comparison::Equal => equal(meter, left, right)?,
        Comparison::NotEqual => !equal(meter, left, right)?,
        Comparison::Less => order(meter, left, right)?.is_lt(),
        Comparison::LessOrEqual => order(meter, left, right)?.is_le(),
        Comparison::Greater => order(meter, left, right)?.is_gt(),
        Comparison::GreaterOrEqual => order(meter, left, right)?.is_ge(),
        Comparison::In => contains(meter, right, left)?,
        Comparison::NotIn => !contains(meter, right, left)?,
    })
}

pub fn equal(meter: &Meter, left: &Value, right: &Value) -> Result<bool, Failure> {
    meter.step()?;
    Ok(match (left, right) {
        (Value::Undefined, Value::Undefined) | (Value::None, Value::None) => true,
        (Value::Text(a), Value::Text(b)) => {
            meter.look(a.len().min(b.len()))?;
            a == b
        }
        (Value::List(a), Value::List(b)) => {
            if a.items.len() != b.items.len() {
                return Ok(false);
            }
            for (a, b) in a.items.iter().zip(&b.items) {
                if !equal(meter, a, b)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Dict(a), Value::Dict(b)) => {
            if a.entries.len() != b.entries.len() {
                return Ok(false);
            }
            for (key, a) in &a.entries {
                match entry(meter, &b.entries, key)? {
                    Some(b) if equal(meter, a, b)? => (),
                    _ => return Ok(false),
                }
            }
            true
        }
        (Value::Namespace(a), Value::Namespace(b)) | (Value::Loop(a), Value::Loop(b)) => a == b,
        (Value::Macro(a), Value::Macro(b)) => a == b,
        (Value::Function(a), Value::Function(b)) => a == b,
        _ => match (number(left), number(right)) {
            (Some(Number::Int(a)), Some(Number::Int(b))) => a == b,
            (Some(a), Some(b)) => a.float() == b.float(),
            _ => false,
        },
    })
}

/// Which of two values comes first. What Python has no order for is ordered by its kind, so that a comparison with a missing
/// value does not fail.
pub fn order(meter: &Meter, left: &Value, right: &Value) -> Result<Ordering, Failure> {
    if let (Value::Text(a), Value::Text(b)) = (left, right) {
        meter.look(a.len().min(b.len()))?;
        return Ok(a.cmp(b));
    }
    match (number(left), number(right)) {
        (Some(Number::Int(a)), Some(Number::Int(b))) => Ok(a.cmp(&b)),
        (Some(a), Some(b)) => Ok(a.float().total_cmp(&b.float())),
        _ => Ok(rank(left).cmp(&rank(right))),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Undefined => 0,
        Value::None => 1,
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => 2,
        Value::Text(_) => 3,
        Value::List(_) => 4,
        _ => 5,
    }
}

pub fn contains(meter: &Meter, container: &Value, value: &Value) -> Result<bool, Failure> {
    match (container, value) {
        (Value::Undefined, _) => Ok(false),
        (Value::Text(text), Value::Text(part)) => {
            meter.look(text.len() + part.len())?;
            Ok(text.contains(&**part))
        }
        (Value::List(list), value) => {
            for item in &list.items {
                if equal(meter, item, value)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        (Value::Dict(dict), Value::Text(key)) => Ok(entry(meter, &dict.entries, key)?.is_some()),
        (Value::Dict(_), _) => Ok(false),
        _ => Err(Failure::new(format!("{} cannot be looked for in {}", value.kind(), container.kind()))),
    }
}

/// Python's `value[start:stop:step]`.
pub fn slice(meter: &Meter, value: &Value, [start, stop, step]: [Option<i128>; 3]) -> Result<Value, Failure> {
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Failure::new("a slice has no step 0"));
    }
    match value {
        Value::Undefined => Value::made_list(Vec::new()),
        Value::List(list) => {
            let places = places(list.items.len(), start, stop, step);
            meter.slots(places.len())?;
            Value::made_list(places.map(|at| list.items[at].clone()).collect())
        }
        Value::Text(text) => {
            // Four bytes for each character while they are picked.
            meter.make(text.len().saturating_mul(4))?;
            let chars: Vec<char> = text.chars().collect();
            let picked: String = places(chars.len(), start, stop, step).map(|at| chars[at]).collect();
            Ok(Value::from(picked))
        }
        other => Err(Failure::new(format!("{} cannot be sliced", other.kind()))),
    }
}

/// The places of a slice within so many, as Python counts them.
fn places(
    length: usize,
    start: Option<i128>,
    stop: Option<i128>,
    step: i128,
) -> impl ExactSizeIterator<Item = usize> + use<> {
    let length = length as i128;
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let clamp = |at: i128| if at < 0 { at.saturating_add(length).max(low) } else { at.min(high) };
    let first = start.map_or(if step > 0 { low } else { high }, clamp);
    let end = stop.map_or(if step > 0 { high } else { low }, clamp);
    let distance = if step > 0 { end - first } else { first - end };
    let stride = i128::try_from(step.unsigned_abs()).unwrap_or(i128::MAX);
    let count = if distance > 0 { ((distance - 1) / stride + 1) as usize } else { 0 };
    (0..count).map(move |n| (first + n as i128 * step) as usize)
}
