//! Watch: the events of a resource as a stream of JSON lines, selected and shaped for one client.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Server;
use super::encode::{self, Item};
use super::meta;
use super::negotiate::Shape;
use super::query::{ListOptions, Version};
use super::read;
use super::request::Call;
use super::status::{ApiError, ApiResult};
use crate::db::{Event, EventKind, Object, WatchEnd, WatchStream};
use crate::registry::{Registry, Resource};
use crate::table::IncludeObject;

/// How often a bookmark comes.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// A watch without `timeoutSeconds` ends after this and up to as long again.
const LONGEST: u64 = 1800;
/// Events that go into one piece of the body.
const BATCH: usize = 64;

/// GET with `watch=1`.
pub async fn watch(server: &Arc<Server>, call: &Call) -> ApiResult<Response> {
    let mut options = ListOptions::parse(&call.query, true)?;
    read::narrow_to_name(call, &mut options)?;
    read::check_fields(&call.resource, &options.fields)?;
    let started = start(server, call, &options).await?;
    let timeout = options.timeout_seconds.unwrap_or_else(|| LONGEST + server.random_below(LONGEST));
    let now = Instant::now();
    let deadline = now + Duration::from_secs(timeout.min(86_400 * 365));
    let last = deadline.checked_sub(Duration::from_secs(2)).unwrap_or(now);
    let feed = Feed {
        line: Line {
            resource: call.resource.clone(),
            shape: call.accepted.shape.clone(),
            include: call.include,
            headers: true,
        },
        registry: server.registry_receiver(),
        stop: call.stop.clone(),
        server: server.clone(),
        options,
        bookmark_at: (now + BOOKMARKS).min(last.max(now)),
        deadline,
        backlog: started.backlog,
        stream: started.stream,
        end_of_initial: started.end_of_initial,
        error: started.error,
    };
    let body = futures::stream::unfold(Some(feed), |feed| async move {
        let mut feed = feed?;
        let (piece, more) = feed.next().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), more.then_some(feed)))
    });
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

/// Where a watch begins.
#[derive(Default)]
struct Started {
    /// Objects shown as added first.
    backlog: VecDeque<Arc<Object>>,
    stream: Option<WatchStream>,
    /// Version of the bookmark that ends the first objects, if one is wanted.
    end_of_initial: Option<u64>,
    /// The one event of a watch that cannot start.
    error: Option<ApiError>,
}

async fn start(server: &Server, call: &Call, options: &ListOptions) -> ApiResult<Started> {
    let stored = &call.resource.stored_as;
    let scope = server.scope(call);
    // Without first objects, a version from the future is where the events begin.
    if let (Version::At(version), Some(true)) = (options.version, options.send_initial_events) {
        read::wait_for(server, version).await?;
    }
    let initial = match (options.version, options.send_initial_events) {
        (_, Some(send)) => send,
        (Version::Unset | Version::Any, None) => true,
        (Version::At(_), None) => false,
    };
    let (backlog, from) = if initial {
        let snapshot = server.db.list(stored, scope);
        let selected = |o: &Arc<Object>| read::selected_stored(&call.resource, options, o);
        (snapshot.items.into_iter().filter(selected).collect(), Some(snapshot.revision))
    } else {
        let from = match options.version {
            Version::At(version) => Some(version),
            Version::Unset | Version::Any => None,
        };
        (VecDeque::new(), from)
    };
    let wants_end = options.send_initial_events == Some(true) && options.bookmarks;
    match server.db.watch(stored, scope, from) {
        Ok(stream) => {
            Ok(Started { backlog, stream: Some(stream), end_of_initial: from.filter(|_| wants_end), error: None })
        }
        Err(gone) => {
            let error = too_old(from.unwrap_or(0), gone.oldest);
            Ok(Started { error: Some(error), ..Started::default() })
        }
    }
}

fn too_old(asked: u64, oldest: u64) -> ApiError {
    ApiError::expired(format!("too old resource version: {asked} ({oldest})"))
}

/// One watch under way.
struct Feed {
    server: Arc<Server>,
    line: Line,
    options: ListOptions,
    registry: tokio::sync::watch::Receiver<Arc<Registry>>,
    stop: CancellationToken,
    bookmark_at: Instant,
    deadline: Instant,
    backlog: VecDeque<Arc<Object>>,
    stream: Option<WatchStream>,
    end_of_initial: Option<u64>,
    error: Option<ApiError>,
}

impl Feed {
    /// The next piece of the body, and whether more may follow; none at the end.
    async fn next(&mut self) -> Option<(Bytes, bool)> {
        let mut out = BytesMut::new();
        if let Some(error) = self.error.take() {
            self.line.write(&mut out, "ERROR", &error.status().to_string());
            return Some((out.freeze(), false));
        }
        let now = self.server.now().as_second();
        if !self.backlog.is_empty() {
            for object in self.backlog.drain(..self.backlog.len().min(BATCH)).collect::<Vec<_>>() {
                self.line.object(&mut out, "ADDED", &object, now);
            }
            return Some((out.freeze(), true));
        }
        if let Some(version) = self.end_of_initial.take() {
            self.line.bookmark(&mut out, version, true, now);
            return Some((out.freeze(), true));
        }
        loop {
            match self.wake().await {
                Wake::Event(event) => {
                    let more = self.drain(&mut out, event);
                    if !out.is_empty() {
                        return Some((out.freeze(), more));
                    }
                    if !more {
                        return None;
                    }
                }
                Wake::Bookmark => {
                    self.bookmark_at = Instant::now() + BOOKMARKS;
                    if let (true, Some(stream)) = (self.options.bookmarks, &mut self.stream) {
                        let version = stream.progress();
                        let now = self.server.now().as_second();
                        self.line.bookmark(&mut out, version, false, now);
                        return Some((out.freeze(), true));
                    }
                }
                Wake::End => return None,
            }
        }
    }

    async fn wake(&mut self) -> Wake {
        let Some(stream) = &mut self.stream else { return Wake::End };
        let key = &self.line.resource;
        let registry = &mut self.registry;
        let withdrawn = pin!(async move {
            let served = |r: &Arc<Registry>| r.find(&key.group, &key.version, &key.plural).is_some();
            let _ = registry.wait_for(|r| !served(r)).await;
        });
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Wake::End,
            event = stream.next() => Wake::Event(event),
            () = tokio::time::sleep_until(self.deadline) => Wake::End,
            () = tokio::time::sleep_until(self.bookmark_at) => Wake::Bookmark,
            () = withdrawn => Wake::End,
        }
    }

    /// Writes this event and those that are there already. False at the end of the watch.
    fn drain(&mut self, out: &mut BytesMut, first: Result<Arc<Event>, WatchEnd>) -> bool {
        let now = self.server.now().as_second();
        let mut next = first.map(Some);
        for _ in 0..BATCH {
            match next {
                Ok(Some(event)) => self.line.event(out, &self.options, &event, now),
                Ok(None) => return true,
                Err(WatchEnd::Closed) => return false,
                Err(WatchEnd::Gone(gone)) => {
                    let error = too_old(gone.oldest.saturating_sub(1), gone.oldest);
                    self.line.write(out, "ERROR", &error.status().to_string());
                    return false;
                }
            }
            next = match &mut self.stream {
                Some(stream) => stream.try_next(),
                None => return false,
            };
        }
        // One event more than fits was taken from the stream: it goes out too.
        if let Ok(Some(event)) = next {
            self.line.event(out, &self.options, &event, now);
        }
        true
    }
}

enum Wake {
    Event(Result<Arc<Event>, WatchEnd>),
    Bookmark,
    End,
}

/// How events are written for one client.
struct Line {
    resource: Arc<Resource>,
    shape: Shape,
    include: IncludeObject,
    /// The next Table carries the column definitions.
    headers: bool,
}

impl Line {
    fn write(&self, out: &mut BytesMut, kind: &str, object: &str) {
        out.reserve(object.len() + 40);
        out.put_slice(b"{\"type\":\"");
        out.put_slice(kind.as_bytes());
        out.put_slice(b"\",\"object\":");
        out.put_slice(object.as_bytes());
        out.put_slice(b"}\n");
    }

    /// An event in the eyes of a client that selects: what comes into view is added, what leaves it is deleted.
    fn event(&mut self, out: &mut BytesMut, options: &ListOptions, event: &Event, now: i64) {
        let resource = self.resource.clone();
        let sees = |object: &Object| read::selected_stored(&resource, options, object);
        let before = event.previous.as_ref().filter(|p| sees(p));
        let after = event.kind != EventKind::Deleted && sees(&event.object);
        match (before, after) {
            (None, true) => self.object(out, "ADDED", &event.object, now),
            (Some(_), true) => self.object(out, "MODIFIED", &event.object, now),
            (Some(_), false) if event.kind == EventKind::Deleted => self.object(out, "DELETED", &event.object, now),
            (Some(previous), false) => {
                let mut value = read::in_version(&self.resource, previous.value());
                meta::of_mut(&mut value).insert("resourceVersion".into(), event.revision.to_string().into());
                self.value(out, "DELETED", &value, now);
            }
            (None, false) => {}
        }
    }

    fn object(&mut self, out: &mut BytesMut, kind: &str, object: &Object, now: i64) {
        let resource = self.resource.clone();
        match read::present(&resource, object) {
            Item::Ready(_, json) if self.shape == Shape::Plain => {
                out.reserve(json.len() + 40);
                out.put_slice(b"{\"type\":\"");
                out.put_slice(kind.as_bytes());
                out.put_slice(b"\",\"object\":");
                out.put_slice(json);
                out.put_slice(b"}\n");
            }
            item => self.value(out, kind, item.value(), now),
        }
    }

    fn value(&mut self, out: &mut BytesMut, kind: &str, value: &Value, now: i64) {
        let text = match &self.shape {
            Shape::Table(version) => {
                let metadata = json!({"resourceVersion": value["metadata"]["resourceVersion"]});
                let table = encode::table(
                    self.resource.columns.as_deref(),
                    &[value],
                    metadata,
                    self.include,
                    self.headers,
                    now,
                    *version,
                );
                self.headers = false;
                table.to_string()
            }
            Shape::Partial(version) => encode::partial(value, *version).to_string(),
            Shape::Plain | Shape::PartialList(_) | Shape::Discovery(_) => value.to_string(),
        };
        self.write(out, kind, &text);
    }

    fn bookmark(&mut self, out: &mut BytesMut, version: u64, end_of_initial: bool, now: i64) {
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if !self.resource.is_custom() {
            metadata["creationTimestamp"] = Value::Null;
        }
        if end_of_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object =
            json!({"kind": self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": metadata});
        self.value(out, "BOOKMARK", &object, now);
    }
}
