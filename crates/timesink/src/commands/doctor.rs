//! `timesink doctor`: what spans can show, what they cannot, and the setting that changes it.

use anyhow::Result;
use timesink_model::{Finding, Severity};
use timesink_output::{Format, Report};
use timesink_rules::{Analysis, Engine, Outcome, RuleRun, RuleSet};
use timesink_server::Act;

use super::Run;
use crate::cli::{DoctorArgs, DoctorFormat, FailOn};
use crate::config::in_file;
use crate::ended::{Ended, once_written};
use crate::input::Input;
use crate::noted::note;
use crate::opened::{self, Opened, Reading};
use crate::{analysis, output};

pub(super) fn run(args: &DoctorArgs, run: &mut Run<'_>) -> Result<Ended> {
    let checks = RuleSet::checks()?;
    let rules = analysis::rules(&run.config)?;
    let all = rules.clone().with(checks.clone());
    let engine = Engine::new(all, run.config.rules.clone()).map_err(Into::into);
    let engine = in_file(run.config.file.as_deref(), engine)?;
    let runtime = analysis::runtime(run.surroundings.cores)?;
    let sources = args.input.sources();
    let options = analysis::read_options(&run.config, &engine);
    let reading = Reading::of_rules(sources, options, &engine, run);
    if let Some(data) = sources.data {
        note(data, Act::Reads, "doctor", run);
    }
    analysis::begin_planning(&runtime, &engine, reading.limits);
    let Opened { database, input } = opened::open(sources, &reading, run)?;
    output::warn_of_damage(run.console, &input.damaged);
    let analysis = analysis::analyze(&runtime, &engine, &database, run.console)?;
    let seen = Seen::of(analysis, &checks, analysis::services(&database).len());
    let written = match args.format {
        DoctorFormat::Text => output::write_checkup(run.console, &seen.text(&input)),
        DoctorFormat::Json => {
            seen.warn_of_failures(run);
            seen.write_json(&input, &rules, run)
        }
    };
    once_written(written, seen.ended(&input, args.fail_on.map(FailOn::severity)))
}

/// What the checks found, and how the rules fared.
struct Seen {
    /// Of the checks alone.
    findings: Vec<Finding>,
    muted: Vec<Finding>,
    checks: Vec<RuleRun>,
    rules: Vec<RuleRun>,
    analysis: Analysis,
    services: usize,
}

impl Seen {
    fn of(mut analysis: Analysis, checks: &RuleSet, services: usize) -> Self {
        let is_check = |rule: &str| checks.get(rule).is_ok();
        analysis.mutes_over.retain(|mute| mute.rule.as_deref().is_none_or(is_check));
        let of_checks = |all: &mut Vec<Finding>| {
            all.retain(|finding| is_check(&finding.rule));
            std::mem::take(all)
        };
        let findings = of_checks(&mut analysis.findings);
        let muted = of_checks(&mut analysis.muted);
        let runs = std::mem::take(&mut analysis.runs);
        let (checks, rules) = runs.into_iter().partition(|run| is_check(&run.rule));
        Self { findings, muted, checks, rules, analysis, services }
    }

    fn text<'a>(&'a self, input: &'a Input) -> output::Checkup<'a> {
        output::Checkup {
            findings: &self.findings,
            muted: &self.muted,
            checks: &self.checks,
            rules: &self.rules,
            input,
            spans: self.analysis.spans,
            traces: self.analysis.traces,
            services: self.services,
            repeated_spans: self.analysis.repeated_spans,
        }
    }

    /// The document holds how rules fared, and nothing of checks.
    fn warn_of_failures(&self, run: &Run<'_>) {
        for failure in self.checks.iter().chain(&self.rules).filter_map(RuleRun::failure) {
            run.console.warn(&failure);
        }
    }

    fn write_json(&self, input: &Input, rules: &RuleSet, run: &mut Run<'_>) -> Result<()> {
        let report = Report {
            findings: &self.findings,
            findings_total: self.findings.len(),
            causes_total: self.findings.len(),
            muted: &self.muted,
            mutes_over: &self.analysis.mutes_over,
            runs: &self.rules,
            spans: self.analysis.spans,
            traces: self.analysis.traces,
            services: self.services,
            notices: output::notices(&self.analysis, input),
            examples: &[],
            rules,
            provisional: false,
            version: env!("CARGO_PKG_VERSION"),
        };
        Ok(timesink_output::write(Format::Json, &report, &mut run.console.out)?)
    }

    /// A gate that had nothing to look at has not passed.
    fn ended(&self, input: &Input, fail_on: Option<Severity>) -> Ended {
        let runs = self.checks.iter().chain(&self.rules);
        let failed = runs.filter(|run| matches!(run.outcome, Outcome::Failed { .. })).count() > 0;
        let saw_nothing = fail_on.is_some() && self.analysis.spans == 0;
        if failed || saw_nothing || !input.damaged.is_empty() {
            return Ended::Incomplete;
        }
        let trips = |severity| self.findings.iter().any(|finding| finding.severity >= severity);
        if fail_on.is_some_and(trips) { Ended::Tripped } else { Ended::Done }
    }
}
