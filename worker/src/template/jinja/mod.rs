//! A small Jinja: what chat templates use of it, within bounds.
//!
//! A template comes with a model file that anybody may have made, and nothing of it may take the worker down or its memory. Three
//! rules hold everywhere:
//! - Whatever a template makes or looks at is paid from one [`meter::Meter`] before, value by value, also within filters, methods,
//!   comparisons and printing. So its budget bounds time and memory together.
//! - Whatever nests is counted: the source while it is read, bodies and expressions while they run, values when they are made. So
//!   every recursion, that of dropping included, fits the stack of any thread.
//! - Values never change after they were made. Namespaces, which do, are kept beside them, so that no value contains itself.

mod args;
mod ast;
mod checks;
mod eval;
mod expression;
mod filters;
mod json;
mod lexer;
mod meter;
mod methods;
mod operators;
mod parser;
mod pick;
mod run;
#[cfg(test)]
mod tests;
mod value;

pub use value::Value;

/// Longest source, in bytes. Templates of known models have less than 20 KiB.
const MAX_SOURCE: usize = 128 << 10;

/// Why a template was not read, or did not give a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Counted from 1; 0 is not known.
    pub line: usize,
    pub message: String,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self { line: 0, message: message.into() }
    }

    /// The same at this line, if none is known.
    fn at(self, line: usize) -> Self {
        Self { line: if self.line == 0 { line } else { self.line }, ..self }
    }
}

/// A template that was read.
pub struct Template(ast::Tree);

impl Template {
    pub fn new(source: &str) -> Result<Self, Failure> {
        if source.len() > MAX_SOURCE {
            let message = format!("it has {} bytes; at most {MAX_SOURCE} are read", source.len());
            return Err(Failure::new(message).at(1));
        }
        parser::parse(source).map(Self)
    }

    /// The text for these values. `clock` writes the time in a format as `strftime` has it.
    pub fn render(&self, values: Vec<(&'static str, Value)>, clock: Clock<'_>) -> Result<String, Failure> {
        let input = values.iter().map(|(_, value)| value.size()).sum();
        run::render(&self.0, values, &meter::Meter::new(input), clock)
    }
}

/// Writes the time in a format as `strftime` has it, or says what is wrong with the format.
pub type Clock<'c> = &'c dyn Fn(&str) -> Result<String, String>;
