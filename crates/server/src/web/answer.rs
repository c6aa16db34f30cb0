//! Answers of the API: bodies with their media type, and problems as JSON.

use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::body::InFlight;

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

/// The largest answer, bytes: as much as a message may hold. A trace or a report beyond it is to be
/// asked for in parts.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Bytes that all answers may hold together until they were sent: clients that do not read what
/// they asked for must not fill the memory.
pub(super) const ANSWERS_BYTES_MAX: usize = 256 << 20;

/// Returns an answer of any size, if it is within the limits; `way_out` says how to ask for less.
pub(super) fn of_any_size(
    media_type: &'static str,
    body: Vec<u8>,
    way_out: &str,
    answers: &InFlight,
) -> Response<Body> {
    if body.len() > ANSWER_BYTES_MAX {
        let message = format!(
            "the answer has {} bytes, and may have {ANSWER_BYTES_MAX}: {way_out}",
            body.len()
        );
        return problem(StatusCode::PAYLOAD_TOO_LARGE, &message);
    }
    let Some(body) = answers.hold(body) else {
        let message = format!(
            "answers that were not read yet hold the {ANSWERS_BYTES_MAX} bytes that they may"
        );
        return problem(StatusCode::SERVICE_UNAVAILABLE, &message);
    };
    of(StatusCode::OK, media_type, body)
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
