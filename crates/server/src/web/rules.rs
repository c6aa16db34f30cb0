//! `/rules/{rule}`: the remediation guides, as pages.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Extract};
use http::{Response, StatusCode};

use super::State;
use super::answer::{internal, of, problem};
use crate::Error;

/// Returns the guide of a rule.
pub(super) async fn show(
    name: Result<Path<String>, PathRejection>,
    Extract(state): Extract<State>,
) -> Response<Body> {
    let Some(live) = state.live.clone() else {
        return problem(StatusCode::NOT_FOUND, "no rules are run here");
    };
    let Ok(Path(name)) = name else {
        return problem(StatusCode::NOT_FOUND, "no rule has such a name");
    };
    let version = state.version;
    let page = state.offload.run(move || {
        let rule = live.rules().get(&name).map_err(|error| error.to_string())?;
        Ok::<_, String>(timesink_output::guide_html(rule, version))
    });
    match page.await {
        Ok(Ok(Ok(page))) => of(StatusCode::OK, "text/html; charset=utf-8", page),
        Ok(Ok(Err(error))) => internal(&Error::Internal(error.to_string())),
        Ok(Err(unknown)) => problem(StatusCode::NOT_FOUND, &crate::answer::bounded(&unknown)),
        Err(error) => internal(&error),
    }
}
