//! Watches: what they show, in which order, and from where on.

use serde_json::{Value, json};

use crate::script::{Script, assignment, model};

fn bee(name: &str) -> Value {
    model(name, json!({"uri": "builtin:tinybee"}))
}

pub async fn from_a_version(s: &mut Script<'_>) {
    s.quietly("POST", "$models", bee("before")).await;
    let start = s.quietly("GET", "$models", json!(null)).await.version();
    let mut watch = s.watch(&format!("$models?watch=true&resourceVersion={start}")).await;
    s.quietly("POST", "$models", bee("a")).await;
    s.quietly("PATCH", "$models/a", json!({"spec": {"filename": "f"}})).await;
    s.note("what changes nothing is no event");
    s.quietly("PATCH", "$models/a", json!({"spec": {"filename": "f"}})).await;
    s.quietly("PATCH", "$models/a/status", json!({"status": {"sizeBytes": 1}})).await;
    s.quietly("PATCH", "$models/a", json!({"metadata": {"finalizers": ["rbee.dev/hold"]}})).await;
    s.quietly("DELETE", "$models/a", json!(null)).await;
    s.quietly("PATCH", "$models/a", json!({"metadata": {"finalizers": null}})).await;
    s.quietly("DELETE", "$models/before", json!(null)).await;
    s.events(&mut watch, 7).await;
    s.note("the same again from the same version");
    let mut again = s.watch(&format!("$models?watch=true&resourceVersion={start}")).await;
    s.events(&mut again, 7).await;
}

pub async fn selected(s: &mut Script<'_>) {
    let start = s.quietly("GET", "$assignments", json!(null)).await.version();
    let mut here =
        s.watch(&format!("$assignments?watch=true&fieldSelector=spec.hiveName%3Da&resourceVersion={start}")).await;
    let mut labelled =
        s.watch(&format!("$assignments?watch=true&labelSelector=on%3Dyes&resourceVersion={start}")).await;
    let mut named =
        s.watch(&format!("$assignments?watch=true&fieldSelector=metadata.name%3Dtwo&resourceVersion={start}")).await;
    s.quietly("POST", "$assignments", assignment("one", json!({"hiveName": "a"}))).await;
    s.quietly("POST", "$assignments", assignment("two", json!({"hiveName": "b"}))).await;
    s.note("into sight and out of it");
    s.quietly("PATCH", "$assignments/two", json!({"metadata": {"labels": {"on": "yes"}}})).await;
    s.quietly("PATCH", "$assignments/two", json!({"metadata": {"labels": {"on": "no"}}})).await;
    s.quietly("DELETE", "$assignments/two", json!(null)).await;
    s.quietly("DELETE", "$assignments/one", json!(null)).await;
    s.events(&mut here, 2).await;
    s.events(&mut labelled, 2).await;
    s.events(&mut named, 4).await;
}

pub async fn initial_events(s: &mut Script<'_>) {
    s.quietly("POST", "$models", bee("a")).await;
    s.quietly("POST", "$models", bee("b")).await;
    s.note("from any version: what there is, then what comes");
    // A kube-apiserver answers from a cache, which is behind for a moment.
    s.count("$models?resourceVersion=0", 2).await;
    let mut plain = s.watch("$models?watch=true&resourceVersion=0").await;
    s.events(&mut plain, 2).await;
    s.quietly("DELETE", "$models/a", json!(null)).await;
    s.events(&mut plain, 1).await;
}

/// The list as a stream, which a kube-apiserver has only over an etcd newer than Debian's.
pub async fn streamed_list(s: &mut Script<'_>) {
    s.quietly("POST", "$models", bee("a")).await;
    s.quietly("POST", "$models", bee("b")).await;
    let streamed = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = s.watch(&format!("$models?watch=true&{streamed}")).await;
    s.events(&mut watch, 3).await;
    s.quietly("PATCH", "$models/a", json!({"spec": {"filename": "f"}})).await;
    s.events(&mut watch, 1).await;
}

/// Objects that are written to at once.
const WIDTH: usize = 64;

/// A version that is no longer kept.
pub async fn expired(s: &mut Script<'_>) {
    let start = s.quietly("GET", "$models", json!(null)).await.version();
    for n in 0..WIDTH {
        s.quietly("POST", "$models", bee(&format!("bee-{n}"))).await;
    }
    let patch = |n: usize| (format!("$models/bee-{}", n % WIDTH), json!({"spec": {"filename": n.to_string()}}));
    s.many(10_100, WIDTH / 2, patch).await;
    let mut old = s.watch(&format!("$models?watch=true&resourceVersion={start}")).await;
    s.events(&mut old, 2).await;
    s.note("a list as it was");
    let (code, reason) = s.refused(&format!("$models?resourceVersion={start}&resourceVersionMatch=Exact")).await;
    s.note(&format!("{code} {reason}"));
}

pub async fn errors(s: &mut Script<'_>) {
    for query in [
        "resourceVersion=abc",
        "sendInitialEvents=true",
        "resourceVersionMatch=NotOlderThan",
        "sendInitialEvents=true&resourceVersionMatch=Exact",
        "fieldSelector=spec.uri%3Dx",
        "labelSelector=a%20b",
    ] {
        let mut refused = s.watch(&format!("$models?watch=true&{query}")).await;
        s.events(&mut refused, 1).await;
    }
}
