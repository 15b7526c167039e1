//! Health, readiness, loading progress, and the request to end.

use super::refusal::Shape;
use super::{App, Phase};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use rbee_wire::worker::{Health, LoadingStage, Ready, WorkerState};
use rbee_wire::{ApiError, ErrorCode, sse};
use std::convert::Infallible;
use std::sync::Arc;

impl Phase {
    pub fn state(&self) -> WorkerState {
        match self {
            Self::Loading => WorkerState::Loading,
            Self::Ready(_) => WorkerState::Ready,
            Self::Draining(_) => WorkerState::Draining,
            Self::Failed => WorkerState::Failed,
        }
    }
}

pub async fn health(State(app): State<Arc<App>>) -> Json<Health> {
    let numbers = app.stats.snapshot();
    let progress = app.progress.borrow().clone();
    let state = app.phase.borrow().state();
    let ready = matches!(state, WorkerState::Ready | WorkerState::Draining);
    Json(Health {
        status: "ok".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        state,
        in_flight: app.requests.len() as u32,
        slots_total: app.slots,
        slots_free: if ready { app.slots.saturating_sub(numbers.running as u32) } else { 0 },
        tokens_total: app.stats.tokens(),
        last_request_unix_ms: numbers.last_request_unix_ms,
        layers_loaded: progress.layers_loaded,
        layers_total: progress.layers_total,
    })
}

pub async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Ready>) {
    let state = app.phase.borrow().state();
    let ready = state == WorkerState::Ready;
    let progress_url = (state == WorkerState::Loading).then(|| format!("{}/v1/loading/progress", app.url));
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, state, progress_url }))
}

/// A stream of what is loaded; a slow reader skips steps.
pub async fn progress(State(app): State<Arc<App>>) -> Response {
    let changes = Some(app.progress.clone());
    let parts = futures::stream::unfold((changes, true), |(changes, first)| async move {
        let mut changes = changes?;
        if !first && changes.changed().await.is_err() {
            return None;
        }
        let progress = changes.borrow_and_update().clone();
        let mut out = sse::data(&serde_json::to_string(&progress).unwrap_or_default());
        let rest = match progress.stage {
            LoadingStage::Header | LoadingStage::LoadingWeights => Some(changes),
            LoadingStage::Ready => {
                out += &sse::data(sse::DONE);
                None
            }
            LoadingStage::Failed => {
                let error =
                    ApiError::new(ErrorCode::WorkerStartFailed, "loading the model failed; see the worker's log");
                out = sse::named("error", &Shape::Rbee.body(&error).to_string());
                None
            }
        };
        Some((Ok::<_, Infallible>(Bytes::from(out)), (rest, false)))
    });
    let mut response = Body::from_stream(parts).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(sse::CONTENT_TYPE));
    response
}

pub async fn shutdown(State(app): State<Arc<App>>) -> (StatusCode, Json<serde_json::Value>) {
    app.drain.cancel();
    (StatusCode::ACCEPTED, Json(serde_json::json!({"state": "draining"})))
}
