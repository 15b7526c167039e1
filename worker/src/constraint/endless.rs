//! References of a schema that lead to nothing that could ever be written to its end. Pure.

use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// Rounds until what is not known to end is let pass; schemas of people need two.
const ROUNDS: usize = 16;

/// A reference that is used in a schema and that no finite text fits, as it only leads to itself, or needs itself within.
pub(super) fn reference(root: &Value) -> Option<&str> {
    let used = used(root);
    let mut ends = Ends { root, known: HashMap::new() };
    for _ in 0..ROUNDS {
        // What was found not to end may have been found so only because something else was not known yet.
        ends.known.retain(|_, ends| *ends);
        let before = ends.known.len();
        for to in &used {
            ends.of_reference(to);
        }
        if ends.known.values().filter(|ends| **ends).count() == before {
            return used.into_iter().find(|to| ends.known.get(to) == Some(&false));
        }
    }
    None
}

fn target<'a>(root: &'a Value, to: &str) -> Option<&'a Value> {
    root.pointer(to.strip_prefix('#')?.trim_end_matches('/'))
}

/// All references that the schema's answers may follow, in the order in which they are met.
fn used(root: &Value) -> Vec<&str> {
    let (mut found, mut seen, mut left) = (Vec::new(), HashSet::new(), vec![root]);
    while let Some(schema) = left.pop() {
        let Value::Object(map) = schema else { continue };
        left.extend(parts(map));
        if let Some(Value::String(to)) = map.get("$ref")
            && seen.insert(to.as_str())
        {
            found.push(to.as_str());
            left.extend(target(root, to));
        }
    }
    found
}

/// The schemas that a schema is made of.
fn parts(map: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    map.iter().flat_map(|(key, value)| -> Box<dyn Iterator<Item = &Value>> {
        match (key.as_str(), value) {
            ("properties" | "patternProperties", Value::Object(parts)) => Box::new(parts.values()),
            ("allOf" | "anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(parts)) => Box::new(parts.iter()),
            ("items" | "additionalProperties" | "additionalItems", part) => Box::new(std::iter::once(part)),
            _ => Box::new(std::iter::empty()),
        }
    })
}

/// Whether a text that fits can end. What is unknown here is for the compiler to judge and counts as ending.
struct Ends<'a> {
    root: &'a Value,
    /// Of references; false while one is followed.
    known: HashMap<&'a str, bool>,
}

impl<'a> Ends<'a> {
    fn of_reference(&mut self, to: &'a str) -> bool {
        if let Some(&known) = self.known.get(to) {
            return known;
        }
        self.known.insert(to, false);
        let ends = target(self.root, to).is_none_or(|target| self.of(target));
        self.known.insert(to, ends);
        ends
    }

    fn of(&mut self, schema: &'a Value) -> bool {
        let Value::Object(map) = schema else { return true };
        let list = |key: &str| map.get(key).and_then(Value::as_array).into_iter().flatten();
        if let Some(Value::String(to)) = map.get("$ref")
            && !self.of_reference(to)
        {
            return false;
        }
        if !list("allOf").all(|part| self.of(part)) {
            return false;
        }
        for key in ["anyOf", "oneOf"] {
            if list(key).next().is_some() && !list(key).any(|part| self.of(part)) {
                return false;
            }
        }
        match map.get("type").and_then(Value::as_str) {
            Some("object") => {
                let property = |name: &'a Value| map.get("properties")?.get(name.as_str()?);
                list("required").filter_map(property).all(|part| self.of(part))
            }
            Some("array") => {
                let least = map.get("minItems").and_then(Value::as_u64).unwrap_or(0) as usize;
                let first = list("prefixItems").chain(list("items")).take(least).all(|part| self.of(part));
                let more = map.get("items").filter(|items| items.is_object() && least > list("prefixItems").count());
                first && more.is_none_or(|items| self.of(items))
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_without_an_end_are_found_wherever_they_are_used() {
        let needs =
            |name: &str, to: &str| json!({"type": "object", "properties": {name: {"$ref": to}}, "required": [name]});
        let circle = json!({"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}});
        let endless = [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"properties": {"x": {"$ref": "#/$defs/a"}}, "$defs": circle}),
            json!({"items": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/b"}]}, "$defs": circle}),
            json!({"$defs": {"n": needs("next", "#/$defs/n")}, "$ref": "#/$defs/n"}),
            json!({"$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}, "minItems": 1}}, "$ref": "#/$defs/n"}),
            json!({"$defs": {"n": {"anyOf": [{"$ref": "#/$defs/n"}, needs("x", "#/$defs/n")]}}, "$ref": "#/$defs/n"}),
        ];
        for schema in endless {
            assert!(reference(&schema).is_some(), "{schema}");
        }
    }

    #[test]
    fn recursion_that_can_end_is_none() {
        let fine = [
            json!({"type": "object"}),
            json!({"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}, "required": ["kids"]}),
            json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#"}, "minItems": 2}]}),
            json!({"$defs": {"unused": {"$ref": "#/$defs/unused"}}, "type": "string"}),
            json!({"const": {"$ref": "#"}, "properties": {"$ref": {"type": "string"}}}),
            json!({"$ref": "#/$defs/gone"}),
            // Each needs the other to be known first.
            json!({"$ref": "#/$defs/a", "$defs": {
                "a": {"anyOf": [{"$ref": "#/$defs/b"}, {"type": "null"}]},
                "b": {"allOf": [{"$ref": "#/$defs/a"}]},
            }}),
        ];
        for schema in fine {
            assert_eq!(reference(&schema), None, "{schema}");
        }
    }
}
