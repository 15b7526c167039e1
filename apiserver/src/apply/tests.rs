//! Server-side apply: cases of Kubernetes' documented behaviour, and properties.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::path::{PathElement, path_text};
use super::set::Set;
use super::*;
use crate::schema::testing::widget;

const NOW: &str = "2026-01-01T00:00:00Z";
const LATER: &str = "2026-01-02T00:00:00Z";
const VERSION: &str = "parity.rbee.dev/v1";

fn ctx<'a>(schema: &'a Structural, manager: &'a str) -> Context<'a> {
    Context { schema, manager, force: false, now: NOW, subresource: "", api_version: VERSION, has_status: true }
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": VERSION, "kind": "Widget", "metadata": {"name": "a", "namespace": "n"}, "spec": spec})
}

/// Applies one configuration after the other, each by its manager, and answers the object.
fn applied(steps: &[(&str, Value)]) -> Value {
    let schema = widget();
    let mut live: Option<Value> = None;
    for (manager, spec) in steps {
        let new = apply(live.as_ref(), &object(spec.clone()), &ctx(&schema, manager));
        live = Some(new.unwrap_or_else(|e| panic!("{manager} applies {spec}: {e}")));
    }
    live.expect("a step")
}

fn owned(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries.into_iter().find(|e| e["manager"] == manager).map_or(Value::Null, |e| e["fieldsV1"].clone())
}

#[test]
fn creating_by_apply_owns_what_is_set() {
    let got = applied(&[(
        "one",
        json!({"mode": "fast", "tags": ["x"], "marks": {"a": "1"}, "lines": ["l"],
        "parts": [{"name": "p", "color": "red"}], "place": {"room": "r"}, "extra": {"k": {"deep": [1]}}}),
    )]);
    let want = json!({"f:spec": {"f:extra": {"f:k": {".": {}, "f:deep": {}}}, "f:lines": {}, "f:marks": {"f:a": {}}, "f:mode": {},
        "f:parts": {"k:{\"name\":\"p\"}": {".": {}, "f:color": {}, "f:name": {}}}, "f:place": {"f:room": {}}, "f:tags": {"v:\"x\"": {}}}});
    assert_eq!(owned(&got, "one"), want);
    assert_eq!(got["spec"]["size"], json!(3), "defaults are filled in and owned by nobody");
    assert_eq!(got["metadata"]["managedFields"][0]["operation"], "Apply");
    assert_eq!(got["metadata"]["managedFields"][0]["time"], NOW);
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let schema = widget();
    let config = object(json!({"mode": "fast", "size": 4, "parts": [{"name": "p"}]}));
    let first = apply(None, &config, &ctx(&schema, "one")).expect("applies");
    let again = apply(Some(&first), &config, &Context { now: LATER, ..ctx(&schema, "one") }).expect("applies");
    assert_eq!(again, first);
}

#[test]
fn the_order_of_keys_and_of_entries_makes_no_difference() {
    let stored = json!({"metadata": {"managedFields": [
        {"fieldsV1": {"f:a": {}}, "manager": "b", "time": NOW}, {"fieldsV1": {"f:b": {}}, "manager": "a", "time": NOW}]}});
    let new = json!({"metadata": {"managedFields": [
        {"manager": "a", "time": NOW, "fieldsV1": {"f:b": {}}}, {"manager": "b", "time": LATER, "fieldsV1": {"f:a": {}}}]}});
    assert!(managed::same_but_times(&stored, &new));
    let other = json!({"metadata": {"managedFields": [{"manager": "a", "time": NOW, "fieldsV1": {"f:b": {}}}]}});
    assert!(!managed::same_but_times(&stored, &other));
}

#[test]
fn other_values_conflict_unless_forced() {
    let schema = widget();
    let live = applied(&[("one", json!({"mode": "fast", "size": 4}))]);
    let config = object(json!({"mode": "slow", "size": 5}));
    let error = apply(Some(&live), &config, &ctx(&schema, "two")).expect_err("conflicts");
    let words = "Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.mode\n- .spec.size";
    assert_eq!(error.to_string(), words);
    let ApplyError::Conflict { conflicts, .. } = error else { panic!("a conflict") };
    assert_eq!(
        conflicts[1].cause(),
        json!({"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".spec.size"})
    );
    let forced = apply(Some(&live), &config, &Context { force: true, ..ctx(&schema, "two") }).expect("forced");
    assert_eq!(forced["spec"]["size"], 5);
    assert_eq!(owned(&forced, "one"), Value::Null, "nothing is left to its first owner");
}

#[test]
fn updates_conflict_with_their_version_named() {
    let schema = widget();
    let mut live = applied(&[("one", json!({"mode": "fast", "size": 4}))]);
    let old = live.clone();
    live["spec"]["size"] = json!(7);
    track_update(Some(&old), &mut live, &ctx(&schema, "kubectl"));
    let config = object(json!({"mode": "fast", "size": 5}));
    let error = apply(Some(&live), &config, &ctx(&schema, "one")).expect_err("conflicts");
    let words = "Apply failed with 1 conflict: conflict with \"kubectl\" using parity.rbee.dev/v1: .spec.size";
    assert_eq!(error.to_string(), words);
}

#[test]
fn dropped_fields_go_unless_somebody_else_owns_them() {
    let both = applied(&[
        ("one", json!({"mode": "fast", "size": 4, "note": "n", "marks": {"a": "1", "b": "2"}})),
        ("two", json!({"mode": "fast", "marks": {"b": "2"}})),
        ("one", json!({"mode": "fast"})),
    ]);
    assert_eq!(both["spec"]["marks"], json!({"b": "2"}));
    assert!(both["spec"].get("note").is_none());
    assert_eq!(both["spec"]["size"], json!(3), "the default is back");
    assert_eq!(both["spec"]["mode"], "fast");
}

#[test]
fn map_lists_merge_by_key() {
    let got = applied(&[
        ("one", json!({"mode": "fast", "parts": [{"name": "p", "color": "red"}, {"name": "q"}]})),
        ("two", json!({"mode": "fast", "parts": [{"name": "r"}, {"name": "p", "count": 1}]})),
    ]);
    let names: Vec<&str> =
        got["spec"]["parts"].as_array().expect("a list").iter().filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(names, ["r", "p", "q"], "applied order where the two lists leave it open");
    assert_eq!(got["spec"]["parts"][1], json!({"name": "p", "color": "red", "count": 1}));
    let left = apply(Some(&got), &object(json!({"mode": "fast", "parts": [{"name": "q"}]})), &ctx(&widget(), "one"))
        .expect("applies");
    let names: Vec<&str> =
        left["spec"]["parts"].as_array().expect("a list").iter().filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(names, ["r", "p", "q"], "two still owns p");
    assert!(left["spec"]["parts"][1].get("color").is_none());
}

#[test]
fn wrong_configurations_are_named() {
    let schema = widget();
    let cases = [
        (
            json!({"mode": "fast", "parts": [{"name": "p"}, {"name": "p"}]}),
            ".spec.parts: duplicate entries for key [name=\"p\"]",
        ),
        (
            json!({"mode": "fast", "parts": [{"count": 1}]}),
            ".spec.parts: element 0: associative list with keys has an element that omits all key fields [\"name\"] (and doesn't have default values for any key fields)",
        ),
        (json!({"mode": "fast", "wrong": 1}), ".spec.wrong: field not declared in schema"),
        (json!({"mode": 5}), ".spec.mode: expected string, got &value.valueUnstructured{Value:5}"),
        (json!({"mode": "fast", "tags": ["z", "z"]}), ".spec.tags: duplicate entries for key [=\"z\"]"),
    ];
    for (spec, words) in cases {
        let error = apply(None, &object(spec), &ctx(&schema, "one")).expect_err("refused");
        let want = format!("failed to create typed patch object (n/a; parity.rbee.dev/v1, Kind=Widget): {words}");
        assert_eq!(error, ApplyError::Typed(want));
    }
    let mut config = object(json!({"mode": "fast"}));
    config["metadata"]["managedFields"] = json!([{}]);
    let error = apply(None, &config, &ctx(&schema, "one")).expect_err("refused");
    assert_eq!(error, ApplyError::BadRequest("metadata.managedFields must be nil".into()));
}

#[test]
fn status_has_its_own_door() {
    let schema = widget();
    let main = object(json!({"mode": "fast"}));
    let mut with_status = main.clone();
    with_status["status"] = json!({"phase": "dropped"});
    let live = apply(None, &with_status, &ctx(&schema, "one")).expect("applies");
    assert_eq!(owned(&live, "one"), json!({"f:spec": {"f:mode": {}}}));
    let mut live = live;
    live.as_object_mut().expect("an object").remove("status");
    let mut config = main.clone();
    config["spec"] = json!({"mode": "fast", "size": 9});
    config["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    let status = Context { subresource: "status", ..ctx(&schema, "hive") };
    let got = apply(Some(&live), &config, &status).expect("applies");
    let want =
        json!({"f:status": {"f:conditions": {"k:{\"type\":\"Ready\"}": {".": {}, "f:status": {}, "f:type": {}}}}});
    assert_eq!(owned(&got, "hive"), want);
    let subresources: Vec<&Value> =
        got["metadata"]["managedFields"].as_array().expect("a list").iter().map(|e| &e["subresource"]).collect();
    assert_eq!(subresources, [&json!("status"), &Value::Null]);
}

#[test]
fn updates_own_what_they_change() {
    let schema = widget();
    let mut created = object(json!({"mode": "fast", "tags": ["x"], "marks": {"a": "1"}, "parts": [{"name": "p"}]}));
    created["metadata"]["labels"] = json!({"a": "b"});
    created["metadata"]["uid"] = json!("1");
    track_update(None, &mut created, &ctx(&schema, "parity"));
    let want = json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {".": {}, "f:marks": {".": {}, "f:a": {}}, "f:mode": {},
        "f:parts": {".": {}, "k:{\"name\":\"p\"}": {".": {}, "f:name": {}}}, "f:tags": {".": {}, "v:\"x\"": {}}}});
    assert_eq!(owned(&created, "parity"), want);
    let mut changed = created.clone();
    changed["spec"]["size"] = json!(9);
    changed["spec"].as_object_mut().expect("an object").remove("marks");
    track_update(Some(&created), &mut changed, &Context { now: LATER, ..ctx(&schema, "other") });
    assert_eq!(owned(&changed, "other"), json!({"f:spec": {"f:size": {}}}));
    assert!(owned(&changed, "parity")["f:spec"].get("f:marks").is_none(), "removed fields belong to nobody");
    let mut same = changed.clone();
    track_update(Some(&changed), &mut same, &Context { now: "2026-01-03T00:00:00Z", ..ctx(&schema, "third") });
    assert_eq!(same, changed, "a write that changes nothing leaves no trace");
}

#[test]
fn managed_fields_can_be_reset_and_are_capped() {
    let schema = widget();
    let mut live = object(json!({"mode": "fast", "size": 1}));
    track_update(None, &mut live, &ctx(&schema, "first"));
    for i in 0..15 {
        let old = live.clone();
        live["spec"]["marks"][format!("m{i}")] = json!("x");
        track_update(Some(&old), &mut live, &ctx(&schema, &format!("m{i:02}")));
    }
    let entries = live["metadata"]["managedFields"].as_array().expect("a list");
    assert_eq!(entries.len(), 10);
    assert!(entries.iter().any(|e| e["manager"] == "ancient-changes"));
    let mut reset = live.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    track_update(Some(&live), &mut reset, &ctx(&schema, "x"));
    assert!(reset["metadata"].get("managedFields").is_none());
    let old = reset.clone();
    reset["spec"]["size"] = json!(2);
    track_update(Some(&old), &mut reset, &ctx(&schema, "x"));
    assert!(reset["metadata"].get("managedFields").is_none(), "tracking starts again with the next apply");
    let got = apply(Some(&reset), &object(json!({"mode": "fast"})), &ctx(&schema, "two")).expect("applies");
    assert_ne!(owned(&got, "before-first-apply"), Value::Null);
}

#[test]
fn kubectl_moves_from_client_side_to_server_side() {
    let schema = widget();
    let last = object(json!({"mode": "fast", "size": 4}));
    let mut live = last.clone();
    live["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": format!("{last}\n")});
    track_update(None, &mut live, &ctx(&schema, "kubectl-client-side-apply"));
    let config = object(json!({"mode": "fast", "size": 5}));
    let got = apply(Some(&live), &config, &ctx(&schema, "kubectl")).expect("its own fields are no conflict");
    assert_eq!(got["spec"]["size"], 5);
    let annotation = &got["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert!(annotation.as_str().expect("text").contains("\"size\":5"), "{annotation}");
    apply(Some(&live), &config, &ctx(&schema, "two")).expect_err("others conflict");
}

#[test]
fn built_in_kinds_apply_by_their_keys() {
    let schema = crate::schema::builtin::schema("", "Secret").expect("built in");
    let context = Context { api_version: "v1", has_status: false, ..ctx(schema, "one") };
    let secret = |data: Value, owner: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n",
            "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": owner, "uid": owner}]}, "data": data})
    };
    let first = apply(None, &secret(json!({"k": "djE="}), "x"), &context).expect("applies");
    let two = Context { manager: "two", ..context };
    let both = apply(Some(&first), &secret(json!({"l": "djI="}), "y"), &two).expect("applies");
    assert_eq!(both["data"], json!({"k": "djE=", "l": "djI="}));
    assert_eq!(both["metadata"]["ownerReferences"].as_array().map(Vec::len), Some(2));
    let want = json!({"f:data": {"f:l": {}}, "f:metadata": {"f:ownerReferences": {"k:{\"uid\":\"y\"}": {}}}});
    assert_eq!(owned(&both, "two"), want);
}

#[test]
fn fields_are_printed_as_kubernetes_prints_them() {
    let text = r#"{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:parts":{".":{},"k:{\"name\":\"p\",\"port\":8}":{".":{},"f:name":{}}},"f:tags":{"v:\"x\"":{},"v:2":{}},"f:x":{"i:0":{}}}}"#;
    let set = Set::from_fields(&serde_json::from_str(text).expect("JSON")).expect("a set");
    let sorted = text.replace(r#""v:\"x\"":{},"v:2":{}"#, r#""v:2":{},"v:\"x\"":{}"#);
    assert_eq!(set.to_json(), sorted);
    let paths: Vec<String> = set.paths().iter().map(|p| path_text(p)).collect();
    assert!(paths.contains(&".spec.parts[name=\"p\",port=8].name".to_string()), "{paths:?}");
    assert!(Set::from_fields(&json!({"f": {}})).is_err());
    assert!(Set::from_fields(&json!({"x:unknown": {}})).expect("skipped").is_empty());
}

fn element() -> impl Strategy<Value = PathElement> {
    prop_oneof![
        "[a-c]{1,2}".prop_map(PathElement::Field),
        ("[a-c]", 0..3i64).prop_map(|(k, v)| PathElement::Key(vec![(k, json!(v))])),
        "[a-c]".prop_map(|v| PathElement::Value(json!(v))),
        (0..3i64).prop_map(PathElement::Index),
    ]
}

fn set() -> impl Strategy<Value = Set> {
    prop::collection::vec(prop::collection::vec(element(), 1..4), 0..12).prop_map(|paths| {
        let mut set = Set::default();
        paths.iter().for_each(|p| set.insert(p));
        set
    })
}

fn spec() -> impl Strategy<Value = Value> {
    let part = ("[pqr]", prop::option::of(0..3i64), prop::option::of("[xy]"));
    let parts = prop::collection::btree_map("[pqr]", part, 0..3);
    (
        prop::option::of(1..9i64),
        prop::option::of(prop::collection::btree_set("[xyz]", 0..3)),
        prop::option::of(prop::collection::btree_map("[ab]", "[12]", 0..3)),
        prop::option::of(parts),
        prop::option::of(prop::collection::vec("[lm]", 1..3)),
        prop::option::of("[rs]"),
    )
        .prop_map(|(size, tags, marks, parts, lines, room)| {
            let mut spec = json!({"mode": "fast"});
            let mut put = |key: &str, value: Option<Value>| {
                if let Some(value) = value {
                    spec[key] = value;
                }
            };
            put("size", size.map(Value::from));
            put("tags", tags.map(|t| json!(t)));
            put("marks", marks.map(|m| json!(m)));
            put("lines", lines.map(|l| json!(l)));
            put("place", room.map(|r| json!({"room": r})));
            let part = |(name, (_, count, color)): (String, (String, Option<i64>, Option<String>))| {
                let mut part = json!({"name": name});
                if let Some(count) = count {
                    part["count"] = json!(count);
                }
                if let Some(color) = color {
                    part["color"] = json!(color);
                }
                part
            };
            put("parts", parts.map(|p| p.into_iter().map(part).collect::<Vec<_>>().into()));
            spec
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn fields_survive_printing_and_parsing(set in set()) {
        prop_assert_eq!(&Set::from_fields(&set.to_fields()).expect("parses"), &set);
        let text: Value = serde_json::from_str(&set.to_json()).expect("JSON");
        prop_assert_eq!(&text, &set.to_fields());
    }

    #[test]
    fn sets_obey_their_algebra(a in set(), b in set()) {
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert!(a.difference(&b).intersection(&b).is_empty());
        prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
    }

    #[test]
    fn apply_is_idempotent(one in spec(), two in spec()) {
        let schema = widget();
        let live = apply(None, &object(one), &ctx(&schema, "one")).expect("applies");
        let two = object(two);
        let forced = Context { force: true, ..ctx(&schema, "two") };
        let once = apply(Some(&live), &two, &forced).expect("applies");
        let twice = apply(Some(&once), &two, &Context { now: LATER, ..forced }).expect("applies");
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn conflicts_are_with_fields_that_others_own(one in spec(), two in spec()) {
        let schema = widget();
        let live = apply(None, &object(one), &ctx(&schema, "one")).expect("applies");
        let owned_by_one = Set::from_fields(&owned(&live, "one")).unwrap_or_default();
        match apply(Some(&live), &object(two.clone()), &ctx(&schema, "two")) {
            Ok(new) => {
                let left = Set::from_fields(&owned(&new, "one")).unwrap_or_default();
                prop_assert_eq!(left, owned_by_one, "without conflict nobody loses a field");
            }
            Err(ApplyError::Conflict { conflicts, .. }) => {
                let names: Vec<String> = owned_by_one.paths().iter().map(|p| path_text(p)).collect();
                for conflict in conflicts {
                    prop_assert!(names.contains(&conflict.field), "{} is not owned by one", conflict.field);
                }
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn applying_nothing_removes_what_only_the_applier_owns(one in spec(), two in spec()) {
        let schema = widget();
        let live = apply(None, &object(two), &ctx(&schema, "two")).expect("applies");
        let forced = Context { force: true, ..ctx(&schema, "one") };
        let both = apply(Some(&live), &object(one), &forced).expect("applies");
        let mut bare = object(json!({}));
        bare.as_object_mut().expect("an object").remove("spec");
        let left = apply(Some(&both), &bare, &ctx(&schema, "one")).expect("applies");
        prop_assert_eq!(owned(&left, "one"), Value::Null);
        let kept = Set::from_fields(&owned(&left, "two")).unwrap_or_default();
        let before = Set::from_fields(&owned(&both, "two")).unwrap_or_default();
        prop_assert_eq!(kept, before, "what the other owns stays");
    }
}
