//! Running the cases of a rule folder: what a rule says of spans that a page shows.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use timesink_cases::{Case, CaseError};
use timesink_model::Finding;
use timesink_query::{Database, Limits};

use crate::config::{Override, RuleSettings, RulesConfig};
use crate::engine::{Analysis, Engine, Outcome, Undecided};
use crate::rule::{Rule, RuleSet};
use crate::show_nanos;

/// Returns the lines that a page shows of what a rule finds in a case's spans.
///
/// They are one line a finding, or `clean`, `skipped`, or what the spans leave open.
///
/// # Errors
///
/// The case cannot be read, or the rule fails on it; the error names the page and the line.
pub async fn run_case(rule: &Rule, case: &Case, limits: Limits) -> Result<Vec<String>, CaseError> {
    let wrong = |what: String| CaseError {
        path: case.path.clone(),
        line: case.line,
        what: format!("`{}`: {what}", case.heading),
    };
    let config = config(rule, case).map_err(|what| wrong(format!("block `toml`, {what}")))?;
    let failed = |error: &dyn std::fmt::Display| wrong(error.to_string());
    let engine = Engine::new(RuleSet::of(rule.clone()), config).map_err(|e| failed(&e))?;
    let decoded = case.notation()?.decode().map_err(|e| failed(&e))?;
    let (spans, taken) = (decoded.spans, case.notation()?.span_count());
    let read: usize = spans.iter().map(RecordBatch::num_rows).sum();
    let quarantined: usize = decoded.quarantine.iter().map(RecordBatch::num_rows).sum();
    if ((read + quarantined) as u64) < taken {
        return Err(wrong(format!(
            "{taken} spans are shown, and {read} are good enough to be read"
        )));
    }
    let database = Database::open(spans, limits).map_err(|e| failed(&e))?;
    let analysis = engine.analyze(&database).await.map_err(|e| failed(&e))?;
    lines(&analysis).map_err(wrong)
}

/// Reads a case's configuration: thresholds, and `[[override]]` tables.
fn config(rule: &Rule, case: &Case) -> Result<RulesConfig, String> {
    let text = case.config.as_deref().unwrap_or_default();
    let mut table: toml::Table = toml::from_str(text).map_err(|error| error.to_string())?;
    let overrides = match table.remove("override") {
        None => Vec::new(),
        Some(toml::Value::Array(tables)) => {
            tables.into_iter().map(override_of).collect::<Result<_, _>>()?
        }
        Some(_) => return Err("`override`: expected `[[override]]`".to_owned()),
    };
    let params = table.into_iter().collect();
    let settings = RuleSettings { disabled: false, params, overrides };
    let rules = BTreeMap::from([(rule.name().to_owned(), settings)]);
    Ok(RulesConfig { rules, ..RulesConfig::default() })
}

fn override_of(table: toml::Value) -> Result<Override, String> {
    let toml::Value::Table(mut table) = table else {
        return Err("`override`: expected a table".to_owned());
    };
    let mut text = |key: &str| match table.remove(key) {
        None => Ok(None),
        Some(toml::Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("`{key}` is a {}: expected text", other.type_str())),
    };
    let (service, endpoint, kind) = (text("service")?, text("endpoint")?, text("kind")?);
    Ok(Override { service, endpoint, kind, params: table.into_iter().collect() })
}

fn lines(analysis: &Analysis) -> Result<Vec<String>, String> {
    let Some(run) = analysis.runs.first() else { return Err("the rule did not run".to_owned()) };
    match &run.outcome {
        Outcome::Clean => Ok(vec!["clean".to_owned()]),
        Outcome::Undecided => Ok(run.undecided.iter().map(undecided).collect()),
        Outcome::Skipped { .. } => Ok(vec!["skipped".to_owned()]),
        Outcome::Findings(_) => Ok(analysis.findings.iter().map(line).collect()),
        Outcome::Disabled => Err("the rule is switched off".to_owned()),
        Outcome::Failed { reason } => Err(reason.clone()),
    }
}

fn undecided(place: &Undecided) -> String {
    format!("cannot tell {} \"{}\": {}", place.service_name, place.endpoint, place.reason)
}

/// What a page says of a finding: who, how bad, how sure, what.
fn line(finding: &Finding) -> String {
    format!(
        "{}[{}] {} \"{}\" {} of {} requests, wasted {}, {}: {}",
        finding.severity,
        finding.rule,
        finding.service_name,
        finding.endpoint,
        finding.traces_affected,
        finding.traces_seen,
        show_nanos(finding.wasted_nanos),
        finding.confidence,
        finding.subject,
    )
}
