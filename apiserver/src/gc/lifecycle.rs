//! Namespaces and definitions that were deleted: their content goes first.

use serde_json::Value;

use super::edit;
use crate::db::Key;
use crate::http::query::{DeleteOptions, Propagation};
use crate::http::status::ApiError;
use crate::http::{Server, meta, remove};
use crate::registry::{Registry, definition};

const NAMESPACES: &str = "namespaces";
const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";

/// Objects of this kind have content.
pub fn is_container(key: &Key) -> bool {
    matches!(key.resource(), NAMESPACES | DEFINITIONS)
}

/// Deletes the content of a deleted namespace or definition. True when the container is gone, or never was deleted.
pub async fn drain(server: &Server, registry: &Registry, key: &Key) -> Result<bool, ApiError> {
    let Some(container) = server.db.get(key) else { return Ok(true) };
    if !meta::deleting(container.value()) {
        return Ok(true);
    }
    let left = match key.resource() {
        NAMESPACES => empty_namespace(server, registry, key.name()).await?,
        _ => empty_definition(server, registry, container.value()).await?,
    };
    if left {
        return Ok(false);
    }
    let namespace = key.resource() == NAMESPACES;
    edit(server, key, |object| if namespace { release_namespace(object) } else { release_definition(object) }).await?;
    Ok(true)
}

fn options() -> DeleteOptions {
    DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() }
}

async fn empty_namespace(server: &Server, registry: &Registry, name: &str) -> Result<bool, ApiError> {
    let mut left = false;
    for resource in registry.stored().filter(|r| r.namespaced) {
        left |= empty(server, resource, Some(name)).await?;
    }
    Ok(left)
}

async fn empty_definition(server: &Server, registry: &Registry, definition: &Value) -> Result<bool, ApiError> {
    let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let stored_as = crate::registry::kind::stored_name(text("/spec/group"), text("/spec/names/plural"));
    let resource = registry.resources().find(|r| r.stored_as == stored_as && r.is_custom());
    match resource {
        Some(resource) => empty(server, resource, None).await,
        None => Ok(false),
    }
}

/// Deletes what there is; true when something is left, held by its finalizers.
async fn empty(
    server: &Server,
    resource: &crate::registry::Resource,
    namespace: Option<&str>,
) -> Result<bool, ApiError> {
    for object in server.db.list(&resource.stored_as, namespace).items {
        if meta::deleting(object.value()) && !meta::finalizers(object.value()).is_empty() {
            continue;
        }
        let key = object.key();
        match remove::remove(server, resource, key.namespace(), key.name(), &options()).await {
            Err(e) if e.code != http::StatusCode::NOT_FOUND => return Err(e),
            _ => {}
        }
    }
    Ok(!server.db.list(&resource.stored_as, namespace).items.is_empty())
}

fn release_namespace(object: &mut Value) {
    if let Some(finalizers) = object["spec"]["finalizers"].as_array_mut() {
        finalizers.retain(|f| f != "kubernetes");
    }
}

fn release_definition(object: &mut Value) {
    let left: Vec<String> = meta::finalizers(object)
        .into_iter()
        .filter(|f| *f != definition::CLEANUP_FINALIZER)
        .map(ToString::to_string)
        .collect();
    meta::set_finalizers(object, &left);
}
