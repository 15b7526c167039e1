//! What kube-apiserver 1.36 says about objects of the test schema, recorded with its own code, against ours.

use serde_json::Value;

use super::testing::widget;
use super::{Structural, normalise_numbers};

fn decoded(schema: &Structural, mut object: Value) -> (Value, Vec<String>) {
    normalise_numbers(&mut object);
    let unknown = schema.prune(&mut object);
    schema.default(&mut object);
    (object, unknown)
}

#[test]
fn objects_are_pruned_defaulted_and_refused_as_kubernetes_does() {
    let schema = widget();
    let mut wrong = Vec::new();
    let cases = include_str!("testdata/validation.jsonl");
    assert!(cases.lines().count() > 100);
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let (object, unknown) = decoded(&schema, case["new"].clone());
        let old = (!case["old"].is_null()).then(|| decoded(&schema, case["old"].clone()).0);
        let mut want_object = case["object"].clone();
        normalise_numbers(&mut want_object);
        if object != want_object {
            wrong.push(format!("{}\n  object {object}\n  wanted {want_object}", case["new"]));
        }
        if serde_json::json!(unknown) != case["unknown"] {
            wrong.push(format!("{}\n  unknown {unknown:?}\n  wanted {}", case["new"], case["unknown"]));
        }
        let mut errors: Vec<String> =
            schema.validate(&object, old.as_ref()).iter().map(|e| format!("{} {e}", e.kind.reason())).collect();
        errors.sort();
        if serde_json::json!(errors) != case["errors"] {
            let wanted: Vec<&str> = case["errors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            wrong.push(format!(
                "{} (was {})\n  said   {}\n  wanted {}",
                case["new"]["spec"],
                case["old"]["spec"],
                errors.join("\n         "),
                wanted.join("\n         ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of the cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn definitions_are_refused_as_kubernetes_does() {
    let mut wrong = Vec::new();
    let cases = include_str!("testdata/definitions.jsonl");
    assert!(cases.lines().count() > 40);
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let said: Vec<String> = match Structural::compile(&case["schema"]) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(|e| format!("{} {e}", e.kind.reason())).collect(),
        };
        if serde_json::json!(said) != case["errors"] {
            wrong.push(format!("{}\n  said   {said:?}\n  wanted {}", case["schema"], case["errors"]));
        }
    }
    assert!(wrong.is_empty(), "{} of the cases differ:\n{}", wrong.len(), wrong.join("\n"));
}
