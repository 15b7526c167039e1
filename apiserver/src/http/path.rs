//! From method and path to what is asked for: a resource with its verb, or a path of the server itself.

use http::Method;
use percent_encoding::percent_decode_str;

use super::status::{ApiError, ApiResult};

/// The Kubernetes verb of a request, as authorization and errors name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// One object.
    Get,
    /// Many objects.
    List,
    /// Changes of one or many objects.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH.
    Patch,
    /// DELETE of one object.
    Delete,
    /// DELETE of many objects.
    DeleteCollection,
    /// A method that no resource knows.
    Unknown,
}

impl Verb {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Unknown => "",
        }
    }
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Discovery, health, documents: the segments of the path.
    Server(Vec<String>),
    /// A resource.
    Resource(ResourcePath),
}

/// The parts of a resource's path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourcePath {
    /// API group, empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace, empty for all of them or for cluster-scoped resources.
    pub namespace: String,
    /// Plural resource name.
    pub resource: String,
    /// Object name, empty for a collection.
    pub name: String,
    /// Subresource, empty for the object itself.
    pub subresource: String,
    /// The path had the deprecated `/watch/` prefix.
    pub watch_prefix: bool,
}

/// Splits a path. Empty segments at its ends do not count; every segment is percent-decoded.
pub fn parse(path: &str) -> ApiResult<Target> {
    let decoded = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| ApiError::bad_request("the path of the request is not valid UTF-8"))?;
    let parts: Vec<&str> = decoded.trim_matches('/').split('/').collect();
    let server = || Ok(Target::Server(parts.iter().filter(|p| !p.is_empty()).map(ToString::to_string).collect()));
    let (group, rest) = match parts.as_slice() {
        ["api", rest @ ..] if rest.len() >= 2 => ("", rest),
        ["apis", group, rest @ ..] if rest.len() >= 2 => (*group, rest),
        _ => return server(),
    };
    let (version, mut rest) = (rest[0], &rest[1..]);
    let watch_prefix = rest[0] == "watch" && rest.len() > 1;
    if watch_prefix {
        rest = &rest[1..];
    }
    let mut target =
        ResourcePath { group: group.into(), version: version.into(), watch_prefix, ..ResourcePath::default() };
    if rest[0] == "namespaces" && rest.len() > 1 {
        target.namespace = rest[1].into();
        if rest.len() > 2 && !matches!(rest[2], "status" | "finalize") {
            rest = &rest[2..];
        }
    }
    target.resource = rest[0].into();
    target.name = rest.get(1).copied().unwrap_or_default().into();
    target.subresource = if watch_prefix { String::new() } else { rest.get(2).copied().unwrap_or_default().into() };
    Ok(Target::Resource(target))
}

/// The verb of a method on a resource. `watch` is the query's word for it.
pub fn verb(method: &Method, path: &ResourcePath, watch: bool) -> Verb {
    let named = !path.name.is_empty();
    match *method {
        Method::GET | Method::HEAD if path.watch_prefix => Verb::Watch,
        Method::GET | Method::HEAD if named => Verb::Get,
        Method::GET | Method::HEAD if watch => Verb::Watch,
        Method::GET | Method::HEAD => Verb::List,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE if named => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        _ => Verb::Unknown,
    }
}

/// Refuses names that cannot be a segment of a path.
pub fn check_name(name: &str) -> ApiResult<()> {
    let mut problems = Vec::new();
    match name {
        "." => problems.push("may not be '.'"),
        ".." => problems.push("may not be '..'"),
        _ => {}
    }
    if name.contains('/') {
        problems.push("may not contain '/'");
    }
    if name.contains('%') {
        problems.push("may not contain '%'");
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("Name parameter invalid: {name:?}: {}", problems.join(";"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(path: &str) -> ResourcePath {
        match parse(path).unwrap() {
            Target::Resource(r) => r,
            Target::Server(s) => panic!("{path}: {s:?}"),
        }
    }

    #[test]
    fn resources() {
        let r = resource("/apis/rbee.dev/v1alpha1/namespaces/default/models/bee/status");
        assert_eq!((r.group.as_str(), r.version.as_str(), r.namespace.as_str()), ("rbee.dev", "v1alpha1", "default"));
        assert_eq!((r.resource.as_str(), r.name.as_str(), r.subresource.as_str()), ("models", "bee", "status"));
        let r = resource("/apis/rbee.dev/v1alpha1/hives/mac");
        assert_eq!((r.namespace.as_str(), r.resource.as_str(), r.name.as_str()), ("", "hives", "mac"));
        let r = resource("/api/v1/secrets/");
        assert_eq!((r.group.as_str(), r.resource.as_str(), r.name.as_str()), ("", "secrets", ""));
    }

    #[test]
    fn namespaces_are_resources_too() {
        let r = resource("/api/v1/namespaces");
        assert_eq!((r.namespace.as_str(), r.resource.as_str(), r.name.as_str()), ("", "namespaces", ""));
        let r = resource("/api/v1/namespaces/x");
        assert_eq!((r.namespace.as_str(), r.resource.as_str(), r.name.as_str()), ("x", "namespaces", "x"));
        let r = resource("/api/v1/namespaces/x/finalize");
        assert_eq!((r.resource.as_str(), r.name.as_str(), r.subresource.as_str()), ("namespaces", "x", "finalize"));
    }

    #[test]
    fn server_paths() {
        for path in ["/", "/api", "/apis/", "/api/v1", "/apis/rbee.dev", "/apis/rbee.dev/v1alpha1", "/healthz"] {
            assert!(matches!(parse(path).unwrap(), Target::Server(_)), "{path}");
        }
        assert_eq!(parse("/apis/").unwrap(), Target::Server(vec!["apis".into()]));
    }

    #[test]
    fn verbs() {
        let one = resource("/api/v1/namespaces/x/secrets/s");
        let all = resource("/api/v1/namespaces/x/secrets");
        let old = resource("/api/v1/watch/namespaces/x/secrets");
        assert_eq!(verb(&Method::GET, &one, false), Verb::Get);
        assert_eq!(verb(&Method::GET, &one, true), Verb::Get, "a watch of one object names it in a field selector");
        assert_eq!(verb(&Method::HEAD, &all, false), Verb::List);
        assert_eq!(verb(&Method::DELETE, &all, false), Verb::DeleteCollection);
        assert_eq!(verb(&Method::GET, &old, false), Verb::Watch);
        assert_eq!(old.resource, "secrets");
        assert_eq!(verb(&Method::from_bytes(b"BREW").unwrap(), &all, false).name(), "");
    }

    #[test]
    fn names_that_are_no_segments() {
        assert!(check_name("..").unwrap_err().message.contains("may not be '..'"));
        assert!(check_name("a%").is_err());
        check_name("a.b-c").unwrap();
        assert!(parse("/api/v1/secrets/%ff").is_err());
    }
}
