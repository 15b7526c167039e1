//! What tests share: the built-in model, its reference, and a worker's parts with a fake engine.

pub mod engine;

use crate::http::{App, KeyDigest, Phase, Served, serve};
use crate::model::Model;
use crate::scheduler::{Scheduler, Stats};
use crate::template::ChatTemplate;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rbee_engine::Engine;
use rbee_model::gguf::Header;
use rbee_tokenizer::Tokenizer;
use rbee_wire::sse;
use rbee_wire::worker::{LoadingProgress, LoadingStage};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// One prompt of the reference.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    pub prompt: String,
    pub prompt_ids: Vec<u32>,
    pub greedy_ids: Vec<u32>,
    pub greedy_text: String,
    pub exact: bool,
}

/// llama.cpp's greedy answers of the built-in model.
pub fn reference() -> Vec<Case> {
    serde_json::from_str(include_str!("../../tests/data/tinybee.expected.json")).expect("the reference is JSON")
}

pub fn tinybee_bytes() -> &'static [u8] {
    rbee_model::builtin::get("tinybee").expect("tinybee is built in").bytes
}

pub fn tinybee_header() -> Header {
    Header::from_bytes(tinybee_bytes()).expect("tinybee has a sound header")
}

pub fn tinybee_tokenizer() -> Arc<Tokenizer> {
    Arc::new(Tokenizer::from_header(&tinybee_header()).expect("tinybee has a tokenizer"))
}

/// A worker that serves an engine on a free port, without loading.
pub struct TestWorker {
    pub url: String,
    pub app: Arc<App>,
    pub phase: watch::Sender<Phase>,
    pub served: Arc<Served>,
}

impl TestWorker {
    pub async fn start(engine: impl Engine + 'static, key: Option<&str>, stall: Duration) -> Self {
        let template = tinybee_header().str("tokenizer.chat_template").map(str::to_owned);
        Self::with_template(engine, template.as_deref(), key, stall).await
    }

    pub async fn with_template(
        engine: impl Engine + 'static,
        template: Option<&str>,
        key: Option<&str>,
        stall: Duration,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let stats = Arc::new(Stats::default());
        let slots = engine.slots();
        let model = Model {
            vocabulary: engine.vocab_size().min(tinybee_tokenizer().vocab_size()),
            token_bytes: (engine.kind() == rbee_engine::Kind::Causal).then(|| tinybee_tokenizer().longest_token()),
            tokenizer: tinybee_tokenizer(),
            template: template.map(ChatTemplate::new),
            context_length: engine.context_length(),
            slots,
            memory_bytes: 0,
        };
        let scheduler = Scheduler::start(Box::new(engine), model.tokenizer.clone(), stats.clone(), || {});
        let served = Arc::new(Served { model, scheduler: scheduler.expect("a thread") });
        let (phase, phase_seen) = watch::channel(Phase::Ready(served.clone()));
        let loaded =
            LoadingProgress { stage: LoadingStage::Ready, layers_loaded: 4, layers_total: 4, bytes: 9, bytes_total: 9 };
        let app = Arc::new(App {
            model_ref: "bee".into(),
            url: url.clone(),
            started: 7,
            slots: slots as u32,
            key: key.map(KeyDigest::new),
            phase: phase_seen,
            progress: watch::channel(loaded).1,
            stats,
            requests: TaskTracker::new(),
            drain: CancellationToken::new(),
            stall,
        });
        tokio::spawn(serve(listener, app.clone(), CancellationToken::new()));
        Self { url, app, phase, served }
    }

    /// Sends a request with a JSON body, if one is given, and reads the whole answer.
    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        call(method, &format!("{}{path}", self.url), headers, body).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, &[], Some(&body.to_string())).await
    }
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The events of a stream.
    pub fn events(&self) -> Vec<sse::Event> {
        assert_eq!(self.headers["content-type"], sse::CONTENT_TYPE, "{self:?}");
        sse::Decoder::new().push(self.text.as_bytes()).expect("events of sane size")
    }

    /// The JSON of the events of a stream that ended as it should.
    pub fn completed(&self) -> Vec<Value> {
        let mut events = self.events();
        assert_eq!(events.pop().map(|e| e.data).as_deref(), Some(sse::DONE), "{self:?}");
        events.iter().map(|e| serde_json::from_str(&e.data).expect("JSON in every event")).collect()
    }
}

pub async fn call(method: &str, url: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if body.is_some() && !headers.iter().any(|h| h.0 == "content-type") {
        request = request.header("content-type", "application/json");
    }
    let body = Full::new(Bytes::from(body.unwrap_or_default().to_owned()));
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request.body(body).expect("a request")).await.expect("an answer");
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await.expect("a whole body").to_bytes();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        text: String::from_utf8(bytes.to_vec()).expect("text"),
    }
}

/// Waits until a condition holds.
pub async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
