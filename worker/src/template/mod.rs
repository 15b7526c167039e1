//! Chat templates: the model's Jinja text applied to messages, within bounds.

mod jinja;
#[cfg(test)]
mod tests;
mod values;

use crate::tools::Support;
use jinja::{Failure, Template, Value};
use rbee_tokenizer::Tokenizer;
use rbee_wire::openai::{ChatMessage, Tool};

/// Longest message of a template that is handed on, in characters.
const MAX_MESSAGE: usize = 300;

/// Why a template gave no prompt.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("the model's chat template cannot be read: line {line}: {message}")]
    Syntax { line: usize, message: String },
    #[error("the model's chat template failed: line {line}: {message}")]
    Render { line: usize, message: String },
}

/// A template that was read once.
pub struct ChatTemplate {
    template: Template,
    support: Support,
}

impl ChatTemplate {
    /// Reads a template.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        let syntax = |failure: Failure| TemplateError::Syntax { line: failure.line, message: printable(&failure) };
        Ok(Self { template: Template::new(source).map_err(syntax)?, support: Support::of_template(source) })
    }

    /// What it makes of functions.
    pub fn support(&self) -> Support {
        self.support
    }

    /// The prompt for these messages, and the functions that may be called. Texts of users are shielded, so that control tokens in them stay text; `now` is what
    /// `strftime_now` formats.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        tools: &[Tool],
        tokenizer: &Tokenizer,
        now: &jiff::Zoned,
    ) -> Result<String, TemplateError> {
        let clock = |format: &str| jiff::fmt::strtime::format(format, now).map_err(|e| e.to_string());
        let values = vec![
            ("messages", Value::list(messages.iter().map(|m| values::message(m, tokenizer)).collect())),
            ("tools", values::tools(tools, tokenizer)),
            ("documents", Value::None),
            ("add_generation_prompt", Value::Bool(true)),
            ("bos_token", tokenizer.bos_text().into()),
            ("eos_token", tokenizer.eos_text().into()),
        ];
        let failed = |failure: Failure| TemplateError::Render { line: failure.line, message: printable(&failure) };
        self.template.render(values, &clock).map_err(failed)
    }
}

fn printable(failure: &Failure) -> String {
    failure.message.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect()
}
