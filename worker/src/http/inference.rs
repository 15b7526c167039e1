//! `POST /v1/inference` and its cancel.

use super::answer::{Answer, Head, Words};
use super::frame::RequestId;
use super::generate::start;
use super::prompt::Input;
use super::refusal::{Refusal, Shape};
use super::{App, Phase, body};
use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use rbee_wire::ApiError;
use rbee_wire::worker::InferenceRequest;
use std::sync::Arc;

pub async fn create(
    State(app): State<Arc<App>>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
) -> Result<Response, Refusal> {
    answer(&app, id, request).await.map_err(|e| Shape::Rbee.refuse(e))
}

async fn answer(app: &App, id: String, request: Request) -> Result<Response, ApiError> {
    let InferenceRequest { input, sampling } = body::parsed(request, InferenceRequest::parse).await?;
    let (running, reader) = start(app, id.clone(), Input::Inference(input), sampling).await?;
    let (words, model) = (Words::Inference, app.model_ref.clone());
    let head = Head { words, id, created: app.started, model, include_usage: false, logprobs: false };
    Ok(Answer { head, running, reader }.stream())
}

/// 204 in every case: a request that is gone is as good as canceled.
pub async fn cancel(State(app): State<Arc<App>>, id: Result<Path<String>, PathRejection>) -> StatusCode {
    // What cannot be decoded is the id of no request.
    if let Ok(Path(id)) = id {
        app.cancel(&id);
    }
    StatusCode::NO_CONTENT
}

impl App {
    fn cancel(&self, id: &str) {
        match &*self.phase.borrow() {
            Phase::Ready(served) | Phase::Draining(served) => served.scheduler.cancel(id),
            Phase::Loading | Phase::Failed => {}
        }
    }
}
