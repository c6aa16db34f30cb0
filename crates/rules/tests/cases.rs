//! Every case of every rule folder: the example of its page and its `cases.md`.
//!
//! `TIMESINK_UPDATE=1` writes the findings into the pages, to be read before they are committed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use timesink_model::Finding;
use timesink_query::{Database, Limits};
use timesink_rules::{
    Analysis, Engine, Outcome, Override, RuleSet, RuleSettings, RulesConfig, Undecided, check,
    show_nanos,
};
use timesink_testkit::cases::{self, Case};
use tokio::runtime::Runtime;

#[test]
fn every_page_says_what_its_rule_finds() {
    let runtime = Runtime::new().unwrap();
    let mut wrong = Vec::new();
    for rule in names() {
        for page in ["README.md", "cases.md"] {
            for case in cases::cases(folder().join(&rule).join(page)) {
                let lines = runtime.block_on(run(&rule, &case));
                if let Err(mismatch) = cases::check(&case, &lines) {
                    wrong.push(mismatch.to_string());
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// One that fires, a near miss, the threshold from both sides, and spans without what is required.
#[test]
fn every_rule_has_the_cases_that_show_its_limits() {
    for rule in names() {
        let cases = cases::cases(folder().join(&rule).join("cases.md"));
        let is_silent = |case: &&Case| {
            matches!(case.expected[0].split(' ').next(), Some("clean" | "skipped" | "cannot"))
        };
        let silent = cases.iter().filter(is_silent).count();
        assert!(cases.len() - silent >= 2, "{rule}: {} cases fire", cases.len() - silent);
        assert!(silent >= 3, "{rule}: {silent} cases stay silent");
        assert_eq!(cases::cases(folder().join(&rule).join("README.md")).len(), 1, "{rule}");
    }
}

#[test]
fn every_rule_folder_is_sound() {
    let runtime = Runtime::new().unwrap();
    for rule in RuleSet::embedded().unwrap().rules() {
        let problems = runtime.block_on(check(rule, Limits::default())).unwrap();
        assert_eq!(problems, [], "{}", rule.name());
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../queries/rules")
}

fn names() -> Vec<String> {
    let rules = RuleSet::embedded().unwrap();
    rules.rules().iter().map(|rule| rule.name().to_owned()).collect()
}

async fn run(rule: &str, case: &Case) -> Vec<String> {
    let rules = RuleSet::embedded().unwrap().only(&[rule]).unwrap();
    let engine = Engine::new(rules, config(rule, case)).unwrap();
    let spans = case.notation().decode().spans;
    let database = Database::open(spans, Limits::default()).unwrap();
    lines(&engine.analyze(&database).await.unwrap())
}

fn config(rule: &str, case: &Case) -> RulesConfig {
    let text = case.config.as_deref().unwrap_or_default();
    let mut table: toml::Table = toml::from_str(text).expect("the case's configuration");
    let overrides = match table.remove("override") {
        Some(toml::Value::Array(tables)) => tables.into_iter().map(override_of).collect(),
        _ => Vec::new(),
    };
    let params = table.into_iter().collect();
    let settings = RuleSettings { disabled: false, params, overrides };
    RulesConfig { rules: BTreeMap::from([(rule.to_owned(), settings)]), ..RulesConfig::default() }
}

fn override_of(table: toml::Value) -> Override {
    let toml::Value::Table(mut table) = table else { panic!("an override is a table") };
    let mut text = |key: &str| table.remove(key).map(|value| value.as_str().unwrap().to_owned());
    let (service, endpoint, kind) = (text("service"), text("endpoint"), text("kind"));
    Override { service, endpoint, kind, params: table.into_iter().collect() }
}

fn lines(analysis: &Analysis) -> Vec<String> {
    match &analysis.runs[0].outcome {
        Outcome::Clean => vec!["clean".to_owned()],
        Outcome::Undecided => analysis.runs[0].undecided.iter().map(undecided).collect(),
        Outcome::Skipped { .. } => vec!["skipped".to_owned()],
        Outcome::Findings(_) => analysis.findings.iter().map(line).collect(),
        other => panic!("{other:?}"),
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
