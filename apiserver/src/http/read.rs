//! Get and list.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use base64::Engine as _;
use http::StatusCode;
use serde_json::{Value, json};

use super::Server;
use super::admit;
use super::encode::{self, Item, ListMeta};
use super::meta;
use super::past;
use super::path;
use super::query::{ListOptions, Match, Version};
use super::request::Call;
use super::rules;
use super::scale;
use super::status::{ApiError, ApiResult};
use super::views;
use crate::db::{Cursor, ListQuery, Object, ReadError};
use crate::registry::selector::FieldSelector;
use crate::registry::{Builtin, Resource};

/// Longer lists are written piece by piece.
const AT_ONCE: usize = 500;

/// How long a read waits for a version from the future.
const FUTURE: Duration = Duration::from_secs(3);

const B64: base64::engine::GeneralPurpose = base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A stored object in the form of the request's version.
pub fn present<'a>(resource: &Resource, object: &'a Object) -> Item<'a> {
    let event = matches!(resource.builtin, Some(Builtin::Event | Builtin::EventsV1));
    let current = object.value()["apiVersion"] == resource.api_version();
    if current && !resource.reread && !event {
        return Item::Ready(object.value(), object.json());
    }
    Item::Made(dressed(resource, in_version(resource, object.value())))
}

/// With the fields that an answer never leaves out.
pub fn dressed(resource: &Resource, mut value: Value) -> Value {
    if let Some(builtin) = resource.builtin {
        rules::dress(builtin, &mut value);
    }
    value
}

/// A stored value in the form of the request's version, defaulted.
pub fn in_version(resource: &Resource, stored: &Value) -> Value {
    let mut value = stored.clone();
    views::from_stored(resource, &mut value);
    if resource.reread {
        if let Some(schema) = &resource.schema {
            schema.prune(&mut value);
        }
        admit::set_defaults(resource, &mut value);
    }
    value
}

/// Waits for a version from the future, for a while; 504 when it does not come.
pub async fn wait_for(server: &Server, version: u64) -> ApiResult<()> {
    match tokio::time::timeout(FUTURE, server.db.wait_for_revision(version)).await {
        Ok(()) => Ok(()),
        Err(_) => Err(ApiError::too_large_resource_version(version, server.db.revision())),
    }
}

/// One object, or its scale.
pub async fn get(server: &Server, call: &Call) -> ApiResult<Response> {
    path::check_name(&call.path.name)?;
    let version = Version::parse(call.query.get("resourceVersion").unwrap_or_default());
    // Kubernetes takes it for an error of its own here.
    if let Version::At(version) = version.map_err(|e| ApiError::unknown(e.message))? {
        wait_for(server, version).await?;
    }
    let object = server.find(call)?;
    let item = present(&call.resource, &object);
    if call.path.subresource == "scale"
        && let Some(paths) = &call.resource.scale
    {
        let scale = scale::read(item.value(), paths);
        scale::require_replicas(&scale, paths)?;
        return encode::scale(&scale::shown(scale), &call.accepted, call.include, server.now().as_second());
    }
    encode::object(StatusCode::OK, &call.resource, &item, &call.accepted, call.include, server.now().as_second())
}

/// Whether a stored object is selected, in the form of the request's version.
pub fn selected_stored(resource: &Resource, options: &ListOptions, object: &Object) -> bool {
    match present(resource, object) {
        Item::Ready(value, _) => selected(resource, options, value),
        Item::Made(value) => selected(resource, options, &value),
    }
}

/// What `fieldSelector` may name, checked; 400 in Kubernetes' words otherwise.
pub fn check_fields(resource: &Resource, selector: &FieldSelector) -> ApiResult<()> {
    for term in &selector.terms {
        let known = term.field == "metadata.name"
            || (term.field == "metadata.namespace" && resource.namespaced)
            || (term.field == "metadata.namespace" && !resource.is_custom())
            || resource.selectable.iter().any(|(name, _)| *name == term.field);
        if !known {
            let field = &term.field;
            let words = if resource.is_custom() {
                format!("field label not supported: {field}")
            } else if resource.selectable.is_empty() {
                format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
            } else {
                format!("field label not supported: {field}")
            };
            return Err(ApiError::bad_request(words));
        }
    }
    Ok(())
}

/// Whether labels and fields of an object are selected.
pub fn selected(resource: &Resource, options: &ListOptions, object: &Value) -> bool {
    if !options.labels.is_empty() && !options.labels.matches(meta::labels(object)) {
        return false;
    }
    options.fields.is_empty() || options.fields.matches(|field| field_of(resource, object, field))
}

fn field_of<'a>(resource: &Resource, object: &'a Value, field: &str) -> Option<Cow<'a, str>> {
    match field {
        "metadata.name" => return Some(meta::name(object).into()),
        "metadata.namespace" => return Some(meta::namespace(object).into()),
        _ => {}
    }
    let (_, path) = resource.selectable.iter().find(|(name, _)| name == field)?;
    match path.iter().try_fold(object, |node, key| node.get(key))? {
        Value::Null => None,
        Value::String(text) => Some(text.as_str().into()),
        other => Some(other.to_string().into()),
    }
}

/// A page of a collection.
pub struct Page {
    /// Stored objects that are selected.
    pub objects: Vec<Arc<Object>>,
    /// Version, continue token and so on.
    pub metadata: ListMeta,
}

/// Many objects.
pub async fn list(server: &Server, call: &Call) -> ApiResult<Response> {
    let mut options = ListOptions::parse(&call.query, false)?;
    narrow_to_name(call, &mut options)?;
    check_fields(&call.resource, &options.fields)?;
    let page = page(server, call, &options).await?;
    if page.objects.len() > AT_ONCE && call.accepted.is_plain_json() {
        return Ok(encode::long_list(call.resource.clone(), page.objects, &page.metadata));
    }
    let items: Vec<Item<'_>> = page.objects.iter().map(|o| present(&call.resource, o)).collect();
    let now = server.now().as_second();
    encode::list(&call.resource, &items, &page.metadata, &call.accepted, call.include, now)
}

/// A name in the path of a list or watch is a field selector.
pub fn narrow_to_name(call: &Call, options: &mut ListOptions) -> ApiResult<()> {
    if call.path.name.is_empty() {
        return Ok(());
    }
    let name = call.path.name.as_str();
    if options.fields.is_empty() {
        options.fields = FieldSelector::name(name);
    } else if options.fields.exact("metadata.name") != Some(name) {
        return Err(ApiError::bad_request("fieldSelector metadata.name doesn't match requested name"));
    }
    Ok(())
}

/// The objects of a page.
pub async fn page(server: &Server, call: &Call, options: &ListOptions) -> ApiResult<Page> {
    let resource = &call.resource;
    let selects = |object: &Object| selected_stored(resource, options, object);
    let plain = options.labels.is_empty() && options.fields.is_empty();
    let limit = if options.version == Version::Any { 0 } else { options.limit };
    let mut query = ListQuery { resource: &resource.stored_as, namespace: server.scope(call), limit, cursor: None };
    let page = match Start::of(options)? {
        Start::Newest => server.db.list_page(&query, &selects),
        Start::NotOlderThan(version) => {
            wait_for(server, version).await?;
            server.db.list_page(&query, &selects)
        }
        Start::Exactly(version) => {
            wait_for(server, version).await.map_err(ApiError::without_retry)?;
            past::page(&server.db, &query, version, &selects)
        }
        Start::Next(cursor) => {
            query.cursor = Some(cursor.clone());
            match server.db.list_page(&query, &selects) {
                Err(ReadError::Gone(_)) => {
                    Ok(past::page(&server.db, &query, cursor.revision, &selects).map_err(|_| Expired(cursor))?)
                }
                other => other,
            }
        }
        Start::Anyhow { namespace, name } => {
            query.cursor = Some(Cursor { revision: server.db.revision(), namespace, name });
            server.db.list_page(&query, &selects)
        }
    };
    let page = page.map_err(|e| match e {
        ReadError::Gone(_) => ApiError::expired("The resourceVersion for the provided list is too old."),
        ReadError::Future { current } => ApiError::too_large_resource_version(current + 1, current),
    })?;
    let cont = page.next.as_ref().map(encode_token);
    let remaining = cont.is_some().then_some(page.remaining).filter(|_| plain);
    Ok(Page { objects: page.items, metadata: ListMeta { version: page.revision, cont, remaining } })
}

/// Where a list starts.
enum Start {
    Newest,
    NotOlderThan(u64),
    Exactly(u64),
    Next(Cursor),
    /// Behind a name, at the newest version: the list is inconsistent, and the client knows.
    Anyhow {
        namespace: String,
        name: String,
    },
}

impl Start {
    fn of(options: &ListOptions) -> ApiResult<Self> {
        if !options.cont.is_empty() {
            if options.version != Version::Unset && options.version != Version::Any {
                let why = "specifying resource version is not allowed when using continue";
                return Err(ApiError::bad_request(why));
            }
            return decode_token(&options.cont);
        }
        Ok(match (options.version, options.version_match) {
            (Version::At(version), Some(Match::Exact)) => Self::Exactly(version),
            (Version::At(version), None) if options.limit > 0 => Self::Exactly(version),
            (Version::At(version), _) => Self::NotOlderThan(version),
            (Version::Unset | Version::Any, _) => Self::Newest,
        })
    }
}

fn encode_token(cursor: &Cursor) -> String {
    token(i64::try_from(cursor.revision).unwrap_or(i64::MAX), &cursor.namespace, &cursor.name)
}

fn token(version: i64, namespace: &str, name: &str) -> String {
    B64.encode(json!({"v": "meta.k8s.io/v1", "rv": version, "ns": namespace, "start": name}).to_string())
}

fn decode_token(token: &str) -> ApiResult<Start> {
    let bad = |why: &str| ApiError::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
    let bytes = B64.decode(token.trim_end_matches('=')).map_err(|_| bad("illegal base64 data at input byte 0"))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| {
        let first = char::from(bytes.first().copied().unwrap_or_default());
        let shown = if first.is_control() { format!("\\u{:04x}", first as u32) } else { first.to_string() };
        bad(&format!("invalid character '{shown}' looking for beginning of value"))
    })?;
    let text = |key: &str| value[key].as_str().map(ToString::to_string).ok_or_else(|| bad(key));
    if value["v"] != "meta.k8s.io/v1" {
        return Err(bad("server does not recognize this encoded version"));
    }
    let (namespace, name) = (text("ns")?, text("start")?);
    match value["rv"].as_i64() {
        Some(-1) => Ok(Start::Anyhow { namespace, name }),
        Some(version) if version > 0 => Ok(Start::Next(Cursor { revision: version.unsigned_abs(), namespace, name })),
        _ => Err(bad("incorrect encoded start resourceVersion")),
    }
}

/// The version of a continue token is no longer kept.
struct Expired(Cursor);

impl From<Expired> for ApiError {
    fn from(Expired(cursor): Expired) -> Self {
        let mut error = Self::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        );
        error.cont = Some(token(-1, &cursor.namespace, &cursor.name));
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_there_and_back() {
        let cursor = Cursor { revision: 7, namespace: "default".into(), name: "a".into() };
        let Ok(Start::Next(back)) = decode_token(&encode_token(&cursor)) else { panic!("no cursor") };
        assert_eq!(back, cursor);
        let error = ApiError::from(Expired(cursor));
        assert!(matches!(decode_token(&error.cont.unwrap()), Ok(Start::Anyhow { .. })));
        for bad in
            ["nonsense", "*", "e30", &B64.encode("{\"v\":\"meta.k8s.io/v1\",\"rv\":0,\"ns\":\"\",\"start\":\"\"}")]
        {
            assert_eq!(decode_token(bad).err().map(|e| e.code.as_u16()), Some(400), "{bad}");
        }
    }
}
