//! `timesink analyze`: trace files in, findings out.

use std::io::Write;

use anyhow::Result;
use timesink_model::Severity;
use timesink_query::Database;
use timesink_rules::{Analysis, Outcome};

use super::Run;
use crate::analysis;
use crate::cli::{AnalyzeArgs, FailOn, ReportArgs, ReportFormat};
use crate::ended::{Ended, once_written};
use crate::input::{self, Input};
use crate::output::{self, Console, Detail};

pub(super) fn run(args: &AnalyzeArgs, run: &mut Run<'_>) -> Result<Ended> {
    // Wrong names are refused before a large file is read.
    let engine = analysis::engine(&run.config, &args.rules)?;
    let input = input::read(&args.input.files, &run.config.read, run.console)?;
    let runtime = analysis::runtime(run.surroundings.cores)?;
    let database = analysis::database(&runtime, &input, &run.config, run.console)?;
    let analysis = analysis::analyze(&runtime, &engine, &database, run.console)?;
    output::warn_of_damage(run.console, &input.damaged);
    let written = write_report(&args.report, &analysis, &database, &input, run.console);
    once_written(written, ended(&analysis, &input, args.fail_on.map(FailOn::severity)))
}

/// Writes what was found, and what of the input was not looked at.
pub(super) fn write_report(
    args: &ReportArgs,
    analysis: &Analysis,
    database: &Database,
    input: &Input,
    console: &mut Console,
) -> Result<()> {
    match args.format {
        ReportFormat::Jsonl => {
            output::write_warnings(console, analysis, input);
            output::write_jsonl(&mut console.out, &analysis.findings)
        }
        ReportFormat::Text => {
            let services = analysis::services(database).len();
            write_findings(analysis, args.notes, console)
                .and_then(|()| output::write_summary(console, analysis, input, services))
        }
    }
}

/// Writes every finding in full, notes in a line each unless asked for.
pub(super) fn write_findings(
    analysis: &Analysis,
    with_notes: bool,
    console: &mut Console,
) -> Result<()> {
    for finding in &analysis.findings {
        let is_note = finding.severity == Severity::Info && !with_notes;
        let detail = if is_note { Detail::OneLine } else { Detail::Full };
        output::write_finding(console, finding, detail)?;
    }
    if analysis.findings.last().is_some_and(|last| last.severity == Severity::Info && !with_notes) {
        writeln!(console.out)?;
    }
    Ok(())
}

/// Says how a command ends that found this.
pub(super) fn ended(analysis: &Analysis, input: &Input, fail_on: Option<Severity>) -> Ended {
    let failed = analysis.runs.iter().any(|run| matches!(run.outcome, Outcome::Failed { .. }));
    if failed || !input.damaged.is_empty() {
        return Ended::Incomplete;
    }
    let trips = |severity| analysis.findings.iter().any(|finding| finding.severity >= severity);
    if fail_on.is_some_and(trips) { Ended::Tripped } else { Ended::Done }
}
