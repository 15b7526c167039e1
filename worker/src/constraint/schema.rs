//! What a JSON schema must be like before llguidance gets it. Pure.

use super::{ConstraintError, endless};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Most values (objects, arrays, strings, numbers) in a schema.
const MAX_VALUES: usize = 20_000;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;

/// White space between the tokens of JSON: a space, or a new line with its indentation. With more some models never end.
const WHITE_SPACE: &str = r"\x20|\x0D?\x0A[\x20\x09]{0,24}";

/// Most regular expressions that one string would have to match at once, whatever combines them.
const MAX_INTERSECTED: usize = 8;
/// Most properties of one object that may be left out: each of them may come next, which is looked at for every token.
const MAX_OPTIONAL: usize = 1000;
/// Most patterns of property names; each is compared with each.
const MAX_NAME_PATTERNS: usize = 64;

/// The schema as it is compiled, or why it is not.
pub(super) fn prepare(schema: &Value) -> Result<Value, ConstraintError> {
    let mut size = Size::default();
    size.measure(schema, 0)?;
    if let Some(to) = endless::reference(schema) {
        return Err(refused(&format!("$ref {to:?} leads to itself without end, nothing fits it")));
    }
    let together = Intersections { root: schema, known: HashMap::new() }.of(schema);
    if together > MAX_INTERSECTED {
        let text = format!("the schema intersects up to {together} patterns or formats, allowed are {MAX_INTERSECTED}");
        return Err(ConstraintError::TooLarge(text));
    }
    let mut schema = match schema {
        Value::Object(map) => map.clone(),
        Value::Bool(true) => Map::new(),
        Value::Bool(false) => return Err(refused("the schema is false, nothing fits it")),
        other => return Err(refused(&format!("the schema must be an object, not {other}"))),
    };
    // Settings of the compiler, which are ours and not the request's.
    schema.insert("x-guidance".into(), json!({"whitespace_pattern": WHITE_SPACE}));
    Ok(schema.into())
}

fn refused(text: &str) -> ConstraintError {
    ConstraintError::Refused(text.to_owned())
}

#[derive(Default)]
struct Size {
    values: usize,
    name_patterns: usize,
}

impl Size {
    fn measure(&mut self, value: &Value, depth: usize) -> Result<(), ConstraintError> {
        let too_large = |text: String| Err(ConstraintError::TooLarge(text));
        self.values += 1;
        if self.values > MAX_VALUES {
            return too_large(format!("the schema has more than {MAX_VALUES} values"));
        }
        if depth > MAX_DEPTH {
            return too_large(format!("the schema is nested more than {MAX_DEPTH} deep"));
        }
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.measure(item, depth + 1)),
            Value::Object(map) => map.iter().try_for_each(|(key, item)| {
                match item {
                    // References lead into the schema itself only.
                    Value::String(to) if key == "$ref" && !to.starts_with('#') => {
                        return Err(refused(&format!("$ref {to:?} is not supported; references must begin with #")));
                    }
                    Value::Object(properties) if key == "properties" => {
                        let required = map.get("required").and_then(Value::as_array).map_or(0, Vec::len);
                        if properties.len().saturating_sub(required) > MAX_OPTIONAL {
                            return too_large(format!(
                                "an object has more than {MAX_OPTIONAL} properties that may be left out"
                            ));
                        }
                    }
                    Value::Object(patterns) if key == "patternProperties" => self.name_patterns += patterns.len(),
                    _ => {}
                }
                if self.name_patterns > MAX_NAME_PATTERNS {
                    return too_large(format!("patternProperties have more than {MAX_NAME_PATTERNS} patterns"));
                }
                self.measure(item, depth + 1)
            }),
            _ => Ok(()),
        }
    }
}

/// How many regular expressions meet in one string at most. Their intersection takes time that grows exponentially with them,
/// and neither fuel nor a limit of states bounds it.
struct Intersections<'a> {
    root: &'a Value,
    /// Of references; 0 while one is followed, as a circle adds nothing.
    known: HashMap<&'a str, usize>,
}

impl<'a> Intersections<'a> {
    fn of(&mut self, schema: &'a Value) -> usize {
        let Value::Object(map) = schema else { return 0 };
        let (mut all, mut most) = (0usize, 0);
        for (key, value) in map {
            match (key.as_str(), value) {
                ("pattern" | "format", _) => all += 1,
                ("$ref", Value::String(to)) => all = all.saturating_add(self.of_reference(to)),
                ("allOf", Value::Array(parts)) => {
                    all = parts.iter().fold(all, |sum, part| sum.saturating_add(self.of(part)));
                }
                // One of several holds at a time; properties and items of objects that are intersected are too.
                ("anyOf" | "oneOf" | "prefixItems", Value::Array(parts)) => {
                    all = all.saturating_add(parts.iter().map(|part| self.of(part)).max().unwrap_or(0));
                }
                ("properties" | "patternProperties", Value::Object(parts)) => {
                    most = parts.values().map(|part| self.of(part)).fold(most, usize::max);
                }
                ("items" | "additionalProperties" | "additionalItems", part) => most = most.max(self.of(part)),
                _ => {}
            }
        }
        all.saturating_add(most)
    }

    fn of_reference(&mut self, to: &'a str) -> usize {
        if let Some(&known) = self.known.get(to) {
            return known;
        }
        self.known.insert(to, 0);
        let target = to.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer.trim_end_matches('/')));
        let count = target.map_or(0, |target| self.of(target));
        self.known.insert(to, count);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_refused_with_its_measure() {
        let wide = Value::Array(vec![json!(1); MAX_VALUES]);
        assert!(prepare(&json!({"enum": wide})).unwrap_err().to_string().contains("20000 values"));
        let deep = (0..100).fold(json!({}), |inner, _| json!({"items": inner}));
        assert!(prepare(&deep).unwrap_err().to_string().contains("64 deep"));
        let names: Map<String, Value> = (0..65).map(|n| (n.to_string(), json!({}))).collect();
        assert!(
            prepare(&json!({"items": {"patternProperties": names}})).unwrap_err().to_string().contains("64 patterns")
        );
        assert!(prepare(&json!({"$ref": "http://x/y"})).unwrap_err().to_string().contains("http://x/y"));
        assert!(prepare(&json!(false)).is_err() && prepare(&json!(5)).is_err());
    }

    #[test]
    fn the_compilers_settings_are_not_the_requests() {
        let prepared = prepare(&json!({"x-guidance": {"lenient": true}, "type": "object"})).unwrap();
        assert_eq!(prepared["x-guidance"], json!({"whitespace_pattern": WHITE_SPACE}));
        assert!(prepare(&json!(true)).unwrap().is_object());
    }

    #[test]
    fn patterns_that_meet_in_one_string_are_counted() {
        let count = |schema: Value| Intersections { root: &schema, known: HashMap::new() }.of(&schema);
        let pattern = || json!({"pattern": "a"});
        assert_eq!(count(json!({"properties": {"a": pattern(), "b": {"items": pattern()}}})), 1);
        assert_eq!(count(json!({"anyOf": [pattern(), pattern()], "format": "date"})), 2);
        assert_eq!(count(json!({"allOf": [pattern(), {"anyOf": [pattern(), {}]}, pattern()]})), 3);
        let merged = json!({"allOf": [{"properties": {"a": pattern()}}, {"properties": {"a": pattern()}}]});
        assert_eq!(count(merged), 2);
        let named = json!({"$defs": {"p": {"pattern": "a", "items": {"$ref": "#/$defs/p"}}}, "allOf": [{"$ref": "#/$defs/p"}, {"$ref": "#/$defs/p"}]});
        assert_eq!(count(named), 2);
        let doubling: Map<String, Value> = (0..100)
            .map(|n| {
                let next = format!("#/$defs/{}", n + 1);
                (n.to_string(), json!({"pattern": "a", "allOf": [{"$ref": next}, {"$ref": next}]}))
            })
            .collect();
        assert!(prepare(&json!({"$defs": doubling, "$ref": "#/$defs/0"})).is_err());
    }
}
