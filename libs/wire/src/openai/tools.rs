//! Functions that a model may call: what a chat request says of them, and the calls themselves.

use super::constraint::{check_name, schema};
use crate::error::ApiError;
use crate::json::{Fields, wrong};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Most functions in one request, as in OpenAI's API.
pub const MAX_TOOLS: usize = 128;
/// Most calls in one message of the conversation.
const MAX_CALLS: usize = 128;

/// A function that a model may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    pub name: String,
    /// JSON schema of the arguments, an object.
    pub parameters: Value,
    /// `{"type": "function", "function": {…}}` as it was sent, for chat templates.
    pub definition: Value,
}

/// Whether functions are called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// The answer is text.
    None,
    /// As the model likes.
    #[default]
    Auto,
    /// At least one call.
    Required,
    /// A call of this function, which is in the list.
    Named(String),
}

/// The functions of a request and how they may be called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tools {
    pub list: Vec<Tool>,
    pub choice: ToolChoice,
    /// Several calls in one answer are fine.
    pub parallel: bool,
}

impl Tools {
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let (list, strict) = tools(fields)?;
        let choice = match fields.take("tool_choice") {
            None => ToolChoice::Auto,
            Some(value) => choice(value, &list)?,
        };
        let parallel = fields.boolean("parallel_tool_calls")?.unwrap_or(true);
        if let (ToolChoice::Auto, Some(path)) = (&choice, strict) {
            let why =
                "is not supported where the model may answer with text; set tool_choice to required or a function";
            return Err(ApiError::invalid(path, why).with_openai_code("unsupported_parameter"));
        }
        Ok(Self { list, choice, parallel })
    }

    /// Whether the model is told of functions at all.
    pub fn in_use(&self) -> bool {
        !self.list.is_empty() && self.choice != ToolChoice::None
    }

    /// The functions of which one has to be called; none if text will do.
    pub fn forced(&self) -> Vec<&Tool> {
        match &self.choice {
            ToolChoice::None | ToolChoice::Auto => Vec::new(),
            ToolChoice::Required => self.list.iter().collect(),
            ToolChoice::Named(name) => self.list.iter().filter(|t| &t.name == name).collect(),
        }
    }
}

/// The functions, and where the first of them asks that its arguments always fit.
fn tools(fields: &mut Fields) -> Result<(Vec<Tool>, Option<String>), ApiError> {
    let items = match fields.take("tools") {
        None => return Ok((Vec::new(), None)),
        Some(Value::Array(items)) if items.len() <= MAX_TOOLS => items,
        Some(Value::Array(items)) => {
            return Err(ApiError::invalid("tools", format!("must hold at most {MAX_TOOLS}, not {}", items.len())));
        }
        Some(other) => return Err(wrong("tools", "an array", &other)),
    };
    let mut list: Vec<Tool> = Vec::with_capacity(items.len());
    let mut first_strict = None;
    for (at, item) in items.into_iter().enumerate() {
        let Read { tool: read, strict } = tool(&format!("tools[{at}]"), item)?;
        first_strict = first_strict.or(strict);
        if list.iter().any(|t| t.name == read.name) {
            return Err(ApiError::invalid(format!("tools[{at}].function.name"), "is there twice"));
        }
        list.push(read);
    }
    Ok((list, first_strict))
}

/// A function, and the place where it asks that its arguments always fit, if it does.
struct Read {
    tool: Tool,
    strict: Option<String>,
}

fn tool(path: &str, definition: Value) -> Result<Read, ApiError> {
    let mut fields = Fields::nested(path, definition.clone())?;
    let kind = fields.string("type")?.ok_or_else(|| fields.missing("type"))?;
    if kind != "function" {
        return Err(wrong(&fields.path("type"), "function", &Value::String(kind)));
    }
    let function = fields.take("function").ok_or_else(|| fields.missing("function"))?;
    let mut function = Fields::nested(&fields.path("function"), function)?;
    fields.finish(&[])?;
    let name = function.string("name")?.ok_or_else(|| function.missing("name"))?;
    check_name(&function.path("name"), &name)?;
    function.string("description")?;
    let strict = function.boolean("strict")?.unwrap_or(false);
    let parameters = match function.take("parameters") {
        // As in OpenAI's API: the function has no arguments.
        None => json!({"type": "object", "properties": {}, "additionalProperties": false}),
        Some(value @ Value::Object(_)) => schema(&function.path("parameters"), value)?,
        Some(other) => return Err(wrong(&function.path("parameters"), "a JSON schema, which is an object", &other)),
    };
    let path = function.path("strict");
    function.finish(&[])?;
    Ok(Read { tool: Tool { name, parameters, definition }, strict: strict.then_some(path) })
}

fn choice(value: Value, tools: &[Tool]) -> Result<ToolChoice, ApiError> {
    const PATH: &str = "tool_choice";
    let choice = match &value {
        Value::String(text) if text == "none" => return Ok(ToolChoice::None),
        Value::String(text) if text == "auto" => return Ok(ToolChoice::Auto),
        Value::String(text) if text == "required" => ToolChoice::Required,
        Value::Object(_) => {
            let mut fields = Fields::nested(PATH, value)?;
            let kind = fields.string("type")?.ok_or_else(|| fields.missing("type"))?;
            if kind != "function" {
                return Err(wrong(&fields.path("type"), "function", &Value::String(kind)));
            }
            let function = fields.take("function").ok_or_else(|| fields.missing("function"))?;
            let mut function = Fields::nested(&fields.path("function"), function)?;
            fields.finish(&[])?;
            let name = function.string("name")?.ok_or_else(|| function.missing("name"))?;
            function.finish(&[])?;
            ToolChoice::Named(name)
        }
        other => return Err(wrong(PATH, "none, auto, required or a function", other)),
    };
    match &choice {
        _ if tools.is_empty() => Err(ApiError::invalid(PATH, "is only allowed together with tools")),
        ToolChoice::Named(name) if tools.iter().all(|t| &t.name != name) => {
            Err(wrong("tool_choice.function.name", "one of the tools", &Value::String(name.clone())))
        }
        _ => Ok(choice),
    }
}

/// A call that a model made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: String,
    pub function: FunctionCall,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCall {
    pub name: String,
    /// A JSON object as text, as the model wrote it.
    pub arguments: String,
}

impl ToolCall {
    pub fn new(id: String, name: String, arguments: String) -> Self {
        Self { id, kind: "function".into(), function: FunctionCall { name, arguments } }
    }
}

/// A piece of a call in a stream: the first has id and name, the later ones more of the arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCallDelta {
    pub index: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    pub function: FunctionDelta,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionDelta {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub arguments: String,
}

impl ToolCallDelta {
    /// The beginning of a call.
    pub fn begin(index: u32, id: String, name: String) -> Self {
        let function = FunctionDelta { name: Some(name), arguments: String::new() };
        Self { index, id: Some(id), kind: Some("function".into()), function }
    }

    /// More of its arguments.
    pub fn arguments(index: u32, text: String) -> Self {
        Self { index, id: None, kind: None, function: FunctionDelta { name: None, arguments: text } }
    }
}

/// Reads the calls of an earlier answer; `path` is their place in the body.
pub(super) fn calls(path: &str, value: Value) -> Result<Vec<ToolCall>, ApiError> {
    let items = match value {
        Value::Array(items) if items.len() <= MAX_CALLS => items,
        Value::Array(items) => {
            return Err(ApiError::invalid(path, format!("must hold at most {MAX_CALLS} calls, not {}", items.len())));
        }
        other => return Err(wrong(path, "an array", &other)),
    };
    items.into_iter().enumerate().map(|(at, item)| call(&format!("{path}[{at}]"), item)).collect()
}

fn call(path: &str, value: Value) -> Result<ToolCall, ApiError> {
    let mut fields = Fields::nested(path, value)?;
    let id = fields.string("id")?.ok_or_else(|| fields.missing("id"))?;
    let kind = fields.string("type")?.unwrap_or_else(|| "function".into());
    if kind != "function" {
        return Err(wrong(&fields.path("type"), "function", &Value::String(kind)));
    }
    let function = fields.take("function").ok_or_else(|| fields.missing("function"))?;
    let mut function = Fields::nested(&fields.path("function"), function)?;
    fields.finish(&["index"])?;
    let name = function.string("name")?.ok_or_else(|| function.missing("name"))?;
    check_name(&function.path("name"), &name)?;
    let arguments = function.string("arguments")?.ok_or_else(|| function.missing("arguments"))?;
    function.finish(&[])?;
    Ok(ToolCall::new(id, name, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(body: Value) -> Result<Tools, ApiError> {
        let mut fields = Fields::from_body(body.to_string().as_bytes())?;
        let tools = Tools::take(&mut fields)?;
        fields.finish(&[])?;
        Ok(tools)
    }

    fn weather() -> Value {
        let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
        json!({"type": "function", "function": {"name": "weather", "description": "d", "parameters": parameters}})
    }

    fn named(name: &str) -> Value {
        json!({"type": "function", "function": {"name": name}})
    }

    #[test]
    fn tools_and_choices_are_read() {
        let none = take(json!({})).unwrap();
        assert!(!none.in_use() && none.forced().is_empty());
        assert!(!take(json!({"tools": [], "tool_choice": "auto"})).unwrap().in_use());
        let two = [weather(), named("time")];
        let auto = take(json!({"tools": two})).unwrap();
        assert!(auto.in_use() && auto.parallel && auto.forced().is_empty());
        assert_eq!((auto.list[0].name.as_str(), &auto.list[0].definition), ("weather", &weather()));
        let nothing = json!({"type": "object", "properties": {}, "additionalProperties": false});
        assert_eq!(auto.list[1].parameters, nothing, "no arguments may be invented");
        let off = take(json!({"tools": two, "tool_choice": "none", "parallel_tool_calls": false})).unwrap();
        assert!(!off.in_use() && !off.parallel);
        assert_eq!(take(json!({"tools": two, "tool_choice": "required"})).unwrap().forced().len(), 2);
        let one = take(json!({"tools": two, "tool_choice": named("time")})).unwrap();
        assert_eq!(one.forced().iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["time"]);
    }

    #[test]
    fn strict_is_kept_where_a_call_is_forced() {
        let strict = json!({"type": "function", "function": {"name": "time", "strict": true}});
        let body = |choice: Value| json!({"tools": [strict], "tool_choice": choice});
        assert!(take(body(json!("auto"))).is_err());
        for choice in [json!("required"), json!("none"), named("time")] {
            assert!(take(body(choice)).is_ok());
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let function = |function: Value| json!({"tools": [{"type": "function", "function": function}]});
        let large = json!({"type": "object", "description": "x".repeat(70_000)});
        let cases = [
            (json!({"tools": "x"}), "tools"),
            (json!({"tools": vec![weather(); 129]}), "tools"),
            (json!({"tools": [5]}), "tools[0]"),
            (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
            (json!({"tools": [{"type": "function"}]}), "tools[0].function"),
            (function(json!({})), "tools[0].function.name"),
            (function(json!({"name": "a b"})), "tools[0].function.name"),
            (function(json!({"name": "a", "parameters": []})), "tools[0].function.parameters"),
            (function(json!({"name": "a", "parameters": large})), "tools[0].function.parameters"),
            (function(json!({"name": "a", "strict": true})), "tools[0].function.strict"),
            (function(json!({"name": "a", "returns": {}})), "tools[0].function.returns"),
            (function(json!({"name": "a", "description": 5})), "tools[0].function.description"),
            (json!({"tools": [weather(), weather()]}), "tools[1].function.name"),
            (json!({"tool_choice": "required"}), "tool_choice"),
            (json!({"tools": [weather()], "tool_choice": "always"}), "tool_choice"),
            (json!({"tools": [weather()], "tool_choice": {"type": "allowed_tools"}}), "tool_choice.type"),
            (json!({"tools": [weather()], "tool_choice": named("other")}), "tool_choice.function.name"),
            (json!({"tools": [weather()], "parallel_tool_calls": 1}), "parallel_tool_calls"),
        ];
        for (body, field) in cases {
            let error = take(body).expect_err(field);
            assert!(error.message.starts_with(&format!("{field}:")) && error.status == 400, "{field}: {error}");
        }
    }
}
