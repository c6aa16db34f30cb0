//! `timesink analyze` and `timesink rules run`: spans in, findings out.

use anyhow::Result;
use timesink_model::Severity;
use timesink_rules::{Analysis, Outcome};
use timesink_server::Act;

use super::Run;
use super::report::{self, Material};
use crate::cli::{AnalyzeArgs, FailOn, ReportArgs, RulesRunArgs};
use crate::ended::{Ended, once_written};
use crate::input::{Input, Sources};
use crate::noted::note;
use crate::opened::{self, Opened, Reading};
use crate::{analysis, output};

pub(super) fn run(args: &AnalyzeArgs, run: &mut Run<'_>) -> Result<Ended> {
    let AnalyzeArgs { input, report, rules, fail_on } = args;
    let (sources, fail_on) = (input.sources(), *fail_on);
    analyze(&Asked { command: "analyze", sources, report, rules, fail_on }, run)
}

pub(super) fn run_rules(args: &RulesRunArgs, run: &mut Run<'_>) -> Result<Ended> {
    let RulesRunArgs { data, since, report, rules, fail_on } = args;
    let sources = Sources { files: &[], data: Some(data), since: *since, findings: false };
    let fail_on = *fail_on;
    analyze(&Asked { command: "rules run", sources, report, rules, fail_on }, run)
}

/// What is analyzed, and what is made of it.
#[derive(Debug)]
struct Asked<'a> {
    command: &'static str,
    sources: Sources<'a>,
    report: &'a ReportArgs,
    rules: &'a [String],
    fail_on: Option<FailOn>,
}

fn analyze(asked: &Asked<'_>, run: &mut Run<'_>) -> Result<Ended> {
    // Wrong names are refused before a large file is read.
    let engine = analysis::engine(&run.config, asked.rules)?;
    report::check(asked.report)?;
    let runtime = analysis::runtime(run.surroundings.cores)?;
    let options = report::read_options(asked.report, &run.config, &engine);
    let reading = Reading::of_rules(asked.sources, options, &engine, run);
    if let Some(data) = asked.sources.data {
        note(data, Act::Reads, asked.command, run);
    }
    analysis::begin_planning(&runtime, &engine, reading.limits);
    let Opened { database, input } = opened::open(asked.sources, &reading, run)?;
    output::warn_of_damage(run.console, &input.damaged);
    let analysis = analysis::analyze(&runtime, &engine, &database, run.console)?;
    let material =
        Material { analysis: &analysis, database: &database, input: &input, rules: engine.rules() };
    let written = report::write(asked.report, material, run);
    once_written(written, ended(&analysis, &input, asked.fail_on.map(FailOn::severity)))
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
