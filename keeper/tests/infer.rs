//! `infer` against the standalone API server and a worker of the test's own making: answers that are whole, cut, refused.

use std::sync::{Arc, Mutex};

use clap::{CommandFactory, Parser};
use kube::{Api, Client};
use rbee_apiserver::{ApiServer, Config, Identity, Role};
use rbee_keeper::{
    Command, Context, Exit,
    streams::{Input, Out},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
const WHOLE: &str = "data: {\"token\":\"Once\",\"index\":0}\n\ndata: {\"token\":\" upon\",\"index\":1}\n\ndata: {\"done\":true,\"total_tokens\":2,\"duration_ms\":500}\n\ndata: [DONE]\n\n";

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// A worker that gives its answers one after the other, the last one for ever. An empty answer holds the connection.
#[derive(Clone, Default)]
struct Worker {
    seen: Arc<Mutex<Vec<String>>>,
}

impl Worker {
    async fn start(answers: Vec<String>) -> (String, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let worker = Self::default();
        let own = worker.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(own.clone().answer(socket, answers.clone()));
            }
        });
        (url, worker)
    }

    async fn answer(self, mut socket: TcpStream, answers: Vec<String>) {
        let request = read_request(&mut socket).await;
        if request.starts_with("DELETE") {
            self.seen.lock().unwrap().push(request);
            let _ = socket.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
            return;
        }
        let at = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(request);
            seen.len() - 1
        };
        let answer = answers.get(at).or(answers.last()).unwrap();
        let _ = socket.write_all(answer.as_bytes()).await;
        if answer.ends_with("hold\n\n") {
            std::future::pending::<()>().await;
        }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn read_request(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let length = socket.read(&mut buffer).await.unwrap_or(0);
        bytes.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let wanted =
            text.lines().find_map(|l| l.strip_prefix("content-length: ")).and_then(|n| n.parse::<usize>().ok());
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
        if length == 0 || body.is_some_and(|have| have >= wanted.unwrap_or(0)) {
            return text;
        }
    }
}

/// A server with the Worker `story`, whose one replica is at `url`.
struct World {
    server: ApiServer,
}

impl World {
    async fn new(url: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config =
            Config { data_dir: None, crds: rbee_crds::all(), names: Default::default(), version: "0.0.0".into() };
        let world = Self { server: ApiServer::open(config).await.unwrap() };
        let model = json!({"metadata": {"name": "bee"}, "spec": {"uri": "builtin:tinybee"}});
        let worker = json!({"metadata": {"name": "story"}, "spec": {"modelRef": {"name": "bee"}}});
        let assignment = json!({"metadata": {"name": "story-0", "labels": {"rbee.dev/worker": "story"}}, "spec": {
            "workerName": "story", "workerGeneration": 1, "templateHash": "h", "hiveName": "vm", "backend": "cpu", "device": 0,
            "slots": 1, "contextLength": 256, "memoryBytes": 1, "epoch": 0, "model": {"name": "bee", "id": "bee", "uri": "builtin:tinybee"}}});
        let status = json!({"status": {"state": "Ready", "url": url, "slots": {"total": 1, "free": 1}}});
        let secret = json!({"metadata": {"name": "worker-story-key"}, "stringData": {"key": "s3cret"}});
        world.create::<rbee_crds::Model>(model).await;
        world.create::<rbee_crds::Worker>(worker).await;
        let assignments = world.create::<rbee_crds::Assignment>(assignment).await;
        assignments.patch_status("story-0", &Default::default(), &kube::api::Patch::Merge(status)).await.unwrap();
        world.create::<k8s_openapi::api::core::v1::Secret>(secret).await;
        world
    }

    fn client(&self) -> Client {
        Client::new(self.server.router_for(Identity::of_token("test", Role::Admin, None)), "default")
    }

    async fn create<K>(&self, object: Value) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope> + Clone + std::fmt::Debug,
        K: serde::de::DeserializeOwned + serde::Serialize,
        K::DynamicType: Default,
    {
        let api: Api<K> = Api::default_namespaced(self.client());
        let mut object = object;
        object["apiVersion"] = K::api_version(&Default::default()).into();
        object["kind"] = K::kind(&Default::default()).into();
        api.create(&Default::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        api
    }

    fn context(&self) -> Context {
        Context {
            out: Out::memory(),
            err: Out::memory(),
            input: Input::Text(String::new()),
            client: Some(self.client()),
            ..Context::new("/nowhere".into(), "0.1.0", CancellationToken::new(), Line::command)
        }
    }

    /// Exit, stdout and stderr of `infer --worker story --prompt "tell me"` and more.
    async fn infer(&self, more: &[&str]) -> (Exit, String, String) {
        let context = self.context();
        let (out, err) = (context.out.clone(), context.err.clone());
        let words = [&["keeper", "infer", "--worker", "story", "--prompt", "tell me"], more].concat();
        let exit = Box::pin(rbee_keeper::run(Line::try_parse_from(words).unwrap().command, context)).await;
        (exit, out.contents(), err.contents())
    }
}

fn refusal(status: u16, code: &str, message: &str) -> String {
    let body = json!({"error": {"code": code, "message": message, "details": {}}}).to_string();
    format!("HTTP/1.1 {status} No\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn tokens_go_to_stdout_and_everything_else_to_stderr() {
    let (url, worker) = Worker::start(vec![format!("{STREAM}{WHOLE}")]).await;
    let world = World::new(&url).await;
    let (exit, out, err) = world.infer(&["--max-tokens", "7", "--seed", "3"]).await;
    assert_eq!((exit, out.as_str()), (Exit::Done, "Once upon\n"), "{err}");
    assert!(
        err.contains("worker story: ready on hive vm\n") && err.ends_with("2 tokens in 0.50 s (4.0 tok/s)\n"),
        "{err}"
    );
    let [request] = worker.seen().try_into().unwrap();
    assert!(
        request.starts_with("POST /v1/inference ") && request.contains("authorization: Bearer s3cret"),
        "{request}"
    );
    let body: Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["messages"][0]["content"], "tell me");
    assert_eq!((&body["max_tokens"], &body["seed"]), (&json!(7), &json!(3)));
}

#[tokio::test]
async fn the_defaults_are_those_of_the_contract() {
    let (url, worker) = Worker::start(vec![format!("{STREAM}{WHOLE}")]).await;
    let world = World::new(&url).await;
    let (exit, out, _) = world.infer(&["--raw", "-o", "json"]).await;
    assert_eq!(exit, Exit::Done);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&answer["text"], &answer["tokens"]), (&json!("Once upon"), &json!(2)));
    let seen = worker.seen();
    let body: Value = serde_json::from_str(seen[0].split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((&body["prompt"], &body["max_tokens"]), (&json!("tell me"), &json!(256)), "bounded by the context");
    assert!((body["temperature"].as_f64().unwrap() - 0.7).abs() < 1e-6);
}

#[tokio::test]
async fn what_came_before_a_crash_is_kept() {
    let cut = format!("{STREAM}{}", WHOLE.split("data: {\"done\"").next().unwrap());
    let (url, _) = Worker::start(vec![cut]).await;
    let world = World::new(&url).await;
    let (exit, out, err) = world.infer(&["--max-tokens", "9"]).await;
    assert_eq!((exit, out.as_str()), (Exit::Failed, "Once upon\n"));
    assert!(err.contains("WORKER_CRASHED") && err.contains("2 of 9 tokens were kept in "), "{err}");
    let path = err.trim_end().rsplit("kept in ").next().unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "Once upon");
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_crash_before_the_first_token_is_tried_once_more() {
    let (url, worker) = Worker::start(vec![STREAM.to_owned(), format!("{STREAM}{WHOLE}")]).await;
    let world = World::new(&url).await;
    let (exit, out, err) = world.infer(&[]).await;
    assert_eq!((exit, out.as_str()), (Exit::Done, "Once upon\n"), "{err}");
    assert_eq!(worker.seen().len(), 2);
}

#[tokio::test]
async fn a_replica_that_is_gone_is_waited_for_until_another_is_ready() {
    let (url, worker) = Worker::start(vec![format!("{STREAM}{WHOLE}")]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let world = World::new(&nobody).await;
    let context = world.context();
    let (out, err) = (context.out.clone(), context.err.clone());
    let words = ["keeper", "infer", "--worker", "story", "--prompt", "tell me"];
    let mut running = tokio::spawn(Box::pin(rbee_keeper::run(Line::try_parse_from(words).unwrap().command, context)));
    let assignments: Api<rbee_crds::Assignment> = Api::default_namespaced(world.client());
    for (sign, status) in [
        ("ready on hive vm", json!({"state": "Pending", "url": null, "incarnation": 1})),
        ("waiting for another one", json!({"state": "Ready", "url": url, "incarnation": 2})),
    ] {
        while !err.contents().contains(sign) {
            assert!(!running.is_finished(), "{:?}: {}", (&mut running).await, err.contents());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let patch = kube::api::Patch::Merge(json!({"status": status}));
        assignments.patch_status("story-0", &Default::default(), &patch).await.unwrap();
    }
    assert_eq!((running.await.unwrap(), out.contents().as_str()), (Exit::Done, "Once upon\n"), "{}", err.contents());
    assert_eq!(worker.seen().len(), 1);
}

#[tokio::test]
async fn busy_slots_are_waited_for_and_then_there_is_advice() {
    let busy = refusal(503, "ALL_SLOTS_BUSY", "all 1 slots are busy");
    let (url, _) = Worker::start(vec![busy.clone(), format!("{STREAM}{WHOLE}")]).await;
    let world = World::new(&url).await;
    let (exit, out, err) = world.infer(&[]).await;
    assert_eq!((exit, out.as_str()), (Exit::Done, "Once upon\n"), "{err}");
    assert!(err.contains("all 1 slots are busy: trying again in 1 s"), "{err}");

    let (url, worker) = Worker::start(vec![busy]).await;
    let world = World::new(&url).await;
    let (exit, _, err) = world.infer(&["--retry", "0"]).await;
    assert_eq!((exit, worker.seen().len()), (Exit::Failed, 1));
    assert!(err.contains("ALL_SLOTS_BUSY") && err.contains("rbee scale worker/story"), "{err}");
}

#[tokio::test]
async fn a_wrong_key_names_its_secret_and_not_itself() {
    let (url, worker) = Worker::start(vec![refusal(401, "INVALID_API_KEY", "the API key is wrong")]).await;
    let world = World::new(&url).await;
    let (exit, _, err) = world.infer(&[]).await;
    assert_eq!((exit, worker.seen().len()), (Exit::Failed, 2), "the key is read once more");
    for word in ["INVALID_API_KEY", &url, "worker-story-key"] {
        assert!(err.contains(word), "{word:?} in {err}");
    }
    assert!(!err.contains("s3cret"));
}

#[tokio::test]
async fn an_interrupt_ends_the_request_at_the_worker() {
    let hold = format!("{STREAM}{}: hold\n\n", WHOLE.split("data: {\"done\"").next().unwrap());
    let (url, worker) = Worker::start(vec![hold]).await;
    let world = World::new(&url).await;
    let context = world.context();
    let (out, interrupt) = (context.out.clone(), context.interrupt.clone());
    let words = ["keeper", "infer", "--prompt", "tell me"];
    let running = tokio::spawn(Box::pin(rbee_keeper::run(Line::try_parse_from(words).unwrap().command, context)));
    while out.contents() != "Once upon" {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    interrupt.cancel();
    assert_eq!(running.await.unwrap(), Exit::Interrupted);
    let seen = worker.seen();
    let id = seen[0].lines().find_map(|l| l.strip_prefix("x-request-id: ")).unwrap();
    assert!(seen[1].starts_with(&format!("DELETE /v1/inference/{id} ")), "{seen:?}");
}

#[tokio::test]
async fn through_the_gateway_needs_its_address() {
    let (url, _) = Worker::start(vec![format!("{STREAM}{WHOLE}")]).await;
    let world = World::new(&url).await;
    let (exit, _, err) = world.infer(&["--via-gateway"]).await;
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("gateway"), "{err}");
}
