//! What goes around every request: its id, the hosts that may be asked for, the key.

use super::App;
use super::refusal::Shape;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rbee_wire::{ApiError, ErrorCode};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::sync::Arc;
use subtle::ConstantTimeEq;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over from a caller, in bytes.
const MAX_ID: usize = 128;

/// Id of the request: the caller's own or one made for it.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// A key as the worker keeps it: only its sha256.
#[derive(Clone)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    pub fn new(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Whether the headers hold this key, once and as a bearer. Takes the same time for every wrong key of a length.
    fn fits(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Some(key) = value.as_bytes().strip_prefix(b"Bearer ") else { return false };
        let digest: [u8; 32] = Sha256::digest(key).into();
        digest.ct_eq(&self.0).into()
    }
}

/// Gives the request an id, refuses what may not pass, and names the id in the answer.
pub async fn frame(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = match admit(&app, &request) {
        Ok(()) => next.run(request).await,
        Err(error) => Shape::of(request.uri().path()).refuse(error).into_response(),
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn request_id(headers: &HeaderMap) -> String {
    let sane = |text: &&str| {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
        (1..=MAX_ID).contains(&text.len()) && text.bytes().all(good)
    };
    let own = headers.get(REQUEST_ID).and_then(|v| v.to_str().ok()).filter(sane);
    own.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}

fn admit(app: &App, request: &Request) -> Result<(), ApiError> {
    if matches!(request.uri().path(), "/health" | "/v1/ready") {
        return Ok(());
    }
    match &app.key {
        Some(key) if key.fits(request.headers()) => Ok(()),
        Some(_) => {
            let hint = "send `Authorization: Bearer KEY` with the key that this worker was given in RBEE_API_KEY";
            Err(ApiError::invalid_api_key(&app.url, hint))
        }
        None => local_only(request.headers()),
    }
}

/// Without a key only this machine's own programs may ask; a web page that got here by its name or origin may not.
fn local_only(headers: &HeaderMap) -> Result<(), ApiError> {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let origin = headers.get(header::ORIGIN).map(|o| o.to_str().unwrap_or("?"));
    let origin_host = origin.map(|o| o.split_once("://").map_or(o, |(_, host)| host));
    if is_loopback(host) && origin_host.is_none_or(is_loopback) {
        return Ok(());
    }
    let text = "without RBEE_API_KEY this worker answers only requests to a loopback address from this machine";
    Err(ApiError::new(ErrorCode::Forbidden, text))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in list {
            map.append(name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    #[test]
    fn a_key_must_be_there_once_and_whole() {
        let key = KeyDigest::new("s3cret");
        let fits = |values: &[&str]| {
            key.fits(&headers(&values.iter().map(|v| (header::AUTHORIZATION, *v)).collect::<Vec<_>>()))
        };
        assert!(fits(&["Bearer s3cret"]));
        let large = format!("Bearer {}", "x".repeat(60_000));
        for wrong in [&[][..], &["Bearer s3cre"], &["Bearer s3crett"], &["bearer s3cret"], &["s3cret"], &[&large]] {
            assert!(!fits(wrong), "{wrong:?}");
        }
        assert!(!fits(&["Bearer s3cret", "Bearer s3cret"]));
    }

    #[test]
    fn only_loopback_names_pass_without_a_key() {
        for good in ["127.0.0.1:8001", "localhost:1", "[::1]:8001", "127.0.0.1", "localhost"] {
            assert!(local_only(&headers(&[(header::HOST, good)])).is_ok(), "{good}");
        }
        for bad in ["evil.test", "evil.test:8001", "", ":8080", "2130706433", "127.0.0.1.evil.test:1"] {
            assert!(local_only(&headers(&[(header::HOST, bad)])).is_err(), "{bad}");
        }
        let page = [(header::HOST, "127.0.0.1:1"), (header::ORIGIN, "https://evil.test")];
        assert_eq!(local_only(&headers(&page)).unwrap_err().status, 403);
        let own = [(header::HOST, "127.0.0.1:1"), (header::ORIGIN, "http://localhost:3000")];
        assert!(local_only(&headers(&own)).is_ok());
    }

    #[test]
    fn ids_of_callers_are_taken_when_sane() {
        assert_eq!(request_id(&headers(&[(REQUEST_ID, "a-1:b.c_D")])), "a-1:b.c_D");
        for odd in ["", "a b", "é", &"x".repeat(129)] {
            assert_eq!(request_id(&headers(&[(REQUEST_ID, odd)])).len(), 36, "{odd:?}");
        }
    }
}
