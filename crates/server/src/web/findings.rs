//! `/api/v1/findings` and the page: what the last analysis of the window found.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State as Extract};
use http::{Response, StatusCode};
use timesink_model::{
    Confidence, Finding, Severity, first_causes, folded, parse_duration_nanos, rank,
};
use timesink_output::{Format, Report};
use timesink_rules::Mute;

use super::State;
use super::answer::{internal, of_any_size, problem};
use crate::live::{Shared, Snapshot};
use crate::{Error, answer, watch};

/// Returns the findings that are asked for, by default all of them as one JSON document.
pub(super) async fn list(
    Query(pairs): Query<Vec<(String, String)>>,
    Extract(state): Extract<State>,
) -> Response<Body> {
    match Wanted::parse(&pairs, (state.clock)()) {
        Ok(wanted) => answer(state, wanted).await,
        Err(message) => problem(StatusCode::BAD_REQUEST, &answer::bounded(&message)),
    }
}

/// Returns the page: all findings for people.
pub(super) async fn page(Extract(state): Extract<State>) -> Response<Body> {
    answer(state, Wanted { format: Format::Html, ..Wanted::default() }).await
}

async fn answer(state: State, wanted: Wanted) -> Response<Body> {
    let Some(live) = state.live.clone() else {
        return problem(StatusCode::NOT_FOUND, "nothing is analyzed here");
    };
    let version = state.version;
    let rendered = state.offload.run(move || render(&live, &wanted, version));
    match rendered.await {
        Ok(Ok((format, body))) => {
            let way_out = "ask for less: `/api/v1/findings?format=html&top=20`";
            of_any_size(format.content_type(), body, way_out, &state.answers)
        }
        Ok(Err(error)) | Err(error) => internal(&error),
    }
}

fn render(live: &Shared, wanted: &Wanted, version: &str) -> Result<(Format, Vec<u8>), Error> {
    watch::computes();
    let broken = |error: &dyn std::fmt::Display| Error::Internal(error.to_string());
    // Asked first: spans that come while the report is made are not missing from it.
    let provisional = live.is_provisional();
    let snapshot: Arc<Snapshot> = live.snapshot();
    let analysis = &snapshot.analysis;
    let fitting = |all: &[Finding]| -> Vec<Finding> {
        all.iter().filter(|finding| wanted.fits(finding)).cloned().collect()
    };
    let (mut findings, mut muted) = (fitting(&analysis.findings), fitting(&analysis.muted));
    // A symptom whose cause does not fit stands for itself.
    rank(&mut findings);
    rank(&mut muted);
    let mutes_over = analysis.mutes_over.iter().filter(|mute| wanted.may_show(mute));
    let mutes_over: Vec<Mute> = mutes_over.cloned().collect();
    let (findings_total, causes_total) = (findings.len(), folded(&findings).len());
    findings.truncate(first_causes(&findings, wanted.top.unwrap_or(usize::MAX)));
    let examples = if wanted.format == Format::Html { snapshot.examples.as_slice() } else { &[] };
    let report = Report {
        findings: &findings,
        findings_total,
        causes_total,
        muted: &muted,
        mutes_over: &mutes_over,
        runs: &analysis.runs,
        spans: analysis.spans,
        traces: analysis.traces,
        services: snapshot.services,
        notices: Vec::new(),
        examples,
        rules: live.rules(),
        provisional,
        version,
    };
    let mut body = Vec::new();
    timesink_output::write(wanted.format, &report, &mut body).map_err(|error| broken(&error))?;
    Ok((wanted.format, body))
}

/// Which findings, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    format: Format,
    service: Option<String>,
    endpoint: Option<String>,
    rule: Option<String>,
    severity_min: Severity,
    confidence_min: Confidence,
    /// Those seen at this time, ns since the epoch, or later.
    since: i64,
    top: Option<usize>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            format: Format::Json,
            service: None,
            endpoint: None,
            rule: None,
            severity_min: Severity::Info,
            confidence_min: Confidence::Possible,
            since: i64::MIN,
            top: None,
        }
    }
}

/// The names of the parameters, for those who wrote another.
const PARAMETERS: &str =
    "`format`, `service`, `endpoint`, `rule`, `severity`, `confidence`, `since`, `top`";

impl Wanted {
    /// Reads the parameters of a request; `now` is ns since the epoch.
    fn parse(pairs: &[(String, String)], now: i64) -> Result<Self, String> {
        let mut wanted = Self::default();
        for (name, value) in pairs {
            let expected = |what: &str| format!("`{name}` is `{value}`: expected {what}");
            match name.as_str() {
                "format" => {
                    wanted.format = value.parse().map_err(|error| format!("`format`: {error}"))?;
                }
                "service" => wanted.service = Some(value.clone()),
                "endpoint" => wanted.endpoint = Some(value.clone()),
                "rule" => wanted.rule = Some(value.clone()),
                "severity" => {
                    wanted.severity_min = Severity::parse(value)
                        .ok_or_else(|| expected("`info`, `warning` or `error`, the least"))?;
                }
                "confidence" => {
                    wanted.confidence_min = Confidence::parse(value)
                        .ok_or_else(|| expected("`possible`, `likely` or `certain`, the least"))?;
                }
                "since" => {
                    let nanos = parse_duration_nanos(value)
                        .ok_or_else(|| expected("a time back from now: 90s, 15m, 2h or 7d"))?;
                    wanted.since = now.saturating_sub(nanos);
                }
                "top" => {
                    let top = value.parse().ok().filter(|top| *top > 0);
                    wanted.top = Some(top.ok_or_else(|| expected("a number from 1"))?);
                }
                _ => return Err(format!("unknown parameter `{name}`: expected {PARAMETERS}")),
            }
        }
        Ok(wanted)
    }

    /// Whether what a mute was about can be among them.
    fn may_show(&self, mute: &Mute) -> bool {
        let may = |wanted: &Option<String>, muted: &Option<String>| {
            wanted.is_none() || muted.is_none() || wanted == muted
        };
        may(&self.service, &mute.service)
            && may(&self.endpoint, &mute.endpoint)
            && may(&self.rule, &mute.rule)
    }

    fn fits(&self, finding: &Finding) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        is(&self.service, &finding.service_name)
            && is(&self.endpoint, &finding.endpoint)
            && is(&self.rule, &finding.rule)
            && finding.severity >= self.severity_min
            && finding.confidence >= self.confidence_min
            && finding.last_seen_unix_nano >= self.since
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_parameters_are_read_or_named(
            pairs in vec(
                (
                    "format|service|endpoint|rule|severity|confidence|since|top|[a-z]{0,9}",
                    "-?[0-9]{0,21}[smhd]?|info|certain|html|.{0,4}",
                ),
                0..4,
            ),
            now in any::<i64>(),
        ) {
            match Wanted::parse(&pairs, now) {
                Ok(wanted) => prop_assert!(wanted.since <= now && wanted.top != Some(0)),
                Err(message) => {
                    let is_named = |(name, _): &(String, String)| {
                        message.contains(&format!("`{name}`"))
                    };
                    prop_assert!(pairs.iter().any(is_named), "{message}");
                }
            }
        }
    }

    fn parsed(pairs: &[(&str, &str)]) -> Result<Wanted, String> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Wanted::parse(&pairs.iter().map(own).collect::<Vec<_>>(), 1_000_000_000_000)
    }

    #[test]
    fn parameters_are_read() {
        assert_eq!(parsed(&[]).unwrap(), Wanted::default());
        let wanted = parsed(&[("severity", "warning"), ("top", "3"), ("since", "15m")]).unwrap();
        assert_eq!((wanted.severity_min, wanted.top), (Severity::Warning, Some(3)));
        assert_eq!(wanted.since, 100_000_000_000);
        assert_eq!(parsed(&[("format", "sarif")]).unwrap().format, Format::Sarif);
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (name, value) in [
            ("severity", "fatal"),
            ("confidence", "sure"),
            ("since", "yesterday"),
            ("since", "1000000d"),
            ("since", "m"),
            ("top", "0"),
            ("format", "pdf"),
            ("services", "shop"),
        ] {
            let message = parsed(&[(name, value)]).unwrap_err();
            assert!(message.contains(&format!("`{name}`")), "{message}");
        }
    }
}
