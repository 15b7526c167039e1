//! The gateway over real connections: a table fed directly, and workers that do as the test says.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::dispatch::Dispatcher;
use crate::http::{App, serve};
use crate::keys::{Keys, WorkerKey};
use crate::load::Loads;
use crate::proxy::Proxy;
use crate::table::{Replica, Table};
use crate::testing::{bee_table, replica, worker_id};
use crate::upstream::Upstream;

const PATIENCE: Duration = Duration::from_secs(20);

/// How a worker behaves, request by request; the last one goes on.
#[derive(Clone)]
enum Does {
    Answers,
    AnswersError(u16, Value),
    Streams(Vec<&'static str>),
    /// Sends this, then breaks the connection.
    StreamsAndBreaks(Vec<&'static str>),
    /// Sends an event every few milliseconds until nobody listens.
    StreamsForever,
    Never,
}

#[derive(Clone)]
struct Fake {
    name: &'static str,
    script: Arc<Mutex<VecDeque<Does>>>,
    seen: mpsc::UnboundedSender<Seen>,
}

/// What a worker saw.
#[derive(Debug)]
enum Seen {
    Request { worker: &'static str, path: String, headers: HeaderMap, body: Value },
    HungUp(&'static str),
}

struct Gone(Fake);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = self.0.seen.send(Seen::HungUp(self.0.name));
    }
}

async fn fake_answer(State(fake): State<Fake>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body = serde_json::from_slice(&body).unwrap();
    fake.seen.send(Seen::Request { worker: fake.name, path: uri.path().to_owned(), headers, body }).unwrap();
    let does = {
        let mut script = fake.script.lock().unwrap();
        if script.len() > 1 { script.pop_front().unwrap() } else { script.front().unwrap().clone() }
    };
    let gone = Gone(fake.clone());
    let events = |stream: Body| ([("content-type", "text/event-stream")], stream).into_response();
    match does {
        Does::Answers => {
            std::mem::forget(gone);
            ([("content-type", "application/json"), ("x-inner", "1")], json!({"by": fake.name}).to_string())
                .into_response()
        }
        Does::AnswersError(status, body) => {
            std::mem::forget(gone);
            (
                StatusCode::from_u16(status).unwrap(),
                [("content-type", "application/json"), ("retry-after", "9")],
                body.to_string(),
            )
                .into_response()
        }
        Does::Streams(pieces) => {
            std::mem::forget(gone);
            events(Body::from_stream(futures::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>))))
        }
        Does::StreamsAndBreaks(pieces) => {
            let broken = futures::stream::once(async {
                // What was sent before is on its way by then.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(std::io::Error::other("killed"))
            });
            events(Body::from_stream(futures::stream::iter(pieces.into_iter().map(Ok)).chain(broken)))
        }
        Does::StreamsForever => events(Body::from_stream(futures::stream::unfold(gone, |gone| async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Some((Ok::<_, std::io::Error>("data: {}\n\n"), gone))
        }))),
        Does::Never => {
            let _gone = gone;
            std::future::pending().await
        }
    }
}

struct World {
    gateway: SocketAddr,
    tables: watch::Sender<Arc<Table>>,
    seen: mpsc::UnboundedReceiver<Seen>,
    sender: mpsc::UnboundedSender<Seen>,
    wrong_keys: mpsc::Receiver<crate::table::WorkerId>,
    loads: Loads,
    shutdown: CancellationToken,
    client: reqwest::Client,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl World {
    async fn new() -> Self {
        Self::with(Keys::default(), Duration::from_secs(30)).await
    }

    async fn with(keys: Keys, hold: Duration) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (tables, table) = watch::channel(Arc::new(bee_table(vec![])));
        let (wrong_key_sender, wrong_keys) = mpsc::channel(4);
        let (sender, seen) = mpsc::unbounded_channel();
        let (loads, shutdown) = (Loads::default(), CancellationToken::new());
        let proxy = Proxy::new(
            Dispatcher::new(table, loads.clone(), hold, shutdown.clone()),
            Upstream::new().unwrap(),
            wrong_key_sender,
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = listener.local_addr().unwrap();
        let (_, synced) = watch::channel(true);
        let app = App {
            proxy,
            keys,
            loopback: true,
            address: gateway,
            version: "1.2.3".into(),
            synced,
            draining: shutdown.clone(),
            metrics: None,
        };
        tokio::spawn(serve(listener, Arc::new(app), shutdown.clone()));
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        Self { gateway, tables, seen, sender, wrong_keys, loads, shutdown, client }
    }

    /// A worker with this script, Ready with one slot.
    async fn worker(&self, name: &'static str, script: impl IntoIterator<Item = Does>) -> Arc<Replica> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fake = Fake { name, script: Arc::new(Mutex::new(script.into_iter().collect())), seen: self.sender.clone() };
        let router = axum::Router::new().fallback(fake_answer).with_state(fake);
        let shutdown = self.shutdown.clone();
        tokio::spawn(
            async move { axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await },
        );
        replica(name, "w", &url, 1)
    }

    fn ready(&self, replicas: &[&Arc<Replica>]) {
        self.tables.send_replace(Arc::new(bee_table(replicas.iter().map(|r| Arc::clone(r)).collect())));
    }

    async fn post(&self, path: &str, body: impl ToString) -> reqwest::Response {
        let request =
            self.client.post(format!("http://{}{path}", self.gateway)).header("content-type", "application/json");
        timeout(PATIENCE, request.body(body.to_string()).send()).await.expect("an answer in time").unwrap()
    }

    async fn chat(&self, stream: bool) -> reqwest::Response {
        self.post("/v1/chat/completions", chat_body(stream)).await
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("http://{}{path}", self.gateway)).send().await.unwrap()
    }

    async fn next_seen(&mut self) -> Seen {
        timeout(PATIENCE, self.seen.recv()).await.expect("a worker sees something in time").unwrap()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Loads) -> bool) {
        timeout(PATIENCE, async {
            while !condition(&self.loads) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
    }
}

fn chat_body(stream: bool) -> Value {
    json!({"model": "bee", "messages": [{"role": "user", "content": "hello"}], "stream": stream})
}

async fn error_of(response: reqwest::Response, status: u16) -> Value {
    assert_eq!(response.status().as_u16(), status);
    assert!(response.headers().contains_key("x-request-id"));
    let mut body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let error = body["error"].take();
    assert!(
        error["message"].is_string()
            && error["type"].is_string()
            && error.get("param").is_some()
            && error.get("code").is_some(),
        "{error}"
    );
    error
}

async fn by(response: reqwest::Response) -> String {
    assert_eq!(response.status(), 200);
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    body["by"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_answer_passes_through_with_the_workers_key_and_the_callers_id() {
    let mut world = World::new().await;
    let a = world.worker("a", [Does::Answers]).await;
    let with_key = Arc::new(Replica { key: Some(WorkerKey::new("inner-key")), ..(*a).clone() });
    world.ready(&[&with_key]);
    let request = world
        .client
        .post(format!("http://{}/v1/chat/completions", world.gateway))
        .header("content-type", "application/json");
    let response = request
        .header("x-request-id", "mine-7")
        .header("authorization", "Bearer outer")
        .body(chat_body(false).to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["x-request-id"], "mine-7");
    assert!(!response.headers().contains_key("x-inner"));
    assert_eq!(by(response).await, "a");
    let Seen::Request { path, headers, body, .. } = world.next_seen().await else { panic!("a request") };
    assert_eq!((path.as_str(), body), ("/v1/chat/completions", chat_body(false)));
    assert_eq!(
        (headers["authorization"].to_str().unwrap(), headers["x-request-id"].to_str().unwrap()),
        ("Bearer inner-key", "mine-7")
    );
}

#[tokio::test]
async fn requests_go_to_the_replica_with_the_least_load() {
    let mut world = World::new().await;
    let (a, b) = (world.worker("a", [Does::Never]).await, world.worker("b", [Does::Answers]).await);
    world.ready(&[&a, &b]);
    let held = tokio::spawn(
        world
            .client
            .post(format!("http://{}/v1/chat/completions", world.gateway))
            .body(chat_body(false).to_string())
            .send(),
    );
    assert!(matches!(world.next_seen().await, Seen::Request { worker: "a", .. }));
    for _ in 0..3 {
        assert_eq!(by(world.chat(false).await).await, "b");
    }
    held.abort();
}

#[tokio::test]
async fn one_transparent_retry_elsewhere() {
    let world = World::new().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let unreachable = replica("0", "w", &format!("http://{}", nobody.local_addr().unwrap()), 1);
    drop(nobody);
    let draining = json!({"error": {"message": "stopping", "type": "server_error", "param": null, "code": "draining"}});
    let refusing = world.worker("1", [Does::AnswersError(503, draining)]).await;
    let breaking = world.worker("2", [Does::StreamsAndBreaks(vec![])]).await;
    let good = world.worker("z", [Does::Answers]).await;
    for bad in [&unreachable, &refusing, &breaking] {
        world.ready(&[bad, &good]);
        assert_eq!(by(world.chat(false).await).await, "z", "{}", bad.id);
    }
    // Both fail: the second failure is told.
    let other = replica("3", "w", &unreachable.url, 1);
    let third = replica("4", "w", &unreachable.url, 1);
    world.ready(&[&other, &third]);
    let error = error_of(world.chat(false).await, 502).await;
    assert_eq!(error["code"], "worker_crashed");
}

#[tokio::test]
async fn errors_of_the_worker_pass_through() {
    let world = World::new().await;
    let inner = json!({"error": {"message": "too long", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}});
    let busy = json!({"error": {"message": "full", "type": "server_error", "param": null, "code": "all_slots_busy"}});
    let a = world
        .worker(
            "a",
            [Does::AnswersError(400, inner.clone()), Does::AnswersError(400, inner), Does::AnswersError(503, busy)],
        )
        .await;
    world.ready(&[&a]);
    for stream in [false, true] {
        assert_eq!(error_of(world.chat(stream).await, 400).await["code"], "context_length_exceeded");
    }
    let response = world.chat(false).await;
    assert_eq!(response.headers()["retry-after"], "9");
    assert_eq!(error_of(response, 503).await["code"], "all_slots_busy");
}

#[tokio::test]
async fn a_key_that_the_worker_refuses_is_read_again_and_never_blamed_on_the_client() {
    let mut world = World::new().await;
    let refused =
        json!({"error": {"message": "key", "type": "invalid_request_error", "param": null, "code": "invalid_api_key"}});
    let a = world.worker("a", [Does::AnswersError(401, refused)]).await;
    let b = world.worker("b", [Does::Answers]).await;
    world.ready(&[&a, &b]);
    assert_eq!(by(world.chat(false).await).await, "b");
    assert_eq!(world.wrong_keys.recv().await, Some(worker_id("w")));
}

#[tokio::test]
async fn streams_pass_through_unchanged() {
    let world = World::new().await;
    let events = vec!["data: {\"a\":1}\n\n", "data: {\"b\":2}\n\nda", "ta: [DONE]\n\n"];
    let a = world.worker("a", [Does::Streams(events.clone())]).await;
    world.ready(&[&a]);
    let response = world.chat(true).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.text().await.unwrap(), events.concat());
    world.until("the slot is free", |l| l.in_flight_total() == 0).await;
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error_event_and_without_done() {
    let world = World::new().await;
    for (pieces, start) in [
        (vec!["data: {\"a\":1}\n\n"], "data: {\"a\":1}\n\nevent: error\ndata: "),
        (vec!["data: {\"a\":1}\n\ndata: {\"b"], "data: {\"a\":1}\n\ndata: {\"b\n\nevent: error\ndata: "),
    ] {
        for does in [Does::StreamsAndBreaks(pieces.clone()), Does::Streams(pieces)] {
            let a = world.worker("a", [does]).await;
            world.ready(&[&a]);
            let text = world.chat(true).await.text().await.unwrap();
            assert!(
                text.starts_with(start)
                    && text.contains("\"worker_crashed\"")
                    && text.ends_with("}\n\n")
                    && !text.contains("[DONE]"),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_is_noticed_by_the_worker() {
    let mut world = World::new().await;
    let a = world.worker("a", [Does::StreamsForever, Does::Never, Does::Never, Does::Answers]).await;
    world.ready(&[&a]);
    // In the middle of a stream, before its first token, and without a stream.
    for (stream, read_first) in [(true, true), (true, false), (false, false)] {
        let mut client = TcpStream::connect(world.gateway).await.unwrap();
        let body = chat_body(stream).to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        client.write_all((head + &body).as_bytes()).await.unwrap();
        assert!(matches!(world.next_seen().await, Seen::Request { .. }));
        let mut got = Vec::new();
        while read_first && !String::from_utf8_lossy(&got).contains("data:") {
            assert_ne!(client.read_buf(&mut got).await.unwrap(), 0);
        }
        drop(client);
        assert!(matches!(world.next_seen().await, Seen::HungUp("a")), "{stream} {read_first}");
        world.until("the slot is free", |l| l.in_flight_total() == 0).await;
    }
    assert_eq!(by(world.chat(false).await).await, "a");
}

#[tokio::test]
async fn a_request_is_held_while_a_replica_starts() {
    let world = World::new().await;
    let a = world.worker("a", [Does::Answers, Does::Streams(vec!["data: 1\n\n", "data: [DONE]\n\n"])]).await;
    let request =
        world.client.post(format!("http://{}/v1/chat/completions", world.gateway)).body(chat_body(false).to_string());
    let held = tokio::spawn(request.send());
    world.until("it waits", |l| l.waiting("bee") == 1).await;
    world.ready(&[&a]);
    assert_eq!(by(held.await.unwrap().unwrap()).await, "a");
    // A stream gets comments meanwhile.
    world.ready(&[]);
    let mut response = world.chat(true).await;
    assert_eq!((response.status().as_u16(), world.loads.waiting("bee")), (200, 1));
    assert_eq!(response.chunk().await.unwrap().unwrap(), ": waiting\n\n");
    world.ready(&[&a]);
    assert_eq!(response.text().await.unwrap(), "data: 1\n\ndata: [DONE]\n\n");
}

#[tokio::test]
async fn a_hold_ends_in_503() {
    let world = World::with(Keys::default(), Duration::from_millis(1300)).await;
    let response = world.chat(false).await;
    assert!(response.headers().contains_key("retry-after"));
    assert!(error_of(response, 503).await["message"].as_str().unwrap().contains("bee"));
    let text = world.chat(true).await.text().await.unwrap();
    assert!(
        text.starts_with(": waiting\n\nevent: error\ndata: ")
            && text.contains("unavailable")
            && !text.contains("[DONE]"),
        "{text}"
    );
}

#[tokio::test]
async fn bad_requests_are_refused_in_openais_shape() {
    let world = World::new().await;
    let path = "/v1/chat/completions";
    for (body, named) in [
        ("{\"model\": ".to_owned(), "JSON"),
        ("[]".into(), "object"),
        (json!({"messages": []}).to_string(), "model"),
        (json!({"model": "bee"}).to_string(), "messages"),
        (json!({"model": "bee", "messages": "hello"}).to_string(), "messages"),
        (
            json!({"model": "bee", "messages": [{"role": "user", "content": "x"}], "max_tokens": -1}).to_string(),
            "max_tokens",
        ),
    ] {
        let error = error_of(world.post(path, &body).await, 400).await;
        assert!(error["message"].as_str().unwrap().contains(named), "{body}: {error}");
    }
    let unknown = json!({"model": "no-such", "messages": [{"role": "user", "content": "x"}]});
    let error = error_of(world.post(path, unknown).await, 404).await;
    assert_eq!(
        (error["code"].as_str(), error["message"].as_str().unwrap().contains("no-such")),
        (Some("model_not_found"), true)
    );
    error_of(world.post(path, "x".repeat(9 << 20)).await, 413).await;
    // Announced and never sent: the answer waits for nothing.
    let mut socket = TcpStream::connect(world.gateway).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1073741824\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    socket.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
    error_of(world.get("/v1/nothing").await, 404).await;
    error_of(world.get(path).await, 405).await;
    let text = world
        .client
        .post(format!("http://{}{path}", world.gateway))
        .header("content-type", "text/plain")
        .body(chat_body(false).to_string());
    error_of(text.send().await.unwrap(), 415).await;
}

#[tokio::test]
async fn models_are_listed_and_probes_answered() {
    let world = World::new().await;
    let list: Value = serde_json::from_str(&world.get("/v1/models").await.text().await.unwrap()).unwrap();
    assert_eq!(
        list,
        json!({"object": "list", "data": [{"id": "bee", "object": "model", "created": 7, "owned_by": "rbee"}]})
    );
    let one: Value = serde_json::from_str(&world.get("/v1/models/bee").await.text().await.unwrap()).unwrap();
    assert_eq!(one, list["data"][0]);
    error_of(world.get("/v1/models/no-such").await, 404).await;
    for path in ["/healthz", "/livez", "/readyz", "/metrics"] {
        assert_eq!(world.get(path).await.status(), 200, "{path}");
    }
    assert!(world.get("/version").await.text().await.unwrap().contains("1.2.3"));
}

#[tokio::test]
async fn keys_are_wanted_everywhere_but_at_the_probes() {
    let world = World::with(Keys::new(["right".to_owned()]), PATIENCE).await;
    assert_eq!(world.get("/healthz").await.status(), 200);
    for path in ["/v1/models", "/metrics", "/version"] {
        assert_eq!(error_of(world.get(path).await, 401).await["code"], "invalid_api_key");
    }
    let wrong =
        world.client.get(format!("http://{}/v1/models", world.gateway)).bearer_auth("righ").send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    let right =
        world.client.get(format!("http://{}/v1/models", world.gateway)).bearer_auth("right").send().await.unwrap();
    assert_eq!(right.status(), 200);
}

#[tokio::test]
async fn pages_of_other_sites_get_nothing() {
    let world = World::new().await;
    for (name, value) in
        [("host", "evil.test"), ("host", "2130706433"), ("origin", "http://evil.test"), ("origin", "null")]
    {
        let response =
            world.client.get(format!("http://{}/v1/models", world.gateway)).header(name, value).send().await.unwrap();
        assert!(!response.headers().contains_key("access-control-allow-origin"));
        error_of(response, 403).await;
    }
}

#[tokio::test]
async fn shutdown_lets_running_requests_end() {
    let mut world = World::new().await;
    let a = world.worker("a", [Does::StreamsForever]).await;
    world.ready(&[&a]);
    let mut running = world.chat(true).await;
    assert!(matches!(world.next_seen().await, Seen::Request { .. }));
    world.shutdown.cancel();
    for _ in 0..3 {
        assert!(running.chunk().await.unwrap().is_some());
    }
    assert!(
        TcpStream::connect(world.gateway).await.is_err()
            || world.client.get(format!("http://{}/readyz", world.gateway)).send().await.is_err()
    );
}

#[tokio::test]
async fn off_loopback_keys_are_required() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let service = tower::service_fn(|_: axum::http::Request<kube::client::Body>| async {
        Ok::<_, std::convert::Infallible>(axum::http::Response::new(Body::empty()))
    });
    let config = crate::Config {
        listener,
        client: kube::Client::new(service, "default"),
        name: "g".into(),
        hold: PATIENCE,
        version: "1".into(),
        keys: Keys::default(),
        metrics: None,
    };
    let error = crate::run(config, CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("keys"), "{error}");
}
