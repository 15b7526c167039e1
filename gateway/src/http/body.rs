//! Reads a request's body: JSON, bounded in size and in time.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, header};
use rbee_wire::{ApiError, ErrorCode, MAX_BODY_BYTES};
use tokio::time::{Instant, timeout, timeout_at};

/// A body has this long, and a second more for every [`SLOWEST`] bytes that came.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes per second of the slowest client that is waited for.
const SLOWEST: u64 = 64 << 10;
/// How long and how much is read of a body that is too large after it was refused, so that its sender reads the answer.
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
    Err(too_large(pieces))
}

/// The refusal; what else the client sends is read beside the answer.
fn too_large(mut rest: BodyDataStream) -> ApiError {
    tokio::spawn(timeout(DISCARD_TIME, async move {
        let mut left = DISCARD_BYTES;
        while let Some(Ok(piece)) = rest.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                return;
            }
        }
    }));
    let text = format!("the body is larger than {MAX_BODY_BYTES} bytes");
    ApiError::new(ErrorCode::InvalidRequest, text).with_status(413)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use std::convert::Infallible;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_too_large_is_refused_before_it_ends() {
        let silent = || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let piece = Bytes::from(vec![b'x'; MAX_BODY_BYTES]);
        let full = stream::iter([Ok::<_, Infallible>(piece), Ok(Bytes::from_static(b"x"))]).chain(stream::pending());
        let none = HeaderMap::new();
        let stated: HeaderMap = [(header::CONTENT_LENGTH, "1073741824".parse().unwrap())].into_iter().collect();
        let start = Instant::now();
        for (headers, body) in [(&stated, silent()), (&none, Body::from_stream(full))] {
            let error = read(headers, body).await.unwrap_err();
            assert_eq!((error.status, start.elapsed()), (413, Duration::ZERO), "{error:?}");
        }
        assert_eq!(read(&none, silent()).await.unwrap_err().status, 408);
    }
}
