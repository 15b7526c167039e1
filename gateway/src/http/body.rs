//! Reads a request's body: JSON, bounded in size and in time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, header};
use rbee_wire::{ApiError, ErrorCode, MAX_BODY_BYTES};
use tokio::time::{Instant, timeout_at};

/// A body has this long, and a second more for every [`SLOWEST`] bytes that came.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes per second of the slowest client that is waited for.
const SLOWEST: u64 = 64 << 10;
/// How long and how much is read of a body that is too large, so that its sender reads the answer.
const DISCARD_TIME: Duration = Duration::from_secs(3);
const DISCARD_BYTES: usize = 64 << 20;

/// The body, read whole.
///
/// # Errors
/// 413 over 8 MiB, 415 for another content type, 408 if it comes too slowly, 400 if it breaks off.
pub async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).map(|v| v.to_str().unwrap_or("?").to_ascii_lowercase());
    let is_json = kind.as_deref().is_none_or(|k| k.split(';').next().is_some_and(|k| k.trim() == "application/json"));
    let stated = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let mut pieces = body.into_data_stream();
    let mut read = BytesMut::new();
    let start = Instant::now();
    while read.len().max(stated.unwrap_or(0)) <= MAX_BODY_BYTES {
        let deadline = start + TIMEOUT + Duration::from_secs(read.len() as u64 / SLOWEST);
        match timeout_at(deadline, pieces.next()).await {
            Ok(Some(Ok(piece))) => read.extend_from_slice(&piece),
            Ok(Some(Err(_))) => return Err(ApiError::new(ErrorCode::InvalidRequest, "the body broke off")),
            Ok(None) if is_json => return Ok(read.freeze()),
            Ok(None) => {
                let text = "the content type of a request must be application/json";
                return Err(ApiError::new(ErrorCode::InvalidRequest, text).with_status(415));
            }
            Err(_) => return Err(ApiError::new(ErrorCode::RequestTimeout, "the body came too slowly")),
        }
    }
    drop(read);
    let discard = async {
        let mut left = DISCARD_BYTES;
        while let Some(Ok(piece)) = pieces.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIME, discard).await;
    let text = format!("the body is larger than {MAX_BODY_BYTES} bytes");
    Err(ApiError::new(ErrorCode::InvalidRequest, text).with_status(413))
}
