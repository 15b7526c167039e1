//! Error codes and the two shapes in which an HTTP error is told: rbee's envelope and OpenAI's error object.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::fmt;

macro_rules! codes {
    ($($variant:ident $status:literal $screaming:literal $snake:literal),+ $(,)?) => {
        /// What went wrong, as one closed list. Conditions and Events say it in CamelCase, rbee's envelope in
        /// SCREAMING_SNAKE_CASE, OpenAI's error object in lower_snake_case.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorCode { $($variant),+ }

        impl ErrorCode {
            /// Every code, in the order of the behaviour contract.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant),+];

            /// HTTP status that goes with the code.
            pub const fn status(self) -> u16 {
                match self { $(ErrorCode::$variant => $status),+ }
            }

            /// `INSUFFICIENT_MEMORY`
            pub const fn screaming(self) -> &'static str {
                match self { $(ErrorCode::$variant => $screaming),+ }
            }

            /// `insufficient_memory`
            pub const fn snake(self) -> &'static str {
                match self { $(ErrorCode::$variant => $snake),+ }
            }

            /// `InsufficientMemory`
            pub const fn camel(self) -> &'static str {
                match self { $(ErrorCode::$variant => stringify!($variant)),+ }
            }
        }
    };
}

codes! {
    ConnectionTimeout 504 "CONNECTION_TIMEOUT" "connection_timeout",
    VersionMismatch 409 "VERSION_MISMATCH" "version_mismatch",
    ModelNotFound 404 "MODEL_NOT_FOUND" "model_not_found",
    ModelAccessDenied 403 "MODEL_ACCESS_DENIED" "model_access_denied",
    DownloadFailed 502 "DOWNLOAD_FAILED" "download_failed",
    ChecksumMismatch 502 "CHECKSUM_MISMATCH" "checksum_mismatch",
    InsufficientDisk 507 "INSUFFICIENT_DISK" "insufficient_disk",
    InsufficientMemory 507 "INSUFFICIENT_MEMORY" "insufficient_memory",
    VramExhausted 507 "VRAM_EXHAUSTED" "vram_exhausted",
    BackendNotAvailable 400 "BACKEND_NOT_AVAILABLE" "backend_not_available",
    DeviceNotAvailable 400 "DEVICE_NOT_AVAILABLE" "device_not_available",
    WorkerStartFailed 500 "WORKER_START_FAILED" "worker_start_failed",
    LoadingTimeout 504 "LOADING_TIMEOUT" "loading_timeout",
    WorkerCrashed 502 "WORKER_CRASHED" "worker_crashed",
    InferenceStalled 504 "INFERENCE_STALLED" "inference_stalled",
    RequestCanceled 499 "REQUEST_CANCELED" "request_canceled",
    AllSlotsBusy 503 "ALL_SLOTS_BUSY" "all_slots_busy",
    InvalidApiKey 401 "INVALID_API_KEY" "invalid_api_key",
    Forbidden 403 "FORBIDDEN" "forbidden",
    InvalidRequest 400 "INVALID_REQUEST" "invalid_request",
    RequestTimeout 408 "REQUEST_TIMEOUT" "request_timeout",
    Draining 503 "DRAINING" "draining",
    Loading 503 "LOADING" "loading",
    InvalidModelFile 422 "INVALID_MODEL_FILE" "invalid_model_file",
    UnsupportedFormat 422 "UNSUPPORTED_FORMAT" "unsupported_format",
    OriginNotAllowed 403 "ORIGIN_NOT_ALLOWED" "origin_not_allowed",
    TemplateError 400 "TEMPLATE_ERROR" "template_error",
    NotFound 404 "NOT_FOUND" "not_found",
    Unavailable 503 "UNAVAILABLE" "unavailable",
    Internal 500 "INTERNAL" "internal",
}

impl ErrorCode {
    /// Reads any of the three spellings.
    pub fn parse(text: &str) -> Option<ErrorCode> {
        Self::ALL.iter().copied().find(|c| c.screaming() == text || c.snake() == text || c.camel() == text)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.screaming())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.screaming())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        ErrorCode::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("unknown error code {text:?}")))
    }
}

/// An error on its way to a client; it knows both HTTP shapes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What went wrong.
    pub code: ErrorCode,
    /// HTTP status; differs from the code's own for sizes (413) and kinds of body (415).
    pub status: u16,
    /// One sentence for people: what happened, where, what to do.
    pub message: String,
    /// The request's field at fault.
    pub param: Option<String>,
    /// OpenAI's own code where it has one that says more than ours.
    pub openai_code: Option<String>,
    /// More facts for programs.
    pub details: Box<Map<String, Value>>,
    /// Seconds after which another try may succeed.
    pub retry_after: Option<u32>,
}

impl ApiError {
    /// An error with the status of its code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            status: code.status(),
            message: message.into(),
            param: None,
            openai_code: None,
            details: Box::default(),
            retry_after: None,
        }
    }

    /// INVALID_REQUEST at a field; the message gets the field's name in front.
    pub fn invalid(param: impl Into<String>, message: impl fmt::Display) -> Self {
        let param = param.into();
        let mut error = Self::new(ErrorCode::InvalidRequest, format!("{param}: {message}"));
        error.details.insert("field".into(), param.clone().into());
        error.param = Some(param);
        error
    }

    /// The prompt does not fit into the context. `param` is the field that held the prompt.
    pub fn context_length_exceeded(param: &str, prompt_tokens: usize, context_length: usize) -> Self {
        Self::too_long(param, "", prompt_tokens, context_length)
    }

    /// The prompt does not fit by far, so that nobody counted more than that it has at least so many tokens.
    pub fn context_length_exceeded_by_far(param: &str, least: usize, context_length: usize) -> Self {
        Self::too_long(param, "at least ", least, context_length)
    }

    fn too_long(param: &str, how: &str, prompt_tokens: usize, context_length: usize) -> Self {
        let text = format!(
            "this model's context length is {context_length} tokens, but the prompt has {how}{prompt_tokens}; shorten the prompt"
        );
        let mut error = Self::invalid(param, text).with_openai_code("context_length_exceeded");
        error.details.insert("prompt_tokens".into(), prompt_tokens.into());
        error.details.insert("context_length".into(), context_length.into());
        error
    }

    /// The model of the request is not here.
    pub fn model_not_found(model: &str) -> Self {
        let shown: String = model.chars().filter(|c| !c.is_control()).take(200).collect();
        let mut error = Self::new(ErrorCode::ModelNotFound, format!("the model '{shown}' does not exist"));
        error.param = Some("model".into());
        error
    }

    /// A wrong or missing key. `host` is the address that was asked, `hint` where the key is configured.
    pub fn invalid_api_key(host: &str, hint: &str) -> Self {
        Self::new(ErrorCode::InvalidApiKey, format!("the API key for {host} is missing or wrong; {hint}"))
    }

    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub fn with_openai_code(mut self, code: impl Into<String>) -> Self {
        self.openai_code = Some(code.into());
        self
    }

    pub fn with_detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.into(), value.into());
        self
    }

    /// Adds a `Retry-After` of so many seconds.
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// rbee's envelope: `{"error":{"code","message","details"}}`.
    pub fn envelope(&self) -> Value {
        json!({"error": {"code": self.code.screaming(), "message": self.message, "details": self.details}})
    }

    /// OpenAI's error object: `{"error":{"message","type","param","code"}}`.
    pub fn openai(&self) -> Value {
        let kind = match self.status {
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        };
        let code = self.openai_code.as_deref().unwrap_or(self.code.snake());
        json!({"error": {"message": self.message, "type": kind, "param": self.param, "code": code}})
    }

    /// Reads an error answer in either shape; what is no such shape becomes an error with the body's beginning.
    pub fn from_body(status: u16, body: &[u8]) -> Self {
        let fallback = match status {
            401 => ErrorCode::InvalidApiKey,
            403 => ErrorCode::Forbidden,
            404 => ErrorCode::NotFound,
            408 => ErrorCode::RequestTimeout,
            400..=499 => ErrorCode::InvalidRequest,
            503 => ErrorCode::Unavailable,
            _ => ErrorCode::Internal,
        };
        let parsed: Option<Value> = serde_json::from_slice(body).ok();
        let Some(error) = parsed.as_ref().and_then(|v| v.get("error")).and_then(Value::as_object) else {
            let start: String = String::from_utf8_lossy(&body[..body.len().min(300)]).trim().chars().collect();
            return Self::new(fallback, format!("HTTP {status}: {start}")).with_status(status);
        };
        let text = |key: &str| error.get(key).and_then(Value::as_str);
        let code = text("code");
        Self {
            code: code.and_then(ErrorCode::parse).unwrap_or(fallback),
            status,
            message: text("message").unwrap_or("no message").to_owned(),
            param: text("param").map(str::to_owned),
            openai_code: code.filter(|c| ErrorCode::parse(c).is_none()).map(str::to_owned),
            details: Box::new(error.get("details").and_then(Value::as_object).cloned().unwrap_or_default()),
            retry_after: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_three_spellings_that_read_back() {
        for code in ErrorCode::ALL {
            for text in [code.screaming(), code.snake(), code.camel()] {
                assert_eq!(ErrorCode::parse(text), Some(*code), "{text}");
            }
            assert_eq!(code.snake(), code.screaming().to_lowercase());
            assert_eq!(code.camel().to_lowercase(), code.snake().replace('_', ""));
            assert!((400..600).contains(&code.status()));
        }
    }

    #[test]
    fn both_shapes_read_back() {
        let error = ApiError::invalid("max_tokens", "must be at least 1").with_detail("value", 0);
        let ours = ApiError::from_body(400, error.envelope().to_string().as_bytes());
        assert_eq!((ours.code, ours.message.as_str()), (ErrorCode::InvalidRequest, "max_tokens: must be at least 1"));
        assert_eq!(ours.details["value"], 0);
        let theirs = ApiError::from_body(400, error.openai().to_string().as_bytes());
        assert_eq!(theirs.param.as_deref(), Some("max_tokens"));
        assert_eq!(error.openai()["error"]["type"], "invalid_request_error");
        let page = ApiError::from_body(502, b"<html>bad gateway</html>");
        assert!(page.message.contains("bad gateway") && page.status == 502);
    }

    #[test]
    fn context_length_has_openais_code() {
        let error = ApiError::context_length_exceeded("prompt", 300, 256);
        assert_eq!(error.openai()["error"]["code"], "context_length_exceeded");
        assert_eq!(error.envelope()["error"]["code"], "INVALID_REQUEST");
        assert!(error.message.contains("context"));
    }
}
