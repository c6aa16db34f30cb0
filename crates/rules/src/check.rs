//! What is wrong with a rule folder, told before it is run on anything.

use timesink_model::schema::quarantine;
use timesink_model::schema::spans::PROMOTED;
use timesink_query::{Database, Limits, Planner, literals};

use crate::engine::session;
use crate::instances::{CONFIDENCE, FINDING_COLUMNS, check_columns, confidence, evidence_columns};
use crate::params::{self, ParamKeys, TABLE};
use crate::rule::Rule;
use crate::{Error, config::RuleSettings, template};

/// The headings that a guide has, in this order.
const HEADINGS: [&str; 9] = [
    "What it finds",
    "How we know",
    "Why it is slow",
    "Example",
    "How to fix it",
    "How to check the fix",
    "When to leave it alone",
    "Limits",
    "References",
];

/// Names that titles and messages may use besides a rule's own evidence.
const WORDS: [&str; 7] = [
    "service_name",
    "endpoint",
    "subject",
    "occurrences",
    "traces_affected",
    "traces_seen",
    "wasted_nanos",
];

/// One thing that is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub rule: String,
    pub what: String,
}

/// Checks a rule against empty tables, under the limits it will run with: its query plans, its
/// columns, parameters, words and guide.
///
/// # Errors
///
/// [`Error::Internal`] when the empty tables cannot be made.
pub async fn check(rule: &Rule, limits: Limits) -> Result<Vec<Problem>, Error> {
    let mut problems = Vec::new();
    check_guide(rule, &mut problems);
    check_params(rule, &mut problems);
    let mut database = Database::open(Vec::new(), limits)?;
    let quarantine = quarantine::table();
    database.add(quarantine.name, quarantine.schema().into(), Vec::new());
    let keys = ParamKeys::find(&[]);
    let session = session(rule, &RuleSettings::default(), &database, &keys)?;
    match session.query(&rule.sql).await {
        Err(error) => problems.push(error.to_string()),
        Ok(result) => {
            problems.extend(check_columns(&result).err());
            let confidences = literals(&rule.sql, CONFIDENCE[0])?;
            problems.extend(confidences.iter().filter_map(|word| confidence(word).err()));
            check_words(rule, &evidence_columns(&result), &mut problems);
            // It is run by a plan that is made before there are rows, which takes a little less.
            let planner = Planner::new(limits, &[&rule.sql]).await?;
            let plan = planner.plan(&rule.sql, vec![(TABLE, params::schema(rule))]).await;
            problems.extend(plan.err().map(|error| error.to_string()));
        }
    }
    let rule = rule.name().to_owned();
    Ok(problems.into_iter().map(|what| Problem { rule: rule.clone(), what }).collect())
}

fn check_guide(rule: &Rule, problems: &mut Vec<String>) {
    let headings: Vec<&str> =
        rule.guide.lines().filter_map(|line| line.strip_prefix("## ")).map(str::trim).collect();
    if headings != HEADINGS {
        problems.push(format!(
            "README.md has the headings {}: expected {}",
            headings.join(", "),
            HEADINGS.join(", ")
        ));
    }
}

fn check_params(rule: &Rule, problems: &mut Vec<String>) {
    for name in rule.manifest.params.keys() {
        if !rule.sql.contains(name.as_str()) {
            problems.push(format!("parameter `{name}` is declared and not read by rule.sql"));
        }
    }
    for attribute in &rule.manifest.requires {
        let known = PROMOTED.iter().any(|promoted| promoted.attribute == attribute);
        if !known && !attribute.contains('.') {
            problems.push(format!("required attribute `{attribute}` is no attribute's name"));
        }
    }
    let fallback = rule.manifest.remediation.last();
    if fallback.is_none_or(|text| !text.libraries.is_empty()) {
        problems.push("the last [[remediation]] has to hold for all: libraries = []".to_owned());
    }
}

fn check_words(rule: &Rule, evidence: &[String], problems: &mut Vec<String>) {
    let manifest = &rule.manifest;
    for (place, text) in [("title", &manifest.title), ("message", &manifest.message)] {
        for name in template::names(text) {
            let known = WORDS.contains(&name) || evidence.iter().any(|column| column == name);
            if !known {
                problems.push(format!("`{{{name}}}` in {place} is no column of rule.sql"));
            }
        }
    }
    for name in manifest.evidence.keys() {
        if !evidence.contains(name) {
            problems.push(format!("[evidence.{name}] is no column of rule.sql"));
        }
    }
    for name in evidence {
        if !manifest.evidence.contains_key(name) {
            problems.push(format!(
                "column `{name}` has no [evidence.{name}]; columns after {} are evidence",
                FINDING_COLUMNS[FINDING_COLUMNS.len() - 1]
            ));
        }
    }
}
