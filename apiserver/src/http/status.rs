//! Answers that say no: Kubernetes' `Status` object in its exact shape and words.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::schema::{FieldError, cause_list, join_messages};

/// A refusal: an HTTP status, a machine-readable reason and a sentence.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// HTTP status code.
    pub code: StatusCode,
    /// `reason` of the Status, e.g. `NotFound`; may be empty.
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
    /// `details`, as JSON.
    pub details: Option<Box<Map<String, Value>>>,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u32>,
    /// The plain text `404 page not found`, which a path that nobody serves gets instead of a Status.
    pub plain: bool,
    /// `metadata.continue`: where an expired list may go on, inconsistently.
    pub cont: Option<String>,
    /// Texts for Warning headers.
    pub warnings: Vec<String>,
}

/// Result of a step of a request.
pub type ApiResult<T> = Result<T, ApiError>;

/// Group and plural name of a resource, or group and kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qualified<'a> {
    /// API group, empty for the core group.
    pub group: &'a str,
    /// Plural resource name or kind.
    pub name: &'a str,
}

impl std::fmt::Display for Qualified<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.group {
            "" => f.write_str(self.name),
            group => write!(f, "{}.{group}", self.name),
        }
    }
}

fn details(of: Qualified<'_>, name: &str) -> Map<String, Value> {
    let mut map = Map::new();
    for (key, value) in [("name", name), ("group", of.group), ("kind", of.name)] {
        if !value.is_empty() {
            map.insert(key.into(), value.into());
        }
    }
    map
}

impl ApiError {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            retry_after: None,
            plain: false,
            cont: None,
            warnings: Vec::new(),
        }
    }

    fn with_details(mut self, details: Map<String, Value>) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// 404 of an object.
    pub fn not_found(resource: Qualified<'_>, name: &str) -> Self {
        let message = format!("{resource} \"{name}\" not found");
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).with_details(details(resource, name))
    }

    /// 404 of a path that nobody serves.
    pub fn no_such_path() -> Self {
        Self { plain: true, ..Self::new(StatusCode::NOT_FOUND, "NotFound", "404 page not found") }
    }

    /// 409: an object of that name is there.
    pub fn already_exists(resource: Qualified<'_>, name: &str) -> Self {
        let message = format!("{resource} \"{name}\" already exists");
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).with_details(details(resource, name))
    }

    /// 409: the write raced with another or a precondition failed.
    pub fn conflict(resource: Qualified<'_>, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::new(StatusCode::CONFLICT, "Conflict", message).with_details(details(resource, name))
    }

    /// 409 of a stale resource version.
    pub fn modified(resource: Qualified<'_>, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// 409 of a server-side apply, with one cause per field.
    pub fn apply_conflict(message: String, causes: Vec<Value>) -> Self {
        let mut map = Map::new();
        if !causes.is_empty() {
            map.insert("causes".into(), causes.into());
        }
        Self::new(StatusCode::CONFLICT, "Conflict", message).with_details(map)
    }

    /// 422: fields are wrong.
    pub fn invalid(kind: Qualified<'_>, name: &str, errors: &[FieldError]) -> Self {
        let mut message = format!("{kind} \"{name}\" is invalid");
        if !errors.is_empty() {
            message.push_str(": ");
            message.push_str(&join_messages(errors));
        }
        let mut map = details(kind, name);
        if !errors.is_empty() {
            map.insert("causes".into(), cause_list(errors).into());
        }
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).with_details(map)
    }

    /// 422 of options such as `ListOptions.meta.k8s.io`.
    pub fn invalid_options(kind: &str, errors: &[FieldError]) -> Self {
        Self::invalid(Qualified { group: "meta.k8s.io", name: kind }, "", errors)
    }

    /// 422 without a kind: a patch that can be read but not applied. Kubernetes does not say why here.
    pub fn unprocessable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).with_details(Map::new())
    }

    /// 422 for what this server does not do.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// 403; `why` follows `is forbidden: `.
    pub fn forbidden(resource: Qualified<'_>, name: &str, why: &str) -> Self {
        let message = match (resource.name, name) {
            ("", _) => format!("forbidden: {why}"),
            (_, "") => format!("{resource} is forbidden: {why}"),
            (_, name) => format!("{resource} \"{name}\" is forbidden: {why}"),
        };
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).with_details(details(resource, name))
    }

    /// 403 with the authorizer's own sentence.
    pub fn denied(resource: Qualified<'_>, name: &str, message: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).with_details(details(resource, name))
    }

    /// 405 for a resource that does not know the verb.
    pub fn method_not_supported(resource: Qualified<'_>, verb: &str) -> Self {
        let message = format!("{verb} is not supported on resources of kind \"{resource}\"");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message).with_details(details(resource, ""))
    }

    /// 404 of a version of the core group.
    pub fn no_such_version() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).with_details(Map::new())
    }

    /// 405 for a path that is no resource.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message).with_details(Map::new())
    }

    /// 406.
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// 408: the body did not come in time.
    pub fn body_timeout() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "Timeout", "the request body did not arrive in time")
    }

    /// 410: that resource version is no longer in the history.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    /// 413 with words of one's own.
    pub fn too_large_because(why: &str) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", format!("Request entity too large: {why}"))
    }

    /// 415.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    /// 504: a resource version from the future.
    pub fn too_large_resource_version(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut map = Map::new();
        let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        map.insert("causes".into(), json!([cause]));
        map.insert("retryAfterSeconds".into(), json!(1));
        Self { retry_after: Some(1), ..Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message).with_details(map) }
    }

    /// The same with warnings beside it.
    pub fn warning(mut self, warnings: &[String]) -> Self {
        self.warnings.extend_from_slice(warnings);
        self
    }

    /// The same without the advice to come again.
    pub fn without_retry(mut self) -> Self {
        self.retry_after = None;
        if let Some(details) = &mut self.details {
            details.remove("retryAfterSeconds");
        }
        self
    }

    /// 500.
    pub fn internal(why: impl std::fmt::Display) -> Self {
        let mut map = Map::new();
        map.insert("causes".into(), json!([{"message": why.to_string()}]));
        let message = format!("Internal error occurred: {why}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message).with_details(map)
    }

    /// 500 with the words alone, as Kubernetes wraps an error that has no kind of its own.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
    }

    /// 503: the store does not take writes, or the server is about to end.
    pub fn unavailable(message: impl Into<String>) -> Self {
        let mut map = Map::new();
        map.insert("retryAfterSeconds".into(), json!(1));
        Self {
            retry_after: Some(1),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message).with_details(map)
        }
    }

    /// Adds a cause to the details.
    pub fn with_cause(mut self, cause: Value) -> Self {
        let map = self.details.get_or_insert_default();
        if let Value::Array(causes) = map.entry("causes").or_insert_with(|| json!([])) {
            causes.push(cause);
        }
        self
    }

    /// Names an object in the details.
    pub fn with_uid(mut self, uid: &str) -> Self {
        self.details.get_or_insert_default().insert("uid".into(), uid.into());
        self
    }

    /// The Status object.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code.as_u16(),
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(cont) = &self.cont {
            status["metadata"]["continue"] = cont.as_str().into();
        }
        if let Some(details) = &self.details {
            status["details"] = Value::Object((**details).clone());
        }
        status
    }
}

/// The Status that a delete answers with when the object is gone at once.
pub fn success(resource: Qualified<'_>, name: &str, uid: &str) -> Value {
    let mut map = details(resource, name);
    map.insert("uid".into(), uid.into());
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": map})
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDGETS: Qualified<'_> = Qualified { group: "parity.rbee.dev", name: "widgets" };
    const WIDGET: Qualified<'_> = Qualified { group: "parity.rbee.dev", name: "Widget" };

    #[test]
    fn not_found_reads_as_in_kubernetes() {
        let status = ApiError::not_found(WIDGETS, "a").status();
        assert_eq!(
            status,
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404,
                "message": "widgets.parity.rbee.dev \"a\" not found",
                "details": {"name": "a", "group": "parity.rbee.dev", "kind": "widgets"}})
        );
        let core = ApiError::not_found(Qualified { group: "", name: "secrets" }, "a");
        assert_eq!(core.message, "secrets \"a\" not found");
    }

    #[test]
    fn invalid_names_every_field() {
        let errors = [FieldError::required("spec.mode", ""), FieldError::invalid("spec.size", 0, "too small")];
        let error = ApiError::invalid(WIDGET, "a", &errors);
        assert_eq!(
            error.message,
            "Widget.parity.rbee.dev \"a\" is invalid: [spec.mode: Required value, spec.size: Invalid value: 0: too small]"
        );
        assert_eq!(error.status()["details"]["causes"][1]["field"], "spec.size");
    }

    #[test]
    fn forbidden_of_a_collection_has_no_name() {
        let error = ApiError::forbidden(WIDGETS, "", "no");
        assert_eq!(error.message, "widgets.parity.rbee.dev is forbidden: no");
        assert_eq!(ApiError::forbidden(Qualified { group: "", name: "" }, "", "no").message, "forbidden: no");
    }

    #[test]
    fn a_future_version_asks_to_come_again() {
        let error = ApiError::too_large_resource_version(9, 4);
        assert_eq!((error.code.as_u16(), error.retry_after), (504, Some(1)));
        assert_eq!(error.message, "Timeout: Too large resource version: 9, current: 4");
    }
}
