//! Creating, reading, replacing and patching objects, and their subresources.

use serde_json::json;

use crate::script::{Patch, Script, model, object, worker};

const BEE: &str = "builtin:tinybee";

pub async fn create_read_delete(s: &mut Script<'_>) {
    s.post("$models", model("bee", json!({"uri": BEE}))).await;
    s.post("$models", model("bee", json!({"uri": BEE}))).await;
    s.get("$models/bee").await;
    s.get("$models").await;
    s.delete("$models/bee").await;
    s.get("$models/bee").await;
    s.delete("$models/bee").await;
    s.get("$models").await;
    s.note("an object without a namespace");
    s.post("$hives", object("Hive", "$ns-hive".replace("$ns", &s.namespace.clone()).as_str(), json!({}))).await;
    s.get("$hives/$ns-hive").await;
    s.delete("$hives/$ns-hive").await;
    s.note("what is not there");
    s.get("/apis/rbee.dev/v1alpha1/namespaces/$ns/nothings").await;
    s.get("/apis/rbee.dev/v9/namespaces/$ns/models").await;
    s.post("/apis/rbee.dev/v1alpha1/namespaces/never-made/models", model("bee", json!({"uri": BEE}))).await;
}

pub async fn replace(s: &mut Script<'_>) {
    let made = s.quietly("POST", "$models", model("bee", json!({"uri": BEE}))).await;
    let with = |version: &str, uri: &str| {
        let mut body = model("bee", json!({"uri": uri}));
        body["metadata"]["resourceVersion"] = json!(version);
        body
    };
    let new = s.put("$models/bee", with(&made.version(), "file:///a.gguf")).await;
    s.note("an old version");
    s.put("$models/bee", with(&made.version(), "file:///b.gguf")).await;
    s.note("no version");
    s.put("$models/bee", model("bee", json!({"uri": "file:///b.gguf"}))).await;
    s.note("the same again changes nothing");
    s.put("$models/bee", with(&new.version(), "file:///a.gguf")).await;
    s.note("another name, another uid, another kind");
    s.put("$models/wasp", with(&new.version(), "file:///a.gguf")).await;
    let mut other = with(&new.version(), "file:///a.gguf");
    other["metadata"]["uid"] = json!("11111111-1111-4111-8111-111111111111");
    s.put("$models/bee", other).await;
    s.put("$models/bee", worker("bee", json!({"modelRef": {"name": "x"}}))).await;
    s.get("$models/bee").await;
}

pub async fn merge_patch(s: &mut Script<'_>) {
    s.quietly("POST", "$models", model("bee", json!({"uri": BEE, "filename": "f", "revision": "main"}))).await;
    s.patch(
        Patch::Merge,
        "$models/bee",
        json!({"spec": {"filename": null, "revision": "v1"}, "metadata": {"labels": {"a": "b"}}}),
    )
    .await;
    s.note("nothing changes");
    s.patch(Patch::Merge, "$models/bee", json!({"spec": {"revision": "v1"}})).await;
    s.note("an old version");
    s.patch(Patch::Merge, "$models/bee", json!({"metadata": {"resourceVersion": "1"}, "spec": {"revision": "v2"}}))
        .await;
    s.note("no object, no JSON, no such object");
    s.patch(Patch::Merge, "$models/bee", json!("[]")).await;
    s.patch(Patch::Merge, "$models/bee", json!("{")).await;
    s.patch(Patch::Merge, "$models/wasp", json!({})).await;
    s.note("what may not change");
    s.patch(Patch::Merge, "$models/bee", json!({"metadata": {"name": "wasp"}})).await;
    s.patch(Patch::Merge, "$models/bee", json!({"metadata": {"uid": "11111111-1111-4111-8111-111111111111"}})).await;
    s.patch(Patch::Merge, "$models/bee", json!({"spec": null})).await;
    s.note("a strategic merge is for built-in kinds");
    s.patch(Patch::Strategic, "$models/bee", json!({"spec": {"revision": "v2"}})).await;
}

pub async fn json_patch(s: &mut Script<'_>) {
    s.quietly(
        "POST",
        "$models",
        model("bee", json!({"uri": BEE, "filename": "f", "prefetch": {"hiveSelector": {"matchLabels": {"a": "b"}}}})),
    )
    .await;
    let ops = json!([
        {"op": "test", "path": "/spec/filename", "value": "f"},
        {"op": "replace", "path": "/spec/filename", "value": "g"},
        {"op": "add", "path": "/spec/prefetch/hiveSelector/matchLabels/c", "value": "d"},
        {"op": "copy", "from": "/spec/filename", "path": "/spec/revision"},
    ]);
    s.patch(Patch::Json, "$models/bee", ops).await;
    s.note("a test that fails, a path that is not there, an operation that there is not");
    s.patch(Patch::Json, "$models/bee", json!([{"op": "test", "path": "/spec/filename", "value": "x"}])).await;
    s.patch(Patch::Json, "$models/bee", json!([{"op": "remove", "path": "/spec/sha256"}])).await;
    s.patch(Patch::Json, "$models/bee", json!([{"op": "jump", "path": "/spec/filename"}])).await;
    s.patch(Patch::Json, "$models/bee", json!({"op": "remove"})).await;
    s.note("a result that the schema refuses");
    s.patch(Patch::Json, "$models/bee", json!([{"op": "replace", "path": "/spec/uri", "value": "ftp://x"}])).await;
    s.get("$models/bee").await;
}

pub async fn status(s: &mut Script<'_>) {
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2001-02-03T04:05:06Z", "reason": "Available", "message": ""});
    let mut with_status = model("bee", json!({"uri": BEE}));
    with_status["status"] = json!({"sizeBytes": 5});
    s.note("a create drops the status");
    let made = s.post("$models", with_status.clone()).await;
    s.note("the status subresource takes nothing else");
    with_status["spec"]["uri"] = json!("file:///other.gguf");
    with_status["metadata"]["labels"] = json!({"a": "b"});
    with_status["metadata"]["resourceVersion"] = json!(made.version());
    with_status["status"]["conditions"] = json!([ready]);
    s.put("$models/bee/status", with_status).await;
    s.note("a write of the spec does not touch it");
    s.patch(Patch::Merge, "$models/bee", json!({"spec": {"filename": "f"}, "status": {"sizeBytes": 6}})).await;
    s.note("it is validated");
    s.patch(Patch::Merge, "$models/bee/status", json!({"status": {"sizeBytes": "six"}})).await;
    s.patch(Patch::Merge, "$models/bee/status", json!({"status": {"conditions": [{"type": "Ready", "status": "Maybe", "lastTransitionTime": "today", "reason": "r"}]}})).await;
    s.patch(Patch::Merge, "$models/bee/status", json!({"status": {"conditions": [ready, ready]}})).await;
    s.get("$models/bee/status").await;
    s.get("$models/wasp/status").await;
    s.post("$models/bee/status", model("bee", json!({}))).await;
}

pub async fn scale(s: &mut Script<'_>) {
    s.quietly("POST", "$workers", worker("story", json!({"modelRef": {"name": "bee"}, "replicas": 2}))).await;
    s.quietly(
        "PATCH",
        "$workers/story/status",
        json!({"status": {"replicas": 1, "selector": "rbee.dev/worker=story"}}),
    )
    .await;
    let scale = s.get("$workers/story/scale").await;
    s.patch(Patch::Merge, "$workers/story/scale", json!({"spec": {"replicas": 5}})).await;
    s.note("an old version, then a good one");
    s.put("$workers/story/scale", scale.body.clone()).await;
    let mut next = scale.body;
    next["metadata"] = json!({"name": "story", "namespace": s.namespace});
    next["spec"]["replicas"] = json!(0);
    s.put("$workers/story/scale", next).await;
    s.note("a number that may not be");
    s.patch(Patch::Merge, "$workers/story/scale", json!({"spec": {"replicas": -1}})).await;
    s.patch(Patch::Merge, "$workers/story/scale", json!({"spec": {"replicas": 20_000}})).await;
    s.get("$workers/story").await;
    s.get("$workers/none/scale").await;
    s.note("a kind without it");
    s.get("$models/bee/scale").await;
}

pub async fn names(s: &mut Script<'_>) {
    for name in ["Upper", "a_b", "-a", "a..b", &"a".repeat(254)] {
        s.post("$models", model(name, json!({"uri": BEE}))).await;
    }
    s.post("$models", model("0.a-b", json!({"uri": BEE}))).await;
    let generated = |prefix: &str| json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Model", "metadata": {"generateName": prefix}, "spec": {"uri": BEE}});
    let made = s.quietly("POST", "$models", generated("gen-")).await;
    let name = made.text("/metadata/name");
    let suffix = name.strip_prefix("gen-").expect("the prefix");
    assert!(suffix.len() == 5 && suffix.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b)), "{name}");
    s.note("no name at all");
    s.post(
        "$models",
        json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Model", "metadata": {}, "spec": {"uri": BEE}}),
    )
    .await;
}

pub async fn dry_run(s: &mut Script<'_>) {
    s.post("$models?dryRun=All", model("bee", json!({"uri": BEE}))).await;
    s.get("$models/bee").await;
    s.quietly("POST", "$models", model("bee", json!({"uri": BEE}))).await;
    s.patch(Patch::Merge, "$models/bee?dryRun=All", json!({"spec": {"filename": "f"}})).await;
    s.delete("$models/bee?dryRun=All").await;
    s.get("$models/bee").await;
    s.post("$models?dryRun=Some", model("wasp", json!({"uri": BEE}))).await;
    s.post("$models?dryRun=All", model("wasp", json!({"uri": "nothing"}))).await;
}
