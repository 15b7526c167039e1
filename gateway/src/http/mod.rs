//! The HTTP server: routes, probes, and connections with limits on everything that a client may make last.

mod body;
mod guard;
mod io;
mod openai;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http::{StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use rbee_wire::ApiError;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::keys::Keys;
use crate::proxy::Proxy;
use io::StallGuard;

/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client that does not read keeps its stream.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long running requests have to end at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections at a time; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 8192;
/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 64 << 10;
const MAX_HEADERS: usize = 100;

/// What the routes work with.
pub struct App {
    pub proxy: Proxy,
    pub keys: Keys,
    /// Only this machine can connect, so the names by which it is called are looked at.
    pub loopback: bool,
    pub address: SocketAddr,
    pub version: String,
    pub synced: watch::Receiver<bool>,
    pub draining: CancellationToken,
    pub metrics: Option<PrometheusHandle>,
}

/// All routes. Errors below `/v1` have OpenAI's shape.
pub fn router(app: Arc<App>) -> Router {
    let guarded = Router::new()
        .route("/v1/chat/completions", post(openai::chat))
        .route("/v1/completions", post(openai::completions))
        .route("/v1/embeddings", post(openai::embeddings))
        .route("/v1/models", get(openai::models))
        .route("/v1/models/{*id}", get(openai::model))
        .route("/v1/{*path}", any(openai::unknown))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .layer(axum::middleware::from_fn_with_state(app.clone(), guard::key));
    Router::new()
        .route("/healthz", get(alive))
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .merge(guarded)
        .method_not_allowed_fallback(openai::wrong_method)
        .fallback(openai::unknown)
        .layer(axum::middleware::from_fn_with_state(app.clone(), guard::host))
        .layer(axum::middleware::from_fn(guard::request_id))
        .with_state(app)
}

async fn alive() -> &'static str {
    "ok\n"
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    let not = |why: &'static str| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    match (*app.synced.borrow(), app.draining.is_cancelled()) {
        (_, true) => not("draining\n"),
        (false, _) => not("the API was not read yet\n"),
        (true, false) => "ok\n".into_response(),
    }
}

async fn version(State(app): State<Arc<App>>) -> Response {
    let text = serde_json::json!({"version": app.version, "api_version": rbee_wire::API_VERSION}).to_string();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let text = app.metrics.as_ref().map(PrometheusHandle::render).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// An error as OpenAI's clients read it.
pub fn error_response(error: &ApiError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response =
        (status, [(header::CONTENT_TYPE, "application/json")], error.openai().to_string()).into_response();
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    }
    response
}

/// Answers connections until shutdown; then waits for what runs.
pub async fn serve(listener: TcpListener, app: Arc<App>, shutdown: CancellationToken) {
    let service = TowerToHyperService::new(router(app));
    let mut server = hyper::server::conn::http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let cut = CancellationToken::new();
    loop {
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (stream, place) = tokio::select! {
            () = shutdown.cancelled() => break,
            (Ok((stream, _)), place) = accept => (stream, place),
            else => {
                // Out of file descriptors, or a connection that was gone at once.
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(StallGuard::new(stream, STALL_TIMEOUT));
        let connection = graceful.watch(server.serve_connection(io, service.clone()));
        let cut = cut.clone();
        tokio::spawn(async move {
            if let Some(Err(error)) = cut.run_until_cancelled_owned(connection).await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still running {} s after shutdown; they are cut", DRAIN_TIMEOUT.as_secs());
        cut.cancel();
    }
}
