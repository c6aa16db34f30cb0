//! `json`: one document with the findings, how each rule fared, and what of the input was lost.

use std::io::Write;

use serde_json::{Map, Value, json};
use timesink_model::{ExampleGap, ExampleSpan, ExampleTrace, Stretch};
use timesink_rules::{Outcome, RuleRun, Undecided};

use crate::columns::rfc3339;
use crate::{Error, Report, finding_json, safe};

/// Raised when a name goes or changes its meaning; names are added without.
const FORMAT_VERSION: u32 = 1;

pub(crate) fn write(report: &Report<'_>, out: &mut dyn Write) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(&document(report))?;
    writeln!(out, "{}", safe::json(&text))?;
    Ok(())
}

fn document(report: &Report<'_>) -> Value {
    let findings: Vec<Value> = report.findings.iter().map(finding_json).collect();
    let rules: Vec<Value> = report.runs().iter().map(rule).collect();
    let mut document = json!({
        "format_version": FORMAT_VERSION,
        "timesink_version": report.version,
        "spans": report.spans,
        "traces": report.traces,
        "services": report.services,
        "provisional": report.provisional,
        "findings_total": report.findings_total,
        "findings": findings,
        "muted": report.muted.iter().map(finding_json).collect::<Vec<_>>(),
        "rules": rules,
        "notices": report.notices,
    });
    if let Some(object) = document.as_object_mut()
        && !report.examples.is_empty()
    {
        let examples: Vec<Value> = report.examples.iter().map(example).collect();
        object.insert("examples".to_owned(), examples.into());
    }
    document
}

fn rule(run: &RuleRun) -> Value {
    let mut object = Map::new();
    object.insert("rule".to_owned(), json!(run.rule));
    object.insert("outcome".to_owned(), json!(outcome(&run.outcome)));
    match &run.outcome {
        Outcome::Findings(count) => object.insert("findings".to_owned(), json!(count)),
        Outcome::Skipped { missing } => object.insert("missing".to_owned(), json!(missing)),
        Outcome::Failed { reason } => object.insert("reason".to_owned(), json!(reason)),
        Outcome::Clean | Outcome::Undecided | Outcome::Disabled => None,
    };
    let undecided: Vec<Value> = run.undecided.iter().map(undecided).collect();
    object.insert("undecided".to_owned(), undecided.into());
    object.into()
}

fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Findings(_) => "findings",
        Outcome::Clean => "clean",
        Outcome::Undecided => "undecided",
        Outcome::Skipped { .. } => "skipped",
        Outcome::Failed { .. } => "failed",
        Outcome::Disabled => "disabled",
    }
}

fn undecided(open: &Undecided) -> Value {
    json!({
        "service_name": open.service_name,
        "endpoint": open.endpoint,
        "reason": open.reason,
    })
}

fn example(trace: &ExampleTrace) -> Value {
    let spans: Vec<Value> = trace.spans.iter().map(span).collect();
    json!({
        "trace_id": trace.trace_id,
        "start": rfc3339(trace.start_unix_nano),
        "duration_nanos": trace.duration_nanos,
        "services": trace.services,
        "spans_total": trace.spans_total,
        "spans": spans,
    })
}

fn span(span: &ExampleSpan) -> Value {
    let critical: Vec<Value> = span.critical.iter().copied().map(stretch).collect();
    let gaps: Vec<Value> = span.gaps.iter().map(gap).collect();
    json!({
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "name": span.name,
        "service_name": span.service_name,
        "kind": span.kind,
        "subject": span.subject,
        "depth": span.depth,
        "start_nanos": span.start_nanos,
        "duration_nanos": span.duration_nanos,
        "is_error": span.is_error,
        "critical": critical,
        "gaps": gaps,
        "finding_ids": span.finding_ids,
    })
}

fn gap(gap: &ExampleGap) -> Value {
    let Stretch { start_nanos, duration_nanos } = gap.stretch;
    json!({
        "start_nanos": start_nanos,
        "duration_nanos": duration_nanos,
        "finding_ids": gap.finding_ids,
    })
}

fn stretch(stretch: Stretch) -> Value {
    json!({"start_nanos": stretch.start_nanos, "duration_nanos": stretch.duration_nanos})
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::Format;
    use crate::test_support::{example, finding, hostile, rule, steers, written, written_with};

    fn read(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_document_names_everything() {
        let written = written_with(Format::Json, &[finding()], &[], |report| {
            report.findings_total = 5;
            report.provisional = true;
            report.notices = vec!["refused: 1 span: span is malformed".to_owned()];
        });
        let document = read(&written);
        let expected = json!({
            "format_version": 1,
            "timesink_version": "0.1.0",
            "spans": 977,
            "traces": 40,
            "services": 1,
            "provisional": true,
            "findings_total": 5,
            "findings": [finding_json(&finding())],
            "muted": [],
            "rules": [
                {"rule": rule(), "outcome": "findings", "findings": 1, "undecided": []},
                {"rule": "b-rule", "outcome": "clean", "undecided": []},
                {"rule": "c-rule", "outcome": "undecided", "undecided": [{
                    "service_name": "checkout",
                    "endpoint": "GET /cart",
                    "reason": "one client only",
                }]},
                {"rule": "d-rule", "outcome": "skipped", "missing": ["db.query.text"],
                 "undecided": []},
                {"rule": "e-rule", "outcome": "failed", "reason": "too many rows",
                 "undecided": []},
                {"rule": "f-rule", "outcome": "disabled", "undecided": []},
            ],
            "notices": ["refused: 1 span: span is malformed"],
        });
        assert_eq!(document, expected);
        assert_eq!(
            document.as_object().unwrap().keys().collect::<Vec<_>>(),
            expected.as_object().unwrap().keys().collect::<Vec<_>>()
        );
    }

    #[test]
    fn examples_are_there_when_they_are_asked_for() {
        let finding = finding();
        let trace = example(&finding);
        let text = written_with(Format::Json, &[finding], &[trace], |_| {});
        let examples = &read(&text)["examples"];
        assert_eq!(examples[0]["spans"][3]["finding_ids"], json!(["0123456789abcdef"]));
        assert_eq!(
            examples[0]["spans"][0]["critical"],
            json!([{"start_nanos": 60_000_000, "duration_nanos": 40_000_000}])
        );
    }

    #[test]
    fn nothing_in_it_steers_a_terminal() {
        let text = written(Format::Json, &[hostile()]);
        assert!(!text.contains(steers), "{text}");
        assert_eq!(read(&text)["findings"][0], finding_json(&hostile()));
    }

    #[test]
    fn no_spans_leave_no_rule_clean() {
        let text = written_with(Format::Json, &[], &[], |report| report.spans = 0);
        assert_eq!((&read(&text)["rules"], &read(&text)["findings"]), (&json!([]), &json!([])));
    }
}
