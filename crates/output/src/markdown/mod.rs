//! `markdown`: a comment on a pull request. A table of what costs most, a fold for each finding.

mod escape;

use std::fmt::Write as _;
use std::io::Write;

use timesink_model::{Finding, Folded, Severity, folded};
use timesink_rules::show_nanos;

use crate::words::{self, count, cut, percent, price, typical_waste};
use crate::{Error, Report};
use escape::{code, code_in_table, html, link, prose};

/// The longest text that GitHub takes for a comment, in characters.
pub const MARKDOWN_CHARS_MAX: usize = 65_536;

/// Rows of the table; more are listed by no reviewer.
const ROWS_MAX: usize = 20;

/// Room for what comes behind the findings: how the rules fared, what was cut.
const CLOSING_CHARS_MAX: usize = 6_000;

/// The longest subject and the longest sentence of a finding, in characters.
const TEXT_CHARS_MAX: usize = 1_000;

/// The longest text in a cell of the table.
const CELL_CHARS_MAX: usize = 120;

/// Symptoms that a finding names.
const SYMPTOMS_MAX: usize = 5;

/// Lines on rules and on the input.
const LINES_MAX: usize = 20;

pub(crate) fn write(report: &Report<'_>, out: &mut dyn Write) -> Result<(), Error> {
    out.write_all(comment(report).as_bytes())?;
    Ok(())
}

fn comment(report: &Report<'_>) -> String {
    let mut text = format!("## timesink: {}\n\n", prose(&report.headline()));
    for remark in report.remarks().iter().take(LINES_MAX) {
        let _ = writeln!(text, "> {}\n", prose(&cut(remark, TEXT_CHARS_MAX)));
    }
    if !report.findings.is_empty() {
        text.push_str(&table(report));
    }
    let closing = closing(report);
    let mut length = text.chars().count() + closing.chars().count();
    let mut shown = 0;
    let causes = folded(report.findings);
    for (number, cause) in (1..).zip(&causes) {
        let fold = fold(number, cause);
        length += fold.chars().count();
        if length + LEFT_OUT_CHARS > MARKDOWN_CHARS_MAX {
            break;
        }
        text.push_str(&fold);
        shown += 1;
    }
    if shown < causes.len() {
        let left = count(causes.len() - shown, "finding");
        let _ =
            writeln!(text, "{left} left out: a comment holds {MARKDOWN_CHARS_MAX} characters.\n");
    }
    text.push_str(&closing);
    text
}

/// More than the line takes that says what was left out.
const LEFT_OUT_CHARS: usize = 100;

/// What is wasted, most expensive first.
fn table(report: &Report<'_>) -> String {
    let mut text = "| | finding | where | a request | of its time | in all |\n\
                    |---:|---|---|---:|---:|---:|\n"
        .to_owned();
    let causes = folded(report.findings);
    for (number, Folded { finding, .. }) in (1..).zip(&causes).take(ROWS_MAX) {
        let place = [&finding.service_name, &finding.endpoint];
        let place = place.map(|name| code_in_table(&cut(name, CELL_CHARS_MAX)));
        let _ = writeln!(
            text,
            "| {number} | {} | {} | {} | {} | {} |",
            title(finding),
            place.join(" "),
            show_nanos(typical_waste(finding)),
            finding.wasted_share.map(percent).unwrap_or_default(),
            show_nanos(finding.wasted_nanos),
        );
    }
    let more = causes.len().saturating_sub(ROWS_MAX);
    if more > 0 {
        let _ = writeln!(text, "\nand {}", count(more, "more finding"));
    }
    text.push('\n');
    text
}

/// The title; that of a note says so, for it is no reason to act by itself.
fn title(finding: &Finding) -> String {
    let title = prose(&cut(&finding.title, CELL_CHARS_MAX));
    if finding.severity == Severity::Info { format!("*note:* {title}") } else { title }
}

/// A finding, folded to one line.
fn fold(number: usize, Folded { finding, symptoms }: &Folded<'_>) -> String {
    let short = |text: &str| cut(text, TEXT_CHARS_MAX);
    let title = format!("{number}. {}: {}", short(&finding.title), price(finding));
    let mut text = format!(
        "<details><summary>{} <code>{}</code></summary>\n\n",
        html(&title),
        html(&finding.rule)
    );
    let mut item = |label: &str, item: &str| {
        let _ = writeln!(text, "- **{label}** {item}");
    };
    item(
        "service",
        &format!("{} {}", code(&short(&finding.service_name)), code(&short(&finding.endpoint))),
    );
    item("subject", &code(&short(&finding.subject)));
    item("found", &prose(&short(&finding.message)));
    item("wasted", &prose(&words::wasted(finding)));
    item("sure", &prose(&short(&words::certainty(finding))));
    for symptom in symptoms.iter().take(SYMPTOMS_MAX) {
        item("causes", &prose(&short(&words::symptom(symptom))));
    }
    if symptoms.len() > SYMPTOMS_MAX {
        item("causes", &count(symptoms.len() - SYMPTOMS_MAX, "more finding"));
    }
    if let Some(trace_id) = finding.evidence.trace_ids.first() {
        item("trace", &code(&short(trace_id)));
    }
    if let Some(tests) = words::tests(finding) {
        item("test", &code(&short(&tests)));
    }
    if let Some(place) = &finding.evidence.code_location {
        item("code", &code(&short(place)));
    }
    item("help", &help(finding));
    if let Some(next) = &finding.remediation.next_step {
        item("next", &code(&short(next)));
    }
    text.push_str("\n</details>\n\n");
    text
}

fn help(finding: &Finding) -> String {
    let remediation = &finding.remediation;
    let guide = code(&format!("timesink rules show {}", finding.rule));
    let mut parts =
        vec![format!("{} ({guide})", prose(&cut(&remediation.summary, TEXT_CHARS_MAX)))];
    parts.extend(
        remediation.references.iter().map(|reference| link(&cut(reference, TEXT_CHARS_MAX))),
    );
    parts.join(" ")
}

/// How the rules fared that found nothing.
fn closing(report: &Report<'_>) -> String {
    let lines = report.outcomes();
    if lines.is_empty() {
        return String::new();
    }
    let mut text = "<details><summary>What the other rules say</summary>\n\n".to_owned();
    let mut room = CLOSING_CHARS_MAX;
    for (label, line) in lines.iter().take(LINES_MAX) {
        let line = format!("- **{label}** {}\n", prose(&cut(line, TEXT_CHARS_MAX)));
        room = room.saturating_sub(line.chars().count());
        if room == 0 {
            text.push_str("- and more\n");
            break;
        }
        text.push_str(&line);
    }
    text.push_str("\n</details>\n");
    text
}

#[cfg(test)]
mod tests;
