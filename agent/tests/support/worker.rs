//! A worker without an engine: the process side of the contract between a hive and its workers.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use rbee_wire::worker::{Health, Hello, ReadyCallback, WorkerState};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixStream},
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

struct Worker {
    slots: u32,
    key: String,
    end: CancellationToken,
}

/// Plays until it is told to end; the process ends with it.
pub fn play() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(live());
    std::process::exit(0);
}

async fn live() {
    let flags: BTreeMap<String, String> = std::env::args()
        .filter_map(|a| a.strip_prefix("--")?.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())))
        .collect();
    let header = std::fs::read(&flags["model"]).unwrap();
    assert_eq!(&header[..4], b"GGUF");
    let (listener, url) = bind(flags["port"].parse().unwrap()).await;
    eprintln!("listening on {url}");
    let (key, nonce) = (std::env::var("RBEE_API_KEY").unwrap(), std::env::var("RBEE_NONCE").unwrap());
    let end = CancellationToken::new();
    let worker = Arc::new(Worker { slots: flags["slots"].parse().unwrap(), key, end: end.clone() });
    let router = Router::new().route("/health", get(health)).route("/v1/shutdown", post(shutdown)).with_state(worker);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let hello = Hello {
        nonce: nonce.clone(),
        worker_id: flags["worker-id"].clone(),
        pid: std::process::id(),
        url: url.clone(),
    };
    tokio::spawn(hold(flags["hive-socket"].clone(), hello));
    tokio::spawn(call_back(flags["callback-url"].clone(), nonce, flags, url));
    let mut terminated = signal(SignalKind::terminate()).unwrap();
    tokio::select! {
        () = end.cancelled() => {}
        _ = terminated.recv() => {}
        // Tests that are broken off leave nothing behind for long.
        () = tokio::time::sleep(Duration::from_secs(120)) => {}
    }
}

async fn bind(first: SocketAddr) -> (TcpListener, String) {
    for port in first.port()..first.port() + 200 {
        let address = SocketAddr::new(first.ip(), port);
        if let Ok(listener) = TcpListener::bind(address).await {
            return (listener, format!("http://{address}"));
        }
    }
    panic!("no free port from {first}");
}

async fn health(State(worker): State<Arc<Worker>>) -> Json<Health> {
    Json(Health {
        status: "ok".into(),
        version: "0.1.0".into(),
        state: WorkerState::Ready,
        in_flight: 0,
        slots_total: worker.slots,
        slots_free: worker.slots,
        tokens_total: 0,
        last_request_unix_ms: None,
        layers_loaded: 4,
        layers_total: 4,
    })
}

async fn shutdown(State(worker): State<Arc<Worker>>, headers: HeaderMap) -> StatusCode {
    let wanted = format!("Bearer {}", worker.key);
    if headers.get("authorization").and_then(|v| v.to_str().ok()) != Some(&wanted) {
        return StatusCode::UNAUTHORIZED;
    }
    worker.end.cancel();
    StatusCode::ACCEPTED
}

async fn hold(socket: String, hello: Hello) {
    loop {
        if let Ok(mut stream) = UnixStream::connect(&socket).await
            && stream.write_all(hello.line().as_bytes()).await.is_ok()
        {
            let mut rest = [0; 8];
            while matches!(stream.read(&mut rest).await, Ok(1..)) {}
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn call_back(to: String, nonce: String, flags: BTreeMap<String, String>, url: String) {
    let body = ReadyCallback {
        worker_id: flags["worker-id"].clone(),
        url,
        model_ref: flags["model-ref"].clone(),
        backend: flags["backend"].clone(),
        device: flags["device"].parse().unwrap(),
        memory_bytes: 1,
    };
    let client = reqwest::Client::new();
    while !client.post(&to).bearer_auth(&nonce).json(&body).send().await.is_ok_and(|a| a.status().is_success()) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
