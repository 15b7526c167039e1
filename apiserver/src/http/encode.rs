//! Answers: objects and lists in the form that was agreed on, Status objects, headers.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::negotiate::{Accepted, MetaVersion, Shape, Syntax};
use super::protobuf_status;
use super::status::{ApiError, ApiResult};
use crate::db::Object;
use crate::registry::Resource;
use crate::table::{Columns, IncludeObject};

/// The parts of a list beside its items.
#[derive(Debug, Clone, Default)]
pub struct ListMeta {
    /// `resourceVersion`
    pub version: u64,
    /// `continue`
    pub cont: Option<String>,
    /// `remainingItemCount`
    pub remaining: Option<usize>,
}

impl ListMeta {
    /// `custom`: lists of custom resources have an empty `continue` on the last page.
    fn value(&self, custom: bool) -> Value {
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".into(), self.version.to_string().into());
        if custom {
            metadata.insert("continue".into(), "".into());
        }
        if let Some(cont) = &self.cont {
            metadata.insert("continue".into(), cont.as_str().into());
        }
        if let Some(remaining) = self.remaining {
            metadata.insert("remainingItemCount".into(), remaining.into());
        }
        Value::Object(metadata)
    }
}

/// An item: JSON that exists already, or a value.
#[derive(Debug, Clone)]
pub enum Item<'a> {
    /// Stored, in the form that is wanted, with its JSON.
    Ready(&'a Value, &'a Bytes),
    /// Made for this answer.
    Made(Value),
}

impl Item<'_> {
    /// The object.
    pub fn value(&self) -> &Value {
        match self {
            Self::Ready(value, _) => value,
            Self::Made(value) => value,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ready(_, json) => out.extend_from_slice(json),
            Self::Made(value) => out.extend_from_slice(value.to_string().as_bytes()),
        }
    }
}

/// `includeObject` of a Table request.
pub fn include(query: &super::query::Query) -> ApiResult<IncludeObject> {
    match query.get("includeObject").unwrap_or_default() {
        "" | "Metadata" => Ok(IncludeObject::Metadata),
        "None" => Ok(IncludeObject::None),
        "Object" => Ok(IncludeObject::Object),
        other => Err(ApiError::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty"
        ))),
    }
}

/// PartialObjectMetadata of an object.
pub fn partial(object: &Value, version: MetaVersion) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": version.api_version(), "metadata": object["metadata"]})
}

/// One object in the shape that was agreed on.
pub fn shape_object(
    columns: Option<&Columns>,
    object: &Value,
    accepted: &Accepted,
    include: IncludeObject,
    now: i64,
) -> ApiResult<Value> {
    match &accepted.shape {
        Shape::Plain | Shape::Discovery(_) => Ok(object.clone()),
        Shape::Partial(version) => Ok(partial(object, *version)),
        Shape::PartialList(_) => Err(ApiError::unknown("content is not a list")),
        Shape::Table(version) => {
            let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            Ok(table(columns, &[object], metadata, include, true, now, *version))
        }
    }
}

/// A Table of objects.
pub fn table(
    columns: Option<&Columns>,
    objects: &[&Value],
    metadata: Value,
    include: IncludeObject,
    headers: bool,
    now: i64,
    version: MetaVersion,
) -> Value {
    let Some(columns) = columns else { return Value::Null };
    let mut table = columns.table(objects, metadata, include, headers, now);
    if version == MetaVersion::V1beta1 {
        table["apiVersion"] = version.api_version().into();
        for row in table["rows"].as_array_mut().into_iter().flatten() {
            if row["object"]["kind"] == "PartialObjectMetadata" {
                row["object"]["apiVersion"] = version.api_version().into();
            }
        }
    }
    table
}

/// An answer with a JSON value.
pub fn value(code: StatusCode, value: &Value, accepted: &Accepted) -> Response {
    match accepted.syntax {
        Syntax::Json if accepted.pretty => {
            let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
            text.push(b'\n');
            bytes(code, text.into(), Syntax::Json.media_type())
        }
        Syntax::Json | Syntax::Protobuf => {
            let mut text = value.to_string();
            text.push('\n');
            bytes(code, text.into(), Syntax::Json.media_type())
        }
        Syntax::Yaml => bytes(code, rbee_yaml::to_string(value).into(), Syntax::Yaml.media_type()),
    }
}

/// An answer with one object.
pub fn object(
    code: StatusCode,
    resource: &Resource,
    item: &Item<'_>,
    accepted: &Accepted,
    include: IncludeObject,
    now: i64,
) -> ApiResult<Response> {
    if let (Item::Ready(_, json), Shape::Plain, Syntax::Json, false) =
        (item, &accepted.shape, accepted.syntax, accepted.pretty)
    {
        let mut text = Vec::with_capacity(json.len() + 1);
        text.extend_from_slice(json);
        text.push(b'\n');
        return Ok(bytes(code, text.into(), Syntax::Json.media_type()));
    }
    Ok(value(code, &shape_object(resource.columns.as_deref(), item.value(), accepted, include, now)?, accepted))
}

/// An answer with a Scale.
pub fn scale(scale: &Value, accepted: &Accepted, include: IncludeObject, now: i64) -> ApiResult<Response> {
    let columns = Columns::scale();
    Ok(value(StatusCode::OK, &shape_object(Some(&columns), scale, accepted, include, now)?, accepted))
}

/// An answer with a list.
pub fn list(
    resource: &Resource,
    items: &[Item<'_>],
    metadata: &ListMeta,
    accepted: &Accepted,
    include: IncludeObject,
    now: i64,
) -> ApiResult<Response> {
    let ok = StatusCode::OK;
    match &accepted.shape {
        Shape::Table(version) => {
            let objects: Vec<&Value> = items.iter().map(Item::value).collect();
            let columns = resource.columns.as_deref();
            let table = table(columns, &objects, metadata.value(false), include, true, now, *version);
            Ok(value(ok, &table, accepted))
        }
        Shape::PartialList(version) => {
            let rows: Vec<Value> = items.iter().map(|i| partial(i.value(), *version)).collect();
            let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": version.api_version(),
                "metadata": metadata.value(false), "items": rows});
            Ok(value(ok, &list, accepted))
        }
        Shape::Partial(_) => {
            let why = "you requested PartialObjectMetadata, but the requested object is a list (*unstructured.UnstructuredList)";
            Err(ApiError::not_acceptable(why))
        }
        Shape::Plain | Shape::Discovery(_) if accepted.syntax == Syntax::Json && !accepted.pretty => {
            Ok(bytes(ok, plain_list(resource, items, metadata).into(), Syntax::Json.media_type()))
        }
        Shape::Plain | Shape::Discovery(_) => {
            let rows: Vec<&Value> = items.iter().map(Item::value).collect();
            let list = json!({"kind": resource.list_kind, "apiVersion": resource.api_version(),
                "metadata": metadata.value(resource.is_custom()), "items": rows});
            Ok(value(ok, &list, accepted))
        }
    }
}

/// A list up to its first item.
fn list_head(resource: &Resource, metadata: &ListMeta) -> Vec<u8> {
    let head = json!({"apiVersion": resource.api_version(), "kind": resource.list_kind,
        "metadata": metadata.value(resource.is_custom())});
    let mut out = head.to_string().into_bytes();
    out.pop();
    out.extend_from_slice(b",\"items\":[");
    out
}

/// An answer with a list that is written as fast as the client reads it: what is in memory twice stays small.
pub fn long_list(resource: Arc<Resource>, objects: Vec<Arc<Object>>, metadata: &ListMeta) -> Response {
    const PIECE: usize = 64 * 1024;
    let head = list_head(&resource, metadata);
    let state = Some((head, objects.into_iter().enumerate()));
    let pieces = futures::stream::unfold(state, move |state| {
        let resource = resource.clone();
        async move {
            let (mut out, mut rest) = state?;
            while out.len() < PIECE {
                let Some((i, object)) = rest.next() else {
                    out.extend_from_slice(b"]}\n");
                    return Some((Ok::<_, std::convert::Infallible>(Bytes::from(out)), None));
                };
                if i > 0 {
                    out.push(b',');
                }
                super::read::present(&resource, &object).write(&mut out);
            }
            Some((Ok(Bytes::from(out)), Some((Vec::with_capacity(PIECE + PIECE / 4), rest))))
        }
    });
    let mut response = bytes(StatusCode::OK, Bytes::new(), Syntax::Json.media_type());
    *response.body_mut() = Body::from_stream(pieces);
    response
}

fn plain_list(resource: &Resource, items: &[Item<'_>], metadata: &ListMeta) -> Vec<u8> {
    let mut out = list_head(resource, metadata);
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        item.write(&mut out);
    }
    out.extend_from_slice(b"]}\n");
    out
}

/// An answer with bytes.
pub fn bytes(code: StatusCode, body: Bytes, media_type: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A plain text.
pub fn text(code: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = bytes(code, body.into(), "text/plain; charset=utf-8");
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// The answer that an error is.
pub fn error(error: &ApiError, accepted: &Accepted) -> Response {
    if error.plain {
        return text(error.code, format!("{}\n", error.message));
    }
    let accepted = Accepted { shape: Shape::Plain, ..accepted.clone() };
    let mut response = match accepted.syntax {
        Syntax::Protobuf => {
            let body = protobuf_status::encode(&error.status());
            bytes(error.code, body.into(), Syntax::Protobuf.media_type())
        }
        Syntax::Json | Syntax::Yaml => value(error.code, &error.status(), &accepted),
    };
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    warn(&mut response, &error.warnings);
    response
}

/// Adds Warning headers.
pub fn warn(response: &mut Response, warnings: &[String]) {
    let mut seen: Vec<&String> = Vec::new();
    let mut room = 4096_usize;
    for warning in warnings {
        if seen.contains(&warning) {
            continue;
        }
        seen.push(warning);
        let text: String = warning.chars().filter(|c| !c.is_control()).take(1024).collect();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) else { continue };
        let Some(rest) = room.checked_sub(value.len()) else { return };
        room = rest;
        response.headers_mut().append(header::WARNING, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    fn lists(items: &[Item<'_>]) -> Value {
        let registry = Registry::builtin();
        let resource = registry.find("", "v1", "configmaps").unwrap();
        let metadata = ListMeta { version: 7, cont: Some("c".into()), remaining: Some(3) };
        serde_json::from_slice(&plain_list(resource, items, &metadata)).unwrap()
    }

    #[test]
    fn a_list_is_pieced_together_from_stored_json() {
        let object = json!({"metadata": {"name": "a"}});
        let stored = Bytes::from(object.to_string());
        let list = lists(&[Item::Ready(&object, &stored), Item::Made(json!({"metadata": {"name": "b"}}))]);
        assert_eq!(list["kind"], "ConfigMapList");
        assert_eq!(list["items"][1]["metadata"]["name"], "b");
        assert_eq!(list["metadata"], json!({"resourceVersion": "7", "continue": "c", "remainingItemCount": 3}));
        assert_eq!(lists(&[])["items"], json!([]));
    }

    #[test]
    fn warnings_are_quoted_and_said_once() {
        let mut response = text(StatusCode::OK, "");
        warn(&mut response, &["unknown field \"a\"".into(), "unknown field \"a\"".into(), "b\r\nc".into()]);
        let all: Vec<&str> =
            response.headers().get_all(header::WARNING).iter().filter_map(|v| v.to_str().ok()).collect();
        assert_eq!(all, ["299 - \"unknown field \\\"a\\\"\"", "299 - \"bc\""]);
    }
}
