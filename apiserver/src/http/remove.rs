//! Delete and deletecollection.

use axum::body::Body;
use axum::response::Response;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::StreamExt as _;
use http::StatusCode;
use serde_json::Value;

use super::Server;
use super::change::Outcome;
use super::deletion;
use super::encode::{self, Item};
use super::json;
use super::meta;
use super::negotiate;
use super::path;
use super::query::{DeleteOptions, ListOptions};
use super::read;
use super::request::Call;
use super::status::{ApiError, ApiResult, success};
use super::views;
use super::write::refused;
use crate::db::{Change, Expect, Key, WriteError};
use crate::registry::{Builtin, Resource};

const ATTEMPTS: usize = 64;

/// Objects of a collection that are deleted at the same time, so that they are stored together.
const TOGETHER: usize = 64;

/// Namespaces that are always there.
pub const PERMANENT: [&str; 2] = ["default", "rbee-system"];

/// What a delete did.
#[derive(Debug)]
pub enum Removed {
    /// The object is gone; this is its last state.
    Gone(Value),
    /// It goes when nothing holds it any more; this is its state.
    Going(Value),
}

/// DELETE of one object.
pub async fn delete(server: &Server, call: &Call, body: Body) -> ApiResult<Response> {
    path::check_name(&call.path.name)?;
    let options = options(call, body).await?;
    let resource = &call.resource;
    let removed = remove(server, resource, call.namespace(), &call.path.name, &options).await?;
    let now = server.now().as_second();
    match removed {
        Removed::Gone(object) if resource.builtin == Some(Builtin::ServiceAccount) => encode::object(
            StatusCode::OK,
            resource,
            &Item::Made(read::dressed(resource, object)),
            &call.accepted,
            call.include,
            now,
        ),
        Removed::Gone(object) => {
            let status = success(resource.qualified(), &call.path.name, meta::uid(&object));
            Ok(encode::value(StatusCode::OK, &status, &call.accepted))
        }
        Removed::Going(object) => {
            let code = if options.orphan_false { StatusCode::ACCEPTED } else { StatusCode::OK };
            encode::object(
                code,
                resource,
                &Item::Made(read::dressed(resource, object)),
                &call.accepted,
                call.include,
                now,
            )
        }
    }
}

/// DELETE of a collection: answers the objects as they were.
pub async fn delete_collection(server: &Server, call: &Call, body: Body) -> ApiResult<Response> {
    if call.resource.builtin == Some(Builtin::Namespace) {
        return Err(ApiError::method_not_allowed());
    }
    let selection = ListOptions::parse(&call.query, false)?;
    read::check_fields(&call.resource, &selection.fields)?;
    let options = options(call, body).await?;
    let page = read::page(server, call, &selection).await?;
    let mut removals: Vec<BoxFuture<'_, ApiResult<Removed>>> = Vec::with_capacity(page.objects.len());
    for object in &page.objects {
        let key = object.key();
        removals.push(remove(server, &call.resource, key.namespace(), key.name(), &options).boxed());
    }
    let mut removals = futures::stream::iter(removals).buffer_unordered(TOGETHER);
    while let Some(removed) = removals.next().await {
        match removed {
            Ok(_) => {}
            Err(e) if e.code == StatusCode::NOT_FOUND => {}
            Err(e) => return Err(e),
        }
    }
    let items: Vec<Item<'_>> = page.objects.iter().map(|o| read::present(&call.resource, o)).collect();
    let now = server.now().as_second();
    encode::list(&call.resource, &items, &page.metadata, &call.accepted, call.include, now)
}

async fn options(call: &Call, body: Body) -> ApiResult<DeleteOptions> {
    let bytes = call.body(body).await?;
    if bytes.is_empty() {
        return DeleteOptions::from_query(&call.query);
    }
    let syntax = negotiate::content(call.content_type())?;
    let document: json::Document = super::admit::parse(&bytes, syntax)
        .map_err(|e| ApiError::bad_request(format!("couldn't get version/kind; json parse error: {e}")))?;
    let value = document.value;
    let kind = value["kind"].as_str().unwrap_or_default();
    if !kind.is_empty() && kind != "DeleteOptions" {
        let version = value["apiVersion"].as_str().unwrap_or_default();
        let why =
            format!("no kind {kind:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:111\"");
        return Err(ApiError::bad_request(why));
    }
    DeleteOptions::from_body(&value)
}

/// Deletes one object, or marks it.
pub async fn remove(
    server: &Server,
    resource: &Resource,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> ApiResult<Removed> {
    if resource.builtin == Some(Builtin::Namespace) && PERMANENT.contains(&name) {
        let why = "this namespace may not be deleted";
        return Err(ApiError::forbidden(resource.qualified(), name, why));
    }
    let key = Key::new(resource.stored_as.clone(), namespace, name);
    for _ in 0..ATTEMPTS {
        let Some(live) = server.db.get(&key) else {
            return Err(ApiError::not_found(resource.qualified(), name));
        };
        let value = read::in_version(resource, live.value());
        let expect = Expect::Revision(live.revision());
        let (change, object) = match deletion::delete(resource, &value, options, &server.now_text())? {
            Outcome::Unchanged => return Ok(Removed::Going(value)),
            Outcome::Delete(object) => (Change::Delete, object),
            Outcome::Store(object) => {
                let mut stored = object.clone();
                views::to_stored(resource, &mut stored);
                (Change::Put(stored), object)
            }
        };
        let gone = matches!(change, Change::Delete);
        if options.dry_run {
            return Ok(if gone { Removed::Gone(object) } else { Removed::Going(object) });
        }
        match server.db.write(key.clone(), expect, change).await {
            Ok(written) => {
                server.settled(resource, written.revision).await;
                let object = read::in_version(resource, written.object.value());
                return Ok(if gone { Removed::Gone(object) } else { Removed::Going(object) });
            }
            Err(WriteError::Conflict { .. } | WriteError::NotFound) => {}
            Err(e) => return Err(refused(resource, name, &e)),
        }
    }
    Err(ApiError::modified(resource.qualified(), name))
}
