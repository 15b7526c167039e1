//! What holds an object back when it is deleted, and what goes with it.

use serde_json::{Value, json};

use crate::script::{Patch, Script, model};

fn bee(name: &str, meta: Value) -> Value {
    let mut body = model(name, json!({"uri": "builtin:tinybee"}));
    if let (Some(own), Value::Object(meta)) = (body["metadata"].as_object_mut(), meta) {
        own.extend(meta);
    }
    body
}

pub async fn finalizers(s: &mut Script<'_>) {
    s.post("$models", bee("bee", json!({"finalizers": ["rbee.dev/hold", "rbee.dev/too"]}))).await;
    s.delete("$models/bee").await;
    s.note("again is no error");
    s.delete("$models/bee").await;
    s.note("it can still change, and gets no new finalizers");
    s.patch(Patch::Merge, "$models/bee", json!({"spec": {"filename": "f"}})).await;
    s.patch(Patch::Merge, "$models/bee", json!({"metadata": {"finalizers": ["rbee.dev/hold", "rbee.dev/new"]}})).await;
    s.note("another of its name");
    s.post("$models", bee("bee", json!({}))).await;
    s.note("one goes, then the other, and then the object");
    s.patch(Patch::Merge, "$models/bee", json!({"metadata": {"finalizers": ["rbee.dev/hold"]}})).await;
    s.patch(Patch::Json, "$models/bee", json!([{"op": "remove", "path": "/metadata/finalizers/0"}])).await;
    s.get("$models/bee").await;
}

pub async fn preconditions(s: &mut Script<'_>) {
    let made = s.quietly("POST", "$models", bee("bee", json!({}))).await;
    let options =
        |preconditions: Value| json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions});
    s.delete_with("$models/bee", options(json!({"uid": "11111111-1111-4111-8111-111111111111"}))).await;
    s.quietly("PATCH", "$models/bee", json!({"spec": {"filename": "f"}})).await;
    s.delete_with("$models/bee", options(json!({"uid": made.uid(), "resourceVersion": made.version()}))).await;
    s.note("options that are none");
    s.delete_with("$models/bee", json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Sideways"}))
        .await;
    s.delete_with("$models/bee", json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background", "orphanDependents": true})).await;
    s.note("those that fit");
    s.delete_with("$models/bee", options(json!({"uid": made.uid()}))).await;
}

pub async fn collection(s: &mut Script<'_>) {
    for (name, group) in [("a", "x"), ("b", "x"), ("c", "y")] {
        s.quietly("POST", "$models", bee(name, json!({"labels": {"group": group}}))).await;
    }
    s.quietly("POST", "$models", bee("held", json!({"labels": {"group": "y"}, "finalizers": ["rbee.dev/hold"]}))).await;
    s.delete("$models?labelSelector=group%3Dx").await;
    s.get("$models").await;
    s.delete("$models?dryRun=All").await;
    s.delete("$models").await;
    s.get("$models").await;
    s.quietly("PATCH", "$models/held", json!({"metadata": {"finalizers": null}})).await;
}

pub async fn owners(s: &mut Script<'_>) {
    let owner = s.quietly("POST", "$models", bee("owner", json!({}))).await;
    let owned = |uid: &str| json!({"ownerReferences": [{"apiVersion": "rbee.dev/v1alpha1", "kind": "Model", "name": "owner", "uid": uid, "controller": true, "blockOwnerDeletion": true}]});
    s.quietly("POST", "$models", bee("owned", owned(&owner.uid()))).await;
    let mut secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"key": "x"}});
    secret["metadata"]["ownerReferences"] = owned(&owner.uid())["ownerReferences"].clone();
    s.quietly("POST", "$api/secrets", secret).await;
    s.note("of an owner that never was");
    s.quietly("POST", "$models", bee("lost", owned("11111111-1111-4111-8111-111111111111"))).await;
    s.until(404, "$models/lost").await;
    s.get("$models/owned").await;
    s.note("with the owner goes what it owns");
    s.delete("$models/owner?propagationPolicy=Background").await;
    s.until(404, "$models/owned").await;
    s.until(404, "$api/secrets/key").await;
    s.note("the owner waits for what it owns");
    let owner = s.quietly("POST", "$models", bee("owner", json!({}))).await;
    let mut held = bee("held", owned(&owner.uid()));
    held["metadata"]["finalizers"] = json!(["rbee.dev/hold"]);
    s.quietly("POST", "$models", held).await;
    s.delete("$models/owner?propagationPolicy=Foreground").await;
    s.get("$models/owner").await;
    s.quietly("PATCH", "$models/held", json!({"metadata": {"finalizers": null}})).await;
    s.until(404, "$models/owner").await;
    s.get("$models/held").await;
}
