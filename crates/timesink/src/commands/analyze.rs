//! `timesink analyze`: trace files in, findings out.

use std::io::Write;

use anyhow::Result;
use timesink_model::Severity;
use timesink_rules::{Analysis, Outcome};

use super::Run;
use crate::analysis;
use crate::cli::{AnalyzeArgs, FailOn, ReportFormat};
use crate::ended::{Ended, once_written};
use crate::input::{self, Input};
use crate::output::{self, Console, Detail};

pub(super) fn run(args: &AnalyzeArgs, run: &mut Run<'_>) -> Result<Ended> {
    // Wrong names are refused before a large file is read.
    let engine = analysis::engine(&run.config, &args.rules)?;
    let runtime = analysis::runtime(run.surroundings.cores)?;
    analysis::begin_planning(&runtime, &engine, &run.config);
    let options = analysis::read_options(&run.config, &engine);
    let input = input::read(&args.input.files, &options, run.console)?;
    let database = analysis::database(&input, &run.config, run.console)?;
    let analysis = analysis::analyze(&runtime, &engine, &database, run.console)?;
    output::warn_of_damage(run.console, &input.damaged);
    let written = match args.report.format {
        ReportFormat::Jsonl => {
            output::write_warnings(run.console, &analysis, &input);
            output::write_jsonl(&mut run.console.out, &analysis.findings)
        }
        ReportFormat::Text => {
            let services = analysis::services(&database).len();
            write_findings(&analysis, args.report.notes, run.console)
                .and_then(|()| output::write_summary(run.console, &analysis, &input, services))
        }
    };
    once_written(written, ended(&analysis, &input, args.fail_on.map(FailOn::severity)))
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

fn ended(analysis: &Analysis, input: &Input, fail_on: Option<Severity>) -> Ended {
    let failed = analysis.runs.iter().any(|run| matches!(run.outcome, Outcome::Failed { .. }));
    if failed || !input.damaged.is_empty() {
        return Ended::Incomplete;
    }
    let trips = |severity| analysis.findings.iter().any(|finding| finding.severity >= severity);
    if fail_on.is_some_and(trips) { Ended::Tripped } else { Ended::Done }
}
