//! Requests as values of a template, with every text of a user shielded, and JSON as Python writes it.

use minijinja::value::{Kwargs, Value};
use minijinja::{Error, State};
use rbee_tokenizer::Tokenizer;
use rbee_wire::openai::{ChatMessage, Tool, ToolCall};
use serde_json::Value as Json;

/// Bytes of JSON per step of fuel.
const BYTES_PER_FUEL: usize = 16;

/// A message with the keys that it has, as in Python's dictionaries.
pub fn message(message: &ChatMessage, tokenizer: &Tokenizer) -> Value {
    let shield = |text: &str| Value::from(tokenizer.shield(text));
    let mut pairs = vec![("role", Value::from(message.role.as_str())), ("content", shield(&message.content))];
    if let Some(name) = &message.name {
        pairs.push(("name", shield(name)));
    }
    if !message.tool_calls.is_empty() {
        pairs.push(("tool_calls", message.tool_calls.iter().map(|c| call(c, tokenizer)).collect()));
    }
    if let Some(id) = &message.tool_call_id {
        pairs.push(("tool_call_id", shield(id)));
    }
    Value::from_pairs(pairs)
}

/// A call; its arguments are an object, if their text is one.
fn call(call: &ToolCall, tokenizer: &Tokenizer) -> Value {
    let text = call.function.arguments.trim();
    let arguments = match serde_json::from_str(text) {
        Ok(arguments @ Json::Object(_)) => shielded(&arguments, tokenizer),
        _ if text.is_empty() => Value::from_pairs(Vec::<(String, Value)>::new()),
        _ => Value::from(tokenizer.shield(text)),
    };
    let name = Value::from(tokenizer.shield(&call.function.name));
    let function = Value::from_pairs([("name", name), ("arguments", arguments)]);
    let id = Value::from(tokenizer.shield(&call.id));
    Value::from_pairs([("id", id), ("type", Value::from("function")), ("function", function)])
}

/// The functions, or none as Python has it.
pub fn tools(tools: &[Tool], tokenizer: &Tokenizer) -> Value {
    match tools {
        [] => Value::from(()),
        tools => tools.iter().map(|t| shielded(&t.definition, tokenizer)).collect(),
    }
}

/// JSON as a value, keys in their order.
fn shielded(json: &Json, tokenizer: &Tokenizer) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(b) => Value::from(*b),
        Json::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(n), _, _) => Value::from(n),
            (_, Some(n), _) => Value::from(n),
            (_, _, n) => n.map_or(Value::from(()), Value::from),
        },
        Json::String(text) => Value::from(tokenizer.shield(text)),
        Json::Array(items) => items.iter().map(|item| shielded(item, tokenizer)).collect(),
        Json::Object(map) => {
            Value::from_pairs(map.iter().map(|(key, value)| (tokenizer.shield(key), shielded(value, tokenizer))))
        }
    }
}

/// The filter `tojson` as in Python's transformers: nothing is escaped for HTML. `ensure_ascii`, `separators` and `sort_keys`
/// are accepted and change nothing.
pub fn to_json(state: &State<'_, '_>, value: &Value, indent: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let named: Option<Value> = options.get("indent")?;
    for ignored in ["ensure_ascii", "separators", "sort_keys"] {
        options.get::<Option<Value>>(ignored)?;
    }
    options.assert_all_used()?;
    let indent = indent.or(named).filter(|i| !i.is_none());
    let json = minijinja::filters::tojson(value, indent, Kwargs::from_iter(Vec::<(String, Value)>::new()))?;
    let text = json.as_str().unwrap_or_default();
    state.consume_fuel((text.len() / BYTES_PER_FUEL) as u64)?;
    Ok(Value::from(without_html(text)))
}

/// Takes back the escapes that JSON has for use in HTML.
fn without_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let plain = match escape.get(..6) {
            Some("\\u003c") => Some('<'),
            Some("\\u003e") => Some('>'),
            Some("\\u0026") => Some('&'),
            Some("\\u0027") => Some('\''),
            _ => None,
        };
        // Any other escape has at least two characters, the second of one byte.
        let length = if plain.is_some() { 6 } else { escape.len().min(2) };
        match plain {
            Some(c) => out.push(c),
            None => out.push_str(&escape[..length]),
        }
        rest = &escape[length..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_escapes_for_html_are_taken_back() {
        assert_eq!(
            without_html(r#""\u003ca\u003e \u0026 \u0027 \\u003c \n \u0001é\\""#),
            r#""<a> & ' \\u003c \n \u0001é\\""#
        );
        assert_eq!(without_html("[1]"), "[1]");
    }
}
