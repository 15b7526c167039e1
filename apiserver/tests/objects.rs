//! Objects over the router, in process: verbs, words, versions, pages, selectors.

mod support;

use kube::api::{Api, DynamicObject, ListParams, PostParams};
use kube::discovery::ApiResource;
use serde_json::{Value, json};
use support::{CONFIG_MAPS, InProcess, WIDGETS, config_map, widget};

fn at(path: &str, name: &str) -> String {
    format!("{path}/{name}")
}

#[tokio::test]
async fn the_life_of_an_object() {
    let s = InProcess::open().await;
    let made = s.post(WIDGETS, &widget("a")).await.expect(201);
    assert_eq!(made["spec"], json!({"mode": "fast", "size": 3, "replicas": 1}), "defaults are filled in");
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["metadata"]["managedFields"][0]["manager"], "test");
    assert_eq!(s.post(WIDGETS, &widget("a")).await.refused(409), "widgets.test.dev \"a\" already exists");
    assert_eq!(s.get(&at(WIDGETS, "a")).await.expect(200), made);
    let gone = s.delete(&at(WIDGETS, "a")).await.expect(200);
    assert_eq!((&gone["status"], &gone["details"]["kind"]), (&json!("Success"), &json!("widgets")));
    assert_eq!(s.get(&at(WIDGETS, "a")).await.refused(404), "widgets.test.dev \"a\" not found");
}

#[tokio::test]
async fn what_is_wrong_is_said_with_the_field() {
    let s = InProcess::open().await;
    let mut bad = widget("a");
    bad["spec"]["size"] = 11.into();
    let status = s.post(WIDGETS, &bad).await.expect(422);
    assert_eq!(status["reason"], "Invalid");
    assert_eq!(status["details"]["causes"][0]["field"], "spec.size");
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .starts_with("Widget.test.dev \"a\" is invalid: spec.size: Invalid value: 11: "),
        "{status}"
    );
    let missing =
        s.post(WIDGETS, &json!({"apiVersion": "test.dev/v1", "kind": "Widget", "metadata": {"name": "Upper"}})).await;
    assert!(missing.text.contains("spec: Required value") && missing.text.contains("RFC 1123"), "{}", missing.text);
}

#[tokio::test]
async fn unknown_fields_are_dropped_warned_of_or_refused() {
    let s = InProcess::open().await;
    let with = |name: &str| {
        let mut object = widget(name);
        object["spec"]["wrong"] = 1.into();
        object["metadata"]["odd"] = 1.into();
        object
    };
    let warned = s.post(WIDGETS, &with("warn")).await;
    let warnings: Vec<&str> = warned.headers.get_all("warning").iter().filter_map(|v| v.to_str().ok()).collect();
    assert_eq!(
        warnings,
        ["299 - \"unknown field \\\"metadata.odd\\\"\"", "299 - \"unknown field \\\"spec.wrong\\\"\""]
    );
    let made = warned.expect(201);
    assert!(made["spec"].get("wrong").is_none() && made["metadata"].get("odd").is_none());
    let strict = s.post(&format!("{WIDGETS}?fieldValidation=Strict"), &with("strict")).await.refused(400);
    assert!(
        strict.contains("strict decoding error: unknown field \"metadata.odd\", unknown field \"spec.wrong\""),
        "{strict}"
    );
    let silent = s.post(&format!("{WIDGETS}?fieldValidation=Ignore"), &with("silent")).await;
    assert!(silent.headers.get("warning").is_none());
    silent.expect(201);
}

#[tokio::test]
async fn a_stale_write_is_a_conflict() {
    let s = InProcess::open().await;
    let first = s.post(WIDGETS, &widget("a")).await.expect(201);
    let mut second = first.clone();
    second["spec"]["size"] = 5.into();
    let second = s.put(&at(WIDGETS, "a"), &second).await.expect(200);
    assert_eq!(second["metadata"]["generation"], 2);
    let mut stale = first;
    stale["spec"]["size"] = 6.into();
    let words = s.put(&at(WIDGETS, "a"), &stale).await.refused(409);
    assert!(
        words.contains("the object has been modified; please apply your changes to the latest version and try again")
    );
    let words = s.put(&at(WIDGETS, "a"), &widget("a")).await.refused(422);
    assert!(words.contains("metadata.resourceVersion: Invalid value: 0: must be specified for an update"), "{words}");
}

#[tokio::test]
async fn a_write_that_changes_nothing_keeps_the_version() {
    let s = InProcess::open().await;
    let made = s.post(WIDGETS, &widget("a")).await.expect(201);
    let same = s.merge(&at(WIDGETS, "a"), &json!({"spec": {"size": 3}})).await.expect(200);
    assert_eq!(same["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let labelled = s.merge(&at(WIDGETS, "a"), &json!({"metadata": {"labels": {"x": "y"}}})).await.expect(200);
    assert_ne!(labelled["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert_eq!(labelled["metadata"]["generation"], 1, "labels are no change of the spec");
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let s = InProcess::open().await;
    let mut object = widget("a");
    object["status"] = json!({"phase": "dropped"});
    assert!(s.post(WIDGETS, &object).await.expect(201).get("status").is_none());
    let patch = json!({"spec": {"size": 9}, "status": {"phase": "on"}});
    let after = s.merge(&at(WIDGETS, "a/status"), &patch).await.expect(200);
    assert_eq!((&after["spec"]["size"], &after["status"]["phase"]), (&json!(3), &json!("on")));
    assert_eq!(after["metadata"]["generation"], 1);
    let after = s.merge(&at(WIDGETS, "a"), &json!({"status": {"phase": "off"}})).await.expect(200);
    assert_eq!(after["status"]["phase"], "on");
    s.merge("/apis/test.dev/v1/gadgets/none/status", &json!({})).await.refused(404);
}

#[tokio::test]
async fn scale_reads_and_writes_the_replicas() {
    let s = InProcess::open().await;
    s.post(WIDGETS, &widget("a")).await.expect(201);
    let scale = s.get(&at(WIDGETS, "a/scale")).await.expect(200);
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(1)));
    let scaled = s.merge(&at(WIDGETS, "a/scale"), &json!({"spec": {"replicas": 4}})).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 4);
    let object = s.get(&at(WIDGETS, "a")).await.expect(200);
    assert_eq!((&object["spec"]["replicas"], &object["metadata"]["generation"]), (&json!(4), &json!(2)));
    s.merge(&at(WIDGETS, "a/scale"), &json!({"spec": {"replicas": -1}})).await.refused(422);
}

#[tokio::test]
async fn a_scale_is_a_row_too() {
    let s = InProcess::open().await;
    s.post(WIDGETS, &widget("a")).await.expect(201);
    let ask = |path: &str, accept: &str| {
        let request = http::Request::get(at(WIDGETS, path)).header("accept", accept);
        request.body(axum::body::Body::empty()).unwrap()
    };
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = s.send(ask("a/scale?includeObject=Object", accept)).await.expect(200);
    let columns: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(columns, ["Name", "Desired", "Available", "Age"]);
    let row = &table["rows"][0];
    assert_eq!(row["cells"].as_array().unwrap()[..3], [json!("a"), json!(1), json!(0)]);
    assert_eq!(row["object"]["kind"], "Scale");
    let table = s.send(ask("a/scale", accept)).await.expect(200);
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn errors_are_in_the_form_that_was_asked_for_first() {
    let s = InProcess::open().await;
    for (accept, form) in [
        ("application/vnd.kubernetes.protobuf,application/json", "application/vnd.kubernetes.protobuf"),
        ("application/json,application/vnd.kubernetes.protobuf", "application/json"),
    ] {
        let request = http::Request::get(at(CONFIG_MAPS, "none")).header("accept", accept);
        let answer = s.send(request.body(axum::body::Body::empty()).unwrap()).await;
        assert_eq!((answer.status, answer.header("content-type")), (404, form), "{accept}");
        assert_eq!(answer.text.starts_with("k8s\0"), form.ends_with("protobuf"));
    }
}

#[tokio::test]
async fn two_appliers_own_their_fields() {
    let s = InProcess::open().await;
    let config =
        |spec: Value| json!({"apiVersion": "test.dev/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": spec});
    s.apply(&at(WIDGETS, "a"), "one", &config(json!({"mode": "fast", "size": 4}))).await.expect(201);
    let again = s.apply(&at(WIDGETS, "a"), "one", &config(json!({"mode": "fast", "size": 4}))).await.expect(200);
    let conflict = s.apply(&at(WIDGETS, "a"), "two", &config(json!({"mode": "fast", "size": 5}))).await.expect(409);
    assert_eq!(conflict["details"]["causes"][0]["reason"], "FieldManagerConflict");
    assert_eq!(conflict["details"]["causes"][0]["field"], ".spec.size");
    let path = format!("{}?force=true&", at(WIDGETS, "a"));
    let taken = s
        .call(
            "PATCH",
            &format!("{path}fieldManager=two"),
            Some(("application/apply-patch+yaml", config(json!({"mode": "fast", "size": 5})).to_string())),
        )
        .await
        .expect(200);
    assert_eq!(taken["spec"]["size"], 5);
    assert_ne!(taken["metadata"]["resourceVersion"], again["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn patches_that_cannot_be_applied() {
    let s = InProcess::open().await;
    s.post(WIDGETS, &widget("a")).await.expect(201);
    let json_patch = |body: Value| {
        s.call(
            "PATCH",
            "/apis/test.dev/v1/namespaces/default/widgets/a",
            Some(("application/json-patch+json", body.to_string())),
        )
    };
    json_patch(json!([{"op": "test", "path": "/spec/size", "value": 1}])).await.refused(422);
    json_patch(json!([{"op": "add", "path": "/spec/tags/1000000000", "value": "x"}])).await.refused(422);
    let doubled = json_patch(json!([{"op": "replace", "path": "/spec/size", "value": 7}])).await.expect(200);
    assert_eq!(doubled["spec"]["size"], 7);
    for (kind, status) in [("application/strategic-merge-patch+json", 415), ("text/plain", 415)] {
        s.call("PATCH", &at(WIDGETS, "a"), Some((kind, "{}".into()))).await.refused(status);
    }
    s.merge(&at(WIDGETS, "a"), &json!({"metadata": {"name": "b"}})).await.refused(400);
    s.call("PATCH", &at(WIDGETS, "a"), Some(("application/merge-patch+json", "null".into()))).await.refused(400);
}

#[tokio::test]
async fn dry_runs_change_nothing() {
    let s = InProcess::open().await;
    s.post(&format!("{WIDGETS}?dryRun=All"), &widget("a")).await.expect(201);
    s.get(&at(WIDGETS, "a")).await.refused(404);
    s.post(WIDGETS, &widget("a")).await.expect(201);
    s.merge(&format!("{}?dryRun=All", at(WIDGETS, "a")), &json!({"spec": {"size": 9}})).await.expect(200);
    s.delete(&format!("{}?dryRun=All", at(WIDGETS, "a"))).await.expect(200);
    assert_eq!(s.get(&at(WIDGETS, "a")).await.expect(200)["spec"]["size"], 3);
}

#[tokio::test]
async fn names_are_made_up_when_asked_for() {
    let s = InProcess::open().await;
    let mut object = widget("");
    object["metadata"] = json!({"generateName": "gen-"});
    let first = s.post(WIDGETS, &object).await.expect(201);
    let second = s.post(WIDGETS, &object).await.expect(201);
    let name = |v: &Value| v["metadata"]["name"].as_str().unwrap().to_string();
    assert!(name(&first).starts_with("gen-") && name(&first).len() == 9);
    assert_ne!(name(&first), name(&second));
}

#[tokio::test]
async fn a_list_comes_in_pages_of_one_moment() {
    let s = InProcess::open().await;
    for name in ["a", "b", "c", "d", "e"] {
        s.post(WIDGETS, &widget(name)).await.expect(201);
    }
    let first = s.get(&format!("{WIDGETS}?limit=2")).await.expect(200);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    s.delete(&at(WIDGETS, "c")).await.expect(200);
    s.post(WIDGETS, &widget("bb")).await.expect(201);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let rest = s.get(&format!("{WIDGETS}?limit=9&continue={token}")).await.expect(200);
    let names: Vec<&str> =
        rest["items"].as_array().unwrap().iter().filter_map(|i| i["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["c", "d", "e"], "the second page shows the moment of the first");
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let version = first["metadata"]["resourceVersion"].as_str().unwrap();
    let exact = s.get(&format!("{WIDGETS}?resourceVersion={version}&resourceVersionMatch=Exact")).await.expect(200);
    assert_eq!(exact["items"].as_array().unwrap().len(), 5);
    s.get(&format!("{WIDGETS}?continue=nonsense")).await.refused(400);
}

#[tokio::test]
async fn selectors_choose() {
    let s = InProcess::open().await;
    for (name, mode, labels) in
        [("a", "fast", json!({"app": "x"})), ("b", "slow", json!({"app": "y"})), ("c", "fast", json!({}))]
    {
        let mut object = widget(name);
        object["spec"]["mode"] = mode.into();
        object["metadata"]["labels"] = labels;
        s.post(WIDGETS, &object).await.expect(201);
    }
    for (query, names) in [
        ("labelSelector=app%3Dx", vec!["a"]),
        ("labelSelector=app%20in%20(x,y)", vec!["a", "b"]),
        ("labelSelector=!app", vec!["c"]),
        ("fieldSelector=spec.mode%3Dfast", vec!["a", "c"]),
        ("fieldSelector=metadata.name!%3Da,spec.mode%3Dfast", vec!["c"]),
        ("fieldSelector=metadata.namespace%3Dother", vec![]),
    ] {
        let list = s.get(&format!("{WIDGETS}?{query}")).await.expect(200);
        let got: Vec<&str> =
            list["items"].as_array().unwrap().iter().filter_map(|i| i["metadata"]["name"].as_str()).collect();
        assert_eq!(got, names, "{query}");
    }
    assert_eq!(
        s.get(&format!("{WIDGETS}?fieldSelector=spec.size%3D3")).await.refused(400),
        "field label not supported: spec.size"
    );
    s.get(&format!("{WIDGETS}?labelSelector=a%20b")).await.refused(400);
    let deleted = s.delete(&format!("{WIDGETS}?labelSelector=app")).await.expect(200);
    assert_eq!(deleted["items"].as_array().unwrap().len(), 2);
    assert_eq!(s.get(WIDGETS).await.expect(200)["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn versions_that_make_no_sense() {
    let s = InProcess::open().await;
    for bad in ["abc", "-1"] {
        s.get(&format!("{WIDGETS}?resourceVersion={bad}")).await.refused(400);
        s.get(&format!("{WIDGETS}?watch=1&resourceVersion={bad}")).await.refused(500);
    }
}

#[tokio::test]
async fn tables_and_metadata_alone() {
    let s = InProcess::open().await;
    s.post(WIDGETS, &widget("a")).await.expect(201);
    let with = |accept: &'static str| {
        let request =
            http::Request::builder().uri(WIDGETS).header("accept", accept).body(axum::body::Body::empty()).unwrap();
        s.send(request)
    };
    let table = with("application/json;as=Table;v=v1;g=meta.k8s.io,application/json").await.expect(200);
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["columnDefinitions"][1]["name"], "Mode");
    assert_eq!(table["rows"][0]["cells"], json!(["a", "fast"]));
    let partial = with("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").await.expect(200);
    assert_eq!(
        (&partial["kind"], &partial["items"][0]["kind"]),
        (&json!("PartialObjectMetadataList"), &json!("PartialObjectMetadata"))
    );
    assert!(partial["items"][0].get("spec").is_none());
    assert_eq!(with("text/html").await.status, 406);
    assert!(with("application/yaml").await.text.starts_with("apiVersion: test.dev/v1\n"));
}

#[tokio::test]
async fn built_in_kinds() {
    let s = InProcess::open().await;
    s.post(CONFIG_MAPS, &config_map("c")).await.expect(201);
    let patch = json!({"data": {"a": null, "b": "2"}});
    let kind = "application/strategic-merge-patch+json";
    let after = s.call("PATCH", &at(CONFIG_MAPS, "c"), Some((kind, patch.to_string()))).await.expect(200);
    assert_eq!(after["data"], json!({"b": "2"}));
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"k": "v"}});
    let secret = s.post("/api/v1/namespaces/default/secrets", &secret).await.expect(201);
    assert_eq!((&secret["data"]["k"], &secret["type"]), (&json!("dg=="), &json!("Opaque")));
    let wrong = s.post(CONFIG_MAPS, &json!({"metadata": {"name": "d"}, "data": {"a": 1}})).await.refused(400);
    assert!(wrong.starts_with("ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: "), "{wrong}");
    s.post("/api/v1/namespaces/none/configmaps", &config_map("c")).await.refused(404);
}

#[tokio::test]
async fn an_event_has_two_spellings() {
    let s = InProcess::open().await;
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "reason": "Why", "message": "m", "type": "Normal",
        "involvedObject": {"kind": "Widget", "name": "a", "namespace": "default"}, "firstTimestamp": null, "eventTime": null});
    let made = s.post("/api/v1/namespaces/default/events", &event).await.expect(201);
    assert_eq!((&made["firstTimestamp"], &made["source"]), (&Value::Null, &json!({})));
    let modern = s.get("/apis/events.k8s.io/v1/namespaces/default/events/e").await.expect(200);
    assert_eq!((&modern["note"], &modern["regarding"]["name"]), (&json!("m"), &json!("a")));
    let list = s
        .get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Da,type%3DNormal")
        .await
        .expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let patched = s
        .merge(
            "/apis/events.k8s.io/v1/namespaces/default/events/e",
            &json!({"series": {"count": 2, "lastObservedTime": "2001-02-03T04:05:06.000000Z"}}),
        )
        .await
        .expect(200);
    assert_eq!(patched["series"]["count"], 2);
}

#[tokio::test]
async fn a_definition_is_served_at_once_and_takes_its_objects_along() {
    let s = InProcess::open().await;
    let all = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let things = "/apis/more.dev/v1/namespaces/default/things";
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.more.dev"},
        "spec": {"group": "more.dev", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"}, "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}}]}});
    s.get(things).await.refused_plain(404);
    let made = s.post(all, &definition).await.expect(201);
    let conditions = made["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True"), "{conditions:?}");
    s.post(things, &json!({"apiVersion": "more.dev/v1", "kind": "Thing", "metadata": {"name": "t"}, "n": 1}))
        .await
        .expect(201);
    let groups = s.get("/apis").await.expect(200);
    assert!(groups["groups"].as_array().unwrap().iter().any(|g| g["name"] == "more.dev"));
    s.merge(&at(all, "things.more.dev"), &json!({"spec": {"scope": "Cluster"}})).await.refused(422);
    s.delete(&at(all, "things.more.dev")).await.expect(200);
    s.until(&at(all, "things.more.dev"), 404).await;
    s.get(things).await.refused_plain(404);
    let broken = {
        let mut d = definition.clone();
        d["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["n"] = json!({});
        d
    };
    assert!(s.post(all, &broken).await.refused(422).contains("properties[n].type: Required value"));
}

impl support::Answer {
    #[track_caller]
    fn refused_plain(self, status: u16) {
        assert_eq!((self.status, self.text.as_str()), (status, "404 page not found\n"));
    }
}

#[tokio::test]
async fn bodies_that_are_too_much() {
    let s = InProcess::open().await;
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(3 * 1024 * 1024));
    assert!(s.call("POST", WIDGETS, Some(("application/json", large))).await.refused(413).contains("limit is 3145728"));
    s.call("POST", WIDGETS, Some(("application/json", "[".repeat(100_000)))).await.refused(400);
    s.call("POST", WIDGETS, Some(("text/plain", "x".into()))).await.refused(415);
    s.call("POST", WIDGETS, Some(("application/json", "\u{feff}{}".into()))).await.refused(400);
    let mut heavy = widget("a");
    heavy["metadata"]["annotations"] = json!({"a": "x".repeat(300_000)});
    assert!(s.post(WIDGETS, &heavy).await.refused(422).contains("metadata.annotations: Too long"));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
    s.call("POST", WIDGETS, Some(("application/yaml", bomb.into()))).await.refused(400);
}

#[tokio::test]
async fn the_kube_client_works_in_process() {
    let s = InProcess::open().await;
    let resource = ApiResource {
        group: "test.dev".into(),
        version: "v1".into(),
        api_version: "test.dev/v1".into(),
        kind: "Widget".into(),
        plural: "widgets".into(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(s.kube(), "default", &resource);
    let object: DynamicObject = serde_json::from_value(widget("a")).unwrap();
    let made = api.create(&PostParams::default(), &object).await.unwrap();
    assert_eq!(made.metadata.name.as_deref(), Some("a"));
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 1);
    let error = api.create(&PostParams::default(), &object).await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.reason == "AlreadyExists"));
    let version = s.kube().apiserver_version().await.unwrap();
    assert_eq!(version.major, "1");
}

#[tokio::test]
async fn a_long_list_is_whole() {
    let s = InProcess::open().await;
    for i in 0..1200 {
        s.post(CONFIG_MAPS, &config_map(&format!("c{i:04}"))).await.expect(201);
    }
    let list = s.get(CONFIG_MAPS).await.expect(200);
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 1200);
    assert!(items.iter().enumerate().all(|(i, item)| item["metadata"]["name"] == format!("c{i:04}")));
    assert!(list["metadata"]["resourceVersion"].is_string());
    let gone = s.delete(CONFIG_MAPS).await.expect(200);
    assert_eq!(gone["items"].as_array().unwrap().len(), 1200);
    assert_eq!(s.get(CONFIG_MAPS).await.expect(200)["items"], json!([]));
}
