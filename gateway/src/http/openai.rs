//! OpenAI's endpoints: the request is checked, sent to a replica, and the answer passed on as it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use rbee_wire::openai::{ChatRequest, CompletionRequest, EmbeddingsRequest, Model, ModelList};
use rbee_wire::{ApiError, ErrorCode, sse};

use super::guard::RequestId;
use super::{App, body, error_response};
use crate::proxy::Served;
use crate::route;
use crate::stream;
use crate::upstream::{Answer, Call};

/// How long a stream's head waits for its first token, so that errors until then have a status of their own.
const HEAD_WAIT: Duration = Duration::from_secs(1);

/// What is known of a checked request.
struct Checked {
    model: String,
    stream: bool,
}

type Check = fn(&[u8]) -> Result<Checked, ApiError>;

pub async fn chat(state: State<Arc<App>>, request: Request) -> Response {
    let check: Check = |body| ChatRequest::parse(body).map(|r| Checked { model: r.model, stream: r.stream });
    answer(state, request, "/v1/chat/completions", check).await
}

pub async fn completions(state: State<Arc<App>>, request: Request) -> Response {
    let check: Check = |body| CompletionRequest::parse(body).map(|r| Checked { model: r.model, stream: r.stream });
    answer(state, request, "/v1/completions", check).await
}

pub async fn embeddings(state: State<Arc<App>>, request: Request) -> Response {
    let check: Check = |body| EmbeddingsRequest::parse(body).map(|r| Checked { model: r.model, stream: false });
    answer(state, request, "/v1/embeddings", check).await
}

/// `GET /v1/models`: the models that a Worker serves.
pub async fn models(State(app): State<Arc<App>>) -> Response {
    let table = app.proxy.dispatcher().table();
    let served = table.models.iter().filter(|(_, m)| !m.workers.is_empty());
    json(&ModelList::new(served.map(|(id, m)| Model::new(id, m.created)).collect()))
}

/// `GET /v1/models/{id}`; ids of other namespaces have a slash.
pub async fn model(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    match app.proxy.dispatcher().table().models.get(&id) {
        Some(model) if !model.workers.is_empty() => json(&Model::new(id, model.created)),
        Some(_) => error_response(&route::no_worker(&id)),
        None => error_response(&ApiError::model_not_found(&id)),
    }
}

pub async fn unknown(uri: Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    error_response(&ApiError::new(ErrorCode::NotFound, format!("there is no endpoint {path}")))
}

pub async fn wrong_method(method: Method, uri: Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    let text = format!("{path} does not answer to {method}");
    error_response(&ApiError::new(ErrorCode::InvalidRequest, text).with_status(405))
}

fn json(value: &impl serde::Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => error_response(&ApiError::new(ErrorCode::Internal, error.to_string())),
    }
}

async fn answer(State(app): State<Arc<App>>, request: Request, path: &'static str, check: Check) -> Response {
    let start = Instant::now();
    let (parts, payload) = request.into_parts();
    if app.draining.is_cancelled() {
        return error_response(&route::draining());
    }
    let checked = async {
        let bytes = body::read(&parts.headers, payload).await?;
        check(&bytes).map(|checked| (bytes, checked))
    };
    let (bytes, checked) = match checked.await {
        Ok(read) => read,
        Err(error) => return counted("", &error_response(&error), start, error_response(&error)),
    };
    let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let call = Call { path, body: bytes, request_id };
    let response = if checked.stream {
        streamed(&app, &checked.model, call).await
    } else {
        whole(&app, &checked.model, call).await
    };
    // Names that nobody serves make no time series.
    let label = if app.proxy.dispatcher().table().models.contains_key(&checked.model) { &*checked.model } else { "" };
    let status = response.status();
    count(label, status, start);
    response
}

fn counted(label: &str, of: &Response, start: Instant, response: Response) -> Response {
    count(label, of.status(), start);
    response
}

fn count(model: &str, status: StatusCode, start: Instant) {
    let (model, code) = (model.to_owned(), status.as_u16().to_string());
    metrics::counter!("rbee_gateway_requests_total", "model" => model.clone(), "code" => code).increment(1);
    metrics::histogram!("rbee_gateway_response_seconds", "model" => model).record(start.elapsed().as_secs_f64());
}

async fn whole(app: &App, model: &str, call: Call) -> Response {
    match app.proxy.serve(model, &call).await {
        Ok(Served { answer: Answer::Whole { status, headers, body }, .. }) => pass_on(status, &headers, body),
        // Not asked for, and passed on all the same.
        Ok(Served { answer: Answer::Stream { first, rest }, place }) => {
            sse_response(Body::from_stream(stream::of_answer(first, rest, place)))
        }
        Err(error) => error_response(&error),
    }
}

async fn streamed(app: &App, model: &str, call: Call) -> Response {
    let (proxy, model) = (app.proxy.clone(), model.to_owned());
    let mut pending = async move { proxy.serve(&model, &call).await }.boxed();
    match tokio::time::timeout(HEAD_WAIT, &mut pending).await {
        Ok(Ok(Served { answer: Answer::Stream { first, rest }, place })) => {
            sse_response(Body::from_stream(stream::of_answer(first, rest, place)))
        }
        Ok(Ok(Served { answer: Answer::Whole { status, headers, body }, .. })) => pass_on(status, &headers, body),
        Ok(Err(error)) => error_response(&error),
        Err(_) => sse_response(Body::from_stream(stream::of_pending(pending))),
    }
}

fn sse_response(body: Body) -> Response {
    let headers = [(header::CONTENT_TYPE, sse::CONTENT_TYPE), (header::CACHE_CONTROL, "no-cache")];
    (headers, body).into_response()
}

/// A replica's whole answer; of its headers only those that concern the client.
fn pass_on(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Response {
    let mut response = (status, body).into_response();
    for name in [header::CONTENT_TYPE, header::RETRY_AFTER] {
        match headers.get(&name) {
            Some(value) => response.headers_mut().insert(name, value.clone()),
            None => response.headers_mut().remove(name),
        };
    }
    response
}
