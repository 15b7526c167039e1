//! Tests of chat templates: values of requests, and templates in the manner of the families that are served.

mod families;

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
    let source =
        "{% if tools is iterable and tools | length > 0 %}tools{% endif %}a {%- generation -%} b {% endgeneration %}";
    assert_eq!(render(source, &[]).unwrap(), "ab ");
}

#[test]
fn functions_and_calls_are_values_and_json_as_in_python() {
    let tokenizer = Tokenizer::from_header(&tinybee_header()).unwrap();
    let now = "2026-01-02T03:04:05[UTC]".parse().unwrap();
    let definition = serde_json::json!({"type": "function", "function": {"name": "f", "description": "<a> & 'b' é"}});
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
