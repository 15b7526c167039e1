//! The server behind TLS: who is let in, what is answered to those who are not, and how a connection may behave.

mod support;

use std::time::Duration;

use rbee_apiserver::ApiServer;
use serde_json::{Value, json};
use support::{Served, WIDGETS, config, widget};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn served() -> Served {
    Served::start(ApiServer::open(config(None)).await.unwrap()).await
}

async fn body(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[tokio::test]
async fn nobody_is_let_in_without_a_token() {
    let s = served().await;
    let client = s.client();
    let mut answers = Vec::new();
    for token in [
        None,
        Some(String::new()),
        Some("Bearer ".into()),
        Some("Bearer wrong".into()),
        Some("Basic eDp5".into()),
        Some(format!("Bearer {}x", s.token)),
        Some(format!("Bearer {}", "x".repeat(20_000))),
    ] {
        let mut request = client.get(s.url(WIDGETS));
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        answers.push(body(request.send().await.unwrap()).await);
    }
    for (status, answer) in &answers {
        assert_eq!((*status, answer), (401, &answers[0].1));
    }
    assert_eq!(answers[0].1["reason"], "Unauthorized");
    let query = client.get(s.url(&format!("{WIDGETS}?access_token={}", s.token))).send().await.unwrap();
    assert_eq!(query.status(), 401);
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let request = client.get(s.url(WIDGETS)).header("authorization", format!("{scheme} {}", s.token));
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    s.stop().await;
}

#[tokio::test]
async fn some_paths_are_for_everybody() {
    let s = served().await;
    for path in ["/healthz", "/livez", "/readyz", "/version", "/cacerts"] {
        assert_eq!(s.client().get(s.url(path)).send().await.unwrap().status(), 200, "{path}");
    }
    assert_eq!(s.client().get(s.url("/cacerts")).send().await.unwrap().text().await.unwrap(), s.ca);
    for path in ["/api", "/apis", "/openapi/v3", "/nothing"] {
        assert_eq!(s.client().get(s.url(path)).send().await.unwrap().status(), 401, "{path}");
    }
    s.stop().await;
}

#[tokio::test]
async fn a_hive_gets_an_identity_that_is_its_own() {
    let s = served().await;
    let client = s.client();
    let path = "/api/v1/namespaces/rbee-system/serviceaccounts/hive-mac/token";
    let request = client
        .post(s.url(path))
        .bearer_auth(&s.token)
        .json(&json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}));
    let (status, answer) = body(request.send().await.unwrap()).await;
    assert_eq!(status, 201, "{answer}");
    let hive = answer["status"]["token"].as_str().unwrap();
    let who =
        client.post(s.url("/apis/authentication.k8s.io/v1/selfsubjectreviews")).bearer_auth(hive).json(&json!({}));
    let (_, who) = body(who.send().await.unwrap()).await;
    assert_eq!(who["status"]["userInfo"]["username"], "system:hive:mac");
    let (status, answer) =
        body(client.post(s.url(WIDGETS)).bearer_auth(hive).json(&widget("a")).send().await.unwrap()).await;
    assert_eq!((status, answer["reason"].as_str()), (403, Some("Forbidden")));
    assert!(
        answer["message"].as_str().unwrap().contains("User \"system:hive:mac\" cannot create resource \"widgets\""),
        "{answer}"
    );
    let review = json!({"spec": {"token": hive}});
    let request = client.post(s.url("/apis/authentication.k8s.io/v1/tokenreviews")).bearer_auth(&s.token).json(&review);
    let (_, answer) = body(request.send().await.unwrap()).await;
    assert_eq!(
        (&answer["status"]["authenticated"], &answer["status"]["user"]["username"]),
        (&json!(true), &json!("system:hive:mac"))
    );
    s.stop().await;
}

#[tokio::test]
async fn answers_carry_an_id() {
    let s = served().await;
    let response = s.client().get(s.url("/nothing")).header("x-request-id", "my-id").send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "my-id");
    let response = s.client().get(s.url("/healthz")).header("x-request-id", "a\tb").send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"].len(), 36);
    s.stop().await;
}

#[tokio::test]
async fn plain_http_is_told_so() {
    let s = served().await;
    let mut stream = tokio::net::TcpStream::connect(s.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("Client sent an HTTP request to an HTTPS server."));
    s.stop().await;
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let s = served().await;
    let request = s.client().get(s.url("/healthz")).header("x-large", "x".repeat(200_000));
    match request.send().await {
        Ok(response) => assert_eq!(response.status(), 431),
        // The answer may be lost when the rest of the head meets a closed connection.
        Err(e) => assert!(e.is_request() || e.is_body(), "{e}"),
    }
    assert_eq!(s.client().get(s.url("/healthz")).send().await.unwrap().status(), 200);
    s.stop().await;
}

#[tokio::test]
async fn stopping_ends_watches_and_answers_what_is_under_way() {
    let s = served().await;
    let client = s.client();
    client.post(s.url(WIDGETS)).bearer_auth(&s.token).json(&widget("a")).send().await.unwrap();
    let watch = client.get(s.url(&format!("{WIDGETS}?watch=1"))).bearer_auth(&s.token).send().await.unwrap();
    assert_eq!(watch.status(), 200);
    let ended = tokio::spawn(async move { watch.text().await });
    s.stop().await;
    let text = tokio::time::timeout(Duration::from_secs(5), ended).await.expect("the watch ends").unwrap().unwrap();
    assert!(text.contains("\"ADDED\""));
}

#[tokio::test]
async fn a_hive_cannot_take_an_assignment_that_is_not_its_own() {
    let mut config = config(None);
    config.crds.push(
        serde_json::from_value(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "assignments.rbee.dev"},
            "spec": {"group": "rbee.dev", "scope": "Namespaced", "names": {"kind": "Assignment", "plural": "assignments"}, "versions": [
                {"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"hiveName": {"type": "string"}}},
                    "status": {"type": "object", "properties": {"state": {"type": "string"}}}}}}}]}}))
        .unwrap(),
    );
    let s = Served::start(ApiServer::open(config).await.unwrap()).await;
    let client = s.client();
    let assignments = "/apis/rbee.dev/v1/namespaces/default/assignments";
    for hive in ["mac", "pc"] {
        let object = json!({"apiVersion": "rbee.dev/v1", "kind": "Assignment", "metadata": {"name": hive}, "spec": {"hiveName": hive}});
        let made = client.post(s.url(assignments)).bearer_auth(&s.token).json(&object).send().await.unwrap();
        assert_eq!(made.status(), 201);
    }
    let path = "/api/v1/namespaces/rbee-system/serviceaccounts/hive-mac/token";
    let (_, answer) = body(client.post(s.url(path)).bearer_auth(&s.token).json(&json!({})).send().await.unwrap()).await;
    let token = answer["status"]["token"].as_str().unwrap();
    let patch = async |path: String, patch: Value| {
        let request =
            client.patch(s.url(&path)).bearer_auth(token).header("content-type", "application/merge-patch+json");
        request.body(patch.to_string()).send().await.unwrap().status().as_u16()
    };
    let status = json!({"status": {"state": "Ready"}});
    assert_eq!(patch(format!("{assignments}/mac/status"), status.clone()).await, 200);
    assert_eq!(patch(format!("{assignments}/pc/status"), status).await, 403);
    assert_eq!(patch(format!("{assignments}/pc"), json!({"spec": {"hiveName": "mac"}})).await, 403);
    assert_eq!(patch(format!("{assignments}/mac"), json!({"spec": {"hiveName": "pc"}})).await, 403);
    s.stop().await;
}
