//! `/api/v1/traces/{trace_id}`: a trace of the window, as OTLP JSON.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Extract};
use http::{Response, StatusCode};
use timesink_otlp::encode_json_within;
use timesink_output::safe;

use super::State;
use super::answer::{ANSWER_BYTES_MAX, internal, of_any_size, problem};
use timesink_store::parse_trace_id;

use crate::watch;

/// What is said of a trace that is too large.
const WAY_OUT: &str = "a trace is not cut; the findings name its spans";

/// Returns all spans of a trace that came, settled or not: one `ExportTraceServiceRequest`.
pub(super) async fn show(
    trace_id: Result<Path<String>, PathRejection>,
    Extract(state): Extract<State>,
) -> Response<Body> {
    let id = trace_id.ok().and_then(|Path(text)| parse_trace_id(&text));
    let Some(id) = id else {
        let message = "a trace id has 32 hex digits";
        return problem(StatusCode::BAD_REQUEST, message);
    };
    let Some(live) = state.live.clone() else {
        return problem(StatusCode::NOT_FOUND, "no traces are kept here");
    };
    let found = state.offload.run(move || {
        watch::computes();
        let spans = live.trace(id)?;
        let json = encode_json_within(&spans, ANSWER_BYTES_MAX).map(|json| {
            let json = String::from_utf8_lossy(&json);
            safe::json(&json).into_owned()
        });
        Ok::<_, crate::Error>((!spans.is_empty()).then_some(json))
    });
    match found.await {
        Ok(Ok(Some(Some(json)))) => {
            of_any_size("application/json", json.into_bytes(), WAY_OUT, &state.answers)
        }
        Ok(Ok(Some(None))) => {
            let message = format!("the trace has more than {ANSWER_BYTES_MAX} bytes: {WAY_OUT}");
            problem(StatusCode::PAYLOAD_TOO_LARGE, &message)
        }
        Ok(Ok(None)) => {
            let message = format!(
                "no span of trace `{id:032x}` is in the window: it is older, or has not come yet"
            );
            problem(StatusCode::NOT_FOUND, &message)
        }
        Ok(Err(error)) | Err(error) => internal(&error),
    }
}
