//! One exchange with a replica: connect, send, and what came back.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{HeaderMap, StatusCode, header};
use rbee_wire::sse;

use crate::table::Replica;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that vanished without a word is noticed within about this time.
const PEER_TIMEOUT: Duration = Duration::from_secs(9);
/// Largest answer that is not a stream, in bytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Bytes of a stream that are kept back at most.
const MAX_PREAMBLE_BYTES: usize = 64 << 10;

/// Talks to replicas.
#[derive(Clone)]
pub struct Upstream {
    client: reqwest::Client,
}

/// A request as it goes to a replica.
#[derive(Debug, Clone)]
pub struct Call {
    /// `/v1/chat/completions` and its like.
    pub path: &'static str,
    pub body: Bytes,
    pub request_id: String,
}

/// What a replica answered.
pub enum Answer {
    /// A whole answer, good or bad.
    Whole { status: StatusCode, headers: HeaderMap, body: Bytes },
    /// A stream of events, with its beginning up to the first token.
    Stream { first: Bytes, rest: Pieces },
}

/// The rest of a stream.
pub type Pieces = BoxStream<'static, Result<Bytes, UpstreamError>>;

/// Why a replica gave no whole answer. Nothing of it went to the client.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("the replica could not be reached")]
    Connect(#[source] reqwest::Error),
    #[error("the replica's answer broke off")]
    Broken(#[source] reqwest::Error),
    #[error("the replica's answer ended before it began")]
    Empty,
    #[error("the replica's answer is larger than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
}

impl Upstream {
    /// # Errors
    /// The client cannot be made, for example without a crypto provider.
    pub fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            // A connection per request: one that is dropped tells the replica that nobody listens any more, and none is stale.
            .pool_max_idle_per_host(0)
            .tcp_nodelay(true)
            .tcp_keepalive(PEER_TIMEOUT / 3)
            .tcp_keepalive_interval(PEER_TIMEOUT / 3)
            .tcp_keepalive_retries(2u32);
        #[cfg(target_os = "linux")]
        let client = client.tcp_user_timeout(PEER_TIMEOUT);
        Ok(Self { client: client.build()? })
    }

    /// Sends a request and waits for its whole answer, or for the first token of its stream. Dropping the future, or the stream,
    /// closes the connection.
    ///
    /// # Errors
    /// [`UpstreamError`]; the request may be sent elsewhere.
    pub async fn send(&self, replica: &Replica, call: &Call) -> Result<Answer, UpstreamError> {
        let mut request = self
            .client
            .post(format!("{}{}", replica.url, call.path))
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-request-id", &call.request_id)
            .body(call.body.clone());
        if let Some(key) = &replica.key {
            request = request.bearer_auth(key.reveal());
        }
        let response = request
            .send()
            .await
            .map_err(|e| if e.is_connect() { UpstreamError::Connect(e) } else { UpstreamError::Broken(e) })?;
        let (status, headers) = (response.status(), response.headers().clone());
        let is_stream = headers
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|v| v.starts_with(sse::CONTENT_TYPE));
        let mut pieces = response.bytes_stream().map(|piece| piece.map_err(UpstreamError::Broken)).boxed();
        if is_stream && status.is_success() {
            let first = first_token(&mut pieces).await?;
            return Ok(Answer::Stream { first, rest: pieces });
        }
        let mut body = BytesMut::new();
        while let Some(piece) = pieces.next().await {
            body.extend_from_slice(&piece?);
            if body.len() > MAX_ANSWER_BYTES {
                return Err(UpstreamError::TooLarge);
            }
        }
        Ok(Answer::Whole { status, headers, body: body.freeze() })
    }
}

/// The stream's beginning, up to something that cannot be taken back: before the first token the request may still go elsewhere.
async fn first_token(pieces: &mut Pieces) -> Result<Bytes, UpstreamError> {
    let mut read = BytesMut::new();
    let mut decoder = sse::Decoder::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        read.extend_from_slice(&piece);
        match decoder.push(&piece) {
            Ok(events) if events.iter().all(is_empty) && read.len() <= MAX_PREAMBLE_BYTES => {}
            _ => return Ok(read.freeze()),
        }
    }
    if read.is_empty() { Err(UpstreamError::Empty) } else { Ok(read.freeze()) }
}

/// Whether an event is a chunk without text and calls that ends nothing, such as the one that only tells the role.
fn is_empty(event: &sse::Event) -> bool {
    let Ok(chunk) = serde_json::from_str::<serde_json::Value>(&event.data) else { return false };
    let choice = &chunk["choices"][0];
    let is_blank = |text: &serde_json::Value| text.as_str().unwrap_or_default().is_empty();
    event.event.is_none()
        && choice.is_object()
        && choice["finish_reason"].is_null()
        && is_blank(&choice["delta"]["content"])
        && choice["delta"]["tool_calls"].is_null()
        && is_blank(&choice["text"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_before_the_first_token_is_kept_back() {
        let role =
            "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
        let token = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
        let of = |pieces: &[&'static str]| {
            let pieces: Vec<_> = pieces.iter().map(|p| Ok(Bytes::from_static(p.as_bytes()))).collect();
            futures::stream::iter(pieces).boxed()
        };
        let mut pieces = of(&[role, ": comment\n\n", token, token]);
        let first = first_token(&mut pieces).await.unwrap();
        assert_eq!(first, format!("{role}: comment\n\n{token}"));
        assert_eq!(pieces.next().await.unwrap().unwrap(), token);
        let call = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]},\"finish_reason\":null}]}\n\n";
        assert_eq!(first_token(&mut of(&[role, call, token])).await.unwrap(), format!("{role}{call}"));
        assert_eq!(first_token(&mut of(&["data: [DONE]\n\n"])).await.unwrap(), "data: [DONE]\n\n");
        assert!(matches!(first_token(&mut of(&[])).await, Err(UpstreamError::Empty)));
        let broken = futures::stream::iter([Ok(Bytes::from_static(role.as_bytes())), Err(UpstreamError::Empty)]);
        assert!(first_token(&mut broken.boxed()).await.is_err(), "broken after the role: nothing was said yet");
    }
}
