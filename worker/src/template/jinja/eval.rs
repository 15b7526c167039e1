//! What expressions are worth, step by step.

use super::Failure;
use super::args::Args;
use super::ast::{Arguments, Choice, Expr, Operator, Step};
use super::run::Run;
use super::value::{Function, Text, Value, set_entry};
use super::{checks, filters, methods, operators};
use std::sync::Arc;

/// Longest format of a time.
const MAX_TIME_FORMAT: usize = 256;

impl<'t> Run<'t> {
    pub fn eval(&mut self, expr: &'t Expr) -> Result<Value, Failure> {
        let meter = self.meter;
        let _level = meter.enter()?;
        meter.step()?;
        match expr {
            Expr::Constant(value) => Ok(value.clone()),
            Expr::Name(name) => self.named(name),
            Expr::List(parts) => {
                meter.slots(parts.len())?;
                let items: Result<Vec<Value>, Failure> = parts.iter().map(|part| self.eval(part)).collect();
                Value::made_list(items?)
            }
            Expr::Dict(parts) => self.dict(parts),
            Expr::Not(inner) => Ok(Value::Bool(!self.eval(inner)?.is_true())),
            Expr::Negate(inner) => {
                let value = self.eval(inner)?;
                operators::math(meter, Operator::Subtract, Value::Int(0), value)
            }
            Expr::All(parts) => self.first_that(parts, false),
            Expr::Any(parts) => self.first_that(parts, true),
            Expr::Compare(first, others) => {
                let mut left = self.eval(first)?;
                for (comparison, other) in others {
                    let right = self.eval(other)?;
                    if !operators::compare(meter, *comparison, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
            Expr::Math(first, others) => {
                let mut left = self.eval(first)?;
                for (operator, other) in others {
                    let right = self.eval(other)?;
                    left = operators::math(meter, *operator, left, right)?;
                }
                Ok(left)
            }
            Expr::Choice(choice) => {
                let Choice { condition, then, otherwise } = &**choice;
                match (self.eval(condition)?.is_true(), otherwise) {
                    (true, _) => self.eval(then),
                    (false, Some(otherwise)) => self.eval(otherwise),
                    (false, None) => Ok(Value::Undefined),
                }
            }
            Expr::Path(base, steps) => {
                let value = self.eval(base)?;
                match (&value, &**base, steps.first()) {
                    (Value::Undefined, Expr::Name(name), Some(Step::Call(_))) => {
                        Err(Failure::new(format!("{name} is not known and cannot be called")))
                    }
                    _ => self.steps(value, steps),
                }
            }
        }
    }

    /// The first part that is as true as wanted, or the last one.
    fn first_that(&mut self, parts: &'t [Expr], wanted: bool) -> Result<Value, Failure> {
        let mut value = Value::Undefined;
        for part in parts {
            value = self.eval(part)?;
            if value.is_true() == wanted {
                break;
            }
        }
        Ok(value)
    }

    fn named(&self, name: &str) -> Result<Value, Failure> {
        Ok(match self.lookup(name)? {
            Value::Undefined => match name {
                "range" => Value::Function(Function::Range),
                "namespace" => Value::Function(Function::Namespace),
                "dict" => Value::Function(Function::Dict),
                "raise_exception" => Value::Function(Function::RaiseException),
                "strftime_now" => Value::Function(Function::StrftimeNow),
                _ => Value::Undefined,
            },
            value => value,
        })
    }

    fn dict(&mut self, parts: &'t [(Expr, Expr)]) -> Result<Value, Failure> {
        let mut entries = Vec::new();
        for (key, value) in parts {
            let key = self.eval(key)?;
            let key = self.key(&key)?;
            let value = self.eval(value)?;
            set_entry(self.meter, &mut entries, key, value)?;
        }
        Value::made_dict(entries)
    }

    /// Keys are texts, as in JSON; a number stands for its digits.
    fn key(&self, key: &Value) -> Result<Arc<str>, Failure> {
        match key {
            Value::Text(text) => Ok(text.clone()),
            Value::Int(number) => Ok(number.to_string().into()),
            other => Err(Failure::new(format!("{} is no key of a dictionary", other.kind()))),
        }
    }

    /// A value after these steps.
    pub fn steps(&mut self, mut value: Value, steps: &'t [Step]) -> Result<Value, Failure> {
        for step in steps {
            self.meter.step()?;
            value = self.one_step(value, step)?;
        }
        Ok(value)
    }

    fn one_step(&mut self, value: Value, step: &'t Step) -> Result<Value, Failure> {
        match step {
            Step::Attribute(name) => self.attribute(&value, name),
            Step::Item(index) => {
                let index = self.eval(index)?;
                self.item(&value, &index)
            }
            Step::Slice(parts) => {
                let mut places = [None; 3];
                for (place, part) in places.iter_mut().zip(parts.iter()) {
                    *place = match part.as_ref().map(|part| self.eval(part)).transpose()? {
                        None | Some(Value::None) => None,
                        Some(Value::Int(number)) => Some(number),
                        Some(other) => {
                            return Err(Failure::new(format!("{} is no place in a slice", other.kind())));
                        }
                    };
                }
                operators::slice(self.meter, &value, places)
            }
            Step::Call(arguments) => {
                let args = self.arguments(arguments)?;
                self.call(&value, args)
            }
            Step::Method(name, arguments) => {
                let args = self.arguments(arguments)?;
                methods::call(self, &value, name, args)
            }
            Step::Filter(name, arguments) => {
                let args = self.arguments(arguments)?;
                filters::apply(self, name, value, args)
            }
            Step::Test { name, negated, arguments } => {
                let args = self.arguments(arguments)?;
                Ok(Value::Bool(checks::holds(self.meter, name, &value, args)? != *negated))
            }
        }
    }

    fn arguments(&mut self, arguments: &'t Arguments) -> Result<Args<'t>, Failure> {
        let mut args = Args::default();
        self.meter.slots(arguments.positional.len() + arguments.named.len())?;
        for argument in &arguments.positional {
            args.positional.push_back(self.eval(argument)?);
        }
        for (name, argument) in &arguments.named {
            args.named.push((name, self.eval(argument)?));
        }
        Ok(args)
    }

    fn item(&self, value: &Value, index: &Value) -> Result<Value, Failure> {
        match (value, index) {
            (Value::Undefined, _) => Err(Failure::new("an item is looked up in an undefined value")),
            (Value::List(list), Value::Int(at)) => {
                let place = place(*at, list.items.len());
                Ok(place.map_or(Value::Undefined, |place| list.items[place].clone()))
            }
            (Value::Text(text), Value::Int(at)) => {
                self.meter.look(text.len())?;
                let place = place(*at, text.chars().count());
                let found = place.and_then(|place| text.chars().nth(place));
                Ok(found.map_or(Value::Undefined, |c| Value::from(&*c.encode_utf8(&mut [0; 4]))))
            }
            (Value::Dict(_), Value::Int(_)) => self.attribute(value, &self.key(index)?),
            (_, Value::Text(key)) => self.attribute(value, key),
            _ => Ok(Value::Undefined),
        }
    }

    pub fn call(&mut self, value: &Value, mut args: Args<'t>) -> Result<Value, Failure> {
        match value {
            Value::Macro(index) => self.call_macro(*index, args),
            Value::Function(Function::Range) => self.range(args),
            Value::Function(Function::Namespace) => {
                let entries = self.entries(args)?;
                self.meter.slots(1)?;
                self.namespaces.push(entries);
                Ok(Value::Namespace(self.namespaces.len() - 1))
            }
            Value::Function(Function::Dict) => Value::made_dict(self.entries(args)?),
            Value::Function(Function::RaiseException) => {
                let mut text = Text::default();
                text.print(self.meter, &args.need("message")?)?;
                Err(Failure::new(text.into_string()))
            }
            Value::Function(Function::StrftimeNow) => {
                let format = args.need_text("format")?;
                args.done()?;
                if format.len() > MAX_TIME_FORMAT {
                    return Err(Failure::new("the format of a time is too long"));
                }
                let text = (self.clock)(&format).map_err(Failure::new)?;
                Value::made_text(self.meter, &text)
            }
            other => Err(Failure::new(format!("{} cannot be called", other.kind()))),
        }
    }

    /// Entries out of a dictionary and named arguments.
    fn entries(&self, mut args: Args<'t>) -> Result<Vec<(Arc<str>, Value)>, Failure> {
        let mut entries = Vec::new();
        if let Some(Value::Dict(dict)) = args.positional.pop_front() {
            self.meter.slots(dict.entries.len())?;
            entries.clone_from(&dict.entries);
        }
        for (name, value) in std::mem::take(&mut args.named) {
            self.meter.make(name.len())?;
            set_entry(self.meter, &mut entries, name.into(), value)?;
        }
        args.done()?;
        Ok(entries)
    }

    fn range(&self, mut args: Args<'_>) -> Result<Value, Failure> {
        let numbers = [args.int("start")?, args.int("stop")?, args.int("step")?];
        args.done()?;
        let (start, stop, step) = match numbers {
            [Some(stop), None, _] => (0, stop, 1),
            [Some(start), Some(stop), step] => (start, stop, step.unwrap_or(1)),
            _ => return Err(Failure::new("range needs numbers")),
        };
        if step == 0 {
            return Err(Failure::new("a range has no step 0"));
        }
        let mut items = Vec::new();
        let mut next = start;
        while if step > 0 { next < stop } else { next > stop } {
            self.meter.slots(1)?;
            items.push(Value::Int(next));
            let Some(after) = next.checked_add(step) else { break };
            next = after;
        }
        Value::made_list(items)
    }
}

/// The place in a list of so many, counted from its end if negative.
fn place(at: i128, length: usize) -> Option<usize> {
    let at = if at < 0 { at.checked_add(length as i128)? } else { at };
    usize::try_from(at).ok().filter(|place| *place < length)
}
