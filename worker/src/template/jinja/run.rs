//! Runs a template: statements, names and what they stand for.

use super::args::Args;
use super::ast::{Body, Expr, For, Kind, Statement, Target, Tree};
use super::meter::Meter;
use super::value::{Entries, List, Text, Value, entry, set_entry};
use super::{Clock, Failure};
use std::collections::HashMap;
use std::sync::Arc;

pub fn render(
    tree: &Tree,
    values: Vec<(&'static str, Value)>,
    meter: &Meter,
    clock: Clock<'_>,
) -> Result<String, Failure> {
    let mut run = Run {
        tree,
        meter,
        clock,
        frames: vec![values.into_iter().collect()],
        floor: 0,
        out: Text::default(),
        namespaces: Vec::new(),
        loops: Vec::new(),
    };
    run.body(&tree.body)?;
    Ok(run.out.into_string())
}

/// What follows a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Next,
    Break,
    Continue,
}

pub struct Run<'t> {
    pub tree: &'t Tree,
    pub meter: &'t Meter,
    pub clock: Clock<'t>,
    /// Names, outermost first: those of the template, of macros, loops and blocks.
    frames: Vec<HashMap<&'t str, Value>>,
    /// The first frame of the running macro. It sees those above and the template's own.
    floor: usize,
    out: Text,
    pub namespaces: Vec<Entries>,
    pub loops: Vec<Round>,
}

/// A loop that runs.
pub struct Round {
    pub items: Arc<List>,
    pub index: usize,
    /// What `loop.changed` was last called with.
    pub last: Option<Vec<Value>>,
}

impl<'t> Run<'t> {
    fn body(&mut self, body: &'t [Statement]) -> Result<Flow, Failure> {
        let meter = self.meter;
        let _level = meter.enter()?;
        for statement in body {
            let flow = self.statement(&statement.kind).map_err(|failure| failure.at(statement.line))?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, kind: &'t Kind) -> Result<Flow, Failure> {
        self.meter.step()?;
        match kind {
            Kind::Text(text) => self.out.push(self.meter, text)?,
            Kind::Print(value) => {
                let value = self.eval(value)?;
                self.out.print(self.meter, &value)?;
            }
            Kind::If(branches, otherwise) => {
                for (condition, body) in branches {
                    if self.eval(condition)?.is_true() {
                        return self.body(body);
                    }
                }
                return self.body(otherwise);
            }
            Kind::For(parts) => return self.for_loop(parts),
            Kind::Set(target, value) => {
                let value = self.eval(value)?;
                self.assign(target, value)?;
            }
            Kind::Capture(target, filters, body) => {
                let (flow, text) = self.captured(body)?;
                let value = self.steps(text, filters)?;
                self.assign(target, value)?;
                return Ok(flow);
            }
            Kind::Filter(filters, body) => {
                let (flow, text) = self.captured(body)?;
                let value = self.steps(text, filters)?;
                self.out.print(self.meter, &value)?;
                return Ok(flow);
            }
            Kind::With(values, body) => {
                self.frames.push(HashMap::new());
                for (target, value) in values {
                    let value = self.eval(value)?;
                    self.assign(target, value)?;
                }
                let flow = self.body(body)?;
                self.frames.pop();
                return Ok(flow);
            }
            Kind::Macro(index) => {
                let name = &self.tree.macros[*index].name;
                self.name_it(name, Value::Macro(*index))?;
            }
            Kind::Plain(body) => return self.body(body),
            Kind::Do(value) => drop(self.eval(value)?),
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    /// What a body writes, as a value.
    fn captured(&mut self, body: &'t Body) -> Result<(Flow, Value), Failure> {
        let outside = std::mem::take(&mut self.out);
        let flow = self.body(body)?;
        let text = std::mem::replace(&mut self.out, outside);
        Ok((flow, text.into_value()))
    }

    fn for_loop(&mut self, parts: &'t For) -> Result<Flow, Failure> {
        let items = self.eval(&parts.items)?;
        let mut items = self.items(&items)?;
        self.frames.push(HashMap::new());
        if let Some(condition) = &parts.condition {
            items = self.filtered(&items, &parts.target, condition)?;
        }
        if items.items.is_empty() {
            self.frames.pop();
            return self.body(&parts.otherwise);
        }
        let place = self.loops.len();
        self.loops.push(Round { items: items.clone(), index: 0, last: None });
        for (index, item) in items.items.iter().enumerate() {
            self.meter.step()?;
            self.loops[place].index = index;
            if let Some(frame) = self.frames.last_mut() {
                frame.clear();
            }
            self.name_it("loop", Value::Loop(place))?;
            self.assign(&parts.target, item.clone())?;
            if self.body(&parts.body)? == Flow::Break {
                break;
            }
        }
        self.loops.pop();
        self.frames.pop();
        Ok(Flow::Next)
    }

    fn filtered(&mut self, items: &List, target: &'t Target, condition: &'t Expr) -> Result<Arc<List>, Failure> {
        let mut kept = Vec::new();
        for item in &items.items {
            self.assign(target, item.clone())?;
            if self.eval(condition)?.is_true() {
                self.meter.slots(1)?;
                kept.push(item.clone());
            }
        }
        self.items(&Value::made_list(kept)?)
    }

    /// What a loop over a value goes through.
    pub fn items(&self, value: &Value) -> Result<Arc<List>, Failure> {
        let list = match value {
            Value::List(list) => return Ok(list.clone()),
            // Templates of known models go through `tools` without asking whether there are any.
            Value::Undefined | Value::None => Value::list(Vec::new()),
            Value::Text(text) => {
                let mut chars = Vec::new();
                for c in text.chars() {
                    self.meter.slots(1)?;
                    chars.push(Value::from(&*c.encode_utf8(&mut [0; 4])));
                }
                Value::made_list(chars)?
            }
            Value::Dict(dict) => {
                self.meter.slots(dict.entries.len())?;
                Value::made_list(dict.entries.iter().map(|(key, _)| Value::Text(key.clone())).collect())?
            }
            Value::Namespace(place) => {
                let entries = &self.namespaces[*place];
                self.meter.slots(entries.len())?;
                Value::made_list(entries.iter().map(|(key, _)| Value::Text(key.clone())).collect())?
            }
            other => return Err(Failure::new(format!("{} has no items", other.kind()))),
        };
        match list {
            Value::List(list) => Ok(list),
            _ => Ok(Arc::default()),
        }
    }

    fn assign(&mut self, target: &'t Target, value: Value) -> Result<(), Failure> {
        match target {
            Target::Name(name) => self.name_it(name, value)?,
            Target::Attribute(name, key) => {
                let Value::Namespace(place) = self.lookup(name)? else {
                    return Err(Failure::new(format!("{name} is no namespace, so that {key} cannot be set")));
                };
                self.meter.make(key.len())?;
                set_entry(self.meter, &mut self.namespaces[place], (&**key).into(), value)?;
            }
            Target::Each(targets) => {
                let items = self.items(&value)?;
                if items.items.len() != targets.len() {
                    let (wanted, found) = (targets.len(), items.items.len());
                    return Err(Failure::new(format!("{wanted} names are given to {found} values")));
                }
                for (target, item) in targets.iter().zip(&items.items) {
                    self.assign(target, item.clone())?;
                }
            }
        }
        Ok(())
    }

    fn name_it(&mut self, name: &'t str, value: Value) -> Result<(), Failure> {
        self.meter.look(name.len())?;
        if let Some(frame) = self.frames.last_mut() {
            if frame.len() == frame.capacity() {
                self.meter.slots(frame.len() + 4)?;
            }
            frame.insert(name, value);
        }
        Ok(())
    }

    /// What a name stands for in the template, if anything.
    pub fn lookup(&self, name: &str) -> Result<Value, Failure> {
        let visible = self.frames[self.floor..].iter().rev().chain(self.frames.first());
        for frame in visible {
            // For its hash, however long a name the source has.
            self.meter.look(16 + name.len())?;
            if let Some(value) = frame.get(name) {
                return Ok(value.clone());
            }
        }
        Ok(Value::Undefined)
    }

    /// The text that a macro writes. It sees its arguments and the template's own names.
    pub fn call_macro(&mut self, index: usize, mut args: Args<'t>) -> Result<Value, Failure> {
        let called = &self.tree.macros[index];
        let wrong = |failure: Failure| Failure::new(format!("macro {}: {}", called.name, failure.message));
        let floor = std::mem::replace(&mut self.floor, self.frames.len());
        self.frames.push(HashMap::new());
        for (name, default) in &called.parameters {
            let value = match (args.take(name), default) {
                (Some(value), _) => value,
                (None, Some(default)) => self.eval(default)?,
                (None, None) => Value::Undefined,
            };
            self.name_it(name, value)?;
        }
        args.done().map_err(wrong)?;
        let (_, text) = self.captured(&called.body)?;
        self.frames.pop();
        self.floor = floor;
        Ok(text)
    }

    /// An attribute or an item by a text.
    pub fn attribute(&self, value: &Value, key: &str) -> Result<Value, Failure> {
        let found = match value {
            Value::Dict(dict) => entry(self.meter, &dict.entries, key)?.cloned(),
            Value::Namespace(place) => entry(self.meter, &self.namespaces[*place], key)?.cloned(),
            Value::Loop(place) => self.loops.get(*place).and_then(|round| round.attribute(key, *place)),
            Value::Undefined => {
                // A key may be as long as a text.
                let key: String = key.chars().take(40).collect();
                return Err(Failure::new(format!("{key} is looked up in an undefined value")));
            }
            _ => None,
        };
        Ok(found.unwrap_or(Value::Undefined))
    }
}

impl Round {
    fn attribute(&self, key: &str, place: usize) -> Option<Value> {
        let (index, length) = (self.index, self.items.items.len());
        let count = |number: usize| Some(Value::Int(number as i128));
        match key {
            "index" => count(index + 1),
            "index0" => count(index),
            "revindex" => count(length - index),
            "revindex0" => count(length - index - 1),
            "length" => count(length),
            "depth" => count(place + 1),
            "depth0" => count(place),
            "first" => Some(Value::Bool(index == 0)),
            "last" => Some(Value::Bool(index + 1 == length)),
            "previtem" => self.items.items.get(index.checked_sub(1)?).cloned(),
            "nextitem" => self.items.items.get(index + 1).cloned(),
            _ => None,
        }
    }
}
