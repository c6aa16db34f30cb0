//! `/api/v1/traces/{trace_id}`: a trace of the window, as OTLP JSON.

use axum::body::Body;
use axum::extract::{Path, State as Extract};
use http::{Response, StatusCode};
use timesink_output::safe;

use super::State;
use super::answer::{internal, of, problem};
use crate::live::parse_trace_id;

/// Returns all spans of a trace that came, settled or not: one `ExportTraceServiceRequest`.
pub(super) async fn show(
    Path(trace_id): Path<String>,
    Extract(state): Extract<State>,
) -> Response<Body> {
    let Some(id) = parse_trace_id(&trace_id) else {
        let message = "a trace id has 32 hex digits";
        return problem(StatusCode::BAD_REQUEST, message);
    };
    let Some(live) = state.live.clone() else {
        return problem(StatusCode::NOT_FOUND, "no traces are kept here");
    };
    let found = state.offload.run(move || {
        let spans = live.trace(id)?;
        Ok::<_, crate::Error>(spans.map(|spans| {
            let json = timesink_otlp::encode_json(&spans);
            safe::json(&String::from_utf8_lossy(&json)).into_owned()
        }))
    });
    match found.await {
        Ok(Ok(Some(json))) => of(StatusCode::OK, "application/json", json),
        Ok(Ok(None)) => {
            let message = format!(
                "no span of trace `{id:032x}` is in the window: it is older, or has not come yet"
            );
            problem(StatusCode::NOT_FOUND, &message)
        }
        Ok(Err(error)) | Err(error) => internal(&error),
    }
}
