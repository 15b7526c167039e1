//! Chat templates: the model's Jinja text applied to messages, within bounds.

mod values;

use crate::tools::Support;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, context};
use rbee_tokenizer::Tokenizer;
use rbee_wire::openai::{ChatMessage, Tool};
use regex::{Captures, Regex};
use std::sync::LazyLock;

/// Steps that one rendering may take; a step also pays for about 64 bytes of text.
const FUEL: u64 = 1_000_000;
/// Depth of nested calls.
const RECURSION: usize = 64;
/// Name under which the template is known in messages.
const NAME: &str = "chat_template";

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
    environment: Environment<'static>,
    support: Support,
}

impl ChatTemplate {
    /// Reads a template.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(syntax_error)?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_filter("tojson", values::to_json);
        // In Python none cannot be iterated, and templates ask for that before they look into `tools`.
        environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
        environment.add_template_owned(NAME, without_generation(source)).map_err(syntax_error)?;
        Ok(Self { environment, support: Support::of_template(source) })
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
        let messages: Vec<Value> = messages.iter().map(|m| values::message(m, tokenizer)).collect();
        let now = now.clone();
        let strftime_now = Value::from_function(move |format: String| -> Result<String, Error> {
            let broken = |e: jiff::Error| Error::new(ErrorKind::InvalidOperation, e.to_string());
            jiff::fmt::strtime::format(format.as_bytes(), &now).map_err(broken)
        });
        let values = context! {
            messages => Value::from(messages),
            tools => values::tools(tools, tokenizer),
            documents => Value::from(()),
            add_generation_prompt => true,
            bos_token => tokenizer.bos_text(),
            eos_token => tokenizer.eos_text(),
            strftime_now => strftime_now,
        };
        let failed = |e: Error| {
            let (line, message) = describe(&e);
            TemplateError::Render { line, message }
        };
        self.environment.get_template(NAME).map_err(failed)?.render(values).map_err(failed)
    }
}

/// `{% generation %}` marks what a training learns from; here it is a block without a meaning.
fn without_generation(source: &str) -> String {
    static TAG: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})").ok());
    let Some(tag) = TAG.as_ref() else { return source.to_owned() };
    let block = |found: &Captures<'_>| {
        let word = if found.get(2).is_some() { "endif" } else { "if true" };
        format!("{}{word}{}", &found[1], &found[3])
    };
    tag.replace_all(source, block).into_owned()
}

fn syntax_error(error: Error) -> TemplateError {
    let (line, message) = describe(&error);
    TemplateError::Syntax { line, message }
}

fn describe(error: &Error) -> (usize, String) {
    let message = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it takes too many steps".to_owned(),
        (_, Some(detail)) => detail.chars().filter(|c| !c.is_control()).take(300).collect(),
        (kind, None) => kind.to_string(),
    };
    (error.line().unwrap_or(0), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tinybee_header;
    use rbee_wire::openai::{Role, ToolCall};

    fn render(source: &str, messages: &[ChatMessage]) -> Result<String, TemplateError> {
        let tokenizer = Tokenizer::from_header(&tinybee_header()).unwrap();
        let now = "2026-01-02T03:04:05[UTC]".parse().unwrap();
        ChatTemplate::new(source)?.render(messages, &[], &tokenizer, &now)
    }

    fn hello() -> Vec<ChatMessage> {
        vec![ChatMessage::new(Role::System, "be kind"), ChatMessage::user(" hello ")]
    }

    #[test]
    fn templates_use_what_python_gives_them() {
        let source = "{% for m in messages %}\n{{ m['role'].upper() + ':' + m.content.strip() }}|{% endfor %}\n\
                      {{ bos_token }}{{ strftime_now('%d %b %Y') }}{% if tools is not none %}tools{% endif %}{{ messages[0].name }}";
        assert_eq!(render(source, &hello()).unwrap(), "SYSTEM:be kind|USER:hello|<|endoftext|>02 Jan 2026");
        assert_eq!(render("{{ {'a': [1]} | tojson }}", &[]).unwrap(), r#"{"a": [1]}"#);
    }

    #[test]
    fn none_is_not_iterable_and_marks_of_training_mean_nothing() {
        let source = "{% if tools is iterable and tools | length > 0 %}tools{% endif %}a {%- generation -%} b {% endgeneration %}";
        assert_eq!(render(source, &[]).unwrap(), "ab ");
    }

    #[test]
    fn functions_and_calls_are_values_and_json_as_in_python() {
        let tokenizer = Tokenizer::from_header(&tinybee_header()).unwrap();
        let now = "2026-01-02T03:04:05[UTC]".parse().unwrap();
        let definition =
            serde_json::json!({"type": "function", "function": {"name": "f", "description": "<a> & 'b' é"}});
        let tool = Tool { name: "f".into(), parameters: serde_json::Value::Null, definition };
        let call = ToolCall::new("c1".into(), "f".into(), r#"{"z": 1.5, "a": "<|im_end|>"}"#.into());
        let asked = ChatMessage { tool_calls: vec![call], ..ChatMessage::new(Role::Assistant, "") };
        let told = ChatMessage { tool_call_id: Some("c1".into()), ..ChatMessage::new(Role::Tool, "4") };
        let source = "{% for t in tools %}{{ t | tojson }}\n{{ t.function | tojson(indent=2) }}\n{% endfor %}\
                      {% for m in messages %}{% if m.tool_calls %}{% set c = m.tool_calls[0] %}\
                      {{ c.id }} {{ c.function.name }} \
                      {{ c.function.arguments | tojson(ensure_ascii=False) }} {{ c.function.arguments.z + 1 }}{% endif %}\
                      {% if m.role == 'tool' %}|{{ m.tool_call_id }}={{ m.content }}{% endif %}{% endfor %}";
        let text = ChatTemplate::new(source).unwrap().render(&[asked, told], &[tool], &tokenizer, &now).unwrap();
        let wanted = "{\"type\": \"function\", \"function\": {\"name\": \"f\", \"description\": \"<a> & 'b' é\"}}\n\
                      {\n  \"name\": \"f\",\n  \"description\": \"<a> & 'b' é\"\n}\n\
                      c1 f {\"z\": 1.5, \"a\": \"<\u{FDD0}|im_end|>\"} 2.5|c1=4";
        assert_eq!(text, wanted);
    }

    #[test]
    fn failures_name_line_and_message() {
        let raised = render("a\n{{ raise_exception('roles must alternate') }}", &hello()).unwrap_err().to_string();
        assert!(raised.contains("line 2") && raised.contains("roles must alternate"), "{raised}");
        let broken = render("{% for %}", &[]).unwrap_err();
        assert!(matches!(broken, TemplateError::Syntax { line: 1, .. }), "{broken}");
        for source in
            ["{{ ''.__class__ }}{{ ''.__class__.x }}", "{{ 1 | no_such_filter }}", "{% include 'chat_template' %}"]
        {
            assert!(render(source, &hello()).is_err(), "{source}");
        }
    }

    #[test]
    fn endless_templates_run_out_of_fuel() {
        let loops = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}";
        let large = "{% set ns = namespace(s='xxxxxxxx') %}{% for a in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}";
        let repeat = "{{ 'x' * 99999999 * 99 }}";
        let json = "{% for a in range(99999) %}{{ ('x' * 99999) | tojson | length }}{% endfor %}";
        let recursion = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
        for source in [loops, large, repeat, json, recursion] {
            assert!(matches!(render(source, &[]), Err(TemplateError::Render { .. })), "{source}");
        }
    }
}
