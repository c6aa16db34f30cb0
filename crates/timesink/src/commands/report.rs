//! An analysis as the report that was asked for: diagnostics, or a file of some format.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use timesink_model::{Finding, Folded, Severity, folded};
use timesink_otlp::ReadOptions;
use timesink_output::{Format, Report};
use timesink_query::Database;
use timesink_rules::{Analysis, Engine, RuleSet, examples};

use super::Run;
use crate::analysis::{self, Shown};
use crate::cli::ReportArgs;
use crate::config::Config;
use crate::input::Input;
use crate::output::{self, Console, Detail};
use crate::replace;

/// What reports are made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Material<'a> {
    pub(super) analysis: &'a Analysis,
    pub(super) database: &'a Database,
    pub(super) input: &'a Input,
    pub(super) rules: &'a RuleSet,
}

/// Writes the report to where it was asked for.
pub(super) fn write(args: &ReportArgs, material: Material<'_>, run: &mut Run<'_>) -> Result<()> {
    let services = analysis::services(material.database).len();
    let shown = Shown::all(material.analysis, services).top(args.top);
    let console = &mut *run.console;
    let Some(path) = file(args) else { return write_here(args, shown, material, console) };
    let bytes = console.in_memory(|console| write_here(args, shown, material, console))?;
    replace::write(path, &bytes)?;
    writeln!(console.out, "{}: {}", path.display(), shown.headline())?;
    Ok(())
}

/// Returns how to read spans for a report: pictures of traces show more than rules look at.
pub(super) fn read_options(args: &ReportArgs, config: &Config, engine: &Engine) -> ReadOptions {
    match args.format.of_file() {
        Some(Format::Html) => config.read.clone(),
        _ => analysis::read_options(config, engine),
    }
}

/// Refuses a file that could not be written before anything is read.
pub(super) fn check(args: &ReportArgs) -> Result<()> {
    file(args).map_or(Ok(()), replace::check)
}

/// Returns the file to write, if it is not standard output.
fn file(args: &ReportArgs) -> Option<&Path> {
    args.output.as_deref().filter(|path| path.as_os_str() != "-")
}

fn write_here(
    args: &ReportArgs,
    shown: Shown<'_>,
    material: Material<'_>,
    console: &mut Console,
) -> Result<()> {
    if let Some(format) = args.format.of_file() {
        output::write_warnings(console, material.analysis, material.input);
        return write_file(format, shown, material, console);
    }
    write_findings(shown.findings, args.notes, console)?;
    output::write_summary(console, material.analysis, material.input, &shown.headline())
}

/// Writes the findings in a format for other readers.
pub(super) fn write_file(
    format: Format,
    shown: Shown<'_>,
    material: Material<'_>,
    console: &mut Console,
) -> Result<()> {
    let traces = match format {
        Format::Html => {
            examples(material.database, shown.findings, timesink_output::EXAMPLES_DRAWN)?
        }
        _ => Vec::new(),
    };
    let report = Report {
        findings: shown.findings,
        findings_total: material.analysis.findings.len(),
        causes_total: folded(&material.analysis.findings).len(),
        muted: &material.analysis.muted,
        mutes_over: &material.analysis.mutes_over,
        runs: &material.analysis.runs,
        spans: material.analysis.spans,
        traces: material.analysis.traces,
        services: shown.services,
        notices: output::notices(material.analysis, material.input),
        examples: &traces,
        rules: material.rules,
        provisional: false,
        version: env!("CARGO_PKG_VERSION"),
    };
    Ok(timesink_output::write(format, &report, &mut console.out)?)
}

/// Writes every finding in full, notes in a line each unless asked for, and symptoms with what
/// causes them.
pub(super) fn write_findings(
    findings: &[Finding],
    with_notes: bool,
    console: &mut Console,
) -> Result<()> {
    let is_short = |finding: &Finding| finding.severity == Severity::Info && !with_notes;
    let folded = folded(findings);
    for Folded { finding, symptoms } in &folded {
        let detail = if is_short(finding) { Detail::OneLine } else { Detail::Full };
        output::write_finding(console, finding, symptoms, detail)?;
    }
    if folded.last().is_some_and(|last| is_short(last.finding)) {
        writeln!(console.out)?;
    }
    Ok(())
}
