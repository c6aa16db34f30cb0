//! `timesink rules`: the rules at hand, their guides and thresholds, what is wrong with them, and
//! what they find in a data directory.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use timesink_output::words::count;
use timesink_query::Limits;
use timesink_rules::{Problem, Rule, RuleSet, check, check_cases};

use super::{Run, analyze};
use crate::analysis;
use crate::cli::RulesCommand;
use crate::config::shown;
use crate::ended::{Ended, once_written};
use crate::output::{safe, wrap};

/// Before the lines under a parameter's name.
const INDENT: &str = "    ";

pub(super) fn run(command: &RulesCommand, run: &mut Run<'_>) -> Result<Ended> {
    match command {
        RulesCommand::List => list(run),
        RulesCommand::Show { rule } => show(rule, run),
        RulesCommand::Run(args) => analyze::run_rules(args, run),
        RulesCommand::Check { directory } => check_all(directory.as_deref(), run),
    }
}

fn list(run: &mut Run<'_>) -> Result<Ended> {
    let rules = analysis::rules(&run.config)?;
    let (paint, columns) = (run.console.paint, run.console.columns);
    let name_columns = rules.rules().iter().map(|rule| rule.name().len()).max().unwrap_or(0);
    for rule in rules.rules() {
        let name = format!("{:<name_columns$}", safe::line(rule.name()));
        let severity = format!("{:<7}", rule.severity);
        let severity = paint.severity(rule.severity, &severity);
        let mut texts =
            wrap(&safe::line(&summary(rule)), columns.saturating_sub(name_columns + 11));
        let first = texts.remove(0);
        writeln!(run.console.out, "{}  {severity}  {first}", paint.bold(&name))?;
        for text in texts {
            writeln!(run.console.out, "{:1$}{text}", "", name_columns + 11)?;
        }
    }
    Ok(Ended::Done)
}

fn summary(rule: &Rule) -> String {
    format!("{} ({})", rule.manifest.summary, status(rule))
}

/// `preview since 0.1.0`.
fn status(rule: &Rule) -> String {
    let status = rule.manifest.status.iter();
    let words = status.map(|(status, version)| format!("{status} since {version}"));
    words.collect::<Vec<_>>().join(", ")
}

fn show(name: &str, run: &mut Run<'_>) -> Result<Ended> {
    let rules = analysis::rules(&run.config)?;
    let rule = rules.get(name)?;
    let (paint, columns) = (run.console.paint, run.console.columns);
    let out = &mut run.console.out;
    for line in safe::lines(&rule.guide).lines() {
        let is_heading = line.starts_with('#');
        writeln!(out, "{}", if is_heading { paint.bold(line) } else { line.to_owned() })?;
    }
    let severity = paint.severity(rule.severity, rule.severity.as_str());
    writeln!(out, "\n{}\n", paint.bold("## Thresholds and severity"))?;
    writeln!(out, "Severity {severity}, grain {}, {}.", rule.manifest.grain, status(rule))?;
    if !rule.manifest.requires.is_empty() {
        let attributes: Vec<String> =
            rule.manifest.requires.iter().map(|name| format!("`{name}`")).collect();
        writeln!(out, "Skipped unless spans carry {}.", attributes.join(", "))?;
    }
    for (name, param) in &rule.manifest.params {
        let value = format!("{name} = {}", shown(&param.default));
        let bounds = format!("{}, {} to {}", param.unit, shown(&param.min), shown(&param.max));
        writeln!(out, "\n{}  ({})", paint.bold(&safe::line(&value)), safe::line(&bounds))?;
        let text = format!("{}. {}.", sentence(&param.summary), sentence(&param.reason));
        for line in wrap(&safe::line(&text), columns - INDENT.len()) {
            writeln!(out, "{INDENT}{line}")?;
        }
    }
    Ok(Ended::Done)
}

/// Returns the text with a capital letter at its head.
fn sentence(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Checks every rule, and runs the cases of those that are not shipped; a folder that cannot even
/// be loaded is an error that names it.
fn check_all(directory: Option<&Path>, run: &mut Run<'_>) -> Result<Ended> {
    let rules = match directory {
        Some(directory) => RuleSet::of_folder(directory)?,
        None => analysis::rules(&run.config)?.with(RuleSet::checks()?),
    };
    let runtime = analysis::runtime(run.surroundings.cores)?;
    let (mut faults, mut cases) = (0, 0);
    for rule in rules.rules() {
        let (of_rule, problems) = runtime.block_on(check_one(rule, run.config.limits))?;
        for problem in &problems {
            run.console.error(&problem.to_string());
        }
        cases += of_rule;
        faults += problems.len();
    }
    let checked = count(rules.rules().len(), "rule");
    let cases = if cases > 0 { format!(", {} run", count(cases, "case")) } else { String::new() };
    let (found, ended) = match faults {
        0 => ("no problems".to_owned(), Ended::Done),
        faults => (count(faults, "problem"), Ended::Incomplete),
    };
    let written = writeln!(run.console.out, "{checked} checked{cases}, {found}");
    once_written(written.map_err(Into::into), ended)
}

/// Returns how many cases of a rule were run, and what is wrong with it. Cases of shipped rules are
/// not in the binary, and were run before it was made.
async fn check_one(rule: &Rule, limits: Limits) -> Result<(usize, Vec<Problem>)> {
    let problems = check(rule, limits).await?;
    if rule.is_shipped || !problems.is_empty() {
        return Ok((0, problems));
    }
    Ok(check_cases(rule, limits).await)
}
