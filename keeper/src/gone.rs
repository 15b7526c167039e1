//! Waiting for an object to be gone: away, or replaced by one of the same name with another uid.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::{
    error::Error,
    server::{Resource, Server},
};

/// Whether the object was gone before the limit. `uid` is the one that shall go, any where it is None.
///
/// # Errors
/// A server that refuses or, for longer than 30 s, does not answer.
pub async fn wait(
    server: &Server,
    resource: &Resource,
    namespace: Option<&str>,
    name: &str,
    uid: Option<&str>,
    limit: Option<Duration>,
) -> Result<bool, Error> {
    let end = Instant::now() + limit.unwrap_or(Duration::from_secs(365 * 86_400));
    let selector = format!("metadata.name={name}");
    let mut failures = 0;
    loop {
        let object = match server.get(resource, namespace, name).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => return Ok(true),
            Err(Error::Unreachable(_)) if failures < 30 => {
                failures += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        failures = 0;
        if uid.is_some_and(|uid| object["metadata"]["uid"] != uid) {
            return Ok(true);
        }
        let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let watching = async {
            let pairs = [("fieldSelector", selector.as_str())];
            let Ok(mut events) = server.watch_once(resource, namespace, &pairs, version, "application/json").await
            else {
                tokio::time::sleep(Duration::from_millis(300)).await;
                return;
            };
            while let Some(Ok(event)) = events.next().await {
                if event.kind == "DELETED" {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        if timeout_at(end, watching).await.is_err() {
            return Ok(false);
        }
    }
}
