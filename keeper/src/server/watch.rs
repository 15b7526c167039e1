//! Watching a collection: events as JSON, taken up again where the server ends a watch.

use futures::{AsyncBufReadExt, StreamExt, stream::BoxStream};
use http::{Method, Request, header};
use serde_json::Value;

use super::{
    Resource, Server,
    path::{Place, path, query},
};
use crate::error::Error;

/// One event: ADDED, MODIFIED, DELETED, BOOKMARK, with the object or a table of it.
#[derive(Clone, Debug)]
pub struct Event {
    pub kind: String,
    pub object: Value,
}

impl Server {
    /// One watch, from after `version`; it ends when the server ends it.
    ///
    /// # Errors
    /// A refusal, also one that the server sends as an event (410: start over from a list).
    pub async fn watch_once(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        selectors: &[(&str, &str)],
        version: &str,
        accept: &str,
    ) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        let mut pairs = vec![("watch", "1"), ("allowWatchBookmarks", "true"), ("resourceVersion", version)];
        pairs.extend_from_slice(selectors);
        let path = path(resource, Place { namespace, ..Place::default() });
        let request = Request::builder()
            .method(Method::GET)
            .uri(format!("{path}{}", query(&pairs)))
            .header(header::ACCEPT, accept)
            // Some servers compress each event by itself, which clients read as the end.
            .header(header::ACCEPT_ENCODING, "identity")
            .body(Vec::new())
            .map_err(|e| Error::failed(format!("{path} is no URL: {e}")))?;
        let lines = self.client.request_stream(request).await?.lines();
        Ok(lines.map(|line| event(&line.map_err(|e| Error::Unreachable(e.to_string()))?)).boxed())
    }
}

fn event(line: &str) -> Result<Event, Error> {
    let mut value: Value =
        serde_json::from_str(line).map_err(|e| Error::Unreachable(format!("an event of the watch is no JSON: {e}")))?;
    let kind = value["type"].as_str().unwrap_or_default().to_owned();
    let object = value["object"].take();
    if kind == "ERROR" {
        let status = serde_json::from_value(object).map_err(|e| Error::Unreachable(e.to_string()))?;
        return Err(Error::Server(Box::new(status)));
    }
    Ok(Event { kind, object })
}

/// The resourceVersion to go on from: of an object, or of a table (its own, else its row's).
pub fn version_of(object: &Value) -> Option<String> {
    let places = [&object["metadata"]["resourceVersion"], &object["rows"][0]["object"]["metadata"]["resourceVersion"]];
    places.into_iter().filter_map(Value::as_str).find(|v| !v.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_error_event_is_an_error() {
        let line = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#;
        assert!(matches!(event(line), Err(Error::Server(status)) if status.code == 410));
        assert_eq!(event(r#"{"type":"ADDED","object":{"a":1}}"#).unwrap().object, json!({"a": 1}));
        assert!(event("{").is_err());
    }

    #[test]
    fn a_table_has_the_version_of_its_row() {
        let table = json!({"metadata": {}, "rows": [{"object": {"metadata": {"resourceVersion": "7"}}}]});
        assert_eq!(version_of(&table).as_deref(), Some("7"));
        assert_eq!(version_of(&json!({})), None);
    }
}
