//! `sarif`: SARIF 2.1.0, for code scanning.
//!
//! Source: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0", and what
//! GitHub takes of it ("SARIF support for code scanning").

use std::fmt::Write as _;
use std::io::Write;

use serde_json::{Map, Value, json};
use timesink_model::{Finding, Folded, Severity, folded};
use timesink_rules::{Outcome, Rule};

use crate::github::split_code;
use crate::words::{self, cut, price};
use crate::{Error, Report, guide, safe};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// What relative paths are relative to: the checkout.
const ROOT: &str = "%SRCROOT%";

/// Under what the fingerprint of a finding is known.
const FINGERPRINT: &str = "timesinkFindingId/v1";

/// The longest text of a message, in characters; GitHub shows the first sentence in its list.
const TEXT_CHARS_MAX: usize = 2_000;

pub(crate) fn write(report: &Report<'_>, out: &mut dyn Write) -> Result<(), Error> {
    let log = json!({"$schema": SCHEMA, "version": "2.1.0", "runs": [run(report)]});
    let text = serde_json::to_string(&log)?;
    writeln!(out, "{}", safe::json(&text))?;
    Ok(())
}

fn run(report: &Report<'_>) -> Value {
    let rules = rules(report);
    let place = |finding: &Finding| rules.iter().position(|rule| rule.name() == finding.rule);
    let causes = folded(report.findings);
    let results: Vec<Value> =
        causes.iter().map(|cause| result(cause, place(cause.finding))).collect();
    json!({
        "tool": {"driver": {
            "name": "timesink",
            "semanticVersion": report.version,
            "rules": rules.iter().map(|rule| descriptor(rule)).collect::<Vec<_>>(),
        }},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {ROOT: {"description": {"text": "The root of the repository."}}},
        "invocations": [invocation(report)],
        "results": results,
        "properties": {
            "spans": report.spans,
            "traces": report.traces,
            "services": report.services,
            "provisional": report.provisional,
            "findingsTotal": report.findings_total,
        },
    })
}

/// Returns the rules that ran, those of findings included.
fn rules<'a>(report: &'a Report<'_>) -> Vec<&'a Rule> {
    let ran = |rule: &&Rule| {
        report.runs.iter().any(|run| run.rule == rule.name() && run.outcome != Outcome::Disabled)
            || report.findings.iter().any(|finding| finding.rule == rule.name())
    };
    report.rules.rules().iter().filter(ran).collect()
}

fn descriptor(rule: &Rule) -> Value {
    let manifest = &rule.manifest;
    // The last text of a rule is the one for any library.
    let address = manifest.remediation.last().map(|text| text.url.as_str());
    let help = guide::portable(&rule.guide);
    let mut descriptor = json!({
        "id": rule.name(),
        "name": rule.name(),
        "shortDescription": {"text": plain(&manifest.summary)},
        "fullDescription": {"text": plain(&guide::introduction(&rule.guide))},
        "help": {"text": help, "markdown": help},
        "defaultConfiguration": {"level": level(rule.severity)},
        "properties": {
            "tags": ["performance", manifest.category],
            "problem.severity": problem(rule.severity),
        },
    });
    if let Some(address) = address.filter(|address| address.starts_with("https://")) {
        descriptor["helpUri"] = json!(uri(address, "/:?#[]@!$&'()*+,;=%"));
    }
    descriptor
}

fn result(cause: &Folded<'_>, rule: Option<usize>) -> Value {
    let finding = cause.finding;
    let mut result = json!({
        "ruleId": finding.rule,
        "level": level(finding.severity),
        "message": {"text": message(cause)},
        "locations": [location(finding)],
        "partialFingerprints": {FINGERPRINT: finding.finding_id},
        "occurrenceCount": finding.occurrences.max(1),
        "properties": properties(finding),
    });
    if let Some(rule) = rule {
        result["ruleIndex"] = json!(rule);
    }
    if let Some(share) = finding.wasted_share {
        result["rank"] = json!((share * 100.0).clamp(0.0, 100.0));
    }
    result
}

/// Returns the first sentence for lists, then what to know and what to do.
fn message(Folded { finding, symptoms }: &Folded<'_>) -> String {
    let mut text = format!("{}: {}.", finding.title, price(finding));
    let _ = write!(text, " {} {}: ", finding.service_name, finding.endpoint);
    let _ = write!(text, "{}. {}", cut(&finding.subject, TEXT_CHARS_MAX / 4), finding.message);
    let _ = write!(text, " Wasted: {}.", words::wasted(finding));
    let _ = write!(text, " Sure: {}.", words::certainty(finding));
    if let Some(tests) = words::tests(finding) {
        let _ = write!(text, " Shown by: {tests}.");
    }
    let _ = write!(text, " Help: {}.", finding.remediation.summary);
    for symptom in symptoms {
        let _ = write!(text, " Causes: {}.", words::symptom(symptom));
    }
    plain(&cut(&text, TEXT_CHARS_MAX))
}

/// Returns text for a SARIF message, in which `[a](b)` would be a link and `{0}` an argument
/// (SARIF 3.11.5, 3.11.6).
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut before = None;
    for c in safe::line(text).replace("](", "] (").chars() {
        if before == Some('{') && c.is_ascii_digit() {
            plain.push(' ');
        }
        plain.push(c);
        before = Some(c);
    }
    plain
}

fn location(finding: &Finding) -> Value {
    let (service, endpoint) = (safe::line(&finding.service_name), safe::line(&finding.endpoint));
    let mut location = json!({"logicalLocations": [{
        "name": endpoint,
        "fullyQualifiedName": format!("{service} {endpoint}"),
        "kind": "function",
    }]});
    let code = finding.evidence.code_location.as_deref();
    if let Some(code) = code.or_else(|| words::test_file(finding)) {
        location["physicalLocation"] = physical(code);
    }
    location
}

fn physical(code: &str) -> Value {
    let (file, line) = split_code(code);
    let mut place = Map::new();
    place.insert("artifactLocation".to_owned(), artifact(file));
    if let Some(line) = line {
        place.insert("region".to_owned(), json!({"startLine": line}));
    }
    place.into()
}

/// Returns where a file is: in the checkout, or on the machine that ran the service.
fn artifact(file: &str) -> Value {
    let file = file.replace('\\', "/");
    let is_drive =
        matches!(file.as_bytes(), [letter, b':', b'/', ..] if letter.is_ascii_alphabetic());
    if file.starts_with('/') || is_drive {
        let root = if is_drive { "file:///" } else { "file://" };
        return json!({"uri": format!("{root}{}", uri(&file, "/:"))});
    }
    let file = file.trim_start_matches("./");
    json!({"uri": uri(file, "/"), "uriBaseId": ROOT})
}

/// Returns text as part of an address: what is neither unreserved nor among `kept` in percent.
fn uri(text: &str, kept: &str) -> String {
    let mut address = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-._~".contains(c) || c.is_ascii() && kept.contains(c) {
            address.push(c);
        } else {
            let _ = write!(address, "%{byte:02X}");
        }
    }
    address
}

fn properties(finding: &Finding) -> Value {
    let mut properties = crate::finding_json(finding);
    if let Some(object) = properties.as_object_mut() {
        // They are the result itself.
        for name in ["finding_id", "rule", "severity", "title", "message"] {
            object.remove(name);
        }
        object.insert("subject".to_owned(), json!(cut(&finding.subject, TEXT_CHARS_MAX)));
    }
    properties
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// How GitHub calls a level that is not about security.
fn problem(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "recommendation",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// Returns how the run went: what was skipped, what failed, what was lost.
fn invocation(report: &Report<'_>) -> Value {
    let has_failed = report.runs.iter().any(|run| matches!(run.outcome, Outcome::Failed { .. }));
    let lines = report.outcomes().into_iter();
    let rules = lines.filter(|(label, _)| !matches!(*label, "clean" | "switched off"));
    let rules = rules.map(|(label, text)| {
        let level = if label == "failed" { "error" } else { "note" };
        notification(level, &format!("{label}: {text}"))
    });
    let remarks = report.remarks();
    let remarks = remarks.iter().map(|remark| notification("warning", remark));
    json!({
        "executionSuccessful": !has_failed,
        "toolExecutionNotifications": rules.chain(remarks).collect::<Vec<_>>(),
    })
}

fn notification(level: &str, text: &str) -> Value {
    json!({"level": level, "message": {"text": plain(&cut(text, TEXT_CHARS_MAX))}})
}

#[cfg(test)]
mod tests;
