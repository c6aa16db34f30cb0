//! What a run looked at: how each rule fared, and what of the input was refused or mended.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::io::Write as _;

use anyhow::Result;
use arrow::array::{AsArray, RecordBatch};
use timesink_model::Severity;
use timesink_otlp::Tally;
use timesink_rules::{Analysis, Outcome, RuleRun};

use super::wrap::{cut, wrap};
use super::{Console, safe};
use crate::input::{Damaged, Input, with_our_options};

/// Before the labels.
const INDENT: &str = "  ";

/// The width of the labels and what separates them from their text.
const LABEL_COLUMNS: usize = 13;

/// Where to read on.
const GUIDES: &str = "`timesink rules show RULE`; each step of a rule on a trace: \
                      `timesink explain TRACE --rule RULE FILES`";

/// An example of a refused span, in characters.
const EXAMPLE_COLUMNS: usize = 60;

/// Endpoints that a line names of which a rule cannot tell.
const UNDECIDED_SHOWN: usize = 3;

/// Broken parts of a file that a warning names.
const BROKEN_SHOWN: usize = 3;

/// Writes the summary that closes a report.
pub(crate) fn write_summary(
    console: &mut Console,
    analysis: &Analysis,
    input: &Input,
    services: usize,
) -> Result<()> {
    let (paint, columns) = (console.paint, console.columns);
    writeln!(console.out, "{}", paint.bold(&headline(analysis, services)))?;
    // Rules that had nothing to look at are neither clean nor skipped.
    let runs = if analysis.spans > 0 { analysis.runs.as_slice() } else { &[] };
    let mut lines = outcomes(runs);
    lines.extend(losses(input));
    lines.extend(repeats(analysis));
    if !analysis.findings.is_empty() {
        lines.push(("guides", GUIDES.to_owned()));
    }
    for (label, text) in lines {
        let texts = wrap(&safe::line(&text), columns - INDENT.len() - LABEL_COLUMNS);
        for (number, text) in texts.iter().enumerate() {
            let label = if number == 0 { label } else { "" };
            let label = paint.dim(&format!("{label:<LABEL_COLUMNS$}"));
            writeln!(console.out, "{INDENT}{label}{text}")?;
        }
    }
    Ok(())
}

/// Warns of all that makes a report less than whole: refused spans, failed rules.
///
/// Reports for programs have no summary, so that these are all they are told.
pub(crate) fn write_warnings(console: &Console, analysis: &Analysis, input: &Input) {
    if analysis.spans == 0 {
        console.warn(&headline(analysis, 0));
    }
    warn_of_losses(console, input);
    for run in &analysis.runs {
        if let Outcome::Failed { reason } = &run.outcome {
            console.warn(&format!("rule `{}` failed: {reason}", run.rule));
        }
    }
}

/// Warns of spans that are not in the tables as they arrived.
pub(crate) fn warn_of_losses(console: &Console, input: &Input) {
    for (label, text) in losses(input) {
        console.warn(&format!("{label}: {text}"));
    }
}

/// Warns of files of which a part could not be read.
pub(crate) fn warn_of_damage(console: &Console, damaged: &[Damaged]) {
    for Damaged { name, broken, count } in damaged {
        let parts = if *count == 1 { "a part".to_owned() } else { format!("{count} parts") };
        let shown = broken.iter().take(BROKEN_SHOWN).map(|b| with_our_options(&b.to_string()));
        let mut text = format!("{parts} of `{name}` could not be read, the rest was");
        for place in shown {
            text.push('\n');
            text.push_str(&place);
        }
        if *count > BROKEN_SHOWN as u64 {
            let _ = write!(text, "\nand {} more", count - BROKEN_SHOWN as u64);
        }
        console.error(&text);
    }
}

/// What was found, and in what.
pub(crate) fn headline(analysis: &Analysis, services: usize) -> String {
    if analysis.spans == 0 {
        return "no spans: there is nothing to look at".to_owned();
    }
    let notes = analysis.findings.iter().filter(|f| f.severity == Severity::Info).count();
    let found = match (analysis.findings.len() - notes, notes) {
        (0, 0) => "no findings".to_owned(),
        (found, 0) => count(found, "finding"),
        (0, notes) => format!("no findings, {}", count(notes, "note")),
        (found, notes) => format!("{}, {}", count(found, "finding"), count(notes, "note")),
    };
    format!(
        "{found} in {} of {}, {}",
        count(analysis.spans, "span"),
        count(analysis.traces, "trace"),
        count(services, "service")
    )
}

/// How the rules fared that found nothing; *clean* and *skipped* never look alike.
fn outcomes(runs: &[RuleRun]) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let clean = names(runs, |outcome| *outcome == Outcome::Clean);
    if !clean.is_empty() {
        lines.push(("clean", clean.join(", ")));
    }
    lines.extend(cannot_tell(runs));
    for run in runs {
        match &run.outcome {
            Outcome::Skipped { missing } => {
                let missing: Vec<String> = missing.iter().map(|m| format!("`{m}`")).collect();
                let missing = missing.join(", ");
                lines.push(("skipped", format!("{}: no span carries {missing}", run.rule)));
            }
            Outcome::Failed { reason } => lines.push(("failed", format!("{}: {reason}", run.rule))),
            _ => {}
        }
    }
    let off = names(runs, |outcome| *outcome == Outcome::Disabled);
    if !off.is_empty() {
        lines.push(("switched off", off.join(", ")));
    }
    lines
}

/// Places that the spans of a run leave open, those of one reason in a line.
fn cannot_tell(runs: &[RuleRun]) -> Vec<(&'static str, String)> {
    let mut places: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for run in runs {
        for open in &run.undecided {
            let place = format!("{} {}", open.service_name, open.endpoint);
            places.entry((&run.rule, &open.reason)).or_default().push(place);
        }
    }
    let line = |((rule, reason), mut places): ((&str, &str), Vec<String>)| {
        let more = places.len().saturating_sub(UNDECIDED_SHOWN);
        places.truncate(UNDECIDED_SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        ("cannot tell", format!("{rule}: {reason} ({}{more})", places.join(", ")))
    };
    places.into_iter().map(line).collect()
}

fn names(runs: &[RuleRun], is_so: impl Fn(&Outcome) -> bool) -> Vec<&str> {
    let runs = runs.iter().filter(|run| is_so(&run.outcome));
    runs.map(|run| run.rule.as_str()).collect()
}

/// What of the input is not among the spans as it arrived, and why.
fn losses(input: &Input) -> Vec<(&'static str, String)> {
    let decoded = &input.decoded;
    let mut lines = tally("refused", "span", &decoded.rejected);
    for (reason, spans) in quarantined(&decoded.quarantine) {
        lines.push(("quarantined", format!("{}: {reason}", count(spans, "span"))));
    }
    lines.extend(tally("mended", "time", &decoded.repaired));
    lines
}

/// Spans that arrived before, which is no loss.
fn repeats(analysis: &Analysis) -> Option<(&'static str, String)> {
    let spans = count(analysis.repeated_spans, "span");
    let text = format!("{spans} had arrived before and count once");
    (analysis.repeated_spans > 0).then_some(("repeated", text))
}

fn tally<K: Ord + Copy + Display>(
    label: &'static str,
    noun: &str,
    tally: &Tally<K>,
) -> Vec<(&'static str, String)> {
    let line = |(key, counted): (K, &timesink_otlp::Counted)| {
        let example = match counted.example.as_str() {
            "" => String::new(),
            example => format!(" (for example {})", cut(example, EXAMPLE_COLUMNS)),
        };
        (label, format!("{}: {key}{example}", count(counted.count as usize, noun)))
    };
    tally.iter().map(line).collect()
}

fn quarantined(batches: &[RecordBatch]) -> BTreeMap<String, usize> {
    let columns = batches.iter().filter_map(|batch| batch.column_by_name("reason"));
    let mut counts = BTreeMap::new();
    for reason in columns.filter_map(|c| c.as_string_view_opt()).flatten().flatten() {
        *counts.entry(reason.to_owned()).or_default() += 1;
    }
    counts
}

/// `1 span`, `2,000 spans`.
fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_nouns_agree() {
        assert_eq!(count(1, "span"), "1 span");
        assert_eq!(count(0, "trace"), "0 traces");
        assert_eq!(count(81_355, "span"), "81,355 spans");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
