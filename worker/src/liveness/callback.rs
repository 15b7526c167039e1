//! The ready callback: one `POST` to the hive, repeated until it is taken.

use crate::config::Secret;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rbee_wire::worker::ReadyCallback;
use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const TRY_TIME: Duration = Duration::from_secs(5);

/// Why a callback was not taken.
#[derive(Debug, thiserror::Error)]
enum CallbackError {
    #[error("cannot reach {url}: {message}")]
    Unreachable { url: Uri, message: String },
    #[error("{url} answered {status}")]
    Status { url: Uri, status: StatusCode },
}

/// Reports until the hive takes it. Cancel safe.
pub async fn report_ready(url: &Uri, nonce: Option<&Secret>, callback: &ReadyCallback) {
    let mut pause = FIRST_PAUSE;
    while let Err(error) = send(url, nonce, callback).await {
        tracing::warn!(%error, "the ready callback was not taken; trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn send(url: &Uri, nonce: Option<&Secret>, callback: &ReadyCallback) -> Result<(), CallbackError> {
    let unreachable = |message: String| CallbackError::Unreachable { url: url.clone(), message };
    let body = serde_json::to_vec(callback).map_err(|e| unreachable(e.to_string()))?;
    let mut request = Request::post(url.clone()).header(header::CONTENT_TYPE, "application/json");
    if let Some(nonce) = nonce {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", nonce.reveal()));
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|e| unreachable(e.to_string()))?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let answer = tokio::time::timeout(TRY_TIME, client.request(request)).await;
    let answer = answer.map_err(|_| unreachable(format!("no answer within {} s", TRY_TIME.as_secs())))?;
    let status = answer.map_err(|e| unreachable(e.to_string()))?.status();
    if status.is_success() { Ok(()) } else { Err(CallbackError::Status { url: url.clone(), status }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::State;
    use axum::http::HeaderMap;
    use axum::routing::post;
    use axum::{Json, Router};
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn it_is_repeated_until_it_is_taken() {
        let (seen, mut calls) = mpsc::channel::<(HeaderMap, ReadyCallback)>(8);
        let take = |State(seen): State<mpsc::Sender<_>>, headers: HeaderMap, Json(body): Json<ReadyCallback>| async move {
            let first = seen.capacity() == seen.max_capacity();
            seen.send((headers, body)).await.unwrap();
            if first { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
        };
        let router = Router::new().route("/v1/workers/ready", post(take)).with_state(seen);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Uri = format!("http://{}/v1/workers/ready", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let callback = ReadyCallback {
            worker_id: "w".into(),
            url: "http://127.0.0.1:1".into(),
            model_ref: "m".into(),
            backend: "cpu".into(),
            device: 0,
            memory_bytes: 5,
        };
        let nonce = Secret::new("0nce".into());
        tokio::time::timeout(Duration::from_secs(20), report_ready(&url, Some(&nonce), &callback)).await.unwrap();
        for _ in 0..2 {
            let (headers, body) = calls.recv().await.unwrap();
            assert_eq!(body, callback);
            assert_eq!(headers[header::AUTHORIZATION], "Bearer 0nce");
        }
    }
}
