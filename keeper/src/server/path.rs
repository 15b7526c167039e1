//! URLs of the Kubernetes API. Names reach them only percent-encoded.

use super::Resource;

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Which objects of a kind a URL names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// None: all namespaces, or a kind without.
    pub namespace: Option<&'a str>,
    pub name: Option<&'a str>,
    pub subresource: Option<&'a str>,
}

/// The path of a collection, an object or a subresource.
pub fn path(resource: &Resource, place: Place<'_>) -> String {
    let mut path = root(&resource.group, &resource.version);
    if let Some(namespace) = place.namespace.filter(|_| resource.namespaced) {
        path.push_str(&format!("/namespaces/{}", encode(namespace)));
    }
    path.push_str(&format!("/{}", resource.plural));
    for part in [place.name, place.subresource].into_iter().flatten() {
        path.push_str(&format!("/{}", encode(part)));
    }
    path
}

/// `/api/v1`, `/apis/GROUP/VERSION`.
pub fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// `?a=b&c=d`, nothing where there are no pairs.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={}", encode(v))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_both_apis() {
        let worker = Resource::for_tests("rbee.dev", "v1alpha1", "workers", "Worker", true);
        let place = Place { namespace: Some("a b"), name: Some("../x"), subresource: Some("scale") };
        assert_eq!(path(&worker, place), "/apis/rbee.dev/v1alpha1/namespaces/a%20b/workers/..%2Fx/scale");
        let node = Resource::for_tests("", "v1", "nodes", "Node", false);
        assert_eq!(path(&node, Place { namespace: Some("x"), ..Place::default() }), "/api/v1/nodes");
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(query(&[("labelSelector", "a=b,c in (d)")]), "?labelSelector=a%3Db%2Cc%20in%20%28d%29");
        assert_eq!(query(&[]), "");
    }
}
