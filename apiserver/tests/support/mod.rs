//! A server in memory with two kinds of its own, and ways to talk to it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::Body;
use base64::Engine as _;
use http::Request;
use http_body_util::BodyExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use rbee_apiserver::{ApiServer, Config, Identity};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// The collection of widgets in the default namespace.
pub const WIDGETS: &str = "/apis/test.dev/v1/namespaces/default/widgets";
/// The collection of ConfigMaps in the default namespace.
pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Two definitions: `widgets` with status and scale, `gadgets` of the cluster.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    let widget = json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["mode"], "properties": {
            "mode": {"type": "string", "enum": ["fast", "slow"]},
            "size": {"type": "integer", "minimum": 1, "maximum": 10, "default": 3},
            "replicas": {"type": "integer", "minimum": 0, "default": 1},
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "note": {"type": "string"}}},
        "status": {"type": "object", "properties": {
            "phase": {"type": "string"}, "replicas": {"type": "integer"}, "selector": {"type": "string"}}}}});
    let gadget = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"color": {"type": "string", "default": "red"}}}}});
    let definition = |kind: &str, plural: &str, scope: &str, version: Value| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.test.dev")},
            "spec": {"group": "test.dev", "scope": scope, "names": {"kind": kind, "plural": plural, "shortNames": [&plural[..2]]}, "versions": [version]}})
    };
    let version = |schema: Value, more: Value| {
        let mut version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
        for (key, value) in more.as_object().into_iter().flatten() {
            version[key] = value.clone();
        }
        version
    };
    let more = json!({"subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
        "selectableFields": [{"jsonPath": ".spec.mode"}],
        "additionalPrinterColumns": [{"name": "Mode", "type": "string", "jsonPath": ".spec.mode"}]});
    [
        definition("Widget", "widgets", "Namespaced", version(widget, more)),
        definition("Gadget", "gadgets", "Cluster", version(gadget, json!({}))),
    ]
    .into_iter()
    .map(|d| serde_json::from_value(d).unwrap())
    .collect()
}

/// A configuration for tests.
pub fn config(data_dir: Option<&std::path::Path>) -> Config {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Config {
        data_dir: data_dir.map(Into::into),
        crds: definitions(),
        names: Default::default(),
        version: "0.0.0-test".into(),
    }
}

/// A server and one caller in process.
pub struct InProcess {
    pub server: ApiServer,
    pub router: axum::Router,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// The JSON of an answer that must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// The message of a Status with this code.
    #[track_caller]
    pub fn refused(self, status: u16) -> String {
        let body = self.expect(status);
        assert_eq!((body["kind"].as_str(), body["code"].as_u64()), (Some("Status"), Some(u64::from(status))));
        body["message"].as_str().unwrap().to_string()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

impl InProcess {
    pub async fn open() -> Self {
        Self::with(ApiServer::open(config(None)).await.unwrap())
    }

    pub fn with(server: ApiServer) -> Self {
        let router = server.router_for(Identity::system("test"));
        Self { server, router }
    }

    pub fn kube(&self) -> kube::Client {
        kube::Client::new(self.router.clone(), "default")
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    pub async fn call(&self, method: &str, path: &str, body: Option<(&str, String)>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("user-agent", "test/1");
        let body = body.map(|(kind, text)| {
            request = std::mem::take(&mut request).header("content-type", kind);
            Body::from(text)
        });
        self.send(request.body(body.unwrap_or_default()).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    pub async fn post(&self, path: &str, object: &Value) -> Answer {
        self.call("POST", path, Some(("application/json", object.to_string()))).await
    }

    pub async fn put(&self, path: &str, object: &Value) -> Answer {
        self.call("PUT", path, Some(("application/json", object.to_string()))).await
    }

    pub async fn merge(&self, path: &str, patch: &Value) -> Answer {
        self.call("PATCH", path, Some(("application/merge-patch+json", patch.to_string()))).await
    }

    pub async fn apply(&self, path: &str, manager: &str, object: &Value) -> Answer {
        let path = format!("{path}?fieldManager={manager}");
        self.call("PATCH", &path, Some(("application/apply-patch+yaml", object.to_string()))).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, None).await
    }

    /// Polls until the path answers with this status.
    pub async fn until(&self, path: &str, status: u16) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = self.get(path).await;
            if answer.status == status {
                return;
            }
            assert!(Instant::now() < end, "{path} did not become {status}: {}", answer.text);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The events of a watch, as they come.
    pub async fn watch(&self, path: &str) -> Watch {
        let separator = if path.contains('?') { '&' } else { '?' };
        let uri = format!("{path}{separator}watch=1");
        let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        Watch { body: response.into_body(), rest: Vec::new() }
    }
}

/// A watch under way.
pub struct Watch {
    body: Body,
    rest: Vec<u8>,
}

impl Watch {
    /// The next event; none when the server ended the watch.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(Duration::from_secs(20), self.body.frame()).await.expect("an event");
            self.rest.extend_from_slice(&frame?.unwrap().into_data().unwrap());
        }
    }

    /// Type and name of the next event.
    pub async fn step(&mut self) -> (String, String) {
        let event = self.next().await.expect("the watch goes on");
        let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

/// A widget.
pub fn widget(name: &str) -> Value {
    json!({"apiVersion": "test.dev/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"mode": "fast"}})
}

/// A ConfigMap.
pub fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

/// A server behind TLS.
pub struct Served {
    pub address: SocketAddr,
    pub ca: String,
    pub token: String,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    pub async fn start(server: ApiServer) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ca, token) = (server.ca_pem().to_string(), server.admin_token().reveal().to_string());
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let task = tokio::spawn(async move {
            server.serve(listener, stop).await.unwrap();
            server.close().await;
        });
        Self { address, ca, token, shutdown, task }
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    pub fn client(&self) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem(self.ca.as_bytes()).unwrap();
        reqwest::Client::builder().tls_certs_only([ca]).build().unwrap()
    }

    pub fn kubeconfig(&self) -> String {
        let ca = base64::engine::general_purpose::STANDARD.encode(&self.ca);
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster: {{server: \"https://{}\", certificate-authority-data: {ca}}}\nusers:\n- name: u\n  user: {{token: {}}}\ncontexts:\n- name: x\n  context: {{cluster: c, user: u}}\ncurrent-context: x\n",
            self.address, self.token
        )
    }

    /// Ends the server; everything is answered before.
    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("the server ends").unwrap();
    }
}
