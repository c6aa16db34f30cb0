//! A finding, a report and hostile text for the tests of every format.

use std::time::Duration;

use timesink_model::{
    Confidence, Evidence, ExampleGap, ExampleSpan, ExampleTrace, Finding, Measure, MeasureValue,
    Remediation, Severity, Status, Stretch,
};
use timesink_rules::{Outcome, RuleRun, RuleSet, Undecided};

use crate::{Format, Report, write};

/// The trace of [`finding`].
pub(crate) const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Text of a span that tries to be something else in each of the formats.
pub(crate) const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\u{2066}<script>alert(1)\
    </script></style>]]>\r\n::error::owned\n=HYPERLINK(\"http://e.org\")|`code` ``` @octocat #123 \
    ##[stop-commands]x GH-7 ![i](http://e.org/i.png) [l](javascript:alert(1)) <!-- www.e.org \
    https://e.org %0A \
    {{ 7 * 7 }} {% raw %} {0} $x$ & &amp; **b** _i_ ~~s~~ \\ ' \" \u{2028}</details>";

/// The rule of [`finding`]: the first one shipped.
pub(crate) fn rule() -> String {
    rules().rules()[0].name().to_owned()
}

pub(crate) fn rules() -> RuleSet {
    RuleSet::embedded().unwrap()
}

pub(crate) fn finding() -> Finding {
    let measure = |name: &str, summary: &str, value| Measure {
        name: name.to_owned(),
        summary: summary.to_owned(),
        value,
    };
    let nanos = 1_795_431_600_000_000_001;
    Finding {
        finding_id: "0123456789abcdef".to_owned(),
        rule: rule(),
        severity: Severity::Warning,
        service_name: "checkout".to_owned(),
        endpoint: "GET /cart".to_owned(),
        // tidy-allow(sql): a subject, as findings have it.
        subject: "SELECT * FROM item WHERE id = ?".to_owned(),
        title: "25 queries of one shape in one request".to_owned(),
        message: "checkout GET /cart sends this statement 25 times.".to_owned(),
        window_start_unix_nano: nanos,
        window_end_unix_nano: nanos,
        traces_affected: 31,
        traces_seen: 40,
        occurrences: 775,
        wasted_nanos: 2_325_000_000,
        wasted_nanos_estimated: Some(2_325_000_000),
        wasted_share: Some(0.18),
        confidence: Confidence::Certain,
        confidence_reason: "the statements differ in their literals".to_owned(),
        evidence: Evidence {
            measures: vec![
                measure("repeats", "statements in a request", MeasureValue::Integer(25)),
                measure("pauses_share", "share of pauses", MeasureValue::Float(0.25)),
            ],
            trace_ids: vec![TRACE_ID.to_owned()],
            span_ids: vec!["00f067aa0ba902b7".to_owned()],
            code_location: Some("shop/views.py:12".to_owned()),
            test_cases: Vec::new(),
            muted: None,
        },
        remediation: Remediation {
            summary: "load the rows in one query".to_owned(),
            guide: "rules/a-rule#how-to-fix-it".to_owned(),
            references: vec!["https://example.org/loading".to_owned()],
            next_step: Some("set echo=True on the engine".to_owned()),
        },
        caused_by: None,
        first_seen_unix_nano: nanos,
        last_seen_unix_nano: nanos,
        service_versions: vec!["1.2".to_owned()],
        status: Status::New,
    }
}

/// A finding in which every text that comes from spans is hostile.
pub(crate) fn hostile() -> Finding {
    let mut finding = finding();
    for text in [
        &mut finding.service_name,
        &mut finding.endpoint,
        &mut finding.subject,
        &mut finding.title,
        &mut finding.message,
        &mut finding.confidence_reason,
        &mut finding.remediation.summary,
        &mut finding.remediation.references[0],
        &mut finding.evidence.trace_ids[0],
        &mut finding.evidence.measures[0].summary,
    ] {
        text.push_str(HOSTILE);
    }
    finding.remediation.next_step = Some(HOSTILE.to_owned());
    finding.evidence.code_location = Some(format!("{HOSTILE}:3"));
    finding.evidence.test_cases = vec![HOSTILE.to_owned(), format!("{HOSTILE}.py::test")];
    finding.evidence.measures[1].value = MeasureValue::Text(HOSTILE.to_owned());
    finding.service_versions = vec![HOSTILE.to_owned()];
    finding
}

/// A trace of a request with a loop of three queries, one beside another, and a gap.
pub(crate) fn example(finding: &Finding) -> ExampleTrace {
    let millis = 1_000_000;
    let stretch = |start: i64, duration: i64| Stretch {
        start_nanos: start * millis,
        duration_nanos: duration * millis,
    };
    let span = |name: &str, id: &str, depth: usize, start: i64, duration: i64| ExampleSpan {
        span_id: id.to_owned(),
        parent_span_id: (depth > 0).then(|| "00f067aa0ba902b7".to_owned()),
        name: name.to_owned(),
        service_name: finding.service_name.clone(),
        kind: if depth == 0 { "SERVER" } else { "CLIENT" }.to_owned(),
        subject: (depth > 0).then(|| finding.subject.clone()),
        depth,
        start_nanos: start * millis,
        duration_nanos: duration * millis,
        is_error: false,
        critical: vec![stretch(start, duration)],
        gaps: Vec::new(),
        finding_ids: if depth == 0 { Vec::new() } else { vec![finding.finding_id.clone()] },
    };
    let mut root = span(&finding.endpoint, "00f067aa0ba902b7", 0, 0, 100);
    root.critical = vec![stretch(60, 40)];
    root.gaps = vec![ExampleGap { stretch: stretch(60, 40), finding_ids: Vec::new() }];
    ExampleTrace {
        trace_id: finding.evidence.trace_ids[0].clone(),
        start_unix_nano: 1_795_431_600_000_000_001,
        duration_nanos: 100 * millis,
        services: vec![finding.service_name.clone()],
        spans_total: 4,
        spans: vec![
            root,
            span("SELECT", "0000000000000001", 1, 0, 20),
            span("SELECT", "0000000000000002", 1, 20, 20),
            span("SELECT", "0000000000000003", 1, 40, 20),
        ],
    }
}

pub(crate) fn runs() -> Vec<RuleRun> {
    let run = |rule: &str, outcome: Outcome, undecided: Vec<Undecided>| RuleRun {
        rule: rule.to_owned(),
        outcome,
        undecided,
        took: Duration::from_millis(3),
    };
    let open = Undecided {
        service_name: "checkout".to_owned(),
        endpoint: "GET /cart".to_owned(),
        reason: "one client only".to_owned(),
    };
    vec![
        run(&rule(), Outcome::Findings(1), Vec::new()),
        run("b-rule", Outcome::Clean, Vec::new()),
        run("c-rule", Outcome::Undecided, vec![open]),
        run("d-rule", Outcome::Skipped { missing: vec!["db.query.text".to_owned()] }, Vec::new()),
        run("e-rule", Outcome::Failed { reason: "too many rows".to_owned() }, Vec::new()),
        run("f-rule", Outcome::Disabled, Vec::new()),
    ]
}

/// Returns what a format makes of findings and their examples.
pub(crate) fn written_with(
    format: Format,
    findings: &[Finding],
    examples: &[ExampleTrace],
    change: impl FnOnce(&mut Report<'_>),
) -> String {
    let (runs, rules) = (runs(), rules());
    let mut report = Report {
        findings,
        findings_total: findings.len(),
        causes_total: timesink_model::folded(findings).len(),
        muted: &[],
        mutes_over: &[],
        runs: &runs,
        spans: 977,
        traces: 40,
        services: 1,
        notices: Vec::new(),
        examples,
        rules: &rules,
        provisional: false,
        version: "0.1.0",
    };
    change(&mut report);
    let mut out = Vec::new();
    write(format, &report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Returns what a format makes of findings.
pub(crate) fn written(format: Format, findings: &[Finding]) -> String {
    written_with(format, findings, &[], |_| {})
}

/// Returns whether a character could steer a terminal, or hide.
pub(crate) fn steers(c: char) -> bool {
    c.is_control() && c != '\n' || matches!(c, '\u{202e}' | '\u{2066}' | '\u{2028}')
}
