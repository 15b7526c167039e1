//! Paths of the server itself: version, health, discovery, OpenAPI documents, the CA.

use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use super::Server;
use super::encode;
use super::negotiate::{Endpoint, Shape};
use super::query::Query;
use super::request::accepted;
use super::status::{ApiError, ApiResult};
use crate::registry::discovery;

/// An empty OpenAPI v2 document (`swagger: "2.0"`, an empty `info`) in protobuf, the one form that kubectl asks for.
/// What it looks for is in the v3 documents.
const OPENAPI_V2: &[u8] = &[0x0a, 3, b'2', b'.', b'0', 0x12, 0];

/// Paths that need no bearer.
pub fn open_to_all(segments: &[&str]) -> bool {
    matches!(segments, ["healthz" | "livez" | "readyz" | "version" | "cacerts", ..])
}

/// Answers a path of the server itself.
pub fn serve(
    server: &Server,
    method: &Method,
    segments: &[&str],
    query: &Query,
    headers: &HeaderMap,
) -> ApiResult<Response> {
    let known = matches!(
        segments,
        [] | ["api" | "apis", ..]
            | ["version" | "cacerts"]
            | ["openapi", "v2"]
            | ["openapi", "v3", ..]
            | ["healthz" | "livez" | "readyz", ..]
    );
    if !known {
        return Err(ApiError::no_such_path());
    }
    // Kubernetes answers discovery whatever the method.
    if !matches!(*method, Method::GET | Method::HEAD) && !matches!(segments, ["api" | "apis", ..]) {
        return Err(ApiError::method_not_allowed());
    }
    let registry = server.registry();
    let json = |value: Value| -> ApiResult<Response> {
        Ok(encode::value(StatusCode::OK, &value, &accepted(headers, query, Endpoint::Other)?))
    };
    let found = |value: Option<Value>| value.ok_or_else(ApiError::no_such_path).and_then(json);
    match segments {
        [] => json(paths(server)),
        ["version"] => json(version(server)),
        ["healthz" | "livez" | "readyz", ..] => Ok(health(server, segments)),
        ["cacerts"] => Ok(encode::bytes(StatusCode::OK, server.ca_pem().to_string().into(), "application/x-pem-file")),
        ["api" | "apis"] => {
            let agreed = accepted(headers, query, Endpoint::Discovery)?;
            let core = segments == ["api"];
            if let Shape::Discovery(api_version) = agreed.shape {
                let value = discovery::aggregated(&registry, core, api_version);
                let mut response = encode::value(StatusCode::OK, &value, &agreed);
                let kind = format!(
                    "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList",
                    api_version.rsplit('/').next().unwrap_or("v2")
                );
                if let Ok(kind) = HeaderValue::from_str(&kind) {
                    response.headers_mut().insert(header::CONTENT_TYPE, kind);
                }
                return Ok(response);
            }
            let value = if core { discovery::core_versions(&server.address()) } else { discovery::groups(&registry) };
            Ok(encode::value(StatusCode::OK, &value, &agreed))
        }
        ["api", version] => {
            discovery::resources(&registry, "", version).ok_or_else(ApiError::no_such_version).and_then(json)
        }
        ["apis", group] => found(discovery::group(&registry, group)),
        ["apis", group, version] => found(discovery::resources(&registry, group, version)),
        ["openapi", "v2"] => Ok(encode::bytes(
            StatusCode::OK,
            bytes::Bytes::from_static(OPENAPI_V2),
            "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
        )),
        ["openapi", "v3"] => Ok(encode::text(StatusCode::OK, registry.documents().index().to_string())),
        ["openapi", "v3", rest @ ..] => document(server, &rest.join("/"), headers),
        _ => Err(ApiError::no_such_path()),
    }
}

fn document(server: &Server, path: &str, headers: &HeaderMap) -> ApiResult<Response> {
    let registry = server.registry();
    let (body, hash) = registry.documents().document(path).ok_or_else(ApiError::no_such_path)?;
    let tag = format!("\"{hash}\"");
    let same = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()) == Some(tag.as_str());
    let mut response = if same {
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        encode::bytes(StatusCode::OK, body.clone(), "application/json")
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

fn health(server: &Server, segments: &[&str]) -> Response {
    let failed = server.failed();
    if segments[0] == "livez" || !failed {
        return encode::text(StatusCode::OK, "ok");
    }
    encode::text(StatusCode::INTERNAL_SERVER_ERROR, "[-]store failed: the server takes no writes\n")
}

fn version(server: &Server) -> Value {
    json!({
        "major": "1", "minor": "36",
        "gitVersion": format!("v1.36.0+rbee-{}", server.version()),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, arch()),
    })
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn paths(server: &Server) -> Value {
    let registry = server.registry();
    let mut paths: Vec<String> = ["/api", "/api/v1", "/apis"].map(ToString::to_string).to_vec();
    for resource in registry.resources().filter(|r| !r.group.is_empty()) {
        for path in [format!("/apis/{}", resource.group), format!("/apis/{}/{}", resource.group, resource.version)] {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    paths.extend(["/cacerts", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"].map(ToString::to_string));
    json!({"paths": paths})
}
