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
    /// A stream of events, with its first piece.
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
            .tcp_keepalive_retries(2u32)
            .tcp_user_timeout(PEER_TIMEOUT)
            .build()?;
        Ok(Self { client })
    }

    /// Sends a request and waits for its whole answer, or for the first piece of its stream. Dropping the future, or the stream,
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
            return match pieces.next().await {
                Some(Ok(first)) => Ok(Answer::Stream { first, rest: pieces }),
                Some(Err(error)) => Err(error),
                None => Err(UpstreamError::Empty),
            };
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
