//! Page, API and metrics.

mod answer;
mod findings;
mod health;
mod rules;
mod traces;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderName, HeaderValue, Response, StatusCode};

use self::answer::problem;
use crate::access::Denied;
use crate::body::InFlight;
use crate::live::Shared;
use crate::metrics::Metrics;
use crate::offload::Offload;

/// What the handlers ask.
#[derive(Clone)]
pub(crate) struct State {
    /// None when spans are collected only.
    pub(crate) live: Option<Arc<Shared>>,
    pub(crate) metrics: Metrics,
    /// Of its own: exports do not wait for pages.
    pub(crate) offload: Offload,
    pub(crate) answers: InFlight,
    pub(crate) is_ready: Arc<AtomicBool>,
    pub(crate) version: &'static str,
    pub(crate) clock: fn() -> i64,
}

/// Sent with every answer: nothing of it is code, nothing of it belongs into a frame.
const SECURITY_HEADERS: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
];

/// Returns the count of what answers hold.
pub(crate) fn answers(metrics: &Metrics) -> InFlight {
    InFlight::new(answer::ANSWERS_BYTES_MAX, metrics.answers())
}

/// Returns all routes.
pub(crate) fn router(state: State) -> Router {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/", get(findings::page))
        .route("/rules/{rule}", get(rules::show))
        .route("/api/v1/findings", get(findings::list))
        .route("/api/v1/traces/{trace_id}", get(traces::show))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(state)
        .layer(axum::middleware::map_response(secured))
}

/// Probes of an orchestrator carry no token, and tell nothing.
pub(crate) fn is_open_to_all(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// Returns the answer to a request that is not let in.
pub(crate) fn denied(denied: Denied) -> Response<Body> {
    let mut response = match denied {
        Denied::Token => problem(StatusCode::UNAUTHORIZED, denied.message()),
        Denied::Role | Denied::Host | Denied::Origin => {
            problem(StatusCode::FORBIDDEN, denied.message())
        }
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        // RFC 9110, 11.6.1: an answer with this status names a scheme.
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    secure(&mut response);
    response
}

async fn wrong_method(method: http::Method) -> Response<Body> {
    let message = format!("expected GET, found {method}");
    problem(StatusCode::METHOD_NOT_ALLOWED, &crate::answer::bounded(&message))
}

async fn unknown(uri: http::Uri) -> Response<Body> {
    let message = format!("no such path: `{}`", uri.path());
    problem(StatusCode::NOT_FOUND, &crate::answer::bounded(&message))
}

async fn secured(mut response: Response<Body>) -> Response<Body> {
    secure(&mut response);
    response
}

fn secure(response: &mut Response<Body>) {
    for (name, value) in SECURITY_HEADERS {
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}
