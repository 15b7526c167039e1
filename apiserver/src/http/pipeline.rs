//! The way of a request: resolve, authenticate, authorize, then the handler of its verb.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, header};
use tokio_util::sync::CancellationToken;

use super::encode;
use super::negotiate::{self, Accepted, Endpoint, Syntax};
use super::path::{self, ResourcePath, Target, Verb};
use super::query::Query;
use super::request::{self, Call, header_text};
use super::status::{ApiError, ApiResult};
use super::{Server, read, remove, reviews, site, watch, write};
use crate::auth::{Attributes, Decision, Identity, authorize};
use crate::registry::selector::FieldSelector;
use crate::registry::{Registry, Resource};
use crate::table::IncludeObject;

/// How a router knows who calls.
#[derive(Clone)]
pub enum Caller {
    /// By the bearer token of each request.
    Bearer,
    /// It is always this one: in process.
    Always(Identity),
}

#[derive(Clone)]
struct Service {
    server: Arc<Server>,
    caller: Caller,
    stop: CancellationToken,
}

/// A router that serves everything; its watches end with `stop`.
pub fn router(server: Arc<Server>, caller: Caller, stop: CancellationToken) -> Router {
    Router::new().fallback(handle).with_state(Service { server, caller, stop })
}

async fn handle(State(service): State<Service>, request: Request) -> Response {
    let id = request_id(request.headers());
    let query = Query::parse(request.uri().query());
    let mut accepted = request::accepted(request.headers(), &query, Endpoint::Other).unwrap_or_default();
    if negotiate::wants_protobuf(header_text(request.headers(), header::ACCEPT)) {
        accepted.syntax = Syntax::Protobuf;
    }
    let mut response = match run(&service, request, query).await {
        Ok(response) => response,
        Err(error) => {
            if error.code.is_server_error() {
                tracing::warn!(code = error.code.as_u16(), message = %error.message, "a request failed");
            }
            encode::error(&error, &accepted)
        }
    };
    for name in ["x-request-id", "audit-id"] {
        response.headers_mut().insert(name, id.clone());
    }
    response
}

/// The caller's own id where it is one, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get("x-request-id").filter(|v| {
        v.len() <= 128 && v.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    });
    let made = || HeaderValue::from_str(&uuid::Uuid::new_v4().to_string());
    given.cloned().or_else(|| made().ok()).unwrap_or_else(|| HeaderValue::from_static("-"))
}

async fn run(service: &Service, request: Request, query: Query) -> ApiResult<Response> {
    let (parts, body) = request.into_parts();
    let server = &service.server;
    match path::parse(parts.uri.path())? {
        Target::Server(segments) => {
            let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
            let open = site::open_to_all(&segments) && !parts.headers.contains_key(header::AUTHORIZATION);
            if !open {
                identify(service, &parts.headers)?;
            }
            site::serve(server, &parts.method, &segments, &query, &parts.headers)
        }
        Target::Resource(path) => {
            let identity = identify(service, &parts.headers)?;
            let verb = path::verb(&parts.method, &path, query.watch());
            let path = named_by_selector(path, verb, &query);
            permit(&identity, verb, &path)?;
            let registry = server.registry();
            let resource = resolve(&registry, &path, verb)?;
            let mut call = Call {
                registry,
                resource,
                path,
                verb,
                identity,
                query,
                headers: parts.headers,
                stop: service.stop.clone(),
                method: parts.method,
                accepted: Accepted::default(),
                include: IncludeObject::default(),
            };
            let deprecation = call.resource.deprecation.clone();
            let mut response = dispatch(server, &mut call, body).await?;
            if let Some(warning) = deprecation {
                encode::warn(&mut response, &[warning]);
            }
            Ok(response)
        }
    }
}

/// Authenticates. Every refusal looks the same.
fn identify(service: &Service, headers: &HeaderMap) -> ApiResult<Identity> {
    if let Caller::Always(identity) = &service.caller {
        return Ok(identity.clone());
    }
    if headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
        return Err(ApiError::unauthorized());
    }
    let text = header_text(headers, header::AUTHORIZATION).ok_or_else(ApiError::unauthorized)?;
    let (scheme, token) = text.trim().split_once(' ').ok_or_else(ApiError::unauthorized)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.len() > 4096 {
        return Err(ApiError::unauthorized());
    }
    service.server.authenticate(token).map_err(|_| ApiError::unauthorized())
}

/// A list or watch that selects one name is a request for that name in the eyes of authorization.
fn named_by_selector(mut path: ResourcePath, verb: Verb, query: &Query) -> ResourcePath {
    if path.name.is_empty()
        && matches!(verb, Verb::List | Verb::Watch)
        && let Ok(fields) = FieldSelector::parse(query.get("fieldSelector").unwrap_or_default())
        && let Some(name) = fields.exact("metadata.name").filter(|n| path::check_name(n).is_ok())
    {
        path.name = name.to_string();
    }
    path
}

/// Authorizes, or answers 403.
fn permit(identity: &Identity, verb: Verb, path: &ResourcePath) -> ApiResult<()> {
    let what = Attributes {
        verb: verb.name(),
        group: &path.group,
        resource: &path.resource,
        subresource: &path.subresource,
        namespace: &path.namespace,
        name: &path.name,
    };
    match authorize(identity, &what) {
        Decision::Allow => Ok(()),
        Decision::Deny(why) => {
            let resource = super::status::Qualified { group: &path.group, name: &path.resource };
            Err(ApiError::denied(resource, &path.name, why))
        }
    }
}

/// The resource of a path, or 404.
fn resolve(registry: &Registry, path: &ResourcePath, verb: Verb) -> ApiResult<Arc<Resource>> {
    let resource = registry.find(&path.group, &path.version, &path.resource).ok_or_else(ApiError::no_such_path)?;
    let is_namespace = path.group.is_empty() && path.resource == "namespaces";
    let namespaced = !path.namespace.is_empty() && !is_namespace;
    let everywhere = matches!(verb, Verb::List | Verb::Watch);
    if namespaced && !resource.namespaced || !namespaced && resource.namespaced && !everywhere {
        return Err(ApiError::no_such_path());
    }
    Ok(resource.clone())
}

async fn dispatch(server: &Arc<Server>, call: &mut Call, body: Body) -> ApiResult<Response> {
    let sub = call.path.subresource.clone();
    let known = call.resource.subresources();
    let subresource = known.iter().find(|s| s.name == sub);
    if !sub.is_empty() && subresource.is_none() {
        return Err(ApiError::not_found(call.resource.qualified(), &call.path.name));
    }
    let unsupported = || ApiError::method_not_supported(call.resource.qualified(), call.verb.name());
    let verb = match (call.verb, subresource) {
        (verb, Some(sub)) if !sub.verbs.contains(&verb.name()) => return Err(unsupported()),
        (Verb::Unknown, _) => return Err(unsupported()),
        (verb, None) if !call.resource.is_custom() && !call.resource.verbs().contains(&verb.name()) => {
            return Err(ApiError::method_not_allowed());
        }
        (verb, _) => verb,
    };
    if call.path.name.is_empty() && matches!(verb, Verb::Update | Verb::Patch) {
        if verb == Verb::Patch {
            negotiate::patch_type(call.content_type(), !call.resource.is_custom())?;
        }
        return Err(ApiError::bad_request("name must be provided"));
    }
    call.negotiate()?;
    if let Some(review) = call.resource.review() {
        return reviews::create(server, call, review, body).await;
    }
    match verb {
        Verb::Get => read::get(server, call).await,
        Verb::List => read::list(server, call).await,
        Verb::Watch => watch::watch(server, call).await,
        Verb::Create if sub == "token" => reviews::request_token(server, call, body).await,
        Verb::Create => write::create(server, call, body).await,
        Verb::Update => write::update(server, call, body).await,
        Verb::Patch => write::patch(server, call, body).await,
        Verb::Delete => remove::delete(server, call, body).await,
        Verb::DeleteCollection => remove::delete_collection(server, call, body).await,
        Verb::Unknown => Err(ApiError::method_not_allowed()),
    }
}
