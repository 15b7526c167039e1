//! Errors as HTTP answers, in the shape that the path's API has.

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rbee_wire::{ApiError, ErrorCode};

/// Whose error shape a path has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    OpenAi,
    Rbee,
}

impl Shape {
    pub fn of(path: &str) -> Self {
        let openai = ["/v1/chat/", "/v1/completions", "/v1/embeddings", "/v1/models"];
        if openai.iter().any(|p| path.starts_with(p)) { Self::OpenAi } else { Self::Rbee }
    }

    /// The body of an error.
    pub fn body(self, error: &ApiError) -> serde_json::Value {
        match self {
            Self::OpenAi => error.openai(),
            Self::Rbee => error.envelope(),
        }
    }

    pub fn refuse(self, error: ApiError) -> Refusal {
        Refusal { shape: self, error: Box::new(error) }
    }
}

/// An error on its way out.
#[derive(Debug)]
pub struct Refusal {
    shape: Shape,
    error: Box<ApiError>,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.shape.body(&self.error))).into_response();
        if let Some(seconds) = self.error.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

pub async fn no_route(uri: Uri) -> Refusal {
    let error = ApiError::new(ErrorCode::NotFound, "this worker has no such endpoint");
    Shape::of(uri.path()).refuse(error)
}

pub async fn no_method(uri: Uri, method: Method) -> Refusal {
    let text = format!("this endpoint does not take {method}");
    Shape::of(uri.path()).refuse(ApiError::new(ErrorCode::InvalidRequest, text).with_status(405))
}
