//! What the kinds' schemas and rules refuse, in which words.

use serde_json::{Value, json};

use crate::script::{Patch, Script, assignment, model, object, worker};

pub async fn models(s: &mut Script<'_>) {
    let uris = [
        "",
        "tinybee",
        "ftp://host/x",
        "file://relative",
        "file:///a/../b",
        "builtin:",
        "hf:org",
        "hf:org/repo:Q4_K_M@main",
        "https://host/file.gguf",
    ];
    for uri in uris {
        s.post("$models?dryRun=All", model("bee", json!({"uri": uri}))).await;
    }
    s.note("other fields");
    s.post("$models?dryRun=All", model("bee", json!({"uri": "builtin:tinybee", "sha256": "abc", "filename": ""})))
        .await;
    s.post("$models?dryRun=All", model("bee", json!({"uri": "builtin:tinybee", "tokenSecretRef": {"name": "x"}})))
        .await;
    s.post(
        "$models?dryRun=All",
        model("bee", json!({"uri": "builtin:tinybee", "prefetch": {"hiveSelector": {"matchLabels": {"a": 1}}}})),
    )
    .await;
    s.post("$models?dryRun=All", model("bee", json!({}))).await;
    s.post(
        "$models?dryRun=All",
        json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Model", "metadata": {"name": "bee"}}),
    )
    .await;
    s.note("defaults");
    s.post("$models?dryRun=All", model("bee", json!({"uri": "builtin:tinybee", "prefetch": {"hiveSelector": {}}})))
        .await;
}

pub async fn workers(s: &mut Script<'_>) {
    let bee = json!({"modelRef": {"name": "bee"}});
    let refused = [
        json!({"replicas": 1, "autoscaling": {"maxReplicas": 2}}),
        json!({"hiveName": "a", "hiveSelector": {"matchLabels": {"a": "b"}}}),
        json!({"device": 1}),
        json!({"autoscaling": {"minReplicas": 3, "maxReplicas": 2}}),
        json!({"autoscaling": {}}),
        json!({"slots": 0}),
        json!({"slots": 65}),
        json!({"slots": "four"}),
        json!({"slots": 1.5}),
        json!({"replicas": -1}),
        json!({"replicas": 3_000_000_000_i64}),
        json!({"backend": "gpu"}),
        json!({"idleTimeout": "5 minutes"}),
        json!({"idleTimeout": 300}),
        json!({"resources": {"memory": "six"}}),
        json!({"onHiveLost": "Ignore"}),
        json!({"hiveName": ""}),
        json!({"modelRef": {}}),
        json!({"modelRef": "bee"}),
        json!({"suspend": "yes"}),
        json!({"rolloutStrategy": {"maxSurge": -1}}),
        json!({"slots": 0, "backend": "gpu", "device": 2000, "replicas": -1, "autoscaling": {"maxReplicas": 0}}),
    ];
    for fields in refused {
        s.post("$workers?dryRun=All", worker("story", with(&bee, &fields))).await;
    }
    s.note("taken");
    let full = json!({
        "replicas": 2, "backend": "cuda", "device": 1, "hiveSelector": {"matchLabels": {"a": "b"}}, "slots": 64, "contextLength": 4096,
        "idleTimeout": "1h30m", "resources": {"memory": "1.5Gi"}, "rolloutStrategy": {"maxSurge": 0, "maxUnavailable": 1},
        "onHiveLost": "Wait", "hiveLostTimeout": "0s", "suspend": true,
    });
    s.post("$workers", worker("story", with(&bee, &full))).await;
    s.note("a rule that an update breaks");
    s.patch(Patch::Merge, "$workers/story", json!({"spec": {"backend": null}})).await;
    s.patch(Patch::Merge, "$workers/story", json!({"spec": {"hiveName": "a"}})).await;
    s.note("nulls");
    s.post("$workers?dryRun=All", worker("other", with(&bee, &json!({"replicas": null, "backend": null})))).await;
}

fn with(base: &Value, fields: &Value) -> Value {
    let mut spec = base.clone();
    if let (Some(spec), Value::Object(fields)) = (spec.as_object_mut(), fields.clone()) {
        spec.extend(fields);
    }
    spec
}

pub async fn assignments(s: &mut Script<'_>) {
    s.post("$assignments", assignment("one", json!({}))).await;
    s.note("a leader of an older epoch");
    s.patch(Patch::Merge, "$assignments/one", json!({"spec": {"epoch": 2}})).await;
    s.patch(Patch::Json, "$assignments/one", json!([{"op": "replace", "path": "/spec/epoch", "value": 0}])).await;
    s.patch(Patch::Apply, "$assignments/one?fieldManager=stale&force=true", assignment("one", json!({"epoch": 1})))
        .await;
    s.note("the same and a newer one");
    s.patch(Patch::Merge, "$assignments/one", json!({"spec": {"epoch": 3, "slots": 2}})).await;
    s.patch(Patch::Merge, "$assignments/one", json!({"spec": {"epoch": 4}})).await;
    s.note("it does not move");
    s.patch(Patch::Merge, "$assignments/one", json!({"spec": {"hiveName": "b"}})).await;
    s.patch(Patch::Merge, "$assignments/one", json!({"spec": {"workerName": "other", "hiveName": "b", "epoch": 1}}))
        .await;
    s.note("states");
    s.patch(Patch::Merge, "$assignments/one/status", json!({"status": {"state": "Sleeping"}})).await;
    s.patch(Patch::Merge, "$assignments/one/status", json!({"status": {"state": "Ready", "slots": {"total": 4}}}))
        .await;
    s.patch(Patch::Merge, "$assignments/one/status", json!({"status": {"state": "Ready", "lastRequestTime": "now"}}))
        .await;
    s.post(
        "$assignments",
        assignment("two", json!({"memoryBytes": -1, "slots": 0, "device": 1024, "model": {"name": "bee"}})),
    )
    .await;
    let hive = s.namespace.clone();
    s.post("$hives?dryRun=All", object("Hive", &hive, json!({"unschedulable": "no"}))).await;
}

pub async fn unknown_fields(s: &mut Script<'_>) {
    let mut odd =
        model("bee", json!({"uri": "builtin:tinybee", "url": "x", "prefetch": {"hiveSelector": {"labels": {}}}}));
    odd["top"] = json!(1);
    odd["metadata"]["colour"] = json!("red");
    for mode in ["Strict", "Warn", "Ignore", "Sometimes"] {
        s.post(&format!("$models?dryRun=All&fieldValidation={mode}"), odd.clone()).await;
    }
    s.note("without a word about it");
    s.post("$models?dryRun=All", odd).await;
    s.note("fields that come twice");
    let twice = json!(
        r#"{"apiVersion":"rbee.dev/v1alpha1","kind":"Model","metadata":{"name":"bee"},"spec":{"uri":"builtin:a","uri":"builtin:tinybee"}}"#
    );
    for mode in ["Strict", "Warn", "Ignore"] {
        s.post(&format!("$models?dryRun=All&fieldValidation={mode}"), twice.clone()).await;
    }
    s.note("in YAML, and applied");
    let twice = "apiVersion: rbee.dev/v1alpha1\nkind: Model\nmetadata:\n  name: bee\n  name: bee\nspec:\n  uri: builtin:a\n  uri:\n    builtin:tinybee";
    for mode in ["Strict", "Warn", "Ignore"] {
        s.post_yaml(&format!("$models?dryRun=All&fieldValidation={mode}"), &format!("{twice}\n  url: x\n")).await;
        let apply = format!("$models/bee?dryRun=All&fieldManager=m&fieldValidation={mode}");
        s.patch(Patch::Apply, &apply, json!(twice)).await;
    }
    s.note("in patches");
    s.quietly("POST", "$models", model("bee", json!({"uri": "builtin:tinybee"}))).await;
    s.patch(Patch::Apply, "$models/bee?dryRun=All&fieldManager=m&fieldValidation=Warn", json!(twice)).await;
    s.patch(Patch::Merge, "$models/bee?fieldValidation=Strict", json!({"spec": {"url": "x"}})).await;
    s.patch(Patch::Merge, "$models/bee?fieldValidation=Warn", json!({"spec": {"url": "x"}})).await;
    s.patch(Patch::Apply, "$models/bee?fieldManager=m&fieldValidation=Strict", model("bee", json!({"url": "x"}))).await;
    s.patch(Patch::Apply, "$models/bee?fieldManager=m", model("bee", json!({"url": "x"}))).await;
    s.note("no JSON, no object, nothing");
    s.post("$models", json!("{")).await;
    s.post("$models", json!("[]")).await;
    s.post("$models", json!(r#"{"metadata":{"name":"bee"}}"#)).await;
}

pub async fn metadata(s: &mut Script<'_>) {
    let with_meta = |meta: Value| {
        let mut body = model("bee", json!({"uri": "builtin:tinybee"}));
        if let (Some(own), Value::Object(meta)) = (body["metadata"].as_object_mut(), meta) {
            own.extend(meta);
        }
        body
    };
    let refused = [
        json!({"labels": {"a b": "x", "ok": "bad value!"}}),
        json!({"labels": {"a": 1}}),
        json!({"annotations": {"/x": "y"}}),
        json!({"namespace": "elsewhere"}),
        json!({"finalizers": ["nodomain", "-bad/x"]}),
        json!({"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x"}]}),
        json!({"ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x", "controller": true},
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "y", "uid": "y", "controller": true},
        ]}),
    ];
    for meta in refused {
        s.post("$models?dryRun=All", with_meta(meta)).await;
    }
    s.post("$models", with_meta(json!({"resourceVersion": "5"}))).await;
    s.note("what the server sets, whoever else does");
    let own = json!({"uid": "11111111-1111-4111-8111-111111111111", "creationTimestamp": "2001-02-03T04:05:06Z", "generation": 7});
    s.post("$models", with_meta(own)).await;
}
