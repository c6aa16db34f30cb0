//! What `doctor` says: what is missing in spans, what it hides, how to change it.

use std::io::Write as _;

use anyhow::Result;
use timesink_model::{Finding, Severity};
use timesink_output::words::{self, Line, count};
use timesink_rules::{Outcome, RuleRun};

use super::finding::{labelled, name};
use super::summary::{losses, write_lines};
use super::{Console, safe};
use crate::input::Input;

/// Further services of which a check says the same.
const OTHERS_SHOWN: usize = 10;

/// What was looked at, and what the checks found in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checkup<'a> {
    pub(crate) findings: &'a [Finding],
    pub(crate) muted: &'a [Finding],
    pub(crate) checks: &'a [RuleRun],
    pub(crate) rules: &'a [RuleRun],
    pub(crate) input: &'a Input,
    pub(crate) spans: usize,
    pub(crate) traces: usize,
    pub(crate) services: usize,
    pub(crate) repeated_spans: usize,
}

/// Writes what to change, then which rules can tell something with these spans and which cannot.
pub(crate) fn write_checkup(console: &mut Console, checkup: &Checkup<'_>) -> Result<()> {
    for alike in alike(checkup.findings) {
        write_check(console, &alike)?;
    }
    writeln!(console.out, "{}", console.paint.bold(&checkup.headline()))?;
    write_lines(console, checkup.lines())
}

/// Returns findings with those that say the same of other services, and have the same fix.
fn alike(findings: &[Finding]) -> Vec<Vec<&Finding>> {
    let mut all: Vec<Vec<&Finding>> = Vec::new();
    for finding in findings {
        let same = |known: &&mut Vec<&Finding>| {
            known[0].rule == finding.rule && known[0].remediation == finding.remediation
        };
        match all.iter_mut().find(same) {
            Some(known) => known.push(finding),
            None => all.push(vec![finding]),
        }
    }
    all
}

/// Writes what was found of one service, and in a line each of the others.
fn write_check(console: &mut Console, alike: &[&Finding]) -> Result<()> {
    let Some((finding, others)) = alike.split_first() else { return Ok(()) };
    let (paint, columns) = (console.paint, console.columns);
    let head = paint.bold(&safe::line(&finding.title));
    let mut text = format!("{}: {head}\n", name(finding, paint));
    let remediation = &finding.remediation;
    let mut fix = vec![remediation.summary.clone()];
    fix.extend(remediation.references.iter().cloned());
    let mut fields = vec![("service", vec![finding.service_name.clone()])];
    if finding.subject != finding.service_name {
        fields.push(("where", vec![finding.subject.clone()]));
    }
    fields.push(("hides", vec![finding.message.clone()]));
    fields.extend(finding.evidence.trace_ids.first().map(|id| ("trace", vec![id.clone()])));
    let mut also: Vec<String> = others.iter().take(OTHERS_SHOWN).map(|f| other(f)).collect();
    let more = others.len().saturating_sub(OTHERS_SHOWN);
    also.extend((more > 0).then(|| format!("and {more} more: `--format json` has all of them")));
    fields.extend((!also.is_empty()).then_some(("also", also)));
    fields.push(("fix", fix));
    fields.extend(remediation.next_step.clone().map(|next| ("next", vec![next])));
    for (label, paragraphs) in fields {
        text.push_str(&labelled(label, &paragraphs, usize::MAX, paint, columns));
    }
    text.push('\n');
    Ok(console.out.write_all(text.as_bytes())?)
}

/// Returns what is found of another service, and where.
fn other(finding: &Finding) -> String {
    let Finding { service_name, subject, title, .. } = finding;
    if subject == service_name {
        return format!("{service_name}: {title}");
    }
    format!("{service_name}, {subject}: {title}")
}

impl Checkup<'_> {
    /// Returns what was found, and in what.
    fn headline(&self) -> String {
        if self.spans == 0 {
            return "no spans: there is nothing to look at".to_owned();
        }
        let is_note = |finding: &&Finding| finding.severity == Severity::Info;
        let notes = self.findings.iter().filter(is_note).count();
        let found = match (self.findings.len() - notes, notes) {
            (0, 0) => "nothing to change".to_owned(),
            (0, notes) => count(notes, "note"),
            (warnings, 0) => count(warnings, "warning"),
            (warnings, notes) => {
                format!("{}, {}", count(warnings, "warning"), count(notes, "note"))
            }
        };
        let (spans, traces) = (count(self.spans, "span"), count(self.traces, "trace"));
        format!("{found} on {spans} of {traces}, {}", count(self.services, "service"))
    }

    fn lines(&self) -> Vec<Line> {
        let mut lines = words::muted(self.muted, &[]);
        if self.spans > 0 {
            let tells = |run: &&RuleRun| {
                matches!(run.outcome, Outcome::Findings(_) | Outcome::Clean)
                    && run.undecided.is_empty()
            };
            let able: Vec<&str> =
                self.rules.iter().filter(tells).map(|run| run.rule.as_str()).collect();
            if !able.is_empty() {
                lines.push(("can tell", able.join(", ")));
            }
            let unable = words::outcomes(self.rules).into_iter();
            lines.extend(unable.filter(|(label, _)| *label != "clean"));
            let of_checks = words::outcomes(self.checks).into_iter();
            lines
                .extend(of_checks.filter(|(label, _)| matches!(*label, "failed" | "switched off")));
        }
        lines.extend(losses(self.input));
        lines.extend(words::repeats(self.repeated_spans));
        lines
    }
}
