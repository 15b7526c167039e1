//! Arguments of a call: taken one by one, by place or by name.

use super::Failure;
use super::value::Value;
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Clone, Default)]
pub struct Args<'t> {
    pub positional: VecDeque<Value>,
    pub named: Vec<(&'t str, Value)>,
}

impl Args<'_> {
    /// The next argument, or the one of this name.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.positional.pop_front().or_else(|| self.take_named(name))
    }

    pub fn take_named(&mut self, name: &str) -> Option<Value> {
        let at = self.named.iter().position(|(found, _)| *found == name)?;
        Some(self.named.swap_remove(at).1)
    }

    pub fn need(&mut self, name: &str) -> Result<Value, Failure> {
        self.take(name).ok_or_else(|| Failure::new(format!("the argument {name} is missing")))
    }

    /// A text; none if it is not given.
    pub fn text(&mut self, name: &str) -> Result<Option<Arc<str>>, Failure> {
        match self.take(name) {
            Some(Value::Text(text)) => Ok(Some(text)),
            None | Some(Value::None) => Ok(None),
            Some(other) => Err(Failure::new(format!("the argument {name} is {} and no text", other.kind()))),
        }
    }

    pub fn need_text(&mut self, name: &str) -> Result<Arc<str>, Failure> {
        self.text(name)?.ok_or_else(|| Failure::new(format!("the argument {name} is missing")))
    }

    /// A whole number; none if it is not given.
    pub fn int(&mut self, name: &str) -> Result<Option<i128>, Failure> {
        match self.take(name) {
            Some(Value::Int(number)) => Ok(Some(number)),
            Some(Value::Bool(value)) => Ok(Some(value.into())),
            None | Some(Value::None) => Ok(None),
            Some(other) => Err(Failure::new(format!("the argument {name} is {} and no whole number", other.kind()))),
        }
    }

    /// Whether it is given and true.
    pub fn flag(&mut self, name: &str) -> bool {
        self.take(name).is_some_and(|value| value.is_true())
    }

    /// Nothing more was given.
    pub fn done(&self) -> Result<(), Failure> {
        match (self.positional.is_empty(), self.named.first()) {
            (true, None) => Ok(()),
            (_, Some((name, _))) => Err(Failure::new(format!("the argument {name} is not known"))),
            (false, None) => Err(Failure::new("there are too many arguments")),
        }
    }
}
