//! The OpenAI endpoints. A worker has one model and answers for it under whatever name the request uses.

use super::answer::{Head, Words, stream, whole};
use super::frame::RequestId;
use super::generate::{Input, start};
use super::refusal::{Refusal, Shape};
use super::{App, body};
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::{Extension, Json};
use rbee_wire::openai::{ChatRequest, CompletionRequest, EmbeddingsRequest, Model, ModelList, Sampling};
use rbee_wire::{ApiError, ErrorCode};
use std::sync::Arc;

fn refuse(error: ApiError) -> Refusal {
    Shape::OpenAi.refuse(error)
}

pub async fn chat(
    State(app): State<Arc<App>>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
) -> Result<Response, Refusal> {
    let body = body::read(request).await.map_err(refuse)?;
    let ChatRequest { model, messages, sampling, stream, include_usage } = ChatRequest::parse(&body).map_err(refuse)?;
    let head = Head { words: Words::Chat, id: format!("chatcmpl-{id}"), created: now(), model, include_usage };
    answer(&app, id, head, Input::Chat(messages), sampling, stream).await.map_err(refuse)
}

pub async fn completions(
    State(app): State<Arc<App>>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
) -> Result<Response, Refusal> {
    let body = body::read(request).await.map_err(refuse)?;
    let request = CompletionRequest::parse(&body).map_err(refuse)?;
    let CompletionRequest { model, prompt, sampling, stream, include_usage } = request;
    let head = Head { words: Words::Completion, id: format!("cmpl-{id}"), created: now(), model, include_usage };
    answer(&app, id, head, Input::Completion(prompt), sampling, stream).await.map_err(refuse)
}

async fn answer(
    app: &App,
    id: String,
    head: Head,
    input: Input,
    sampling: Sampling,
    streamed: bool,
) -> Result<Response, ApiError> {
    let running = start(app, id, input, sampling).await?;
    if streamed { Ok(stream(head, running)) } else { whole(head, running).await }
}

pub async fn embeddings(request: Request) -> Result<Response, Refusal> {
    let body = body::read(request).await.map_err(refuse)?;
    EmbeddingsRequest::parse(&body).map_err(refuse)?;
    let error = ApiError::new(ErrorCode::InvalidRequest, "this model generates text and gives no embeddings");
    Err(refuse(error.with_openai_code("unsupported_endpoint")))
}

pub async fn models(State(app): State<Arc<App>>) -> Json<ModelList> {
    Json(ModelList::new(vec![Model::new(app.model_ref.clone(), app.started)]))
}

pub async fn model(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Model>, Refusal> {
    if id == app.model_ref {
        return Ok(Json(Model::new(id, app.started)));
    }
    Err(refuse(ApiError::model_not_found(&id)))
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
