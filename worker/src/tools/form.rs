//! The form of an answer that has to be a call, as a JSON schema.

use super::Format;
use rbee_wire::openai::Tool;
use serde_json::{Value, json};

impl Format {
    /// What follows [`Format::forced_opening`]: one call of one of these functions, or several where the family has a list.
    pub fn form(self, tools: &[&Tool], parallel: bool) -> Value {
        match self {
            Self::Hermes | Self::Llama => self.call(tools, "#"),
            Self::Mistral => {
                let mut list = json!({"type": "array", "items": self.call(tools, "#/items"), "minItems": 1});
                if !parallel {
                    list["maxItems"] = 1.into();
                }
                list
            }
        }
    }

    /// A call of one of the functions; `place` is where this schema will lie.
    fn call(self, tools: &[&Tool], place: &str) -> Value {
        match tools {
            [tool] => self.call_of(tool, place),
            _ => {
                let each =
                    tools.iter().enumerate().map(|(at, tool)| self.call_of(tool, &format!("{place}/anyOf/{at}")));
                json!({"anyOf": each.collect::<Vec<_>>()})
            }
        }
    }

    fn call_of(self, tool: &Tool, place: &str) -> Value {
        let arguments = self.arguments();
        let mut parameters = tool.parameters.clone();
        move_references(&mut parameters, &format!("{place}/properties/{arguments}"));
        json!({
            "type": "object",
            "properties": {"name": {"const": tool.name}, arguments: parameters},
            "required": ["name", arguments],
            "additionalProperties": false,
        })
    }
}

/// References within a schema that is put into another one lead to their new places.
fn move_references(schema: &mut Value, place: &str) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(to) if key == "$ref" => {
                        if let Some(rest) = to.strip_prefix('#') {
                            *to = format!("{place}{rest}");
                        }
                    }
                    other => move_references(other, place),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_references(item, place)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, parameters: Value) -> Tool {
        Tool { name: name.into(), parameters, definition: Value::Null }
    }

    #[test]
    fn a_form_names_functions_before_arguments_and_moves_references() {
        let node = json!({"$defs": {"n": {"items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"});
        let (a, b) = (tool("a", json!({"type": "object"})), tool("b", node));
        let one = Format::Hermes.form(&[&a], true);
        assert_eq!(one["properties"], json!({"name": {"const": "a"}, "arguments": {"type": "object"}}));
        assert_eq!(one["properties"].as_object().unwrap().keys().next().unwrap(), "name");
        let list = Format::Mistral.form(&[&a, &b], false);
        assert_eq!((&list["minItems"], &list["maxItems"]), (&json!(1), &json!(1)));
        let inner = "#/items/anyOf/1/properties/arguments/$defs/n";
        let parameters = list.pointer("/items/anyOf/1/properties/arguments").unwrap();
        assert_eq!(parameters, &json!({"$defs": {"n": {"items": {"$ref": inner}}}, "$ref": inner}));
        assert!(list.pointer(&inner[1..]).is_some());
        assert_eq!(Format::Llama.form(&[&a], true)["required"], json!(["name", "parameters"]));
    }
}
