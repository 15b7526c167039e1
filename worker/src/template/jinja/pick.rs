//! Filters of lists: which items stay, what becomes of them, in which order.

use super::args::Args;
use super::checks::holds;
use super::meter::Meter;
use super::operators::equal;
use super::run::Run;
use super::value::Value;
use super::{Failure, filters};
use std::cmp::Ordering;

/// An attribute, or one of an attribute: `function.name`.
pub fn lookup(run: &Run<'_>, value: &Value, path: &str) -> Result<Value, Failure> {
    let mut value = value.clone();
    for part in path.split('.') {
        value = match (&value, part.parse::<usize>()) {
            (Value::Undefined, _) => return Ok(Value::Undefined),
            (Value::List(list), Ok(at)) => list.items.get(at).cloned().unwrap_or(Value::Undefined),
            (value, _) => run.attribute(value, part)?,
        };
    }
    Ok(value)
}

/// `select`, `reject` and both for an attribute: the items that pass a test, or those that do not.
pub fn pick<'t>(run: &mut Run<'t>, name: &str, value: &Value, mut args: Args<'t>) -> Result<Value, Failure> {
    let attribute = if name.ends_with("attr") { Some(args.need_text("attribute")?) } else { None };
    let test = args.text("test")?;
    let wanted = name.starts_with("select");
    let mut kept = Vec::new();
    for item in &run.items(value)?.items {
        run.meter.step()?;
        let looked_at = match &attribute {
            Some(attribute) => lookup(run, item, attribute)?,
            None => item.clone(),
        };
        let passes = match &test {
            Some(test) => holds(run.meter, test, &looked_at, copied(run.meter, &args)?)?,
            None => looked_at.is_true(),
        };
        if passes == wanted {
            run.meter.slots(1)?;
            kept.push(item.clone());
        }
    }
    Value::made_list(kept)
}

/// An attribute of each item, or each item after a filter.
pub fn map<'t>(run: &mut Run<'t>, value: &Value, mut args: Args<'t>) -> Result<Value, Failure> {
    let mut made = Vec::new();
    let items = run.items(value)?;
    if let Some(attribute) = args.take_named("attribute") {
        let default = args.take_named("default").unwrap_or(Value::Undefined);
        args.done()?;
        let attribute = filters::printed(run, attribute)?;
        let Value::Text(path) = attribute else { return Ok(Value::Undefined) };
        for item in &items.items {
            run.meter.slots(1)?;
            made.push(match lookup(run, item, &path)? {
                Value::Undefined => default.clone(),
                found => found,
            });
        }
        return Value::made_list(made);
    }
    let filter = args.need_text("filter")?;
    // A filter of a list may be this one again.
    let meter = run.meter;
    let _level = meter.enter()?;
    for item in &items.items {
        meter.step()?;
        meter.slots(1)?;
        let args = copied(meter, &args)?;
        made.push(filters::apply(run, &filter, item.clone(), args)?);
    }
    Value::made_list(made)
}

fn copied<'t>(meter: &Meter, args: &Args<'t>) -> Result<Args<'t>, Failure> {
    meter.slots(args.positional.len() + args.named.len())?;
    Ok(args.clone())
}

/// What items are ordered by. All of a list are of one kind, so that their order is a total one.
enum Keys {
    Texts(Vec<String>),
    Numbers(Vec<f64>),
}

impl Keys {
    fn new(meter: &Meter, values: &[Value], fold: bool) -> Result<Self, Failure> {
        let mut bytes = 0;
        let (mut texts, mut numbers) = (Vec::new(), Vec::new());
        for value in values {
            meter.slots(1)?;
            match value {
                Value::Text(text) => {
                    meter.make(text.len())?;
                    bytes += text.len();
                    texts.push(if fold { text.to_lowercase() } else { text.to_string() });
                }
                Value::Int(number) => numbers.push(*number as f64),
                Value::Float(number) => numbers.push(*number),
                Value::Bool(value) => numbers.push(f64::from(u8::from(*value))),
                other => return Err(Failure::new(format!("{} has no order", other.kind()))),
            }
        }
        // Each key takes part in about as many comparisons as the count has bits.
        let rounds = 2 * (usize::BITS - values.len().leading_zeros()) as usize;
        meter.look((bytes + values.len() * 32).saturating_mul(rounds))?;
        match (texts.is_empty(), numbers.is_empty()) {
            (false, false) => Err(Failure::new("texts and numbers have no order")),
            (true, _) => Ok(Self::Numbers(numbers)),
            (false, true) => Ok(Self::Texts(texts)),
        }
    }

    fn compare(&self, a: usize, b: usize) -> Ordering {
        match self {
            Self::Texts(texts) => texts[a].cmp(&texts[b]),
            Self::Numbers(numbers) => numbers[a].total_cmp(&numbers[b]),
        }
    }

    /// Places in their order; equal ones stay as they are.
    fn order(&self, count: usize, reverse: bool) -> Vec<usize> {
        let mut places: Vec<usize> = (0..count).collect();
        match reverse {
            true => places.sort_by(|a, b| self.compare(*b, *a)),
            false => places.sort_by(|a, b| self.compare(*a, *b)),
        }
        places
    }
}

/// `sort`, `unique`, `min` and `max`, by the items or by an attribute of theirs.
pub fn sorted<'t>(run: &mut Run<'t>, name: &str, value: &Value, mut args: Args<'t>) -> Result<Value, Failure> {
    let meter = run.meter;
    let reverse = name == "sort" && args.flag("reverse");
    let fold = !args.flag("case_sensitive");
    let attribute = args.text("attribute")?;
    args.done()?;
    let items = run.items(value)?;
    meter.slots(items.items.len().saturating_mul(2))?;
    let mut keys = Vec::new();
    for item in &items.items {
        keys.push(match &attribute {
            Some(attribute) => lookup(run, item, attribute)?,
            None => item.clone(),
        });
    }
    if name == "unique" {
        return unique(meter, &items.items, keys, fold);
    }
    let places = Keys::new(meter, &keys, fold)?.order(keys.len(), reverse);
    let found = |place: Option<&usize>| place.map_or(Value::Undefined, |place| items.items[*place].clone());
    match name {
        "min" => Ok(found(places.first())),
        "max" => Ok(found(places.last())),
        _ => Value::made_list(places.into_iter().map(|place| items.items[place].clone()).collect()),
    }
}

/// The first of each kind of item.
fn unique(meter: &Meter, items: &[Value], keys: Vec<Value>, fold: bool) -> Result<Value, Failure> {
    let (mut kept, mut seen) = (Vec::new(), Vec::<Value>::new());
    for (item, key) in items.iter().zip(keys) {
        let key = match key {
            Value::Text(text) if fold => super::methods::change(meter, &text, str::to_lowercase)?,
            key => key,
        };
        let mut is_seen = false;
        for other in &seen {
            if equal(meter, other, &key)? {
                is_seen = true;
                break;
            }
        }
        if !is_seen {
            seen.push(key);
            kept.push(item.clone());
        }
    }
    Value::made_list(kept)
}

/// Pairs of a dictionary in the order of their keys or values.
pub fn dictsort<'t>(run: &mut Run<'t>, value: &Value, mut args: Args<'t>) -> Result<Value, Failure> {
    let meter = run.meter;
    let fold = !args.flag("case_sensitive");
    let by = args.text("by")?;
    let reverse = args.flag("reverse");
    args.done()?;
    let pairs = filters::items(run, value)?;
    let pairs = run.items(&pairs)?;
    meter.slots(pairs.items.len().saturating_mul(2))?;
    let part = usize::from(by.as_deref() == Some("value"));
    let key = |pair: &Value| match pair {
        Value::List(pair) => pair.items[part].clone(),
        _ => Value::Undefined,
    };
    let keys: Vec<Value> = pairs.items.iter().map(key).collect();
    let places = Keys::new(meter, &keys, fold)?.order(keys.len(), reverse);
    Value::made_list(places.into_iter().map(|place| pairs.items[place].clone()).collect())
}
