//! Requests to the API server: JSON in, JSON out, refusals as typed errors, warnings kept for the person who asked.

use http::{Method, Request, header};
use http_body_util::BodyExt;
use kube::{client::Body, core::Status};
use serde_json::Value;

use super::{
    Resource,
    path::{Place, path, query},
};
use crate::error::Error;

/// Asks for a table, and takes objects from a server that makes none.
pub const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const JSON: &str = "application/json";
/// Objects per page of a list.
const PAGE: &str = "500";

/// An API server behind a client.
#[derive(Clone)]
pub struct Server {
    pub(super) client: kube::Client,
}

/// What a write came to.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub body: Value,
    /// The server's `Warning` headers, unquoted.
    pub warnings: Vec<String>,
}

/// A request to one URL.
#[derive(Debug)]
pub struct Call<'a> {
    pub method: Method,
    pub path: String,
    pub query: &'a [(&'a str, &'a str)],
    pub accept: &'a str,
    /// Content type and body.
    pub body: Option<(&'a str, Vec<u8>)>,
}

impl Server {
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// One request and its answer.
    ///
    /// # Errors
    /// [`Error::Server`] for a refusal, [`Error::Unreachable`] where no answer came.
    pub async fn call(&self, call: Call<'_>) -> Result<Answer, Error> {
        let request = build(call)?;
        let response = self.client.send(request).await?;
        let code = response.status().as_u16();
        let warnings = response.headers().get_all(header::WARNING).iter().filter_map(|v| warning(v.to_str().ok()?));
        let warnings = warnings.collect();
        let bytes = response.into_body().collect().await?.to_bytes();
        let body: Result<Value, _> = serde_json::from_slice(&bytes);
        if code >= 400 {
            return Err(Error::Server(refusal(code, body.ok(), &bytes).boxed()));
        }
        let body = body.map_err(|e| Error::Unreachable(format!("its answer is no JSON: {e}")))?;
        Ok(Answer { code, body, warnings })
    }

    /// GET of any path.
    pub async fn read(&self, path: &str) -> Result<Value, Error> {
        let call = Call { method: Method::GET, path: path.to_owned(), query: &[], accept: JSON, body: None };
        Ok(self.call(call).await?.body)
    }

    /// One object.
    pub async fn get(&self, resource: &Resource, namespace: Option<&str>, name: &str) -> Result<Value, Error> {
        self.read(&path(resource, Place { namespace, name: Some(name), subresource: None })).await
    }

    /// One object as a table.
    pub async fn get_table(&self, resource: &Resource, namespace: Option<&str>, name: &str) -> Result<Value, Error> {
        let path = path(resource, Place { namespace, name: Some(name), subresource: None });
        Ok(self.call(Call { method: Method::GET, path, query: &[], accept: AS_TABLE, body: None }).await?.body)
    }

    /// A whole list, page by page; `items` (or a table's `rows`) of all pages in one body.
    pub async fn list(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        selectors: &[(&str, &str)],
        table: bool,
    ) -> Result<Value, Error> {
        let accept = if table { AS_TABLE } else { JSON };
        let mut whole: Option<Value> = None;
        let mut next = String::new();
        loop {
            let mut pairs = vec![("limit", PAGE)];
            pairs.extend_from_slice(selectors);
            if !next.is_empty() {
                pairs.push(("continue", &next));
            }
            let path = path(resource, Place { namespace, ..Place::default() });
            let page = self.call(Call { method: Method::GET, path, query: &pairs, accept, body: None }).await?.body;
            let token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            whole = Some(match whole {
                None => page,
                Some(whole) => joined(whole, page),
            });
            if token.is_empty() {
                return Ok(whole.unwrap_or_default());
            }
            next = token;
        }
    }

    /// A PATCH of an object or subresource.
    pub async fn patch(
        &self,
        resource: &Resource,
        place: Place<'_>,
        pairs: &[(&str, &str)],
        content_type: &str,
        body: &Value,
    ) -> Result<Answer, Error> {
        let body = Some((content_type, body.to_string().into_bytes()));
        let path = path(resource, place);
        self.call(Call { method: Method::PATCH, path, query: pairs, accept: JSON, body }).await
    }

    /// Creates an object.
    pub async fn create(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        pairs: &[(&str, &str)],
        body: &Value,
    ) -> Result<Answer, Error> {
        let path = path(resource, Place { namespace, ..Place::default() });
        let body = Some((JSON, body.to_string().into_bytes()));
        self.call(Call { method: Method::POST, path, query: pairs, accept: JSON, body }).await
    }

    /// Asks for an object's deletion.
    pub async fn delete(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        options: &Value,
    ) -> Result<Answer, Error> {
        let path = path(resource, Place { namespace, name: Some(name), subresource: None });
        let body = Some((JSON, options.to_string().into_bytes()));
        self.call(Call { method: Method::DELETE, path, query: &[], accept: JSON, body }).await
    }
}

pub(super) fn build(call: Call<'_>) -> Result<Request<Body>, Error> {
    let uri = format!("{}{}", call.path, query(call.query));
    let mut builder = Request::builder().method(call.method).uri(uri).header(header::ACCEPT, call.accept);
    if let Some((content_type, _)) = &call.body {
        builder = builder.header(header::CONTENT_TYPE, *content_type);
    }
    let body = call.body.map(|(_, bytes)| Body::from(bytes)).unwrap_or_else(Body::empty);
    builder.body(body).map_err(|e| Error::failed(format!("{} is no URL: {e}", call.path)))
}

/// `299 - "text"` → text
fn warning(header: &str) -> Option<String> {
    let (_, text) = header.split_once('"')?;
    let text = text.rsplit_once('"').map_or(text, |(text, _)| text);
    Some(text.replace("\\\"", "\"").replace("\\\\", "\\"))
}

/// The Status of a refusal; a body that is none becomes one.
fn refusal(code: u16, body: Option<Value>, bytes: &[u8]) -> Status {
    let status = body.filter(|b| b["kind"] == "Status").and_then(|b| serde_json::from_value::<Status>(b).ok());
    status.map(|s| if s.code == 0 { s.with_code(code) } else { s }).unwrap_or_else(|| {
        let text: String = String::from_utf8_lossy(bytes).chars().take(300).collect();
        Status::failure(&format!("HTTP {code}: {}", text.trim()), "").with_code(code)
    })
}

fn joined(mut whole: Value, mut page: Value) -> Value {
    for key in ["items", "rows"] {
        if let (Some(all), Some(more)) = (whole[key].as_array_mut(), page[key].as_array_mut()) {
            all.append(more);
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn warnings_are_read_from_their_header() {
        assert_eq!(warning(r#"299 - "unknown field \"spec.x\"""#).unwrap(), r#"unknown field "spec.x""#);
        assert_eq!(warning("299 - none"), None);
    }

    #[test]
    fn a_refusal_without_a_status_becomes_one() {
        let status = refusal(502, None, b"<html>bad gateway");
        assert_eq!((status.code, status.message.as_str()), (502, "HTTP 502: <html>bad gateway"));
        let body = json!({"kind": "Status", "message": "no", "reason": "NotFound", "code": 404});
        assert_eq!(refusal(404, Some(body), b"").reason, "NotFound");
    }

    #[test]
    fn pages_are_joined() {
        let whole = joined(json!({"items": [1]}), json!({"items": [2]}));
        assert_eq!(whole["items"], json!([1, 2]));
    }
}
