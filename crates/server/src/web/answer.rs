//! Answers of the API: bodies with their media type, and problems as JSON.

use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

/// Returns an answer with a body.
pub(super) fn of(
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Body>,
) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// Returns what is wrong with a request: `{"error": "..."}`.
pub(super) fn problem(status: StatusCode, message: &str) -> Response<Body> {
    let body = json!({ "error": message }).to_string() + "\n";
    of(status, "application/json", body)
}

/// Returns the answer to a request that broke an invariant of ours.
pub(super) fn internal(error: &crate::Error) -> Response<Body> {
    problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
}
