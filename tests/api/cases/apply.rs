//! Server-side apply: who owns which field, and what happens when two want it.

use serde_json::{Value, json};

use crate::script::{Patch, Script, model, object, worker};

async fn apply(s: &mut Script<'_>, manager: &str, body: Value) {
    apply_with(s, manager, "", body).await;
}

async fn apply_with(s: &mut Script<'_>, manager: &str, query: &str, body: Value) {
    let plural = if body["kind"] == "Worker" { "$workers" } else { "$models" };
    let name = body["metadata"]["name"].as_str().expect("a name").to_owned();
    s.patch(Patch::Apply, &format!("{plural}/{name}?fieldManager={manager}{query}"), body).await;
}

pub async fn create_and_update(s: &mut Script<'_>) {
    s.redact.managed = true;
    let mut body =
        model("bee", json!({"uri": "builtin:tinybee", "prefetch": {"hiveSelector": {"matchLabels": {"a": "b"}}}}));
    body["metadata"]["labels"] = json!({"app": "x"});
    apply(s, "one", body.clone()).await;
    s.note("the same again writes nothing");
    apply(s, "one", body.clone()).await;
    s.note("another manager wants the same");
    apply(s, "two", model("bee", json!({"uri": "builtin:tinybee"}))).await;
    s.note("more fields");
    body["spec"]["filename"] = json!("f");
    apply(s, "one", body).await;
    s.note("an update by somebody who does not apply");
    s.patch(Patch::Merge, "$models/bee?fieldManager=editor", json!({"spec": {"revision": "main"}})).await;
    s.note("an empty spec");
    let hive = format!("{}-hive", s.namespace);
    s.patch(Patch::Apply, &format!("$hives/{hive}?fieldManager=one"), object("Hive", &hive, json!({}))).await;
    s.patch(Patch::Apply, &format!("$hives/{hive}?fieldManager=one"), object("Hive", &hive, json!({}))).await;
    s.quietly("DELETE", &format!("$hives/{hive}"), json!(null)).await;
    s.note("YAML");
    let yaml = "apiVersion: rbee.dev/v1alpha1\nkind: Model\nmetadata:\n  name: wasp\nspec:\n  uri: builtin:tinybee # the one inside\n";
    s.patch(Patch::Apply, "$models/wasp?fieldManager=one", json!(yaml)).await;
}

pub async fn conflict(s: &mut Script<'_>) {
    let want = |replicas: i32, slots: i32| {
        worker("story", json!({"modelRef": {"name": "bee"}, "replicas": replicas, "slots": slots}))
    };
    apply(s, "one", want(1, 4)).await;
    s.note("two fields, one owner");
    apply(s, "two", want(2, 8)).await;
    s.note("one field");
    apply(s, "two", want(1, 8)).await;
    s.redact.managed = true;
    apply_with(s, "two", "&force=true", want(1, 8)).await;
    s.note("the first owner finds out");
    apply(s, "one", want(1, 4)).await;
    s.note("a field of somebody who does not apply");
    s.patch(Patch::Merge, "$workers/story/scale?fieldManager=scaler", json!({"spec": {"replicas": 3}})).await;
    apply(s, "two", want(1, 8)).await;
    s.get("$workers/story").await;
}

pub async fn remove(s: &mut Script<'_>) {
    s.redact.managed = true;
    let labels =
        |labels: Value| worker("story", json!({"modelRef": {"name": "bee"}, "hiveSelector": {"matchLabels": labels}}));
    apply(s, "one", labels(json!({"a": "1", "b": "2"}))).await;
    apply(s, "two", labels(json!({"b": "2", "c": "3"}))).await;
    s.note("what nobody wants any more goes, what another wants stays");
    apply(s, "one", labels(json!({"a": "1"}))).await;
    apply(s, "two", labels(json!({}))).await;
    apply(s, "one", worker("story", json!({"modelRef": {"name": "bee"}}))).await;
    s.note("a field that is required");
    apply(s, "two", worker("story", json!({"modelRef": {"name": "bee"}}))).await;
    apply(s, "one", worker("story", json!({"slots": 2}))).await;
    apply(s, "two", worker("story", json!({"slots": 2}))).await;
}

pub async fn status(s: &mut Script<'_>) {
    s.redact.managed = true;
    s.quietly("POST", "$models", model("bee", json!({"uri": "builtin:tinybee"}))).await;
    let condition = |type_: &str, status: &str| json!({"type": type_, "status": status, "lastTransitionTime": "2001-02-03T04:05:06Z", "reason": "Because", "message": ""});
    let body = |conditions: Value| json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Model", "metadata": {"name": "bee"}, "status": {"conditions": conditions}});
    let at = |manager: &str| format!("$models/bee/status?fieldManager={manager}");
    s.patch(Patch::Apply, &at("queen"), body(json!([condition("Ready", "True")]))).await;
    s.note("each has its own condition");
    s.patch(Patch::Apply, &at("hive"), body(json!([condition("Disk", "False")]))).await;
    s.note("and not the other's");
    s.patch(Patch::Apply, &at("hive"), body(json!([condition("Disk", "False"), condition("Ready", "False")]))).await;
    s.note("the same again writes nothing");
    s.patch(Patch::Apply, &at("queen"), body(json!([condition("Ready", "True")]))).await;
    s.note("one gives its condition up");
    s.patch(Patch::Apply, &at("queen"), body(json!([]))).await;
    s.note("the spec is not for the status");
    let mut more = body(json!([condition("Ready", "True")]));
    more["spec"] = json!({"uri": "file:///x.gguf"});
    s.patch(Patch::Apply, &at("queen"), more).await;
    s.note("an object that is not there, and another uid");
    s.patch(
        Patch::Apply,
        "$models/none/status?fieldManager=queen",
        json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Model", "metadata": {"name": "none"}, "status": {}}),
    )
    .await;
    let mut other = body(json!([]));
    other["metadata"]["uid"] = json!("11111111-1111-4111-8111-111111111111");
    s.patch(Patch::Apply, &at("queen"), other).await;
}

pub async fn errors(s: &mut Script<'_>) {
    let bee = model("bee", json!({"uri": "builtin:tinybee"}));
    s.patch(Patch::Apply, "$models/bee", bee.clone()).await;
    s.patch(Patch::Apply, "$models/wasp?fieldManager=m", bee.clone()).await;
    s.patch(Patch::Apply, "$models/bee?fieldManager=m", json!({"spec": {"uri": "builtin:tinybee"}})).await;
    s.patch(Patch::Apply, "$models/bee?fieldManager=m&force=maybe", bee.clone()).await;
    s.patch(Patch::Apply, "$models/bee?fieldManager=m", json!("a: [")).await;
    s.patch(Patch::Apply, "$models/bee?fieldManager=m", model("bee", json!({"uri": 5}))).await;
    s.patch(Patch::Apply, "$models/bee?fieldManager=m", model("bee", json!({"uri": "nothing"}))).await;
    s.patch(Patch::Apply, "$models/bee?fieldManager=m", model("bee", json!({"filename": "f"}))).await;
    let mut twice = worker("story", json!({"modelRef": {"name": "bee"}}));
    twice["status"] = json!({"gateways": [{"name": "g"}, {"name": "g"}]});
    s.patch(Patch::Apply, "$workers/story?fieldManager=m", twice).await;
    let mut managed = bee;
    managed["metadata"]["managedFields"] = json!([{"manager": "x", "operation": "Apply"}]);
    s.patch(Patch::Apply, "$models/bee?fieldManager=m", managed).await;
    s.patch(Patch::Merge, "$models/bee?force=true", json!({})).await;
}
