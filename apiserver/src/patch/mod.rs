//! JSON patch, merge patch and strategic merge patch over JSON values, with limits.

mod json;
mod limits;
mod merge;
mod strategic;

use serde_json::Value;
use thiserror::Error;

pub use json::json;
pub use limits::{MAX_OPERATIONS, MAX_RESULT_BYTES};
pub use merge::merge;
pub use strategic::strategic;

/// Why a patch was not applied. The variant says which HTTP status it answers with.
#[derive(Debug, Error, PartialEq)]
pub enum PatchError {
    /// The patch cannot be read (400 BadRequest).
    #[error("{0}")]
    BadRequest(String),
    /// The patch can be read but not applied to this object (422 Invalid). Kubernetes answers a JSON patch with the
    /// message `the server rejected our request due to an error in our request` only; these words say more.
    #[error("{0}")]
    Invalid(String),
    /// The patch or its result is too large (413).
    #[error("{0}")]
    TooLarge(String),
    /// This server does not do that (422).
    #[error("{0}")]
    Unsupported(String),
}

/// Refuses an object that grew beyond what a request may hold.
fn bounded(result: Value) -> Result<Value, PatchError> {
    if limits::size_up_to(&result, MAX_RESULT_BYTES) > MAX_RESULT_BYTES {
        return Err(PatchError::TooLarge(format!(
            "the patched object is larger than the limit of {MAX_RESULT_BYTES} bytes"
        )));
    }
    Ok(result)
}

/// Go's word for the type of a JSON value.
pub(crate) fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn json_patches_apply_in_order() {
        let document = json!({"spec": {"size": 1, "mode": "fast", "lines": ["a", "b"], "x/y": 1}});
        let patch = json!([
            {"op": "replace", "path": "/spec/size", "value": 7},
            {"op": "add", "path": "/spec/lines/-", "value": "c"},
            {"op": "add", "path": "/spec/lines/0", "value": "z"},
            {"op": "copy", "from": "/spec/mode", "path": "/spec/note"},
            {"op": "move", "from": "/spec/lines/0", "path": "/spec/lines/1"},
            {"op": "remove", "path": "/spec/x~1y"},
            {"op": "test", "path": "/spec/none", "value": null},
            {"op": "replace", "path": "/spec/new", "value": null}
        ]);
        let want =
            json!({"spec": {"size": 7, "mode": "fast", "note": "fast", "lines": ["a", "z", "b", "c"], "new": null}});
        assert_eq!(json(&document, &patch), Ok(want));
    }

    #[test]
    fn json_patches_fail_in_kubernetes_words() {
        let document = json!({"spec": {"size": 7, "lines": ["a"]}});
        let cases = [
            (json!([{"op": "test", "path": "/spec/size", "value": 1}]), "testing value /spec/size failed: test failed"),
            (
                json!([{"op": "remove", "path": "/spec/none"}]),
                "error in remove for path: '/spec/none': Unable to remove nonexistent key: none: missing value",
            ),
            (json!([{"op": "jump", "path": "/spec/size"}]), "Unexpected kind: jump"),
            (
                json!([{"op": "add", "path": "/none/x", "value": 1}]),
                "add operation does not apply: doc is missing path: \"/none/x\": missing value",
            ),
            (
                json!([{"op": "add", "path": "/spec/lines/1000000000", "value": 1}]),
                "error in add for path: '/spec/lines/1000000000': Unable to access invalid index: 1000000000: invalid index referenced",
            ),
            (
                json!([{"op": "replace", "path": "/spec/lines/5", "value": 1}]),
                "replace operation does not apply: doc is missing key: /spec/lines/5: missing value",
            ),
            (json!([{"op": "add"}]), "add operation failed to decode path: missing value"),
        ];
        for (patch, words) in cases {
            assert_eq!(json(&document, &patch), Err(PatchError::Invalid(words.into())));
        }
        let wrong = json(&document, &json!({"op": "add"})).expect_err("no list");
        assert_eq!(
            wrong,
            PatchError::BadRequest("json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp".into())
        );
    }

    #[test]
    fn patches_cannot_grow_without_bound() {
        let mut operations = vec![json!({"op": "add", "path": "/a", "value": "x".repeat(1024)})];
        for _ in 0..30 {
            operations.push(json!({"op": "copy", "from": "/a", "path": "/b"}));
            operations.push(json!({"op": "replace", "path": "/a", "value": {}}));
            operations.push(json!({"op": "move", "from": "/b", "path": "/a/c"}));
            operations.push(json!({"op": "copy", "from": "/a/c", "path": "/a/d"}));
        }
        assert!(matches!(json(&json!({}), &json!(operations)), Err(PatchError::TooLarge(_))));
        let many: Vec<Value> = (0..=MAX_OPERATIONS).map(|_| json!({"op": "test", "path": "", "value": {}})).collect();
        let words = "The allowed maximum operations in a JSON patch is 10000, got 10001";
        assert_eq!(json(&json!({}), &json!(many)), Err(PatchError::TooLarge(words.into())));
        let big = json!({"a": "x".repeat(MAX_RESULT_BYTES)});
        assert!(matches!(merge(&json!({}), &big), Err(PatchError::TooLarge(_))));
    }

    #[test]
    fn merge_patches_remove_with_null() {
        let document = json!({"marks": {"a": "1", "b": "2"}, "tags": ["x"]});
        let patch =
            json!({"marks": {"a": null, "c": "3"}, "tags": ["y"], "new": {"x": null, "y": {"z": null}}, "none": null});
        let want = json!({"marks": {"b": "2", "c": "3"}, "tags": ["y"], "new": {"y": {}}});
        assert_eq!(merge(&document, &patch), Ok(want));
        assert!(matches!(merge(&document, &json!([])), Err(PatchError::BadRequest(_))));
        assert!(matches!(merge(&document, &Value::Null), Err(PatchError::Invalid(_))));
    }

    #[test]
    fn strategic_patches_merge_lists_by_key() {
        let account = json!({"metadata": {"finalizers": ["a/x", "b/x"], "ownerReferences": [{"uid": "1", "name": "x"}, {"uid": "2", "name": "y"}]},
            "secrets": [{"name": "s"}]});
        let patch = json!({"metadata": {"finalizers": ["c/x"], "$deleteFromPrimitiveList/finalizers": ["a/x"],
            "ownerReferences": [{"uid": "1", "name": "z"}, {"uid": "2", "$patch": "delete"}]}, "secrets": [{"name": "t"}]});
        let got = strategic("", "ServiceAccount", &account, &patch).expect("applies");
        let want = json!({"metadata": {"finalizers": ["c/x", "b/x"], "ownerReferences": [{"uid": "1", "name": "z"}]},
            "secrets": [{"name": "t"}, {"name": "s"}]});
        assert_eq!(got, want);
    }

    #[test]
    fn strategic_directives_replace_delete_order_and_retain() {
        let map = json!({"data": {"one": "1", "two": "2"}});
        let got = |patch: Value| strategic("", "ConfigMap", &map, &patch).expect("applies");
        assert_eq!(got(json!({"data": {"one": null, "three": "3"}})), json!({"data": {"two": "2", "three": "3"}}));
        assert_eq!(got(json!({"data": {"$patch": "replace", "x": "y"}})), json!({"data": {"x": "y"}}));
        assert_eq!(got(json!({"data": {"$patch": "delete"}})), json!({"data": {}}));
        assert_eq!(got(json!({"data": {"$retainKeys": ["one"], "one": "9"}})), json!({"data": {"one": "9"}}));
        let owners = json!({"metadata": {"ownerReferences": [{"uid": "1"}, {"uid": "2"}, {"uid": "3"}]}});
        let patch = json!({"metadata": {"$setElementOrder/ownerReferences": [{"uid": "3"}, {"uid": "1"}], "ownerReferences": [{"uid": "3", "name": "n"}]}});
        let got = strategic("", "ConfigMap", &owners, &patch).expect("applies");
        assert_eq!(got["metadata"]["ownerReferences"], json!([{"uid": "2"}, {"uid": "3", "name": "n"}, {"uid": "1"}]));
        assert!(matches!(strategic("x", "Y", &map, &json!({})), Err(PatchError::Unsupported(_))));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), (0..3i64).prop_map(Value::from), "[a-b]".prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|m| json!(m)),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_json_patch_panics(document in value(), operations in prop::collection::vec(("add|remove|replace|move|copy|test", "(/([a-c]|-|-?[0-9])){0,3}", "(/([a-c]|[0-9])){0,3}", value()), 0..6)) {
            let patch: Vec<Value> = operations.into_iter().map(|(op, path, from, value)| json!({"op": op, "path": path, "from": from, "value": value})).collect();
            let _ = json(&document, &json!(patch));
        }

        #[test]
        fn merge_patch_is_idempotent(document in prop::collection::btree_map("[a-c]", value(), 0..4), patch in prop::collection::btree_map("[a-c]", value(), 0..4)) {
            let once = merge(&json!(document), &json!(patch)).expect("applies");
            prop_assert_eq!(merge(&once, &json!(patch)), Ok(once.clone()));
        }

        #[test]
        fn no_strategic_patch_panics(document in prop::collection::btree_map("data|metadata", value(), 0..3), patch in value()) {
            let _ = strategic("", "ConfigMap", &json!(document), &patch);
        }
    }
}
