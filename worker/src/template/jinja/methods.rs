//! Methods of Python's texts, dictionaries and lists that chat templates call. Each one pays for its result before it makes it.

use super::Failure;
use super::args::Args;
use super::filters;
use super::meter::Meter;
use super::operators::equal;
use super::run::Run;
use super::value::{Text, Value};
use std::sync::Arc;

pub fn call<'t>(run: &mut Run<'t>, value: &Value, name: &str, mut args: Args<'t>) -> Result<Value, Failure> {
    let meter = run.meter;
    let made = match (value, name) {
        (Value::Text(text), _) => return of_text(run, text, name, args),
        (Value::Dict(_) | Value::Namespace(_), "items") => filters::items(run, value)?,
        (Value::Dict(_) | Value::Namespace(_), "keys") => Value::List(run.items(value)?),
        (Value::Dict(dict), "values") => {
            meter.slots(dict.entries.len())?;
            Value::made_list(dict.entries.iter().map(|(_, value)| value.clone()).collect())?
        }
        (Value::Dict(_) | Value::Namespace(_), "get") => {
            let key = args.need("key")?;
            let default = args.take("default").unwrap_or(Value::None);
            match &key {
                Value::Text(key) => match run.attribute(value, key)? {
                    Value::Undefined => default,
                    found => found,
                },
                _ => default,
            }
        }
        (Value::List(list), "count") => {
            let wanted = args.need("value")?;
            let mut count = 0;
            for item in &list.items {
                count += i128::from(equal(meter, item, &wanted)?);
            }
            Value::Int(count)
        }
        (Value::Loop(place), "cycle") => {
            let index = run.loops.get(*place).map_or(0, |round| round.index);
            let count = args.positional.len().max(1);
            let value = args.positional.get(index % count).cloned().unwrap_or(Value::Undefined);
            args.positional.clear();
            value
        }
        (Value::Loop(place), "changed") => {
            let values: Vec<Value> = args.positional.drain(..).collect();
            let last = run.loops.get(*place).and_then(|round| round.last.as_deref());
            let mut same = last.is_some_and(|last| last.len() == values.len());
            for (a, b) in last.unwrap_or_default().iter().zip(&values) {
                same = same && equal(meter, a, b)?;
            }
            if let Some(round) = run.loops.get_mut(*place) {
                round.last = Some(values);
            }
            Value::Bool(!same)
        }
        (Value::Undefined, name) => {
            return Err(Failure::new(format!("the method {name} of an undefined value is called")));
        }
        // A macro or a function that is kept under this name.
        (Value::Dict(_) | Value::Namespace(_), name) => match run.attribute(value, name)? {
            Value::Undefined => return Err(unknown(value, name)),
            kept => return run.call(&kept, args),
        },
        (value, name) => return Err(unknown(value, name)),
    };
    args.done()?;
    Ok(made)
}

fn unknown(value: &Value, name: &str) -> Failure {
    Failure::new(format!("{} has no method {name}", value.kind()))
}

fn of_text(run: &Run<'_>, text: &Arc<str>, name: &str, mut args: Args<'_>) -> Result<Value, Failure> {
    let meter = run.meter;
    meter.look(text.len())?;
    let all = |holds: fn(char) -> bool| Value::Bool(!text.is_empty() && text.chars().all(holds));
    let made = match name {
        "upper" => change(meter, text, str::to_uppercase)?,
        "lower" => change(meter, text, str::to_lowercase)?,
        "title" => change(meter, text, title)?,
        "capitalize" => change(meter, text, capitalize)?,
        "strip" | "lstrip" | "rstrip" => {
            let chars = args.text("chars")?;
            strip(meter, text, chars.as_deref(), name != "rstrip", name != "lstrip")?
        }
        "replace" => {
            let (old, new) = (args.need_text("old")?, args.need_text("new")?);
            let count = args.int("count")?;
            replace(meter, text, &old, &new, count)?
        }
        "split" => {
            let separator = args.text("sep")?;
            let most = args.int("maxsplit")?;
            split(meter, text, separator.as_deref(), most)?
        }
        "splitlines" => pieces(meter, text.lines())?,
        "startswith" | "endswith" => Value::Bool(begins_or_ends(run, text, name == "startswith", &args.need("text")?)?),
        "find" | "rfind" => {
            let wanted = args.need_text("sub")?;
            meter.look(wanted.len())?;
            let found = if name == "find" { text.find(&*wanted) } else { text.rfind(&*wanted) };
            Value::Int(found.map_or(-1, |at| text[..at].chars().count() as i128))
        }
        "count" => {
            let wanted = args.need_text("sub")?;
            meter.look(wanted.len())?;
            Value::Int(text.matches(&*wanted).count() as i128)
        }
        "join" => {
            let mut out = Text::default();
            for (at, item) in run.items(&args.need("items")?)?.items.iter().enumerate() {
                meter.step()?;
                out.push(meter, if at > 0 { text } else { "" })?;
                out.print(meter, item)?;
            }
            out.into_value()
        }
        "format" => return format(meter, text, args),
        "isdigit" | "isnumeric" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isspace" => all(char::is_whitespace),
        "islower" => Value::Bool(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)),
        "isupper" => Value::Bool(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)),
        _ => return Err(Failure::new(format!("a text has no method {name}"))),
    };
    args.done()?;
    Ok(made)
}

/// A text with other letters: at most three times as long.
pub fn change(meter: &Meter, text: &str, change: impl FnOnce(&str) -> String) -> Result<Value, Failure> {
    meter.make(text.len().saturating_mul(3))?;
    Ok(Value::from(change(text)))
}

pub fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut begins = true;
    for c in text.chars() {
        match begins {
            true => out.extend(c.to_uppercase()),
            false => out.extend(c.to_lowercase()),
        }
        begins = c.is_whitespace() || "-({[<".contains(c);
    }
    out
}

pub fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next();
    first.into_iter().flat_map(char::to_uppercase).chain(chars.flat_map(char::to_lowercase)).collect()
}

/// Without white space, or these characters, at its ends.
pub fn strip(meter: &Meter, text: &str, chars: Option<&str>, start: bool, end: bool) -> Result<Value, Failure> {
    // Every character at the ends is compared with each of these.
    meter.read(text.len().saturating_mul(chars.map_or(1, str::len)))?;
    let dropped = |c: char| chars.map_or(c.is_whitespace(), |chars| chars.contains(c));
    let text = if start { text.trim_start_matches(dropped) } else { text };
    let text = if end { text.trim_end_matches(dropped) } else { text };
    Value::made_text(meter, text)
}

pub fn replace(meter: &Meter, text: &str, old: &str, new: &str, count: Option<i128>) -> Result<Value, Failure> {
    meter.look(text.len() + old.len())?;
    let most = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    let found = text.matches(old).take(most).count();
    meter.make(text.len().saturating_add(found.saturating_mul(new.len())))?;
    Ok(Value::from(text.replacen(old, new, most)))
}

fn split(meter: &Meter, text: &str, separator: Option<&str>, most: Option<i128>) -> Result<Value, Failure> {
    let most = most.and_then(|most| usize::try_from(most).ok()).and_then(|most| most.checked_add(1));
    match (separator, most) {
        (Some(""), _) => Err(Failure::new("a text is split by an empty one")),
        (Some(separator), None) => pieces(meter, text.split(separator)),
        (Some(separator), Some(most)) => pieces(meter, text.splitn(most, separator)),
        (None, None) => pieces(meter, text.split_whitespace()),
        (None, Some(most)) => {
            let mut rest = text.trim_start();
            let mut left = most;
            pieces(
                meter,
                std::iter::from_fn(|| {
                    if rest.is_empty() {
                        return None;
                    }
                    left -= 1;
                    let end = if left == 0 { rest.len() } else { rest.find(char::is_whitespace).unwrap_or(rest.len()) };
                    let (piece, more) = rest.split_at(end);
                    rest = more.trim_start();
                    Some(piece)
                }),
            )
        }
    }
}

fn pieces<'a>(meter: &Meter, pieces: impl Iterator<Item = &'a str>) -> Result<Value, Failure> {
    let mut items = Vec::new();
    for piece in pieces {
        meter.slots(1)?;
        items.push(Value::made_text(meter, piece)?);
    }
    Value::made_list(items)
}

/// Whether a text begins or ends with a text, or with one of several.
fn begins_or_ends(run: &Run<'_>, text: &str, begins: bool, wanted: &Value) -> Result<bool, Failure> {
    let one = |wanted: &Value| match wanted {
        Value::Text(wanted) if begins => Ok(text.starts_with(&**wanted)),
        Value::Text(wanted) => Ok(text.ends_with(&**wanted)),
        other => Err(Failure::new(format!("a text does not begin or end with {}", other.kind()))),
    };
    if let Value::List(several) = wanted {
        for wanted in &several.items {
            run.meter.look(64 + text.len())?;
            if one(wanted)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    one(wanted)
}

/// Python's `format` with `{}`, `{0}` and `{name}`; nothing may stand behind them.
fn format(meter: &Meter, text: &str, args: Args<'_>) -> Result<Value, Failure> {
    let mut out = Text::default();
    let mut rest = text;
    let mut next = 0;
    while let Some(at) = rest.find(['{', '}']) {
        out.push(meter, &rest[..at])?;
        let mark = &rest[at..];
        if mark.starts_with("{{") || mark.starts_with("}}") {
            out.push(meter, &mark[..1])?;
            rest = &mark[2..];
            continue;
        }
        let end = mark.find('}').filter(|end| *end > 0);
        let end = end.ok_or_else(|| Failure::new("a format has a bracket without its other one"))?;
        let name = &mark[1..end];
        let value = if name.is_empty() {
            next += 1;
            args.positional.get(next - 1)
        } else if let Ok(place) = name.parse::<usize>() {
            args.positional.get(place)
        } else {
            args.named.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
        };
        let value = value.ok_or_else(|| Failure::new("a format has no value for one of its brackets"))?;
        meter.step()?;
        out.print(meter, value)?;
        rest = &mark[end + 1..];
    }
    out.push(meter, rest)?;
    Ok(out.into_value())
}
