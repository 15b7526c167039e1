//! Watches over the router, in process.

mod support;

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{Api, DynamicObject};
use kube::discovery::ApiResource;
use kube::runtime::watcher;
use serde_json::json;
use support::{InProcess, WIDGETS, widget};

fn pair(kind: &str, name: &str) -> (String, String) {
    (kind.into(), name.into())
}

fn at(name: &str) -> String {
    format!("{WIDGETS}/{name}")
}

#[tokio::test]
async fn changes_come_in_order_from_a_version() {
    let s = InProcess::open().await;
    let first = s.post(WIDGETS, &widget("a")).await.expect(201);
    let version = first["metadata"]["resourceVersion"].as_str().unwrap().to_string();
    let mut watch = s.watch(&format!("{WIDGETS}?resourceVersion={version}")).await;
    s.post(WIDGETS, &widget("b")).await.expect(201);
    s.merge(&at("a"), &json!({"spec": {"size": 5}})).await.expect(200);
    s.delete(&at("b")).await.expect(200);
    assert_eq!(watch.step().await, pair("ADDED", "b"));
    assert_eq!(watch.step().await, pair("MODIFIED", "a"));
    let gone = watch.next().await.unwrap();
    assert_eq!(gone["type"], "DELETED");
    let number = |v: &serde_json::Value| v["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(number(&gone["object"]) > number(&first));
    let mut again = s.watch(&format!("{WIDGETS}?resourceVersion={version}")).await;
    assert_eq!(again.step().await, pair("ADDED", "b"), "any version of the history can be continued from");
}

#[tokio::test]
async fn without_a_version_it_begins_with_what_is_there() {
    let s = InProcess::open().await;
    s.post(WIDGETS, &widget("a")).await.expect(201);
    let mut watch = s.watch(WIDGETS).await;
    assert_eq!(watch.step().await, pair("ADDED", "a"));
    s.post(WIDGETS, &widget("b")).await.expect(201);
    assert_eq!(watch.step().await, pair("ADDED", "b"));
}

#[tokio::test]
async fn what_leaves_a_selection_is_deleted_from_it() {
    let s = InProcess::open().await;
    let mut watch = s.watch(&format!("{WIDGETS}?labelSelector=on%3D1")).await;
    let mut fields = s.watch(&format!("{WIDGETS}?fieldSelector=spec.mode%3Dslow")).await;
    s.post(WIDGETS, &widget("a")).await.expect(201);
    for on in ["1", "2", "1"] {
        s.merge(&at("a"), &json!({"metadata": {"labels": {"on": on}}})).await.expect(200);
    }
    s.merge(&at("a"), &json!({"spec": {"mode": "slow"}})).await.expect(200);
    s.merge(&at("a"), &json!({"spec": {"mode": "fast"}})).await.expect(200);
    assert_eq!(watch.step().await, pair("ADDED", "a"));
    assert_eq!(watch.step().await, pair("DELETED", "a"));
    assert_eq!(watch.step().await, pair("ADDED", "a"));
    assert_eq!(watch.step().await, pair("MODIFIED", "a"));
    assert_eq!(fields.step().await, pair("ADDED", "a"));
    assert_eq!(fields.step().await, pair("DELETED", "a"));
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let s = InProcess::open().await;
    s.post(WIDGETS, &widget("a")).await.expect(201);
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = s.watch(&format!("{WIDGETS}?{query}")).await;
    assert_eq!(watch.step().await, pair("ADDED", "a"));
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    s.post(WIDGETS, &widget("b")).await.expect(201);
    assert_eq!(watch.step().await, pair("ADDED", "b"));
    s.get(&format!("{WIDGETS}?watch=1&sendInitialEvents=true")).await.refused(422);
}

#[tokio::test]
async fn a_watch_ends_when_it_said_it_would() {
    let s = InProcess::open().await;
    let mut watch = s.watch(&format!("{WIDGETS}?timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion=0")).await;
    while let Some(event) = watch.next().await {
        assert_eq!(event["type"], "BOOKMARK");
    }
}

#[tokio::test]
async fn a_version_from_the_future_is_waited_for_in_vain() {
    let s = InProcess::open().await;
    let first = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    for path in
        [format!("{WIDGETS}?resourceVersion=99999999"), format!("{WIDGETS}?watch=1&{first}&resourceVersion=99999999")]
    {
        let answer = s.get(&path).await;
        assert_eq!(answer.header("retry-after"), "1");
        assert!(answer.refused(504).starts_with("Timeout: Too large resource version: 99999999, current: "));
    }
}

#[tokio::test]
async fn a_watch_may_begin_in_the_future() {
    let s = InProcess::open().await;
    let a = s.post(WIDGETS, &widget("a")).await.expect(201);
    let version: u64 = a["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let mut watch = s.watch(&format!("{WIDGETS}?resourceVersion={}", version + 1)).await;
    s.post(WIDGETS, &widget("b")).await.expect(201);
    s.post(WIDGETS, &widget("c")).await.expect(201);
    assert_eq!(watch.step().await, pair("ADDED", "c"), "the write of b is what the watch says it has seen");
    let answer = s.get(&format!("{WIDGETS}?watch=1&continue=x")).await.refused(422);
    assert!(answer.contains("resourceVersionMatch is forbidden when continue is provided"), "{answer}");
    let answer = s.get(&format!("{WIDGETS}?watch=1&resourceVersion=abc")).await.refused(500);
    assert_eq!(answer, "resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax");
}

#[tokio::test]
async fn a_version_that_is_no_longer_kept_is_gone() {
    let s = InProcess::open().await;
    s.post(WIDGETS, &widget("a")).await.expect(201);
    for i in 0..10_100 {
        s.merge(&at("a"), &json!({"spec": {"note": i.to_string()}})).await.expect(200);
    }
    let mut watch = s.watch(&format!("{WIDGETS}?resourceVersion=5")).await;
    let event = watch.next().await.unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["code"], &event["object"]["reason"]),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn tables_name_their_columns_once() {
    let s = InProcess::open().await;
    s.post(WIDGETS, &widget("a")).await.expect(201);
    s.post(WIDGETS, &widget("b")).await.expect(201);
    let request = http::Request::builder()
        .uri(format!("{WIDGETS}?watch=1&timeoutSeconds=1"))
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(axum::body::Body::empty())
        .unwrap();
    let lines = s.send(request).await.text;
    let events: Vec<serde_json::Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(events[0]["object"]["columnDefinitions"].is_array());
    assert!(events[1]["object"]["columnDefinitions"].is_null());
    assert_eq!(events[1]["object"]["rows"][0]["cells"][0], "b");
}

#[tokio::test]
async fn the_watcher_of_kube_sees_everything_once() {
    let s = InProcess::open().await;
    let resource = ApiResource {
        group: "test.dev".into(),
        version: "v1".into(),
        api_version: "test.dev/v1".into(),
        kind: "Widget".into(),
        plural: "widgets".into(),
    };
    s.post(WIDGETS, &widget("a")).await.expect(201);
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let api: Api<DynamicObject> = Api::namespaced_with(s.kube(), "default", &resource);
        let mut events = watcher(api, config).boxed();
        let mut seen = Vec::new();
        while let Some(event) = events.try_next().await.unwrap() {
            match event {
                watcher::Event::InitApply(o) => seen.push(format!("init {}", o.metadata.name.unwrap())),
                watcher::Event::InitDone => {
                    s.merge(&at("a"), &json!({"metadata": {"labels": {"n": seen.len().to_string()}}}))
                        .await
                        .expect(200);
                    s.merge(&at("a"), &json!({"metadata": {"labels": {"n": null}}})).await.expect(200);
                }
                watcher::Event::Apply(o) => {
                    seen.push(format!("apply {}", o.metadata.name.unwrap()));
                    if seen.len() == 3 {
                        break;
                    }
                }
                watcher::Event::Init | watcher::Event::Delete(_) => {}
            }
        }
        assert_eq!(seen, ["init a", "apply a", "apply a"]);
    }
}
