//! The few built-in kinds that the parts need.

use serde_json::{Value, json};

use crate::script::{Patch, Script};

pub async fn events(s: &mut Script<'_>) {
    let namespace = s.namespace.clone();
    let about = json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Worker", "name": "story", "namespace": namespace, "uid": "11111111-1111-4111-8111-111111111111"});
    let modern = |name: &str| {
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name}, "eventTime": "2001-02-03T04:05:06.000000Z",
            "reportingController": "rbee-queen", "reportingInstance": "queen", "action": "Schedule", "reason": "Scheduled",
            "regarding": about, "note": "it has a place", "type": "Normal",
        })
    };
    let at = "/apis/events.k8s.io/v1/namespaces/$ns/events";
    s.post(at, modern("new")).await;
    s.note("the same object in the other spelling");
    s.get("$api/events/new").await;
    s.note("as kube's recorder counts it again");
    s.patch(
        Patch::Merge,
        &format!("{at}/new"),
        json!({"series": {"count": 2, "lastObservedTime": "2001-02-03T04:05:07.000000Z"}}),
    )
    .await;
    s.note("the old spelling");
    let old = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "old"}, "involvedObject": about, "reason": "Pulled", "message": "done",
        "type": "Normal", "count": 1, "firstTimestamp": "2001-02-03T04:05:06Z", "lastTimestamp": "2001-02-03T04:05:06Z", "source": {"component": "hive"},
    });
    s.post("$api/events", old).await;
    s.get(&format!("{at}/old")).await;
    s.get("$api/events?fieldSelector=involvedObject.name%3Dstory,reason%3DPulled").await;
    s.note("refused");
    s.post(
        at,
        json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "bare"}, "regarding": about}),
    )
    .await;
    let mut elsewhere = modern("elsewhere");
    elsewhere["regarding"]["namespace"] = json!("default");
    s.post(at, elsewhere).await;
}

pub async fn secrets(s: &mut Script<'_>) {
    let secret = |name: &str, more: Value| {
        let mut body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        body
    };
    s.post("$api/secrets", secret("plain", json!({"stringData": {"key": "value"}, "type": "rbee.dev/worker-key"})))
        .await;
    s.post("$api/secrets", secret("fixed", json!({"data": {"key": "dmFsdWU="}, "immutable": true}))).await;
    s.patch(Patch::Merge, "$api/secrets/fixed", json!({"data": {"key": "b3RoZXI="}})).await;
    s.patch(Patch::Merge, "$api/secrets/plain", json!({"type": "Opaque"})).await;
    s.patch(Patch::Strategic, "$api/secrets/plain", json!({"stringData": {"other": "x"}})).await;
    s.post("$api/secrets", secret("broken", json!({"data": {"key": "no base64!"}}))).await;
    s.post("$api/secrets", secret("keys", json!({"data": {"a/b": "dmFsdWU="}}))).await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"a": "1"}});
    s.post("$api/configmaps", map).await;
    s.patch(Patch::Strategic, "$api/configmaps/map", json!({"data": {"a": null, "b": "2"}})).await;
    s.post(
        "$api/configmaps",
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bad"}, "data": {"a": 1}}),
    )
    .await;
}

pub async fn leases(s: &mut Script<'_>) {
    let at = "/apis/coordination.k8s.io/v1/namespaces/$ns/leases";
    let lease = |spec: Value| json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "queen"}, "spec": spec});
    let made = s
        .post(at, lease(json!({"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2001-02-03T04:05:06.500000Z", "leaseTransitions": 0})))
        .await;
    let mut taken = made.body.clone();
    taken["spec"]["holderIdentity"] = json!("b");
    s.put(&format!("{at}/queen"), taken.clone()).await;
    s.note("who comes second loses");
    taken["spec"]["holderIdentity"] = json!("c");
    s.put(&format!("{at}/queen"), taken).await;
    s.put(&format!("{at}/queen"), lease(json!({"leaseDurationSeconds": 0}))).await;
    s.patch(Patch::Apply, &format!("{at}/queen?fieldManager=hive"), lease(json!({"holderIdentity": "d"}))).await;
}

pub async fn namespaces(s: &mut Script<'_>) {
    let name = format!("{}-more", s.namespace);
    s.post("/api/v1/namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"a": "1"}});
    s.quietly("POST", &format!("/api/v1/namespaces/{name}/configmaps"), map).await;
    s.quietly("DELETE", &format!("/api/v1/namespaces/{name}"), json!(null)).await;
    s.until(404, &format!("/api/v1/namespaces/{name}")).await;
    s.get(&format!("/api/v1/namespaces/{name}/configmaps/map")).await;
    s.post("/api/v1/namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "No_Name"}}))
        .await;
}
