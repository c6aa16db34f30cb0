//! `timesink analyze`: trace files in, findings out.

use anyhow::Result;
use timesink_model::Severity;
use timesink_rules::{Analysis, Outcome};

use super::Run;
use super::report::{self, Material};
use crate::cli::{AnalyzeArgs, FailOn};
use crate::ended::{Ended, once_written};
use crate::input::{self, Input};
use crate::{analysis, output};

pub(super) fn run(args: &AnalyzeArgs, run: &mut Run<'_>) -> Result<Ended> {
    // Wrong names are refused before a large file is read.
    let engine = analysis::engine(&run.config, &args.rules)?;
    report::check(&args.report)?;
    let runtime = analysis::runtime(run.surroundings.cores)?;
    analysis::begin_planning(&runtime, &engine, run.config.limits);
    let options = report::read_options(&args.report, &run.config, &engine);
    let now = run.surroundings.now_unix_nano;
    let mut input = input::read(args.input.sources(), &options, now, run.console)?;
    output::warn_of_damage(run.console, &input.damaged);
    let database = analysis::database(&mut input, &engine, &run.config, run.console)?;
    let analysis = analysis::analyze(&runtime, &engine, &database, run.console)?;
    let material =
        Material { analysis: &analysis, database: &database, input: &input, rules: engine.rules() };
    let written = report::write(&args.report, material, run);
    once_written(written, ended(&analysis, &input, args.fail_on.map(FailOn::severity)))
}

/// Every finding counts, shown or not. A gate that had nothing to look at has not passed.
pub(super) fn ended(analysis: &Analysis, input: &Input, fail_on: Option<Severity>) -> Ended {
    let failed = analysis.runs.iter().any(|run| matches!(run.outcome, Outcome::Failed { .. }));
    let saw_nothing = fail_on.is_some() && analysis.spans == 0;
    if failed || saw_nothing || !input.damaged.is_empty() {
        return Ended::Incomplete;
    }
    let trips = |severity| analysis.findings.iter().any(|finding| finding.severity >= severity);
    if fail_on.is_some_and(trips) { Ended::Tripped } else { Ended::Done }
}
