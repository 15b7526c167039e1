//! How a case speaks to a server: raw requests through `kube::Client`, each written down with its answer.

use std::{fmt::Write as _, time::Duration};

use futures::{AsyncBufReadExt, StreamExt, stream::BoxStream};
use http::{Method, Request};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{redact::Redactor, servers::Server};

/// How long anything may take; the garbage collector of a kube-apiserver learns of new kinds every 30 s.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ways to patch.
#[derive(Clone, Copy, Debug)]
pub enum Patch {
    Merge,
    Json,
    Strategic,
    Apply,
}

impl Patch {
    fn content_type(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Json => "application/json-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}

/// A case under way.
pub struct Script<'a> {
    client: &'a Client,
    /// The case's own namespace; its name is the case's.
    pub namespace: String,
    pub redact: Redactor,
    transcript: String,
}

/// One answer.
pub struct Answer {
    pub body: Value,
}

impl Answer {
    /// A field of the body as text.
    pub fn text(&self, pointer: &str) -> String {
        let value = self.body.pointer(pointer);
        value.and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {}", self.body)).to_owned()
    }

    pub fn version(&self) -> String {
        self.text("/metadata/resourceVersion")
    }

    pub fn uid(&self) -> String {
        self.text("/metadata/uid")
    }
}

impl<'a> Script<'a> {
    /// Makes the case's namespace.
    pub async fn start(server: &'a Server, case: &str) -> Self {
        let script = Self {
            client: &server.client,
            namespace: case.into(),
            redact: Redactor::default(),
            transcript: String::new(),
        };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": case}});
        let made = script.send("POST", "/api/v1/namespaces", "application/json", "*/*", Some(namespace)).await;
        assert_eq!(made.0, 201, "{}", made.2);
        script
    }

    pub fn end(self) -> String {
        self.transcript
    }

    /// `$models`, `$workers`, `$assignments`, `$hives`, `$api` (core, in the namespace) stand for their paths.
    fn path(&self, path: &str) -> String {
        let ours = "/apis/rbee.dev/v1alpha1";
        let inside = format!("{ours}/namespaces/{}", self.namespace);
        path.replace("$models", &format!("{inside}/models"))
            .replace("$workers", &format!("{inside}/workers"))
            .replace("$assignments", &format!("{inside}/assignments"))
            .replace("$hives", &format!("{ours}/hives"))
            .replace("$api", &format!("/api/v1/namespaces/{}", self.namespace))
            .replace("$ns", &self.namespace)
    }

    fn request(&self, method: &str, path: &str, content: &str, accept: &str, body: Option<Value>) -> Request<Body> {
        let bytes = body.map(|mut body| match body {
            Value::String(raw) => raw.into_bytes(),
            _ => {
                // Errors quote how a body begins.
                body.sort_all_objects();
                body.to_string().into_bytes()
            }
        });
        self.raw_request(method, path, content, accept, bytes)
    }

    fn raw_request(
        &self,
        method: &str,
        path: &str,
        content: &str,
        accept: &str,
        body: Option<Vec<u8>>,
    ) -> Request<Body> {
        let method: Method = method.parse().expect("a method");
        let mut request = Request::builder().method(method).uri(self.path(path)).header("accept", accept);
        if body.is_some() {
            request = request.header("content-type", content);
        }
        request.body(Body::from(body.unwrap_or_default())).expect("a request")
    }

    /// Code, warnings, text.
    async fn send(
        &self,
        method: &str,
        path: &str,
        content: &str,
        accept: &str,
        body: Option<Value>,
    ) -> (u16, Vec<String>, String) {
        self.answer(self.request(method, path, content, accept, body)).await
    }

    async fn answer(&self, request: Request<Body>) -> (u16, Vec<String>, String) {
        let answer = timeout(PATIENCE, self.client.send(request)).await.expect("an answer in time");
        let answer = answer.expect("an answer");
        let warnings = answer.headers().get_all("warning").iter().filter_map(|w| w.to_str().ok());
        let (code, warnings) = (answer.status().as_u16(), warnings.map(str::to_owned).collect());
        let bytes = timeout(PATIENCE, answer.into_body().collect_bytes()).await.expect("a body in time");
        (code, warnings, String::from_utf8_lossy(&bytes.expect("a body")).into_owned())
    }

    fn say(&mut self, line: impl AsRef<str>) {
        self.transcript.push_str(line.as_ref());
        self.transcript.push('\n');
    }

    fn write_down(&mut self, head: &str, sent: Option<&Value>, code: u16, warnings: &[String], text: &str) -> Value {
        let sent = match sent {
            None => String::new(),
            Some(Value::String(raw)) => format!(" {}", self.redact.text(raw)),
            Some(value) => {
                let mut shown = value.clone();
                self.redact.value(&mut shown);
                format!(" {shown}")
            }
        };
        let head = self.redact.text(head);
        self.say(format!("\n> {head}{sent}"));
        self.say(code.to_string());
        for warning in warnings {
            self.say(format!("warning: {warning}"));
        }
        let Ok(body) = serde_json::from_str::<Value>(text) else {
            self.say(text);
            return Value::Null;
        };
        let mut shown = body.clone();
        self.redact.value(&mut shown);
        let pretty = serde_json::to_string_pretty(&shown).expect("JSON");
        self.say(pretty);
        body
    }

    async fn exchange(&mut self, method: &str, path: &str, content: &str, accept: &str, body: Option<Value>) -> Answer {
        let (code, warnings, text) = self.send(method, path, content, accept, body.clone()).await;
        let mut head = format!("{method} {path}");
        match (content, accept) {
            ("application/json", "application/json") => {}
            ("application/json", accept) => write!(head, " accept {accept}").expect("text"),
            (content, _) => write!(head, " {content}").expect("text"),
        }
        let body = self.write_down(&head, body.as_ref(), code, &warnings, &text);
        Answer { body }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.exchange("GET", path, "application/json", "application/json", None).await
    }

    pub async fn get_as(&mut self, path: &str, accept: &str) -> Answer {
        self.exchange("GET", path, "application/json", accept, None).await
    }

    pub async fn post(&mut self, path: &str, body: Value) -> Answer {
        self.exchange("POST", path, "application/json", "application/json", Some(body)).await
    }

    pub async fn post_yaml(&mut self, path: &str, body: &str) -> Answer {
        self.exchange("POST", path, "application/yaml", "application/json", Some(json!(body))).await
    }

    pub async fn post_as(&mut self, path: &str, accept: &str, body: Value) -> Answer {
        self.exchange("POST", path, "application/json", accept, Some(body)).await
    }

    pub async fn put(&mut self, path: &str, body: Value) -> Answer {
        self.exchange("PUT", path, "application/json", "application/json", Some(body)).await
    }

    pub async fn delete(&mut self, path: &str) -> Answer {
        self.exchange("DELETE", path, "application/json", "application/json", None).await
    }

    pub async fn delete_with(&mut self, path: &str, options: Value) -> Answer {
        self.exchange("DELETE", path, "application/json", "application/json", Some(options)).await
    }

    pub async fn patch(&mut self, patch: Patch, path: &str, body: Value) -> Answer {
        self.exchange("PATCH", path, patch.content_type(), "application/json", Some(body)).await
    }

    /// A body in protobuf. A part of the answer is written down: how far a server has come with a new definition is a matter
    /// of time.
    pub async fn protobuf(&mut self, method: &str, path: &str, body: Vec<u8>, part: &str) {
        const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
        let request = self.raw_request(method, path, PROTOBUF, "application/json", Some(body));
        let (code, warnings, text) = self.answer(request).await;
        let mut answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let part = answer.pointer_mut(part).map(Value::take).unwrap_or_default();
        self.write_down(&format!("{method} {path} {PROTOBUF}"), None, code, &warnings, &part.to_string());
    }

    /// A request that is only a step on the way; it has to succeed, and is not written down.
    pub async fn quietly(&mut self, method: &str, path: &str, body: Value) -> Answer {
        let content = if method == "PATCH" { Patch::Merge.content_type() } else { "application/json" };
        let body = if body.is_null() { None } else { Some(body) };
        let (code, _, text) = self.send(method, path, content, "application/json", body).await;
        assert!(code < 300, "{method} {path}: {code} {text}");
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        // What it made gets its name all the same.
        self.redact.value(&mut body.clone());
        Answer { body }
    }

    /// So many merge patches, `width` at a time; `patch` gives path and body of each.
    pub async fn many(&self, count: usize, width: usize, patch: impl Fn(usize) -> (String, Value)) {
        let patches = (0..count).map(|n| {
            let (path, body) = patch(n);
            let merge = Patch::Merge.content_type();
            async move { self.send("PATCH", &path, merge, "application/json", Some(body)).await.0 }
        });
        let codes: Vec<u16> = futures::stream::iter(patches).buffer_unordered(width).collect().await;
        assert!(codes.iter().all(|code| *code == 200), "not all of {count} patches were taken");
    }

    /// Code and reason of a refusal.
    pub async fn refused(&self, path: &str) -> (u16, String) {
        let (code, _, text) = self.send("GET", path, "application/json", "application/json", None).await;
        let status: Value = serde_json::from_str(&text).unwrap_or_default();
        (code, status["reason"].as_str().unwrap_or_default().to_owned())
    }

    /// Asks until the answer has this code; the last one is written down.
    pub async fn until(&mut self, code: u16, path: &str) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (now, _, text) = self.send("GET", path, "application/json", "application/json", None).await;
            if now == code || Instant::now() > deadline {
                let body = self.write_down(&format!("GET {path} in the end"), None, now, &[], &text);
                return Answer { body };
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks until a list has so many items.
    pub async fn count(&self, path: &str, items: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (code, _, text) = self.send("GET", path, "application/json", "application/json", None).await;
            let list: Value = serde_json::from_str(&text).unwrap_or_default();
            if list["items"].as_array().is_some_and(|found| found.len() == items) {
                return;
            }
            assert!(Instant::now() < deadline, "{path}: never {items} items; the last answer: {code} {text}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Opens a watch.
    pub async fn watch(&mut self, path: &str) -> Watch {
        let request = self.request("GET", path, "application/json", "application/json", None).map(|_| vec![]);
        let lines = self.client.request_stream(request).await;
        let head = self.redact.text(path);
        // The version in the path differs from run to run.
        let head = head.split('&').filter(|p| !p.starts_with("resourceVersion=")).collect::<Vec<_>>().join("&");
        match lines {
            Ok(reader) => Watch { head, lines: Ok(reader.lines().boxed()) },
            Err(kube::Error::Api(status)) => Watch { head, lines: Err((status.code, status.message.clone())) },
            Err(other) => panic!("{path}: {other}"),
        }
    }

    /// Writes down so many events of a watch.
    pub async fn events(&mut self, watch: &mut Watch, count: usize) {
        self.say(format!("\n> events of {}", watch.head));
        let lines = match &mut watch.lines {
            Ok(lines) => lines,
            Err((code, message)) => {
                let text = format!("{code} {}", self.redact.text(message));
                return self.say(text);
            }
        };
        for _ in 0..count {
            let Ok(Some(Ok(line))) = timeout(Duration::from_secs(20), lines.next()).await else {
                self.transcript.push_str("no more\n");
                return;
            };
            let mut event: Value = serde_json::from_str(&line).expect("an event");
            self.redact.value(&mut event);
            self.transcript.push_str(&event.to_string());
            self.transcript.push('\n');
        }
    }

    /// A note between requests.
    pub fn note(&mut self, text: &str) {
        self.say(format!("\n# {text}"));
    }
}

/// A watch that is open, or was refused.
pub struct Watch {
    head: String,
    lines: Result<BoxStream<'static, std::io::Result<String>>, (u16, String)>,
}

/// A Model.
pub fn model(name: &str, spec: Value) -> Value {
    object("Model", name, spec)
}

/// A Worker.
pub fn worker(name: &str, spec: Value) -> Value {
    object("Worker", name, spec)
}

/// An object of rbee's group.
pub fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "rbee.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// An Assignment with these fields changed.
pub fn assignment(name: &str, changed: Value) -> Value {
    let mut spec = json!({
        "workerName": "story", "workerGeneration": 1, "templateHash": "00000000", "hiveName": "a", "backend": "cpu", "device": 0,
        "slots": 4, "memoryBytes": 1000, "epoch": 3, "model": {"name": "bee", "id": "bee", "uri": "builtin:tinybee"},
    });
    if let (Some(spec), Value::Object(changed)) = (spec.as_object_mut(), changed) {
        spec.extend(changed);
    }
    object("Assignment", name, spec)
}
