//! A finding as JSON, under the column names of the `findings` table; and findings as JSON lines.

use std::io::Write;

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use serde_json::{Map, Value, json};
use timesink_model::{Evidence, Finding, MeasureValue, Muted, Remediation};

use crate::{Error, safe};

/// One line. The names and their order are public: append, never rename.
#[derive(Debug, Serialize)]
struct Line<'a> {
    finding_id: &'a str,
    rule: &'a str,
    severity: &'a str,
    service_name: &'a str,
    endpoint: &'a str,
    subject: &'a str,
    title: &'a str,
    message: &'a str,
    window_start: String,
    window_end: String,
    traces_affected: i64,
    traces_seen: i64,
    occurrences: i64,
    wasted_nanos: i64,
    wasted_nanos_estimated: Option<i64>,
    wasted_share: Option<f64>,
    confidence: &'a str,
    confidence_reason: &'a str,
    evidence: Map<String, Value>,
    remediation: Value,
    caused_by: Option<&'a str>,
    first_seen: String,
    last_seen: String,
    service_versions: &'a [String],
    status: &'a str,
}

/// Returns a finding as an object with exactly the columns of the `findings` table.
pub fn finding_json(finding: &Finding) -> Value {
    serde_json::to_value(line(finding)).unwrap_or_default()
}

/// Writes each finding as one JSON object in a line of its own.
pub(crate) fn write_jsonl(findings: &[Finding], out: &mut dyn Write) -> Result<(), Error> {
    for finding in findings {
        let text = serde_json::to_string(&line(finding))?;
        writeln!(out, "{}", safe::json(&text))?;
    }
    Ok(())
}

fn line(finding: &Finding) -> Line<'_> {
    Line {
        finding_id: &finding.finding_id,
        rule: &finding.rule,
        severity: finding.severity.as_str(),
        service_name: &finding.service_name,
        endpoint: &finding.endpoint,
        subject: &finding.subject,
        title: &finding.title,
        message: &finding.message,
        window_start: rfc3339(finding.window_start_unix_nano),
        window_end: rfc3339(finding.window_end_unix_nano),
        traces_affected: finding.traces_affected,
        traces_seen: finding.traces_seen,
        occurrences: finding.occurrences,
        wasted_nanos: finding.wasted_nanos,
        wasted_nanos_estimated: finding.wasted_nanos_estimated,
        wasted_share: finding.wasted_share,
        confidence: finding.confidence.as_str(),
        confidence_reason: &finding.confidence_reason,
        evidence: evidence_json(&finding.evidence),
        remediation: remediation_json(&finding.remediation),
        caused_by: finding.caused_by.as_deref(),
        first_seen: rfc3339(finding.first_seen_unix_nano),
        last_seen: rfc3339(finding.last_seen_unix_nano),
        service_versions: &finding.service_versions,
        status: finding.status.as_str(),
    }
}

/// The measures by name, then where to look.
pub(crate) fn evidence_json(evidence: &Evidence) -> Map<String, Value> {
    let measures = evidence.measures.iter().map(|m| (m.name.clone(), measure(&m.value)));
    let mut object: Map<String, Value> = measures.collect();
    object.insert("trace_ids".to_owned(), json!(evidence.trace_ids));
    object.insert("span_ids".to_owned(), json!(evidence.span_ids));
    object.insert("code_location".to_owned(), json!(evidence.code_location));
    if !evidence.test_cases.is_empty() {
        object.insert("test_cases".to_owned(), json!(evidence.test_cases));
    }
    if let Some(muted) = &evidence.muted {
        object.insert(MUTED.to_owned(), muted_json(muted));
    }
    object
}

/// Under what evidence says who mutes a finding.
pub(crate) const MUTED: &str = "muted";

fn muted_json(muted: &Muted) -> Value {
    match muted {
        Muted::ByConfiguration { reason, until } => {
            json!({"by": "configuration", "reason": reason, "until": until})
        }
        Muted::BySpans => json!({"by": "spans"}),
    }
}

fn measure(value: &MeasureValue) -> Value {
    match value {
        MeasureValue::Integer(value) => json!(value),
        MeasureValue::Float(value) => json!(value),
        MeasureValue::Boolean(value) => json!(value),
        MeasureValue::Text(value) => json!(value),
    }
}

pub(crate) fn remediation_json(remediation: &Remediation) -> Value {
    json!({
        "summary": remediation.summary,
        "guide": remediation.guide,
        "references": remediation.references,
        "next_step": remediation.next_step,
    })
}

/// Returns a time in UTC with all its nanoseconds.
pub(crate) fn rfc3339(unix_nano: i64) -> String {
    DateTime::from_timestamp_nanos(unix_nano).to_rfc3339_opts(SecondsFormat::Nanos, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_findings_table() {
        let finding = crate::test_support::finding();
        let mut out = Vec::new();
        write_jsonl(std::slice::from_ref(&finding), &mut out).unwrap();
        let object: Map<String, Value> = serde_json::from_slice(&out).unwrap();
        let table = timesink_model::schema::findings::table();
        let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        assert_eq!(object.keys().collect::<Vec<_>>(), columns);
        assert_eq!(object["window_start"], "2026-11-23T11:00:00.000000001Z");
        assert_eq!(
            Value::Object(object["evidence"].as_object().unwrap().clone()),
            json!({
                "repeats": 25,
                "pauses_share": 0.25,
                "trace_ids": ["4bf92f3577b34da6a3ce929d0e0e4736"],
                "span_ids": ["00f067aa0ba902b7"],
                "code_location": "shop/views.py:12",
            })
        );
    }

    #[test]
    fn an_object_is_what_a_line_holds() {
        let finding = crate::test_support::hostile();
        let mut out = Vec::new();
        write_jsonl(std::slice::from_ref(&finding), &mut out).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), finding_json(&finding));
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains(crate::test_support::steers), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn times_keep_their_nanoseconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(i64::MAX), "2262-04-11T23:47:16.854775807Z");
    }
}
