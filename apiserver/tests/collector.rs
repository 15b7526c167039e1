//! The collector: owners, finalizers, namespaces, and a restart in between.

mod support;

use rbee_apiserver::ApiServer;
use serde_json::{Value, json};
use support::{CONFIG_MAPS, InProcess, WIDGETS, config, config_map, widget};

fn owned(name: &str, owner: &Value, block: bool) -> Value {
    let mut object = widget(name);
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": owner["apiVersion"], "kind": owner["kind"],
        "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "blockOwnerDeletion": block}]);
    object
}

fn at(path: &str, name: &str) -> String {
    format!("{path}/{name}")
}

#[tokio::test]
async fn dependents_follow_their_owner() {
    let s = InProcess::open().await;
    let owner = s.post(CONFIG_MAPS, &config_map("owner")).await.expect(201);
    let kid = s.post(WIDGETS, &owned("kid", &owner, false)).await.expect(201);
    s.post(WIDGETS, &owned("grandkid", &kid, false)).await.expect(201);
    s.post(WIDGETS, &widget("other")).await.expect(201);
    s.delete(&at(CONFIG_MAPS, "owner")).await.expect(200);
    s.until(&at(WIDGETS, "kid"), 404).await;
    s.until(&at(WIDGETS, "grandkid"), 404).await;
    assert_eq!(s.get(&at(WIDGETS, "other")).await.status, 200);
}

#[tokio::test]
async fn an_object_whose_owner_never_was_goes() {
    let s = InProcess::open().await;
    let nobody = json!({"apiVersion": "test.dev/v1", "kind": "Widget", "metadata": {"name": "none", "uid": "11111111-1111-4111-8111-111111111111"}});
    s.post(WIDGETS, &owned("lost", &nobody, false)).await.expect(201);
    s.until(&at(WIDGETS, "lost"), 404).await;
    let unknown = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "uid": "u"}});
    s.post(WIDGETS, &owned("kept", &unknown, false)).await.expect(201);
    s.post(WIDGETS, &owned("marker", &nobody, false)).await.expect(201);
    s.until(&at(WIDGETS, "marker"), 404).await;
    assert_eq!(s.get(&at(WIDGETS, "kept")).await.status, 200, "nobody here can say whether that owner is there");
}

#[tokio::test]
async fn a_foreground_delete_waits_for_those_that_block_it() {
    let s = InProcess::open().await;
    let owner = s.post(CONFIG_MAPS, &config_map("owner")).await.expect(201);
    let mut kid = owned("kid", &owner, true);
    kid["metadata"]["finalizers"] = json!(["test.dev/hold"]);
    s.post(WIDGETS, &kid).await.expect(201);
    let going = s.delete(&format!("{}?propagationPolicy=Foreground", at(CONFIG_MAPS, "owner"))).await.expect(200);
    assert_eq!(going["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    loop {
        let kid = s.get(&at(WIDGETS, "kid")).await.expect(200);
        if kid["metadata"]["deletionTimestamp"].is_string() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(s.get(&at(CONFIG_MAPS, "owner")).await.status, 200);
    s.merge(&at(WIDGETS, "kid"), &json!({"metadata": {"finalizers": null}})).await.expect(200);
    s.until(&at(WIDGETS, "kid"), 404).await;
    s.until(&at(CONFIG_MAPS, "owner"), 404).await;
}

#[tokio::test]
async fn orphans_stay_and_forget_their_owner() {
    let s = InProcess::open().await;
    let owner = s.post(CONFIG_MAPS, &config_map("owner")).await.expect(201);
    s.post(WIDGETS, &owned("kid", &owner, false)).await.expect(201);
    s.delete(&format!("{}?propagationPolicy=Orphan", at(CONFIG_MAPS, "owner"))).await.expect(200);
    s.until(&at(CONFIG_MAPS, "owner"), 404).await;
    let kid = s.get(&at(WIDGETS, "kid")).await.expect(200);
    assert!(kid["metadata"].get("ownerReferences").is_none(), "{kid}");
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let s = InProcess::open().await;
    let mut held = widget("a");
    held["metadata"]["finalizers"] = json!(["test.dev/hold"]);
    s.post(WIDGETS, &held).await.expect(201);
    let going = s.delete(&at(WIDGETS, "a")).await.expect(200);
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(going["metadata"]["generation"], 2);
    let words = s
        .merge(&at(WIDGETS, "a"), &json!({"metadata": {"finalizers": ["test.dev/hold", "test.dev/late"]}}))
        .await
        .refused(422);
    assert!(words.contains("no new finalizers can be added if the object is being deleted"), "{words}");
    assert!(s.post(WIDGETS, &widget("a")).await.refused(409).starts_with("object is being deleted: "));
    s.merge(&at(WIDGETS, "a"), &json!({"metadata": {"finalizers": []}})).await.expect(200);
    s.get(&at(WIDGETS, "a")).await.refused(404);
}

#[tokio::test]
async fn a_namespace_takes_its_content_along() {
    let s = InProcess::open().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}});
    s.post("/api/v1/namespaces", &namespace).await.expect(201);
    let inside = "/apis/test.dev/v1/namespaces/x/widgets";
    let mut held = widget("held");
    held["metadata"]["finalizers"] = json!(["test.dev/hold"]);
    s.post(inside, &held).await.expect(201);
    s.post(inside, &widget("free")).await.expect(201);
    let going = s.delete("/api/v1/namespaces/x").await.expect(200);
    assert_eq!(going["status"]["phase"], "Terminating");
    assert!(s.post(inside, &widget("late")).await.refused(403).contains("because it is being terminated"));
    s.until(&at(inside, "free"), 404).await;
    assert_eq!(s.get("/api/v1/namespaces/x").await.status, 200);
    s.merge(&at(inside, "held"), &json!({"metadata": {"finalizers": null}})).await.expect(200);
    s.until("/api/v1/namespaces/x", 404).await;
    assert!(s.delete("/api/v1/namespaces/default").await.refused(403).contains("this namespace may not be deleted"));
}

#[tokio::test]
async fn what_was_missed_is_made_up_for_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let s = InProcess::with(ApiServer::open(config(Some(folder.path()))).await.unwrap());
    let owner = s.post(CONFIG_MAPS, &config_map("owner")).await.expect(201);
    let mut kid = owned("kid", &owner, false);
    kid["metadata"]["finalizers"] = json!(["test.dev/hold"]);
    s.post(WIDGETS, &kid).await.expect(201);
    let token = s.server.admin_token().reveal().to_string();
    let before = s.get(WIDGETS).await.expect(200);
    s.delete(&at(CONFIG_MAPS, "owner")).await.expect(200);
    s.server.close().await;

    let s = InProcess::with(ApiServer::open(config(Some(folder.path()))).await.unwrap());
    let after = s.get(WIDGETS).await.expect(200);
    let number = |v: &Value| v["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(number(&after) >= number(&before));
    assert_eq!(after["items"][0]["metadata"]["uid"], before["items"][0]["metadata"]["uid"]);
    assert_eq!(s.server.admin_token().reveal(), token, "the administrator's token stays");
    s.merge(&at(WIDGETS, "kid"), &json!({"metadata": {"finalizers": null}})).await.expect(200);
    s.until(&at(WIDGETS, "kid"), 404).await;
    s.server.close().await;
}
