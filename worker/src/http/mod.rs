//! The worker's HTTP server: routes, and connections that cannot hold it up.

mod answer;
mod body;
mod choice;
mod embeddings;
mod frame;
mod generate;
mod hangup;
mod inference;
mod logprobs;
mod metrics;
mod openai;
mod prompt;
mod refusal;
mod running;
mod serve;
mod status;

pub use frame::KeyDigest;
pub use serve::serve;

use crate::model::Model;
use crate::scheduler::{Scheduler, Stats};
use axum::Router;
use axum::routing::{delete, get, post};
use rbee_wire::worker::LoadingProgress;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a loaded worker serves with.
pub struct Served {
    pub model: Model,
    pub scheduler: Scheduler,
}

/// Where the worker is in its life.
#[derive(Clone)]
pub enum Phase {
    Loading,
    Ready(Arc<Served>),
    /// New requests are refused, running ones go on.
    Draining(Arc<Served>),
    Failed,
}

/// What all handlers share.
pub struct App {
    /// Id in the OpenAI API.
    pub model_ref: String,
    pub url: String,
    /// Unix time in seconds.
    pub started: i64,
    pub slots: u32,
    pub key: Option<KeyDigest>,
    pub phase: watch::Receiver<Phase>,
    pub progress: watch::Receiver<LoadingProgress>,
    pub stats: Arc<Stats>,
    /// One token per request that generates.
    pub requests: TaskTracker,
    /// Cancelled when the worker is to drain and end.
    pub drain: CancellationToken,
    /// A request whose computation stands still for so long is ended.
    pub stall: Duration,
}

/// All routes behind the frame of request ids, hosts and keys.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/health", get(status::health))
        .route("/v1/ready", get(status::ready))
        .route("/v1/loading/progress", get(status::progress))
        .route("/v1/inference", post(inference::create))
        .route("/v1/inference/{id}", delete(inference::cancel))
        .route("/v1/chat/completions", post(openai::chat))
        .route("/v1/completions", post(openai::completions))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1/models", get(openai::models))
        .route("/v1/models/{*id}", get(openai::model))
        .route("/v1/shutdown", post(status::shutdown))
        .route("/v1/admin/shutdown", post(status::shutdown))
        .route("/metrics", get(metrics::metrics))
        .fallback(refusal::no_route)
        .method_not_allowed_fallback(refusal::no_method)
        .layer(axum::middleware::from_fn_with_state(app.clone(), frame::frame))
        .with_state(app)
}

#[cfg(test)]
mod tests;
