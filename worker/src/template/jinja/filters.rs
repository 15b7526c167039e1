//! Filters: those that chat templates use. Each one pays for its result before it makes it.

use super::args::Args;
use super::methods::{capitalize, change, replace, strip, title};
use super::run::Run;
use super::value::{Text, Value};
use super::{Failure, json, pick};

/// All of them.
pub const NAMES: &[&str] = &[
    "abs",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "safe",
    "select",
    "selectattr",
    "sort",
    "string",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
];

pub fn apply<'t>(run: &mut Run<'t>, name: &str, value: Value, mut args: Args<'t>) -> Result<Value, Failure> {
    let meter = run.meter;
    let made = match name {
        "select" | "reject" | "selectattr" | "rejectattr" => return pick::pick(run, name, &value, args),
        "map" => return pick::map(run, &value, args),
        "sort" | "unique" | "min" | "max" => return pick::sorted(run, name, &value, args),
        "dictsort" => return pick::dictsort(run, &value, args),
        "tojson" => return json::to_json(meter, &value, args),
        "safe" => value,
        "default" | "d" => {
            let default = args.take("default_value").unwrap_or_else(|| Value::from(""));
            let falsy = args.flag("boolean");
            match matches!(value, Value::Undefined) || (falsy && !value.is_true()) {
                true => default,
                false => value,
            }
        }
        "length" | "count" => Value::Int(length(run, &value)? as i128),
        "string" => printed(run, value)?,
        "list" => Value::List(run.items(&value)?),
        "items" => items(run, &value)?,
        "first" => match &value {
            Value::Text(text) => text.chars().next().map_or(Value::Undefined, |c| Value::from(c.to_string())),
            value => run.items(value)?.items.first().cloned().unwrap_or(Value::Undefined),
        },
        "last" => match &value {
            Value::Text(text) => text.chars().next_back().map_or(Value::Undefined, |c| Value::from(c.to_string())),
            value => run.items(value)?.items.last().cloned().unwrap_or(Value::Undefined),
        },
        "reverse" => super::operators::slice(meter, &value, [None, None, Some(-1)])?,
        "join" => {
            let separator = args.text("d")?.unwrap_or_else(|| "".into());
            let attribute = args.text("attribute")?;
            let mut text = Text::default();
            for (at, item) in run.items(&value)?.items.iter().enumerate() {
                meter.step()?;
                text.push(meter, if at > 0 { &separator } else { "" })?;
                match &attribute {
                    Some(attribute) => text.print(meter, &pick::lookup(run, item, attribute)?)?,
                    None => text.print(meter, item)?,
                }
            }
            text.into_value()
        }
        "int" => {
            let default = args.take("default").unwrap_or(Value::Int(0));
            look_at_text(run, &value)?;
            int(&value).map_or(default, Value::Int)
        }
        "float" => {
            let default = args.take("default").unwrap_or(Value::Float(0.0));
            look_at_text(run, &value)?;
            float(&value).map_or(default, Value::Float)
        }
        "abs" => match value {
            Value::Int(number) => Value::Int(number.saturating_abs()),
            Value::Float(number) => Value::Float(number.abs()),
            other => return Err(Failure::new(format!("{} has no absolute value", other.kind()))),
        },
        _ => return text_filter(run, name, value, args),
    };
    args.done()?;
    Ok(made)
}

/// Filters of texts; any other value is printed first, as in Jinja.
fn text_filter(run: &Run<'_>, name: &str, value: Value, mut args: Args<'_>) -> Result<Value, Failure> {
    let meter = run.meter;
    if !NAMES.contains(&name) {
        return Err(Failure::new(format!("the filter {name} is not known")));
    }
    let Value::Text(text) = printed(run, value)? else { return Ok(Value::Undefined) };
    let made = match name {
        "upper" => change(meter, &text, str::to_uppercase)?,
        "lower" => change(meter, &text, str::to_lowercase)?,
        "title" => change(meter, &text, title)?,
        "capitalize" => change(meter, &text, capitalize)?,
        "trim" => {
            let chars = args.text("chars")?;
            strip(meter, &text, chars.as_deref(), true, true)?
        }
        "replace" => {
            let (old, new) = (args.need_text("old")?, args.need_text("new")?);
            let count = args.int("count")?;
            replace(meter, &text, &old, &new, count)?
        }
        _ => indent(run, &text, &mut args)?,
    };
    args.done()?;
    Ok(made)
}

/// A value as a text.
pub fn printed(run: &Run<'_>, value: Value) -> Result<Value, Failure> {
    if let Value::Text(_) = value {
        return Ok(value);
    }
    let mut text = Text::default();
    text.print(run.meter, &value)?;
    Ok(text.into_value())
}

fn length(run: &Run<'_>, value: &Value) -> Result<usize, Failure> {
    match value {
        Value::Undefined => Ok(0),
        Value::Text(text) => {
            run.meter.look(text.len())?;
            Ok(text.chars().count())
        }
        Value::List(list) => Ok(list.items.len()),
        Value::Dict(dict) => Ok(dict.entries.len()),
        Value::Namespace(place) => Ok(run.namespaces[*place].len()),
        other => Err(Failure::new(format!("{} has no length", other.kind()))),
    }
}

/// Pairs of keys and values.
pub fn items(run: &Run<'_>, value: &Value) -> Result<Value, Failure> {
    let entries = match value {
        Value::Dict(dict) => &dict.entries,
        Value::Namespace(place) => &run.namespaces[*place],
        Value::Undefined => return Value::made_list(Vec::new()),
        other => return Err(Failure::new(format!("{} has no keys", other.kind()))),
    };
    run.meter.slots(entries.len().saturating_mul(3))?;
    let pair =
        |(key, value): &(_, Value)| Value::made_list(vec![Value::Text(std::sync::Arc::clone(key)), value.clone()]);
    let pairs: Result<Vec<Value>, Failure> = entries.iter().map(pair).collect();
    Value::made_list(pairs?)
}

/// Pays for reading a text, if it is one.
fn look_at_text(run: &Run<'_>, value: &Value) -> Result<(), Failure> {
    if let Value::Text(text) = value { run.meter.read(text.len()) } else { Ok(()) }
}

fn int(value: &Value) -> Option<i128> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Text(text) => match text.trim().parse() {
            Ok(number) => Some(number),
            Err(_) => float(value).map(|number| number as i128),
        },
        value => float(value).map(|number| number as i128),
    }
}

fn float(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Int(number) => *number as f64,
        Value::Float(number) => *number,
        Value::Text(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// Every line but the first one begins with spaces.
fn indent(run: &Run<'_>, text: &str, args: &mut Args<'_>) -> Result<Value, Failure> {
    let meter = run.meter;
    let width = match args.take("width") {
        Some(Value::Text(text)) => text,
        Some(Value::Int(width)) => {
            let width = usize::try_from(width).unwrap_or(0);
            meter.make(width)?;
            " ".repeat(width).into()
        }
        _ => "    ".into(),
    };
    let (first, blank) = (args.flag("first"), args.flag("blank"));
    let mut out = Text::default();
    for (at, line) in text.split('\n').enumerate() {
        out.push(meter, if at > 0 { "\n" } else { "" })?;
        let indented = if at == 0 { first } else { blank || !line.is_empty() };
        out.push(meter, if indented { &width } else { "" })?;
        out.push(meter, line)?;
    }
    Ok(out.into_value())
}
