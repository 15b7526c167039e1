//! The endpoints, their order of checks, and the envelope of every error.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use rbee_crds::hive::HiveBackend;
use rbee_wire::{API_VERSION, ApiError, ErrorCode, hive::HiveHealth, worker::ReadyCallback};
use tokio::sync::watch;

use super::{
    auth::{self, Guard, Wish},
    lists, metrics,
    spawn::Spawner,
};
use crate::supervise::{Handle, view::ReplicaView};

/// Longest request body, bytes: nothing here takes prompts.
const MAX_BODY: usize = 64 << 10;
/// How long a body may take.
const BODY_LIMIT: Duration = Duration::from_secs(10);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the endpoints answer from.
pub struct Api {
    pub hive: String,
    pub guard: Guard,
    pub supervisor: Handle,
    pub views: watch::Receiver<Arc<Vec<ReplicaView>>>,
    pub backends: watch::Receiver<Vec<HiveBackend>>,
    pub spawner: Spawner,
}

/// An error as it goes out.
struct Refusal(Box<ApiError>);

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self(Box::new(error))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.0.envelope())).into_response();
        if let Some(seconds) = self.0.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

type Shared = State<Arc<Api>>;

/// The router of a hive.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/health", get(health))
        .route("/v1/workers/ready", post(ready))
        .route("/v1/workers/list", get(list_workers))
        .route("/v1/workers/spawn", post(spawn))
        .route("/v1/backends/list", get(list_backends))
        .route("/metrics", get(scrape))
        .fallback(no_such)
        .method_not_allowed_fallback(no_such)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(request_id))
        .with_state(Arc::new(api))
}

async fn health() -> Json<HiveHealth> {
    Json(HiveHealth { status: "ok".into(), version: env!("CARGO_PKG_VERSION").into(), api_version: API_VERSION.into() })
}

async fn list_workers(State(api): Shared, headers: HeaderMap) -> Result<Response, Refusal> {
    api.guard.admit(authorization(&headers), Wish::Read).await?;
    let views = api.views.borrow().clone();
    Ok(Json(lists::workers(&views)).into_response())
}

async fn list_backends(State(api): Shared, headers: HeaderMap) -> Result<Response, Refusal> {
    api.guard.admit(authorization(&headers), Wish::Read).await?;
    let list = lists::backends(&api.backends.borrow());
    Ok(Json(list).into_response())
}

async fn scrape(State(api): Shared, headers: HeaderMap) -> Result<Response, Refusal> {
    api.guard.admit(authorization(&headers), Wish::Read).await?;
    let views = api.views.borrow().clone();
    let text = metrics::render(&api.hive, &views, &api.backends.borrow());
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// The body, within [`MAX_BODY`] and [`BODY_LIMIT`]; asked for only after the caller was let in.
async fn read(body: Body) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(BODY_LIMIT, axum::body::to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            let mut refusal =
                ApiError::new(ErrorCode::InvalidRequest, format!("the body is over {MAX_BODY} bytes or broken off"));
            refusal.status = 413;
            Err(refusal)
        }
        Err(_) => {
            let seconds = BODY_LIMIT.as_secs();
            Err(ApiError::new(ErrorCode::RequestTimeout, format!("the body took longer than {seconds} s")))
        }
    }
}

async fn ready(State(api): Shared, headers: HeaderMap, body: Body) -> Result<StatusCode, Refusal> {
    let unknown = || ApiError::new(ErrorCode::InvalidApiKey, "the one-time secret of this worker is not known here");
    let nonce = authorization(&headers).and_then(auth::bearer).ok_or_else(unknown)?;
    let callback: ReadyCallback = parse(&read(body).await?)?;
    if !is_http_url(&callback.url) {
        return Err(ApiError::invalid("url", "must be an http URL of this machine").into());
    }
    if api.supervisor.says_ready(nonce.to_owned(), callback).await {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(unknown().into())
    }
}

fn is_http_url(url: &str) -> bool {
    url.parse::<http::Uri>().is_ok_and(|u| u.scheme_str() == Some("http") && u.host().is_some())
}

async fn spawn(State(api): Shared, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let bearer = api.guard.admit(authorization(&headers), Wish::Declare).await?;
    let response = api.spawner.spawn(bearer, parse(&read(body).await?)?).await?;
    Ok((StatusCode::CREATED, Json(response)).into_response())
}

async fn no_such(request: Request) -> Refusal {
    let path: String = request.uri().path().chars().take(100).collect();
    let message = format!("{} {path} is no endpoint of a hive", request.method());
    Refusal::from(ApiError::new(ErrorCode::NotFound, message))
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|e| ApiError::new(ErrorCode::InvalidRequest, format!("the body is not as wanted: {e}")))
}

fn authorization(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    // Two keys are none: which of them counts would be a guess.
    all.next().filter(|_| all.next().is_none()).map(HeaderValue::as_bytes)
}

/// Every answer carries the caller's own request id, or one made for it.
async fn request_id(request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).filter(|v| {
        let bytes = v.as_bytes();
        (1..=128).contains(&bytes.len()) && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
    });
    let id = given.cloned().or_else(|| HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).ok());
    let mut response = next.run(request).await;
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
