//! Requests as values of a template, with every text of a user shielded.

use super::jinja::Value;
use rbee_tokenizer::Tokenizer;
use rbee_wire::openai::{ChatMessage, Tool, ToolCall};
use serde_json::Value as Json;

/// A message with the keys that it has, as in Python's dictionaries.
pub fn message(message: &ChatMessage, tokenizer: &Tokenizer) -> Value {
    let shield = |text: &str| Value::from(tokenizer.shield(text));
    let mut pairs = vec![("role", message.role.as_str().into()), ("content", shield(&message.content))];
    if let Some(name) = &message.name {
        pairs.push(("name", shield(name)));
    }
    if !message.tool_calls.is_empty() {
        pairs.push(("tool_calls", Value::list(message.tool_calls.iter().map(|c| call(c, tokenizer)).collect())));
    }
    if let Some(id) = &message.tool_call_id {
        pairs.push(("tool_call_id", shield(id)));
    }
    dict(pairs)
}

/// A call; its arguments are an object, if their text is one.
fn call(call: &ToolCall, tokenizer: &Tokenizer) -> Value {
    let text = call.function.arguments.trim();
    let arguments = match serde_json::from_str(text) {
        Ok(arguments @ Json::Object(_)) => shielded(&arguments, tokenizer),
        _ if text.is_empty() => dict(Vec::new()),
        _ => Value::from(tokenizer.shield(text)),
    };
    let name = Value::from(tokenizer.shield(&call.function.name));
    let function = dict(vec![("name", name), ("arguments", arguments)]);
    let id = Value::from(tokenizer.shield(&call.id));
    dict(vec![("id", id), ("type", Value::from("function")), ("function", function)])
}

fn dict(pairs: Vec<(&str, Value)>) -> Value {
    Value::dict(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// The functions, or none as Python has it.
pub fn tools(tools: &[Tool], tokenizer: &Tokenizer) -> Value {
    match tools {
        [] => Value::None,
        tools => Value::list(tools.iter().map(|t| shielded(&t.definition, tokenizer)).collect()),
    }
}

/// JSON as a value, keys in their order.
fn shielded(json: &Json, tokenizer: &Tokenizer) -> Value {
    match json {
        Json::Null => Value::None,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => match (n.as_i128(), n.as_f64()) {
            (Some(n), _) => Value::Int(n),
            (None, n) => n.map_or(Value::None, Value::Float),
        },
        Json::String(text) => Value::from(tokenizer.shield(text)),
        Json::Array(items) => Value::list(items.iter().map(|item| shielded(item, tokenizer)).collect()),
        Json::Object(map) => {
            let entry = |(key, value): (&String, &Json)| (tokenizer.shield(key).into(), shielded(value, tokenizer));
            Value::dict(map.iter().map(entry).collect())
        }
    }
}
