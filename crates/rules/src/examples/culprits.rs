//! [`Culprits`]: which spans and gaps of a trace its findings are about.

use hashbrown::{HashMap, HashSet};
use timesink_model::Finding;

use super::read::{Gap, Span};

/// The findings of each span and gap of one trace, by place.
#[derive(Debug, Default)]
pub(super) struct Culprits<'a> {
    spans: HashMap<usize, Vec<&'a str>>,
    gaps: HashMap<(usize, usize), Vec<&'a str>>,
    /// Spans that a finding is about, or a gap of theirs.
    named: HashSet<usize>,
}

impl<'a> Culprits<'a> {
    /// Looks for what the subject of each finding names; where nothing carries that name, the
    /// finding is about the span that its evidence points at.
    pub(super) fn find(trace_id: &str, spans: &[Span<'_>], findings: &'a [Finding]) -> Self {
        let mut culprits = Self::default();
        for finding in findings {
            let mut ids = finding.evidence.trace_ids.iter().zip(&finding.evidence.span_ids);
            if let Some((_, pointed)) = ids.find(|(id, _)| *id == trace_id) {
                culprits.add(spans, finding, pointed);
            }
        }
        culprits
    }

    fn add(&mut self, spans: &[Span<'_>], finding: &'a Finding, pointed: &str) {
        let mut is_named = false;
        for (at, span) in spans.iter().enumerate() {
            if is_subject(span, finding) {
                self.spans.entry(at).or_default().push(&finding.finding_id);
                self.named.insert(at);
                is_named = true;
            }
            if span.service != finding.service_name {
                continue;
            }
            for (number, gap) in span.gaps.iter().enumerate() {
                if is_called(gap, &finding.subject) {
                    self.gaps.entry((at, number)).or_default().push(&finding.finding_id);
                    self.named.insert(at);
                    is_named = true;
                }
            }
        }
        if let Some(at) = spans.iter().position(|span| span.id == pointed)
            && !is_named
        {
            self.spans.entry(at).or_default().push(&finding.finding_id);
            self.named.insert(at);
        }
    }

    pub(super) fn of_span(&self, at: usize) -> &[&'a str] {
        self.spans.get(&at).map_or(&[], Vec::as_slice)
    }

    pub(super) fn of_gap(&self, at: usize, number: usize) -> &[&'a str] {
        self.gaps.get(&(at, number)).map_or(&[], Vec::as_slice)
    }

    /// Returns whether a finding is about the span or one of its gaps.
    pub(super) fn names(&self, at: usize) -> bool {
        self.named.contains(&at)
    }
}

/// Returns whether a span is what a finding is about: an operation of its service, a call over its
/// edge, a request to the service that it names, or a call to the peer that it names.
fn is_subject(span: &Span<'_>, finding: &Finding) -> bool {
    let subject = finding.subject.as_str();
    if span.service == finding.service_name && is_operation(span, subject) {
        return true;
    }
    let Some(callee) = span.server_service else {
        let is_request = span.service == subject && span.id == span.entry_id;
        return is_request || span.service == finding.service_name && is_peer(span, subject);
    };
    subject.split_once(" -> ") == Some((span.service, callee))
}

fn is_operation(span: &Span<'_>, subject: &str) -> bool {
    span.query_shape == Some(subject)
        || span.operation == subject
        || span.template.is_some_and(|template| {
            let rest = subject.strip_prefix(span.operation).and_then(|r| r.strip_prefix(' '));
            rest == Some(template)
        })
}

/// As the view of calls names whom a call goes to.
fn is_peer(span: &Span<'_>, subject: &str) -> bool {
    if span.kind != "CLIENT" {
        return false;
    }
    let host = span.query_shape.and_then(|shape| shape.rsplit(' ').next()?.split('/').next());
    let address = span.server_address.is_some_and(|address| match span.server_port {
        Some(port) => subject == format!("{address}:{port}"),
        None => subject == address,
    });
    address || host == Some(subject)
}

/// Returns whether rules call a gap so.
fn is_called(gap: &Gap<'_>, subject: &str) -> bool {
    let Some(rest) = subject.strip_prefix("gap ") else { return false };
    match gap.position {
        "lead" => rest.strip_prefix("before ") == Some(gap.after),
        "tail" => rest.strip_prefix("after ") == Some(gap.before),
        "between" => {
            let rest = rest.strip_prefix("between ").and_then(|r| r.strip_prefix(gap.before));
            rest.and_then(|r| r.strip_prefix(" and ")) == Some(gap.after)
        }
        _ => rest == "over the whole span",
    }
}
