//! Asking a server which kinds it has.

use futures::future::join_all;
use serde_json::Value;

use super::{Catalog, Resource, Server, path};
use crate::error::Error;

/// Reads `/api` and `/apis`. A group that does not answer is left out, as kubectl does; with none at all it is an error.
pub async fn discover(server: &Server) -> Result<Catalog, Error> {
    let groups = server.read("/apis").await?;
    let mut wanted = vec![(String::new(), "v1".to_owned(), true)];
    for group in groups["groups"].as_array().into_iter().flatten() {
        let name = group["name"].as_str().unwrap_or_default();
        let versions: Vec<&str> =
            group["versions"].as_array().into_iter().flatten().filter_map(|v| v["version"].as_str()).collect();
        let preferred = group["preferredVersion"]["version"].as_str().or(versions.first().copied());
        for version in &versions {
            wanted.push((name.to_owned(), (*version).to_owned(), Some(*version) == preferred));
        }
    }
    let lists = join_all(wanted.iter().map(async |(group, version, preferred)| {
        let list = server.read(&path::root(group, version)).await?;
        Ok::<_, Error>(resources(&list, group, version, *preferred))
    }))
    .await;
    let mut all = Vec::new();
    let mut problem = None;
    for list in lists {
        match list {
            Ok(list) => all.extend(list),
            Err(error) => problem = Some(error),
        }
    }
    match problem {
        Some(error) if all.is_empty() => Err(error),
        _ => Ok(Catalog(all)),
    }
}

fn resources(list: &Value, group: &str, version: &str, preferred: bool) -> Vec<Resource> {
    let entries = list["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |entry: &Value| entry["name"].as_str().unwrap_or_default().to_owned();
    let words = |value: &Value| {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let resource = |entry: &Value| {
        let plural = name(entry);
        let below = format!("{plural}/");
        Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: entry["kind"].as_str().unwrap_or_default().to_owned(),
            namespaced: entry["namespaced"] == true,
            short_names: words(&entry["shortNames"]),
            categories: words(&entry["categories"]),
            verbs: words(&entry["verbs"]),
            subresources: entries.iter().filter_map(|e| name(e).strip_prefix(&below).map(str::to_owned)).collect(),
            preferred,
            plural,
        }
    };
    entries.iter().filter(|e| !name(e).contains('/')).map(resource).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn subresources_belong_to_their_kind() {
        let list = json!({"resources": [
            {"name": "workers", "singularName": "worker", "namespaced": true, "kind": "Worker", "verbs": ["get", "list"], "shortNames": ["wkr"]},
            {"name": "workers/scale", "namespaced": true, "kind": "Scale", "verbs": ["patch"]},
            {"name": "hives", "namespaced": false, "kind": "Hive", "verbs": ["list"]},
        ]});
        let found = resources(&list, "rbee.dev", "v1alpha1", true);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].subresources.as_slice(), found[0].namespaced), (["scale".to_owned()].as_slice(), true));
        assert_eq!(found[1].subresources, Vec::<String>::new());
    }
}
