//! Reading a JSON body within bounds of size and time.

use axum::body::BodyDataStream;
use axum::extract::Request;
use axum::http::header;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use rbee_wire::{ApiError, ErrorCode, MAX_BODY_BYTES};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Time for the whole body.
const TIME: Duration = Duration::from_secs(10);

/// How long and how much is read of a body that is too large after it was refused, so that its sender reads the answer.
const DISCARD_TIME: Duration = Duration::from_secs(3);
const DISCARD_BYTES: usize = 64 << 20;

/// Bytes of large bodies that are parsed at the same time; what they become takes several times as much memory.
const PARSED_BYTES: usize = 2 * MAX_BODY_BYTES;
/// Bodies that are parsed where they arrived: that takes less time than to hand them over.
const SMALL_BYTES: usize = 16 << 10;

static PARSING: Semaphore = Semaphore::const_new(PARSED_BYTES);

/// Reads a body and what it says.
pub async fn parsed<T: Send + 'static>(
    request: Request,
    parse: fn(&[u8]) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let body = read(request).await?;
    if body.len() <= SMALL_BYTES {
        return parse(&body);
    }
    let lost = || ApiError::new(ErrorCode::Internal, "the body could not be parsed");
    let turn = PARSING.acquire_many(body.len() as u32).await.map_err(|_| lost())?;
    tokio::task::spawn_blocking(move || {
        // Held to the end of the work, even if nobody waits for it any more.
        let _turn = turn;
        parse(&body)
    })
    .await
    .map_err(|_| lost())?
}

/// The whole body, if it is JSON by its content type and not too large.
async fn read(request: Request) -> Result<Bytes, ApiError> {
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
    let stated = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let mut stream = request.into_body().into_data_stream();
    if stated.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Err(too_large(stream));
    }
    let mut body = BytesMut::new();
    while let Some(part) = stream.next().await {
        let broken = |e: axum::Error| ApiError::new(ErrorCode::InvalidRequest, format!("the body cannot be read: {e}"));
        let part = part.map_err(broken)?;
        if body.len().saturating_add(part.len()) > MAX_BODY_BYTES {
            return Err(too_large(stream));
        }
        body.extend_from_slice(&part);
    }
    Ok(body.freeze())
}

/// The refusal; what else the client sends is read beside the answer.
fn too_large(mut rest: BodyDataStream) -> ApiError {
    tokio::spawn(tokio::time::timeout(DISCARD_TIME, async move {
        let mut left = DISCARD_BYTES;
        while let Some(Ok(part)) = rest.next().await {
            left = left.saturating_sub(part.len());
            if left == 0 {
                return;
            }
        }
    }));
    let text = format!("the body has more than the {MAX_BODY_BYTES} bytes that are allowed");
    ApiError::new(ErrorCode::InvalidRequest, text).with_status(413)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use futures::stream;
    use std::convert::Infallible;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_too_large_is_refused_before_it_ends() {
        let silent = || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let piece = Bytes::from(vec![b'x'; MAX_BODY_BYTES]);
        let full = stream::iter([Ok::<_, Infallible>(piece), Ok(Bytes::from_static(b"x"))]).chain(stream::pending());
        let stated = Request::builder().header(header::CONTENT_LENGTH, "1073741824").body(silent()).unwrap();
        let start = Instant::now();
        for request in [stated, Request::new(Body::from_stream(full))] {
            let error = read(request).await.unwrap_err();
            assert_eq!((error.status, start.elapsed()), (413, Duration::ZERO), "{error:?}");
        }
        assert_eq!(read(Request::new(silent())).await.unwrap_err().status, 408);
    }
}
