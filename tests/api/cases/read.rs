//! Lists in pages and by selectors, tables, discovery.

use serde_json::json;

use crate::script::{Script, assignment, model, worker};

pub async fn paging(s: &mut Script<'_>) {
    for name in ["a", "b", "c", "d", "e"] {
        s.quietly("POST", "$models", model(name, json!({"uri": "builtin:tinybee"}))).await;
    }
    let page = s.get("$models?limit=2").await;
    let next = page.text("/metadata/continue");
    s.note("what comes meanwhile is not in the next page");
    s.quietly("POST", "$models", model("bb", json!({"uri": "builtin:tinybee"}))).await;
    let second = s.quietly("GET", &format!("$models?limit=2&continue={next}"), json!(null)).await;
    let names = |answer: &crate::script::Answer| {
        let items = answer.body["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|i| i["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&second), ["c", "d"]);
    let next = second.text("/metadata/continue");
    let last = s.quietly("GET", &format!("$models?limit=2&continue={next}"), json!(null)).await;
    assert_eq!(names(&last), ["e"]);
    s.note("what is no page");
    s.get("$models?limit=2&continue=nonsense").await;
    s.get("$models?limit=x").await;
    s.note("as it was");
    let version = page.text("/metadata/resourceVersion");
    let exact =
        s.quietly("GET", &format!("$models?resourceVersion={version}&resourceVersionMatch=Exact"), json!(null)).await;
    assert_eq!(names(&exact), ["a", "b", "c", "d", "e"]);
    let newer = s
        .quietly("GET", &format!("$models?resourceVersion={version}&resourceVersionMatch=NotOlderThan"), json!(null))
        .await;
    assert!(newer.body["items"].as_array().is_some_and(|i| i.len() >= 5));
    s.get("$models?resourceVersionMatch=Exact").await;
    s.get("$models?resourceVersion=0&resourceVersionMatch=Exact").await;
    s.get("$models?resourceVersion=abc").await;
}

pub async fn selectors(s: &mut Script<'_>) {
    for (name, hive) in [("one", "a"), ("two", "b"), ("three", "a")] {
        let mut body = assignment(name, json!({"hiveName": hive}));
        body["metadata"]["labels"] = json!({"rbee.dev/hive": hive, "n": name});
        s.quietly("POST", "$assignments", body).await;
    }
    s.get("$assignments?labelSelector=rbee.dev%2Fhive%3Da").await;
    s.get("$assignments?labelSelector=n%20in%20(one,two),rbee.dev%2Fhive%21%3Db").await;
    s.get("$assignments?labelSelector=%21n").await;
    s.get("$assignments?fieldSelector=spec.hiveName%3Db").await;
    s.get("$assignments?fieldSelector=metadata.name%3Dthree,spec.workerName%3Dstory").await;
    s.note("what cannot be selected");
    s.get("$assignments?fieldSelector=spec.slots%3D4").await;
    s.get("$assignments?fieldSelector=a").await;
    s.get("$assignments?labelSelector=a%20b").await;
    s.get("$assignments?labelSelector=n%20in%20one").await;
    s.get("$assignments?labelSelector=-a%3Dx").await;
}

pub async fn tables(s: &mut Script<'_>) {
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
    const PARTIAL: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    const PARTIAL_LIST: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    s.quietly("POST", "$models", model("bee", json!({"uri": "builtin:tinybee"}))).await;
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2001-02-03T04:05:06Z", "reason": "Available", "message": ""});
    s.quietly("PATCH", "$models/bee/status", json!({"status": {"sizeBytes": 42, "conditions": [ready]}})).await;
    s.get_as("$models", TABLE).await;
    s.get_as("$models/bee?includeObject=None", TABLE).await;
    s.quietly("POST", "$workers", worker("story", json!({"modelRef": {"name": "bee"}}))).await;
    s.get_as("$workers?includeObject=Object", TABLE).await;
    s.get_as("$assignments", TABLE).await;
    s.get_as("$models/bee", PARTIAL).await;
    s.get_as("$models", PARTIAL_LIST).await;
    s.note("a form that there is not");
    s.get_as("$models", "text/html").await;
    s.get_as("$models/none", TABLE).await;
}

pub async fn discovery(s: &mut Script<'_>) {
    s.get("/apis/rbee.dev").await;
    s.get("/apis/rbee.dev/v1alpha1").await;
    s.get("/apis/none.rbee.dev").await;
    s.get("/nothing/here").await;
    for path in ["/healthz", "/livez", "/readyz"] {
        s.get(path).await;
    }
}
