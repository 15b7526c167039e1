//! Reading a JSON body within bounds of size and time.

use axum::extract::Request;
use axum::http::header;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use rbee_wire::{ApiError, ErrorCode, MAX_BODY_BYTES};
use std::time::Duration;

/// Time for the whole body.
const TIME: Duration = Duration::from_secs(10);

/// Bytes of a body that is too large which are still read, so that the client gets to see the answer.
const PATIENCE_BYTES: usize = 64 << 20;

/// The whole body, if it is JSON by its content type and not too large.
pub async fn read(request: Request) -> Result<Bytes, ApiError> {
    if let Some(kind) = request.headers().get(header::CONTENT_TYPE) {
        let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind != "application/json" {
            let text = "the content type must be application/json";
            return Err(ApiError::new(ErrorCode::InvalidRequest, text).with_status(415));
        }
    }
    let late = |_| ApiError::new(ErrorCode::RequestTimeout, format!("the body took longer than {} s", TIME.as_secs()));
    tokio::time::timeout(TIME, collect(request)).await.map_err(late)?
}

async fn collect(request: Request) -> Result<Bytes, ApiError> {
    let mut stream = request.into_body().into_data_stream();
    let mut body = BytesMut::new();
    let mut seen = 0usize;
    while let Some(part) = stream.next().await {
        let broken = |e: axum::Error| ApiError::new(ErrorCode::InvalidRequest, format!("the body cannot be read: {e}"));
        let part = part.map_err(broken)?;
        seen = seen.saturating_add(part.len());
        if seen <= MAX_BODY_BYTES {
            body.extend_from_slice(&part);
        } else if seen > PATIENCE_BYTES {
            break;
        }
    }
    if seen > MAX_BODY_BYTES {
        let text = format!("the body has more than the {MAX_BODY_BYTES} bytes that are allowed");
        return Err(ApiError::new(ErrorCode::InvalidRequest, text).with_status(413));
    }
    Ok(body.freeze())
}
