//! What is wrong with a rule folder, told before it is run on anything.

use std::fmt;

use timesink_model::schema::quarantine;
use timesink_model::schema::spans::PROMOTED;
use timesink_query::{Database, Limits, Planner, literals};

use crate::cases::run_case;
use crate::engine::session;
use crate::error::nearest;
use crate::instances::{CONFIDENCE, FINDING_COLUMNS, check_columns, confidence, evidence_columns};
use crate::params::{self, ParamKeys, TABLE};
use crate::registry::{CHECKS, RULES};
use crate::rule::{Place, Rule, line_that_begins};
use crate::{Error, config::RuleSettings, template};

/// The files of a rule's folder.
const MANIFEST: &str = "rule.toml";
const SQL: &str = "rule.sql";
const GUIDE: &str = "README.md";
const CASES: &str = "cases.md";

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

/// One thing that is wrong with a rule, where it is, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub rule: String,
    pub place: Place,
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// What was found wrong so far.
struct Problems<'a> {
    rule: &'a Rule,
    all: Vec<Problem>,
}

impl Problems<'_> {
    fn add(&mut self, file: &str, line: Option<usize>, what: String) {
        let place = Place { file: self.rule.folder.join(file), line };
        self.all.push(Problem { rule: self.rule.name().to_owned(), place, what });
    }

    /// Adds a problem of `rule.toml`, in the line that begins so.
    fn add_of_manifest(&mut self, begin: &str, what: String) {
        let line = line_that_begins(&self.rule.manifest_text, begin);
        self.add(MANIFEST, line, what);
    }

    /// Adds a problem of `rule.sql`, in the line that the message speaks of.
    fn add_of_sql(&mut self, what: String) {
        let line = sql_line(&self.rule.sql, &what);
        self.add(SQL, line, what);
    }
}

/// Checks a rule against empty tables, under the limits it will run with: its query plans, its
/// columns, parameters, words and guide.
///
/// # Errors
///
/// [`Error::Internal`] when the empty tables cannot be made.
pub async fn check(rule: &Rule, limits: Limits) -> Result<Vec<Problem>, Error> {
    let mut problems = Problems { rule, all: Vec::new() };
    check_guide(&mut problems);
    check_manifest(&mut problems);
    let mut database = Database::open(Vec::new(), limits)?;
    let quarantine = quarantine::table();
    database.add(quarantine.name, quarantine.schema().into(), Vec::new());
    let keys = ParamKeys::find(&[]);
    let session = session(rule, &RuleSettings::default(), &database, &keys)?;
    match session.query(&rule.sql).await {
        Err(error) => problems.add_of_sql(error.to_string()),
        Ok(result) => {
            check_columns(&result).unwrap_or_else(|what| problems.add_of_sql(what));
            for word in literals(&rule.sql, CONFIDENCE[0])? {
                confidence(&word).map_or_else(|what| problems.add_of_sql(what), |_| ());
            }
            check_words(&evidence_columns(&result), &mut problems);
            // It is run by a plan that is made before there are rows, which takes a little less.
            let planner = Planner::new(limits, &[&rule.sql], &[]).await?;
            let plan = planner.plan(&rule.sql, vec![(TABLE, params::schema(rule))]).await;
            plan.map_or_else(|error| problems.add_of_sql(error.to_string()), |_| ());
        }
    }
    Ok(problems.all)
}

/// Runs the cases of a rule's folder, those of its `cases.md` and the example of its guide.
/// Returns how many they are, and those that give something else than the page says.
pub async fn check_cases(rule: &Rule, limits: Limits) -> (usize, Vec<Problem>) {
    let mut problems = Problems { rule, all: Vec::new() };
    let mut run = 0;
    for file in [GUIDE, CASES] {
        let page = rule.folder.join(file);
        // A link that leads nowhere is there, and cannot be read.
        if page.symlink_metadata().is_err() {
            continue;
        }
        let cases = match timesink_cases::read(page) {
            Ok(cases) => cases,
            Err(error) => {
                problems.add(file, Some(error.line), error.what);
                continue;
            }
        };
        for case in &cases {
            run += 1;
            match run_case(rule, case, limits).await {
                Err(error) => problems.add(file, Some(error.line), error.what),
                Ok(lines) => {
                    if let Err(differs) = timesink_cases::check(case, &lines) {
                        problems.add(file, Some(case.line), differs.lines());
                    }
                }
            }
        }
    }
    (run, problems.all)
}

fn check_guide(problems: &mut Problems<'_>) {
    let guide = &problems.rule.guide;
    let headings: Vec<&str> =
        guide.lines().filter_map(|line| line.strip_prefix("## ")).map(str::trim).collect();
    let pairs =
        (0..HEADINGS.len().max(headings.len())).map(|at| (headings.get(at), HEADINGS.get(at)));
    let differs = pairs.into_iter().find(|(is, expected)| is != expected);
    let Some((is, expected)) = differs else { return };
    let line = is.and_then(|heading| line_that_begins(guide, &format!("## {heading}")));
    let what = match (is, expected) {
        (Some(is), Some(expected)) => format!("`## {is}` stands where `## {expected}` has to"),
        (Some(is), None) => format!("`## {is}` is one heading too many"),
        (None, Some(expected)) => format!("`## {expected}` is missing"),
        (None, None) => return,
    };
    let all = HEADINGS.join(", ");
    problems.add(GUIDE, line, format!("{what}: a guide has the headings {all}, in this order"));
}

fn check_manifest(problems: &mut Problems<'_>) {
    let Rule { manifest, sql, .. } = problems.rule;
    for name in manifest.params.keys() {
        if !sql.contains(name.as_str()) {
            problems.add_of_manifest(
                &format!("[params.{name}]"),
                format!(
                    "rule.sql does not read the parameter `{name}`: read it from the table \
                     `{TABLE}`, or take it out"
                ),
            );
        }
    }
    for attribute in &manifest.requires {
        let known = PROMOTED.iter().any(|promoted| promoted.attribute == attribute);
        if !known && !attribute.contains('.') {
            let what = format!(
                "required attribute `{attribute}` is no attribute's name: give it as spans carry \
                 it, `db.system.name` for example"
            );
            problems.add_of_manifest("requires", what);
        }
    }
    let shipped = RULES.iter().chain(CHECKS).map(|source| source.folder);
    let known: Vec<&str> = shipped.chain([manifest.name.as_str()]).collect();
    for name in manifest.symptom_of.iter().flat_map(|of| &of.rules) {
        // Another rule of the user's is not at hand here.
        let near = nearest(name, known.iter().copied()).filter(|near| near != name);
        if let Some(near) = near.filter(|_| !known.contains(&name.as_str())) {
            let what = format!("`symptom_of` names `{name}`: is it `{near}`?");
            let lines = problems.rule.manifest_text.lines();
            let line = (1..).zip(lines).find(|(_, line)| line.contains(&format!("\"{name}\"")));
            problems.add(MANIFEST, line.map(|(line, _)| line), what);
        }
    }
    let fallback = manifest.remediation.last();
    if fallback.is_none_or(|text| !text.libraries.is_empty()) {
        let what = "the last [[remediation]] has to hold for all: libraries = []".to_owned();
        let lines = problems.rule.manifest_text.lines();
        let last = (1..).zip(lines).filter(|(_, line)| line.starts_with("[[remediation]]")).last();
        problems.add(MANIFEST, last.map(|(line, _)| line), what);
    }
}

fn check_words(evidence: &[String], problems: &mut Problems<'_>) {
    let manifest = &problems.rule.manifest;
    for (place, text) in [("title", &manifest.title), ("message", &manifest.message)] {
        for name in template::names(text) {
            let known = WORDS.contains(&name) || evidence.iter().any(|column| column == name);
            if !known {
                let what = format!(
                    "`{{{name}}}` in {place} is no column of rule.sql: select it, or take one of \
                     {}",
                    WORDS.map(|word| format!("`{{{word}}}`")).join(", ")
                );
                problems.add_of_manifest(place, what);
            }
        }
    }
    for name in manifest.evidence.keys() {
        if !evidence.contains(name) {
            let begin = format!("[evidence.{name}]");
            let what = format!("rule.sql has no column `{name}`: select it, or take this out");
            problems.add_of_manifest(&begin, what);
        }
    }
    for name in evidence {
        if !manifest.evidence.contains_key(name) {
            let line = word_line(&problems.rule.sql, name);
            problems.add(
                SQL,
                line,
                format!(
                    "column `{name}` has no [evidence.{name}] in rule.toml: say there what it \
                     is; columns after {} are evidence",
                    FINDING_COLUMNS[FINDING_COLUMNS.len() - 1]
                ),
            );
        }
    }
}

/// Returns the line of a query that a message about it speaks of, as far as can be told.
fn sql_line(sql: &str, message: &str) -> Option<usize> {
    let after = |mark: &str| message.split_once(mark).map(|(_, rest)| rest);
    if let Some(rest) = after("Line: ") {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        return digits.parse().ok();
    }
    let quoted = message.split(['\'', '"', '`']).skip(1).step_by(2);
    let named = after("No field named ").into_iter();
    let words = named.chain(quoted).filter_map(|text| {
        let end = text.find(|c: char| !(c.is_alphanumeric() || "._\"".contains(c)));
        let name = &text[..end.unwrap_or(text.len())];
        name.trim_end_matches('.').rsplit('.').next().map(|word| word.trim_matches('"'))
    });
    words.filter(|word| !word.is_empty()).find_map(|word| word_line(sql, word))
}

/// Returns the last line, from 1, that holds a word.
fn word_line(text: &str, word: &str) -> Option<usize> {
    let is_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let holds = |line: &str| line.split(|c| !is_of_word(c)).any(|other| other == word);
    let lines = (1..).zip(text.lines());
    lines.filter(|(_, line)| holds(line)).last().map(|(line, _)| line)
}
