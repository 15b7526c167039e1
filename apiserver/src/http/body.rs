//! Reading a request's body: never more than the limit, never waiting for ever.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;

use super::status::{ApiError, ApiResult};

/// Bytes of a body at most.
pub const LIMIT: usize = 3 * 1024 * 1024;

/// How long the next piece of a body may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The whole body; 413 when it is larger than [`LIMIT`], 408 when it stalls for 10 s.
pub async fn read(headers: &HeaderMap, mut body: Body) -> ApiResult<Bytes> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    if announced.is_some_and(|length: u64| length > LIMIT as u64) {
        return Err(ApiError::too_large(LIMIT));
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|v| v != "identity") {
        return Err(ApiError::unsupported_media_type(&["application/json", "application/yaml"]));
    }
    let mut first: Option<Bytes> = None;
    let mut more = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(PATIENCE, body.frame()).await {
            Err(_) => return Err(ApiError::body_timeout()),
            Ok(None) => break,
            Ok(Some(Err(e))) => return Err(ApiError::bad_request(format!("the request body cannot be read: {e}"))),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        if first.as_ref().map_or(0, Bytes::len) + more.len() + data.len() > LIMIT {
            return Err(ApiError::too_large(LIMIT));
        }
        match &first {
            None => first = Some(data),
            Some(_) => more.extend_from_slice(&data),
        }
    }
    Ok(match (first, more.is_empty()) {
        (None, _) => Bytes::new(),
        (Some(all), true) => all,
        (Some(start), false) => {
            let mut all = BytesMut::with_capacity(start.len() + more.len());
            all.extend_from_slice(&start);
            all.extend_from_slice(&more);
            all.freeze()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn up_to_the_limit() {
        let read = |n: usize| async move { read(&HeaderMap::new(), Body::from(vec![b'x'; n])).await };
        assert_eq!(read(LIMIT).await.unwrap().len(), LIMIT);
        assert_eq!(read(LIMIT + 1).await.unwrap_err().code.as_u16(), 413);
        assert!(read(0).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn pieces_are_put_together() {
        let pieces = ["a", "b", "c"].map(|p| Ok::<_, std::io::Error>(Bytes::from(p)));
        let body = Body::from_stream(futures::stream::iter(pieces));
        assert_eq!(read(&HeaderMap::new(), body).await.unwrap(), "abc");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_given_up() {
        let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read(&HeaderMap::new(), body).await.unwrap_err().code.as_u16(), 408);
    }
}
