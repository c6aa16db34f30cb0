//! What the server says of itself.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::State as Extract;
use http::{Response, StatusCode};

use super::State;
use super::answer::of;

const TEXT: &str = "text/plain; charset=utf-8";

/// Says that it is alive.
pub(super) async fn healthz() -> Response<Body> {
    of(StatusCode::OK, TEXT, "ok\n")
}

/// Says whether it takes spans.
pub(super) async fn readyz(Extract(state): Extract<State>) -> Response<Body> {
    if state.is_ready.load(Ordering::Relaxed) {
        of(StatusCode::OK, TEXT, "ready\n")
    } else {
        of(StatusCode::SERVICE_UNAVAILABLE, TEXT, "stopping\n")
    }
}

/// Returns the metrics in Prometheus' text format (`OpenMetrics` 1.0).
pub(super) async fn metrics(Extract(state): Extract<State>) -> Response<Body> {
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    of(StatusCode::OK, media_type, state.metrics.text())
}
