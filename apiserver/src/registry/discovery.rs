//! Discovery documents: groups, versions and resources, one by one and aggregated.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Registry, kind::Resource};

/// `/api`. `address` is the server's own `HOST:PORT`.
pub fn core_versions(address: &str) -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]})
}

/// `/apis`.
pub fn groups(registry: &Registry) -> Value {
    let groups: Vec<Value> =
        by_group(registry).into_iter().map(|(name, versions)| group_body(name, &versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`.
pub fn group(registry: &Registry, name: &str) -> Option<Value> {
    let groups = by_group(registry);
    let versions = groups.get(name)?;
    let mut body = group_body(name, versions);
    body["kind"] = "APIGroup".into();
    body["apiVersion"] = "v1".into();
    Some(body)
}

/// `/api/v1` or `/apis/GROUP/VERSION`.
pub fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let served: Vec<&Arc<Resource>> =
        registry.resources().filter(|r| r.group == group && r.version == version).collect();
    if served.is_empty() {
        return None;
    }
    let list: Vec<Value> = served.iter().flat_map(|r| resource_rows(r)).collect();
    let mut body =
        json!({"kind": "APIResourceList", "groupVersion": super::kind::api_version(group, version), "resources": list});
    if !group.is_empty() {
        body["apiVersion"] = "v1".into();
    }
    Some(body)
}

/// `/api` or `/apis` as `APIGroupDiscoveryList`. `core`: the core group alone, else all others.
pub fn aggregated(registry: &Registry, core: bool, api_version: &str) -> Value {
    let mut groups: BTreeMap<&str, Vec<&str>> = by_group_with_core(registry);
    groups.retain(|name, _| name.is_empty() == core);
    let items: Vec<Value> = groups
        .into_iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .into_iter()
                .map(|version| {
                    let resources: Vec<Value> = registry
                        .resources()
                        .filter(|r| r.group == group && r.version == version)
                        .map(|r| aggregated_resource(r))
                        .collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items})
}

fn by_group_with_core(registry: &Registry) -> BTreeMap<&str, Vec<&str>> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for resource in registry.resources() {
        let versions = groups.entry(&resource.group).or_default();
        if !versions.contains(&resource.version.as_str()) {
            versions.push(&resource.version);
        }
    }
    groups.values_mut().for_each(|versions| versions.sort_by(|a, b| newer_first(a, b)));
    groups
}

fn by_group(registry: &Registry) -> BTreeMap<&str, Vec<&str>> {
    let mut groups = by_group_with_core(registry);
    groups.remove("");
    groups
}

fn group_body(name: &str, versions: &[&str]) -> Value {
    let row = |v: &&str| json!({"groupVersion": format!("{name}/{v}"), "version": v});
    let rows: Vec<Value> = versions.iter().map(row).collect();
    json!({"name": name, "versions": rows, "preferredVersion": rows[0]})
}

fn resource_rows(resource: &Resource) -> Vec<Value> {
    let mut own = Map::new();
    own.insert("name".into(), resource.plural.as_str().into());
    own.insert("singularName".into(), resource.singular.as_str().into());
    own.insert("namespaced".into(), resource.namespaced.into());
    own.insert("kind".into(), resource.kind.as_str().into());
    own.insert("verbs".into(), json!(resource.verbs()));
    if !resource.short_names.is_empty() {
        own.insert("shortNames".into(), json!(resource.short_names));
    }
    if !resource.categories.is_empty() {
        own.insert("categories".into(), json!(resource.categories));
    }
    if !resource.storage_hash.is_empty() {
        own.insert("storageVersionHash".into(), resource.storage_hash.as_str().into());
    }
    let mut rows = vec![Value::Object(own)];
    for sub in resource.subresources() {
        let mut row = json!({"name": format!("{}/{}", resource.plural, sub.name), "singularName": "",
            "namespaced": resource.namespaced, "kind": sub.kind, "verbs": sub.verbs});
        if sub.foreign {
            row["group"] = sub.group.into();
            row["version"] = sub.version.into();
        }
        rows.push(row);
    }
    rows
}

fn aggregated_resource(resource: &Resource) -> Value {
    // Kubernetes leaves out what is the same as the group and version around it, but for custom resources.
    let kind = |group: &str, version: &str, kind: &str| {
        let own = !resource.is_custom() && group == resource.group && version == resource.version;
        let (group, version) = if own { ("", "") } else { (group, version) };
        json!({"group": group, "version": version, "kind": kind})
    };
    let mut row = json!({
        "resource": resource.plural,
        "responseKind": kind(&resource.group, &resource.version, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs(),
    });
    if !resource.short_names.is_empty() {
        row["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        row["categories"] = json!(resource.categories);
    }
    let subresources: Vec<Value> = resource
        .subresources()
        .into_iter()
        .map(|s| json!({"subresource": s.name, "responseKind": kind(&s.group, &s.version, &s.kind), "verbs": s.verbs}))
        .collect();
    if !subresources.is_empty() {
        row["subresources"] = subresources.into();
    }
    row
}

/// Kubernetes' order of versions: GA before beta before alpha, newer first, others last by name.
pub(super) fn newer_first(a: &str, b: &str) -> Ordering {
    match (rank(a), rank(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// (stability, major, minor) of `v1`, `v2beta1`, `v1alpha1`.
fn rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..digits].parse().ok()?;
    let (stability, minor) = match &rest[digits..] {
        "" => return Some((2, major, 0)),
        tail => match tail.strip_prefix("beta") {
            Some(minor) => (1, minor),
            None => (0, tail.strip_prefix("alpha")?),
        },
    };
    Some((stability, major, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_come_first() {
        let mut versions = ["v1alpha1", "v2", "foo", "v1beta2", "v1", "v1beta1", "v10"];
        versions.sort_by(|a, b| newer_first(a, b));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]);
    }

    #[test]
    fn core_lists_subresources() {
        let registry = Registry::builtin();
        let list = resources(&registry, "", "v1").unwrap();
        let names: Vec<&str> =
            list["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
        for name in ["namespaces", "namespaces/status", "namespaces/finalize", "secrets", "serviceaccounts/token"] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        assert!(resources(&registry, "none.dev", "v1").is_none());
    }

    #[test]
    fn aggregated_splits_core_from_the_rest() {
        let registry = Registry::builtin();
        let core = aggregated(&registry, true, "apidiscovery.k8s.io/v2");
        assert_eq!(core["items"].as_array().unwrap().len(), 1);
        let rest = aggregated(&registry, false, "apidiscovery.k8s.io/v2");
        assert!(rest["items"].as_array().unwrap().iter().all(|g| g["metadata"]["name"].is_string()));
    }
}
