//! Kinds that are asked, never stored: who is this token, may they do that; and TokenRequest, which makes a hive's token.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::Server;
use super::admit;
use super::encode;
use super::meta;
use super::negotiate;
use super::query::WriteOptions;
use super::request::Call;
use super::status::{ApiError, ApiResult, Qualified};
use crate::auth::{Attributes, Decision, Identity, Role, authorize};
use crate::registry::Review;
use crate::schema::FieldError;

/// POST of a review.
pub async fn create(server: &Server, call: &Call, review: Review, body: Body) -> ApiResult<Response> {
    let syntax = negotiate::content(call.content_type())?;
    let bytes = call.body(body).await?;
    let options = WriteOptions::parse(&call.query, "CreateOptions", false)?;
    let incoming = admit::decode(&call.resource, &bytes, syntax, options.field_validation)?;
    let mut object = incoming.object;
    object["status"] = match review {
        Review::Token => token(server, &object),
        Review::SelfSubject => {
            meta::of_mut(&mut object).insert("creationTimestamp".into(), server.now_text().into());
            json!({"userInfo": user(&call.identity)})
        }
        Review::Access | Review::LocalAccess => {
            check_spec(call, &object["spec"])?;
            let groups: Vec<String> = strings(&object["spec"]["groups"]);
            let name = object["spec"]["user"].as_str().unwrap_or_default();
            if name.is_empty() && groups.is_empty() {
                let error = FieldError::invalid("spec.user", "", "at least one of user or group must be specified");
                return Err(invalid(call, error));
            }
            decide(Identity::from_review(name, &groups).as_ref(), &object["spec"])
        }
        Review::SelfAccess => {
            check_spec(call, &object["spec"])?;
            decide(Some(&call.identity), &object["spec"])
        }
        Review::SelfRules => rules(&call.identity),
    };
    let mut response = encode::value(StatusCode::CREATED, &object, &call.accepted);
    encode::warn(&mut response, &incoming.warnings);
    Ok(response)
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(ToString::to_string).collect()
}

fn user(identity: &Identity) -> Value {
    json!({"username": identity.username(), "groups": identity.groups()})
}

fn token(server: &Server, review: &Value) -> Value {
    match review["spec"]["token"].as_str().map(|t| server.authenticate(t)) {
        Some(Ok(identity)) => {
            let mut status = json!({"authenticated": true, "user": user(&identity)});
            if review["spec"]["audiences"].is_array() {
                status["audiences"] = review["spec"]["audiences"].clone();
            }
            status
        }
        _ => json!({"authenticated": false, "user": {}, "error": "invalid bearer token"}),
    }
}

fn check_spec(call: &Call, spec: &Value) -> ApiResult<()> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_null() != path.is_null() {
        return Ok(());
    }
    let why = if resource.is_null() {
        "exactly one of nonResourceAttributes or resourceAttributes must be specified"
    } else {
        "cannot be specified in combination with resourceAttributes"
    };
    let field = if resource.is_null() { "spec.resourceAttributes" } else { "spec.nonResourceAttributes" };
    let error = FieldError::invalid(field, path.clone(), why);
    Err(invalid(call, error))
}

/// Kubernetes names no kind here.
fn invalid(call: &Call, error: FieldError) -> ApiError {
    ApiError::invalid(Qualified { group: &call.resource.group, name: "" }, "", &[error])
}

fn decide(identity: Option<&Identity>, spec: &Value) -> Value {
    let Some(identity) = identity else {
        return json!({"allowed": false, "reason": "no role is bound to that user"});
    };
    let asked = &spec["resourceAttributes"];
    if asked.is_null() {
        let verb = spec["nonResourceAttributes"]["verb"].as_str().unwrap_or_default();
        let allowed = *identity.role() == Role::Admin || verb == "get";
        return json!({"allowed": allowed});
    }
    let text = |key: &str| asked[key].as_str().unwrap_or_default();
    let what = Attributes {
        verb: text("verb"),
        group: text("group"),
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
    };
    match authorize(identity, &what) {
        Decision::Allow => json!({"allowed": true}),
        Decision::Deny(reason) => json!({"allowed": false, "reason": reason}),
    }
}

fn rules(identity: &Identity) -> Value {
    let rule = |verbs: &[&str], resources: &[&str]| json!({"verbs": verbs, "apiGroups": ["*"], "resources": resources});
    let (resources, complete) = match identity.role() {
        Role::Admin => (vec![rule(&["*"], &["*"])], true),
        Role::Viewer => (vec![rule(&["get", "list", "watch"], &["*"])], false),
        Role::Hive => (vec![rule(&["get", "list", "watch"], &["models", "workers", "assignments", "hives"])], false),
    };
    json!({"resourceRules": resources, "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["*"]}],
        "incomplete": !complete})
}

/// POST to `serviceaccounts/hive-NAME/token`: the token of the hive of that name.
pub async fn request_token(server: &Server, call: &Call, body: Body) -> ApiResult<Response> {
    let syntax = negotiate::content(call.content_type())?;
    let bytes = call.body(body).await?;
    let mut request =
        if bytes.is_empty() { json!({}) } else { admit::parse(&bytes, syntax).map_err(ApiError::bad_request)?.value };
    let name = call.path.name.strip_prefix("hive-").filter(|n| !n.is_empty());
    let hive = name.filter(|_| call.path.namespace == crate::auth::tokens::NAMESPACE);
    let Some(hive) = hive else {
        return Err(ApiError::not_found(call.resource.qualified(), &call.path.name));
    };
    let seconds = request["spec"]["expirationSeconds"].as_i64();
    if seconds.is_some_and(|s| s < 600) {
        let error =
            FieldError::invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes");
        let kind = Qualified { group: "authentication.k8s.io", name: "TokenRequest" };
        return Err(ApiError::invalid(kind, "", &[error]));
    }
    let issued = server.issue_hive_token(hive, seconds).await?;
    if !request.is_object() {
        request = json!({});
    }
    request["kind"] = "TokenRequest".into();
    request["apiVersion"] = "authentication.k8s.io/v1".into();
    let metadata = meta::of_mut(&mut request);
    metadata.insert("name".into(), call.path.name.as_str().into());
    metadata.insert("namespace".into(), call.path.namespace.as_str().into());
    metadata.insert("creationTimestamp".into(), server.now_text().into());
    if request["spec"].is_null() {
        request["spec"] = json!({"audiences": [], "expirationSeconds": seconds});
    }
    request["status"] = json!({"token": issued.token, "expirationTimestamp": issued.expires.to_string()});
    Ok(encode::value(StatusCode::CREATED, &request, &call.accepted))
}
