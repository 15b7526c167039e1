//! The OpenAI endpoints. A worker has one model and answers for it under whatever name the request uses.

use super::answer::{Answer, Head, Words};
use super::frame::RequestId;
use super::generate::start;
use super::prompt::Input;
use super::refusal::{Refusal, Shape};
use super::{App, Phase, body};
use crate::tools::Support;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::{Extension, Json};
use rbee_engine::Kind;
use rbee_wire::ApiError;
use rbee_wire::openai::{ChatRequest, CompletionRequest, Model, ModelList, Sampling};
use std::sync::Arc;

fn refuse(error: ApiError) -> Refusal {
    Shape::OpenAi.refuse(error)
}

pub async fn chat(
    State(app): State<Arc<App>>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
) -> Result<Response, Refusal> {
    let request = body::parsed(request, ChatRequest::parse).await.map_err(refuse)?;
    let ChatRequest { model, messages, tools, sampling, stream, include_usage } = request;
    let (words, id_shown, logprobs) = (Words::Chat, format!("chatcmpl-{id}"), sampling.logprobs.is_some());
    let head = Head { words, id: id_shown, created: now(), model, include_usage, logprobs };
    answer(&app, id, head, Input::Chat(messages, tools), sampling, stream).await.map_err(refuse)
}

pub async fn completions(
    State(app): State<Arc<App>>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
) -> Result<Response, Refusal> {
    let request = body::parsed(request, CompletionRequest::parse).await.map_err(refuse)?;
    let CompletionRequest { model, prompts, sampling, stream, include_usage } = request;
    let (words, id_shown, logprobs) = (Words::Completion, format!("cmpl-{id}"), sampling.logprobs.is_some());
    let head = Head { words, id: id_shown, created: now(), model, include_usage, logprobs };
    answer(&app, id, head, Input::Completion(prompts), sampling, stream).await.map_err(refuse)
}

async fn answer(
    app: &App,
    id: String,
    head: Head,
    input: Input,
    sampling: Sampling,
    streamed: bool,
) -> Result<Response, ApiError> {
    let (running, reader) = start(app, id, input, sampling).await?;
    let answer = Answer { head, running, reader };
    if streamed { Ok(answer.stream()) } else { answer.whole().await }
}

pub async fn models(State(app): State<Arc<App>>) -> Json<ModelList> {
    Json(ModelList::new(vec![described(&app)]))
}

pub async fn model(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Model>, Refusal> {
    match id {
        Ok(Path(id)) if id == app.model_ref => Ok(Json(described(&app))),
        Ok(Path(id)) => Err(refuse(ApiError::model_not_found(&id))),
        Err(_) => Err(refuse(ApiError::model_not_found("(its name is not UTF-8)"))),
    }
}

/// The model with what it can do, once that is known.
fn described(app: &App) -> Model {
    let model = Model::new(app.model_ref.clone(), app.started);
    let (Phase::Ready(served) | Phase::Draining(served)) = &*app.phase.borrow() else { return model };
    if served.scheduler.kind() == Kind::Encoder {
        return model.with_capabilities(["embeddings"]);
    }
    let template = served.model.template.as_ref().and_then(|t| t.as_ref().ok());
    let tools = template.filter(|t| matches!(t.support(), Support::Known(_)));
    let chat = template.map(|_| "chat").into_iter().chain(tools.map(|_| "tools"));
    let embeddings = served.scheduler.gives_hidden().then_some("embeddings");
    model.with_capabilities(["completions"].into_iter().chain(embeddings).chain(chat))
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
