//! [`examples`]: the traces behind findings, ready to be drawn.
//!
//! Reads no more than the traces it is asked for, and shows no more than [`EXAMPLE_SPANS_MAX`]
//! spans of each: what findings are about first, then the critical path, then what took longest.

mod culprits;
mod order;
mod read;

use hashbrown::HashSet;
use timesink_model::{ExampleGap, ExampleSpan, ExampleTrace, Finding, Stretch};
use timesink_query::Database;

use crate::Error;
use culprits::Culprits;
use read::{Span, Traces};

/// The most traces returned: a page with more waterfalls is read by nobody.
pub const EXAMPLE_TRACES_MAX: usize = 100;

/// The most spans shown of a trace; the others are counted.
pub const EXAMPLE_SPANS_MAX: usize = 200;

/// Returns up to `per_finding` example traces of each finding, those of the first findings first.
///
/// # Errors
///
/// [`Error::Query`] and [`Error::Internal`] when the spans at hand are not what the pass made.
pub fn examples(
    database: &Database,
    findings: &[Finding],
    per_finding: usize,
) -> Result<Vec<ExampleTrace>, Error> {
    let chosen = chosen(findings, per_finding);
    let traces = Traces::read(database, &chosen)?;
    let mut examples = Vec::with_capacity(chosen.len());
    for trace_id in chosen {
        let spans = traces.spans(trace_id)?;
        if !spans.is_empty() {
            examples.push(example(trace_id, &spans, findings));
        }
    }
    Ok(examples)
}

/// Returns the ids of the traces to show, each once.
fn chosen(findings: &[Finding], per_finding: usize) -> Vec<&str> {
    let mut seen = HashSet::new();
    findings
        .iter()
        .flat_map(|finding| finding.evidence.trace_ids.iter().take(per_finding))
        .map(String::as_str)
        .filter(|trace_id| seen.insert(*trace_id))
        .take(EXAMPLE_TRACES_MAX)
        .collect()
}

fn example(trace_id: &str, spans: &[Span<'_>], findings: &[Finding]) -> ExampleTrace {
    let start = spans.iter().map(|span| span.start).min().unwrap_or(0);
    let end = spans.iter().map(Span::end).max().unwrap_or(0);
    let culprits = Culprits::find(trace_id, spans, findings);
    let shown = order::shown(spans, &culprits);
    let mut services: Vec<String> = Vec::new();
    for (at, _) in &shown {
        if services.iter().all(|name| name != spans[*at].service) {
            services.push(spans[*at].service.to_owned());
        }
    }
    let span = |(at, depth): (usize, usize)| example_span(&spans[at], at, depth, start, &culprits);
    ExampleTrace {
        trace_id: trace_id.to_owned(),
        start_unix_nano: start,
        duration_nanos: end.saturating_sub(start),
        services,
        spans_total: spans.len(),
        spans: shown.into_iter().map(span).collect(),
    }
}

fn example_span(
    span: &Span<'_>,
    at: usize,
    depth: usize,
    trace_start: i64,
    culprits: &Culprits<'_>,
) -> ExampleSpan {
    let from_start = |stretch: Stretch| Stretch {
        start_nanos: stretch.start_nanos.saturating_sub(trace_start),
        ..stretch
    };
    let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    let gap = |(number, gap): (usize, &read::Gap<'_>)| ExampleGap {
        stretch: from_start(gap.stretch),
        finding_ids: owned(culprits.of_gap(at, number)),
    };
    ExampleSpan {
        span_id: span.id.to_owned(),
        parent_span_id: span.parent_id.map(str::to_owned),
        name: span.name.to_owned(),
        service_name: span.service.to_owned(),
        kind: span.kind.to_owned(),
        subject: span.query_shape.map(|_| span.operation.to_owned()),
        depth,
        start_nanos: span.start.saturating_sub(trace_start),
        duration_nanos: span.duration,
        is_error: span.is_error,
        critical: span.critical.iter().copied().map(from_start).collect(),
        gaps: span.gaps.iter().enumerate().map(gap).collect(),
        finding_ids: owned(culprits.of_span(at)),
    }
}

#[cfg(test)]
mod tests;
