//! A request on its way through the steps: what is asked for, by whom, and in which form.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use tokio_util::sync::CancellationToken;

use super::body;
use super::encode;
use super::negotiate::{self, Accepted, Endpoint};
use super::path::{ResourcePath, Verb};
use super::query::Query;
use super::status::ApiResult;
use crate::auth::Identity;
use crate::registry::{Registry, Resource};
use crate::table::IncludeObject;

/// A request for a resource, resolved and authorized, its body not read yet.
pub struct Call {
    /// The snapshot of kinds it was resolved with.
    pub registry: Arc<Registry>,
    /// The resource.
    pub resource: Arc<Resource>,
    /// The path.
    pub path: ResourcePath,
    /// The verb.
    pub verb: Verb,
    /// Who asks.
    pub identity: Identity,
    /// The query.
    pub query: Query,
    /// The headers.
    pub headers: HeaderMap,
    /// Ends watches.
    pub stop: CancellationToken,
    /// The method.
    pub method: Method,
    /// What the answer shall look like.
    pub accepted: Accepted,
    /// What rows of a Table carry.
    pub include: IncludeObject,
}

impl Call {
    /// Agrees on the form of the answer.
    pub fn negotiate(&mut self) -> ApiResult<()> {
        let endpoint = match self.verb {
            Verb::Watch => Endpoint::Watch,
            _ if self.resource.review().is_some() || self.path.subresource == "token" => Endpoint::Review,
            _ => Endpoint::Resource,
        };
        self.accepted = accepted(&self.headers, &self.query, endpoint)?;
        if matches!(self.accepted.shape, negotiate::Shape::Table(_)) {
            self.include = encode::include(&self.query)?;
        }
        Ok(())
    }

    /// The content type of the body.
    pub fn content_type(&self) -> Option<&str> {
        header_text(&self.headers, header::CONTENT_TYPE)
    }

    /// Who writes: `fieldManager`, else the start of the user agent.
    pub fn manager(&self, field_manager: &str) -> String {
        if !field_manager.is_empty() {
            return field_manager.to_string();
        }
        let agent = header_text(&self.headers, header::USER_AGENT).unwrap_or_default();
        let mut manager: String =
            agent.split('/').next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
        while manager.len() > 128 {
            manager.pop();
        }
        if manager.is_empty() { "unknown".into() } else { manager }
    }

    /// The namespace objects of this call live in, empty for cluster-scoped kinds.
    pub fn namespace(&self) -> &str {
        if self.resource.namespaced { &self.path.namespace } else { "" }
    }

    /// Reads the body.
    pub async fn body(&self, body: Body) -> ApiResult<Bytes> {
        body::read(&self.headers, body).await
    }
}

/// Agrees on the form of an answer. The query's `pretty` decides over the header's; people's tools get it without asking.
pub fn accepted(headers: &HeaderMap, query: &Query, endpoint: Endpoint) -> ApiResult<Accepted> {
    let mut accepted = negotiate::accept(header_text(headers, header::ACCEPT), endpoint)?;
    let agent = header_text(headers, header::USER_AGENT).unwrap_or_default();
    let human = ["curl", "Wget", "Mozilla/5.0"].iter().any(|a| agent.starts_with(a));
    accepted.pretty = query.pretty().unwrap_or(accepted.pretty || human);
    Ok(accepted)
}

/// A header as text.
pub fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}
