//! Which form an answer gets (`Accept`), and which form a body has (`Content-Type`).

use super::status::{ApiError, ApiResult};

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Syntax {
    /// JSON.
    #[default]
    Json,
    /// YAML.
    Yaml,
    /// Kubernetes' protobuf: bodies of built-in kinds and definitions, and errors; never other answers.
    Protobuf,
}

impl Syntax {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

/// What an answer is turned into.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Shape {
    /// The object or list itself.
    #[default]
    Plain,
    /// `as=Table`.
    Table(MetaVersion),
    /// `as=PartialObjectMetadata`.
    Partial(MetaVersion),
    /// `as=PartialObjectMetadataList`.
    PartialList(MetaVersion),
    /// `as=APIGroupDiscoveryList`, of a version of `apidiscovery.k8s.io`.
    Discovery(&'static str),
}

/// Version of `meta.k8s.io`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaVersion {
    /// `v1`
    V1,
    /// `v1beta1`
    V1beta1,
}

impl MetaVersion {
    /// `meta.k8s.io/v1`
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1beta1 => "meta.k8s.io/v1beta1",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1beta1),
            _ => None,
        }
    }
}

/// What was agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accepted {
    /// JSON or YAML.
    pub syntax: Syntax,
    /// Table, metadata only, or the thing itself.
    pub shape: Shape,
    /// Indented.
    pub pretty: bool,
}

impl Accepted {
    /// Objects as they are, in JSON that no person reads.
    pub fn is_plain_json(&self) -> bool {
        self.shape == Shape::Plain && self.syntax == Syntax::Json && !self.pretty
    }
}

/// Where an answer goes: what shapes it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// Objects and lists.
    Resource,
    /// Events of a watch.
    Watch,
    /// What is asked and never stored: it has no rows.
    Review,
    /// `/api` and `/apis`.
    Discovery,
    /// Anything else.
    Other,
}

const TYPES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const SERVED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

struct Clause<'a> {
    kind: &'a str,
    subtype: &'a str,
    params: Vec<(&'a str, &'a str)>,
    quality: f32,
}

fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = header
        .split(',')
        .filter_map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let (kind, subtype) = parts.next()?.split_once('/').unwrap_or(("", ""));
            let mut quality = 1.0;
            let mut params = Vec::new();
            for (key, value) in parts.filter_map(|p| p.split_once('=')) {
                match key.trim() {
                    "q" => quality = value.trim().parse().unwrap_or(1.0),
                    key => params.push((key, value.trim())),
                }
            }
            (!kind.is_empty()).then_some(Clause { kind, subtype, params, quality })
        })
        .collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    clauses
}

/// Agrees on a form, or answers 406.
pub fn accept(header: Option<&str>, endpoint: Endpoint) -> ApiResult<Accepted> {
    let header = header.unwrap_or_default();
    if header.trim().is_empty() {
        return Ok(Accepted::default());
    }
    clauses(header)
        .iter()
        .find_map(|c| agree(c, endpoint))
        .ok_or_else(|| ApiError::not_acceptable(format!("only the following media types are accepted: {SERVED}")))
}

/// Whether an error is written in protobuf: it stands before the forms that objects are answered in.
pub fn wants_protobuf(header: Option<&str>) -> bool {
    let form = |clause: &Clause<'_>| match (clause.kind, clause.subtype) {
        ("application", "vnd.kubernetes.protobuf") => {
            (!clause.params.iter().any(|(key, _)| matches!(*key, "as" | "g" | "v"))).then_some(true)
        }
        _ => agree(clause, Endpoint::Other).map(|_| false),
    };
    clauses(header.unwrap_or_default()).iter().find_map(form).unwrap_or(false)
}

fn agree(clause: &Clause<'_>, endpoint: Endpoint) -> Option<Accepted> {
    let syntax = match (clause.kind, clause.subtype) {
        ("application", "json" | "*") | ("*", "*") => Syntax::Json,
        ("application", "yaml") if endpoint != Endpoint::Watch => Syntax::Yaml,
        _ => return None,
    };
    let param = |key: &str| clause.params.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
    if param("stream").is_some_and(|s| !s.is_empty() && s != "watch") {
        return None;
    }
    let shape = match param("as") {
        None if param("g").is_none() && param("v").is_none() => Shape::Plain,
        kind => shape(kind?, param("g").unwrap_or_default(), param("v").unwrap_or_default(), endpoint)?,
    };
    Some(Accepted { syntax, shape, pretty: param("pretty") == Some("1") })
}

fn shape(kind: &str, group: &str, version: &str, endpoint: Endpoint) -> Option<Shape> {
    match (endpoint, group) {
        (Endpoint::Resource | Endpoint::Watch | Endpoint::Review, "meta.k8s.io") => {
            let version = MetaVersion::parse(version)?;
            match kind {
                "Table" if endpoint != Endpoint::Review => Some(Shape::Table(version)),
                "PartialObjectMetadata" => Some(Shape::Partial(version)),
                "PartialObjectMetadataList" if endpoint != Endpoint::Watch => Some(Shape::PartialList(version)),
                _ => None,
            }
        }
        (Endpoint::Discovery, "apidiscovery.k8s.io") if kind == "APIGroupDiscoveryList" => match version {
            "v2" => Some(Shape::Discovery("apidiscovery.k8s.io/v2")),
            "v2beta1" => Some(Shape::Discovery("apidiscovery.k8s.io/v2beta1")),
            _ => None,
        },
        _ => None,
    }
}

/// The syntax of a body that holds an object, or 415. No header means JSON.
pub fn content(header: Option<&str>) -> ApiResult<Syntax> {
    match media_type(header).as_str() {
        "" | "application/json" => Ok(Syntax::Json),
        "application/yaml" => Ok(Syntax::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Syntax::Protobuf),
        _ => Err(ApiError::unsupported_media_type(&TYPES)),
    }
}

/// The kind of a patch, from its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own, for built-in kinds.
    Strategic,
    /// Server-side apply.
    Apply,
}

/// The kind of patch, or 415. `builtin`: strategic merge patch is known.
pub fn patch_type(header: Option<&str>, builtin: bool) -> ApiResult<PatchType> {
    const JSON: &str = "application/json-patch+json";
    const MERGE: &str = "application/merge-patch+json";
    const STRATEGIC: &str = "application/strategic-merge-patch+json";
    const APPLY: &str = "application/apply-patch+yaml";
    match media_type(header).as_str() {
        JSON => Ok(PatchType::Json),
        MERGE => Ok(PatchType::Merge),
        STRATEGIC if builtin => Ok(PatchType::Strategic),
        APPLY => Ok(PatchType::Apply),
        _ if builtin => Err(ApiError::unsupported_media_type(&[JSON, MERGE, STRATEGIC, APPLY])),
        _ => Err(ApiError::unsupported_media_type(&[JSON, MERGE, APPLY])),
    }
}

fn media_type(header: Option<&str>) -> String {
    header.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

    fn shape_of(header: &str) -> Option<Shape> {
        accept(Some(header), Endpoint::Resource).ok().map(|a| a.shape)
    }

    #[test]
    fn what_kubectl_sends() {
        let header = format!("{TABLE},application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json");
        assert_eq!(shape_of(&header), Some(Shape::Table(MetaVersion::V1)));
        let header = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        let agreed = accept(Some(header), Endpoint::Discovery).unwrap();
        assert_eq!(agreed.shape, Shape::Discovery("apidiscovery.k8s.io/v2"));
        assert_eq!(shape_of(header), Some(Shape::Plain), "a resource knows no discovery: the next clause");
        assert_eq!(shape_of("application/vnd.kubernetes.protobuf,application/json"), Some(Shape::Plain));
    }

    #[test]
    fn what_is_not_acceptable() {
        for header in [
            "text/html",
            "application/xml",
            "application/vnd.kubernetes.protobuf",
            "application/json;as=Table;v=v9;g=meta.k8s.io",
        ] {
            assert_eq!(accept(Some(header), Endpoint::Resource).unwrap_err().code.as_u16(), 406, "{header}");
        }
        assert!(accept(Some("application/yaml"), Endpoint::Watch).is_err());
        assert!(accept(Some(TABLE), Endpoint::Review).is_err());
        assert!(accept(Some(&format!("{TABLE},application/json")), Endpoint::Review).is_ok());
        assert!(accept(Some("text/html,*/*;q=0.1"), Endpoint::Resource).is_ok());
        assert_eq!(accept(Some("application/yaml"), Endpoint::Resource).unwrap().syntax, Syntax::Yaml);
    }

    #[test]
    fn errors_for_who_reads_protobuf() {
        for (header, wanted) in [
            ("application/vnd.kubernetes.protobuf", true),
            ("application/vnd.kubernetes.protobuf;stream=watch", true),
            ("application/vnd.kubernetes.protobuf,application/json", true),
            ("application/json,application/vnd.kubernetes.protobuf", false),
            ("application/vnd.kubernetes.protobuf;q=0.5,application/json", false),
            ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json", false),
            ("text/html", false),
            ("", false),
        ] {
            assert_eq!(wants_protobuf(Some(header)), wanted, "{header}");
        }
        assert!(!wants_protobuf(None));
    }

    #[test]
    fn bodies_and_patches() {
        assert_eq!(content(Some("application/json; charset=utf-8")), Ok(Syntax::Json));
        assert_eq!(content(Some("text/plain")).unwrap_err().code.as_u16(), 415);
        let strategic = Some("application/strategic-merge-patch+json");
        assert_eq!(patch_type(strategic, true), Ok(PatchType::Strategic));
        let error = patch_type(strategic, false).unwrap_err();
        assert_eq!(
            error.message,
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
        );
    }
}
