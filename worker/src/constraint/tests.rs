//! Grammars over the built-in model's vocabulary: what they allow, and which of them are refused.

use super::*;
use crate::testing::tinybee_tokenizer;
use serde_json::{Value, json};
use std::time::Instant;

fn grammars() -> Grammars {
    Grammars::new(tinybee_tokenizer())
}

fn schema(schema: Value) -> Constraint {
    Constraint::JsonSchema(schema)
}

fn regex(pattern: &str) -> Constraint {
    Constraint::Regex(pattern.into())
}

fn allows(mask: &[u32], token: u32) -> bool {
    mask.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
}

/// Whether a grammar takes a text token by token, and whether it may end there.
fn takes(grammar: &Grammar, text: &str) -> (bool, bool) {
    let tokenizer = tinybee_tokenizer();
    let mut grammar = grammar.clone();
    for token in tokenizer.encode(text) {
        if !allows(grammar.mask().unwrap(), token) {
            return (false, false);
        }
        if grammar.accept(token).unwrap() {
            return (true, true);
        }
    }
    let mask = grammar.mask().unwrap().to_vec();
    (true, (0..tokenizer.vocab_size() as u32).any(|id| tokenizer.is_end(id) && allows(&mask, id)))
}

#[test]
fn any_json_object_is_json() {
    let json = grammars().compile(&Constraint::Json).unwrap();
    assert_eq!(takes(&json, r#"{"a": [1, true, null, "x\n"], "b": {}}"#), (true, true));
    assert_eq!(takes(&json, "{\n  \"a\": 1"), (true, false));
    assert!(!takes(&json, "[1]").0 && !takes(&json, "a").0 && !takes(&json, "{a").0);
}

#[test]
fn a_schema_is_followed_with_its_references() {
    let person = json!({
        "$defs": {"name": {"type": "string", "pattern": "^[a-z]+$"}, "list": {"type": "array", "items": {"$ref": "#/$defs/name"}}},
        "type": "object",
        "properties": {"name": {"$ref": "#/$defs/name"}, "age": {"type": "integer", "minimum": 0}, "friends": {"$ref": "#/$defs/list"}},
        "required": ["name", "age"],
        "additionalProperties": false,
    });
    let grammar = grammars().compile(&schema(person)).unwrap();
    assert_eq!(takes(&grammar, r#"{"name": "bee", "age": 7}"#), (true, true));
    assert_eq!(takes(&grammar, r#"{"name": "bee", "age": 7, "friends": ["ant"]}"#), (true, true));
    for wrong in [r#"{"age": 7}"#, r#"{"name": "Bee""#, r#"{"name": "bee", "age": -1"#, r#"{"name": "bee", "more""#] {
        assert!(!takes(&grammar, wrong).0, "{wrong}");
    }
    let tree = json!({"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}, "additionalProperties": false});
    let grammar = grammars().compile(&schema(tree)).unwrap();
    assert_eq!(takes(&grammar, r#"{"kids": [{"kids": []}, {}]}"#), (true, true));
}

#[test]
fn a_regex_is_matched_from_begin_to_end() {
    for pattern in ["(yes|no) [0-9]{2}", "^(yes|no) [0-9]{2}$"] {
        let grammar = grammars().compile(&regex(pattern)).unwrap();
        assert_eq!(takes(&grammar, "yes 42"), (true, true), "{pattern}");
        assert_eq!(takes(&grammar, "no 4"), (true, false));
        assert!(!takes(&grammar, "maybe").0 && !takes(&grammar, "yes 4x").0);
    }
    let open = grammars().compile(&regex("a+")).unwrap();
    assert_eq!(takes(&open, "aa"), (true, true));
}

#[test]
fn unsupported_words_are_named() {
    let refused = |constraint| grammars().compile(&constraint).unwrap_err().to_string();
    let text = refused(schema(json!({"type": "object", "properties": {"a": {"not": {"type": "string"}}}})));
    assert!(text.contains("not supported") && text.contains("\"not\""), "{text}");
    let text = refused(schema(json!({"type": "array", "uniqueItems": true})));
    assert!(text.contains("uniqueItems"), "{text}");
    let text = refused(schema(json!({"$ref": "#/$defs/gone"})));
    assert!(text.contains("gone") || text.contains("$defs"), "{text}");
    let text = refused(regex("(?=a)b"));
    assert!(text.contains("look"), "{text}");
    let text = refused(regex("(a"));
    assert!(!text.is_empty() && !text.contains('\n'), "{text}");
    let text = refused(schema(json!({"type": "strin"})));
    assert!(text.contains("strin"), "{text}");
}

#[test]
fn bombs_end_soon_and_leave_the_next_grammar_alone() {
    let grammars = grammars();
    grammars.compile(&Constraint::Json).unwrap();
    let chain: serde_json::Map<String, Value> =
        (0..9_000).map(|n| (n.to_string(), json!({"$ref": format!("#/$defs/{}", n + 1)}))).collect();
    let all_of: Vec<Value> = (0..200).map(|n| json!({"pattern": format!("(a|b)*{n}(c|d){{1,90}}")})).collect();
    let doubling: serde_json::Map<String, Value> = (0..60)
        .map(|n| {
            let next = json!({"$ref": format!("#/$defs/{}", n + 1)});
            (n.to_string(), json!({"allOf": [next, next], "anyOf": [next, next], "type": "object"}))
        })
        .collect();
    let bombs = [
        ("nested repeats", regex("((((a{1,100}){1,100}){1,100}){1,100}){1,100}")),
        ("exact count", regex("(a?){5000}a{5000}")),
        ("classic", regex("(x+x+)+y")),
        ("many words", regex(&format!("({})*", (0..900).map(|n| format!("w{n}")).collect::<Vec<_>>().join("|")))),
        ("deep groups", regex(&format!("{}a{}", "(".repeat(4000), ")".repeat(4000)))),
        ("late choice", regex("(a|b)*a(a|b){4000}")),
        ("chain of references", schema(json!({"$defs": chain, "$ref": "#/$defs/0"}))),
        ("itself", schema(json!({"$ref": "#"}))),
        (
            "each other",
            schema(json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"})),
        ),
        ("all of itself", schema(json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}], "type": "object"}))),
        ("doubling", schema(json!({"$defs": doubling, "$ref": "#/$defs/0"}))),
        ("few intersections", schema(json!({"type": "string", "allOf": all_of[..6]}))),
        ("intersection", schema(json!({"type": "string", "allOf": all_of}))),
        ("long string", schema(json!({"type": "string", "minLength": 1_000_000}))),
        ("many items", schema(json!({"type": "array", "minItems": 1_000_000, "items": {"type": "string"}}))),
        ("large enum", schema(json!({"enum": (0..19_000).map(|n| format!("value {n}")).collect::<Vec<_>>()}))),
    ];
    let refused =
        ["deep groups", "chain of references", "itself", "each other", "all of itself", "doubling", "intersection"];
    for (name, bomb) in bombs {
        let outcome = grammars.compile(&bomb);
        assert!(outcome.is_err() || !refused.contains(&name), "{name} was taken");
        // What is accepted must be usable: no mask of it may be dear either.
        if let Ok(mut grammar) = outcome {
            for _ in 0..20 {
                let Ok(mask) = grammar.mask() else { break };
                let mask = mask.to_vec();
                let Some(token) = (3..1280).find(|&t| allows(&mask, t)) else { break };
                if grammar.accept(token) != Ok(false) {
                    break;
                }
            }
        } else if let Err(error) = outcome {
            assert!(
                error.to_string().chars().count() < 400 && !error.to_string().contains("backtrace"),
                "{name}: {error}"
            );
        }
    }
    assert!(grammars.compile(&Constraint::Json).is_ok());
    // None of them is still at work, which would take its core from the model.
    let end = Instant::now() + Duration::from_secs(20);
    while grammars.compiling.load(Ordering::Relaxed) > 0 {
        assert!(Instant::now() < end, "a bomb that was given up burns on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Tokens of a text that a grammar takes, masks computed on the way.
fn taken(grammar: &Grammar, tokens: &[u32]) -> Result<usize, Stuck> {
    let mut grammar = grammar.clone();
    for (at, &token) in tokens.iter().enumerate() {
        if !allows(grammar.mask()?, token) || grammar.accept(token)? {
            return Ok(at);
        }
    }
    Ok(tokens.len())
}

#[test]
fn classic_regex_bombs_are_harmless() {
    let token = tinybee_tokenizer().encode_part("a")[0];
    for bomb in ["(a+a+)+y", "(a*)*b", "(a|a)*b", "(a|aa)+$", "([a-zA-Z]+)*x", ".*.*=.*", "(.*)*x"] {
        let grammar = grammars().compile(&regex(bomb)).unwrap();
        // A matcher that tries one way after the other would not live to see the end of this.
        assert_eq!(taken(&grammar, &[token; 2000]), Ok(2000), "{bomb}");
    }
}

#[test]
fn an_object_of_many_optional_properties_is_served_or_refused_before_it_begins() {
    // Whether it is served must not hang on how busy the machine is.
    let patient = Grammars { patience: Duration::from_secs(60), ..grammars() };
    let object = |count: usize| {
        let properties: serde_json::Map<String, Value> =
            (0..count).map(|n| (format!("p{n}"), json!({"type": "string"}))).collect();
        patient.compile(&schema(json!({"type": "object", "properties": properties, "additionalProperties": false})))
    };
    for count in [600, 1000] {
        let text = format!(r#"{{"p0": "a", "p5": "b", "p{}": "c"}}"#, count - 1);
        assert_eq!(takes(&object(count).unwrap(), &text), (true, true), "{count}");
    }
    let refused = object(1001).unwrap_err();
    assert!(refused.to_string().contains("1000 properties"), "{refused}");
}

#[test]
fn a_circle_of_references_is_refused_where_an_answer_would_only_later_meet_it() {
    let circle = json!({"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}});
    let schemas = [
        json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/a"}}, "required": ["x"], "$defs": circle}),
        json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/a"}}, "$defs": circle}),
        json!({"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": circle}),
    ];
    for circle in schemas {
        let refused = grammars().compile(&schema(circle.clone())).unwrap_err();
        assert!(matches!(refused, ConstraintError::Refused(_)), "{circle}: {refused}");
        assert!(refused.to_string().contains("#/$defs/"), "{refused}");
    }
}
