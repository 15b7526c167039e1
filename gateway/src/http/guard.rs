//! What every request passes: it gets an id, is meant for this machine, and shows a key where keys are wanted.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue};
use rbee_wire::{ApiError, ErrorCode};

use super::{App, error_response};

pub const REQUEST_ID: &str = "x-request-id";

/// The id of a request: the caller's own, or one made for it. It is in the request's extensions and in the answer's header.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// Gives the request its id.
pub async fn request_id(mut request: Request, next: Next) -> Response {
    let own = request.headers().get(REQUEST_ID).and_then(|v| v.to_str().ok()).filter(|v| is_id(v)).map(str::to_owned);
    let id = own.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/=+".contains(&b))
}

/// On loopback, refuses requests that a page of another site made a browser send: by their Host (the site's name, made to
/// point here) or by their Origin.
pub async fn host(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.loopback
        && let Err(what) = check_names(request.headers())
    {
        let text = format!("{what}; this gateway answers to names of this machine only");
        return error_response(&ApiError::new(ErrorCode::Forbidden, text));
    }
    next.run(request).await
}

fn check_names(headers: &HeaderMap) -> Result<(), String> {
    let host = headers.get(HOST).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if headers.get_all(HOST).iter().count() > 1 || !is_local_host(host) {
        return Err(format!("the Host header {:?} is not allowed", shown(host)));
    }
    for origin in headers.get_all(ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")).unwrap_or_default();
        if !is_local_host(authority) {
            return Err(format!("the Origin header {:?} is not allowed", shown(origin)));
        }
    }
    Ok(())
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Loopback addresses, and names without a dot: those no name server of another site speaks for.
fn is_local_host(authority: &str) -> bool {
    let name = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
        None => authority.split_once(':').map_or(authority, |(name, _)| name),
    };
    if let Ok(address) = name.parse::<IpAddr>() {
        return address.is_loopback();
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_number = name.starts_with(|c: char| c.is_ascii_digit());
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    (is_name && !is_number) || name.ends_with(".localhost")
}

/// Wants a key, where keys are configured.
pub async fn key(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_accepted = app.keys.is_empty() || bearer(request.headers()).is_some_and(|key| app.keys.accept(key));
    if is_accepted {
        return next.run(request).await;
    }
    let hint = "send it as `Authorization: Bearer KEY`; keys are configured where the gateway is started";
    error_response(&ApiError::invalid_api_key(&app.address.to_string(), hint))
}

/// The token of the one `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    (scheme == "Bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        for host in [
            "localhost",
            "localhost:8080",
            "127.0.0.1:1",
            "127.3.2.1",
            "[::1]:8080",
            "x",
            "rbee.localhost:1",
            "LOCALHOST.",
        ] {
            assert!(is_local_host(host), "{host}");
        }
        for host in [
            "",
            ":8080",
            "evil.test",
            "evil.test:8080",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "10.0.0.1",
            "[::2]",
            "0.0.0.0",
            "127.0.0.1.evil.test",
            "localhost.evil.test",
            "[",
            "a b",
            "x/..",
            "127.1",
        ] {
            assert!(!is_local_host(host), "{host}");
        }
    }

    #[test]
    fn origins_of_other_sites_are_refused() {
        let check = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            check_names(&headers).is_ok()
        };
        assert!(check(&[("host", "localhost")]));
        assert!(check(&[("host", "localhost"), ("origin", "http://localhost:3000")]));
        for origin in ["http://evil.test", "null", "https://localhost.evil.test", "file://", "http://"] {
            assert!(!check(&[("host", "localhost"), ("origin", origin)]), "{origin}");
        }
        assert!(!check(&[]) && !check(&[("host", "localhost"), ("host", "localhost")]));
    }

    #[test]
    fn one_bearer_token() {
        let token = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(token(&["Bearer k"]).as_deref(), Some("k"));
        assert_eq!(token(&["bEARER k"]), None, "workers take one spelling, and so does the gateway");
        for values in [&["Basic k"][..], &["Bearer"], &["Bearer k", "Bearer k"], &[], &["k"]] {
            assert_eq!(token(values), None, "{values:?}");
        }
    }

    #[test]
    fn ids_that_are_safe_to_repeat() {
        assert!(is_id("a-1_b.c") && is_id(&"x".repeat(128)));
        assert!(!is_id("") && !is_id("a b") && !is_id("a\u{e9}") && !is_id(&"x".repeat(129)));
    }
}
