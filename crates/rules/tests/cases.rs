//! Every case of every rule and every check: the example of its page and its `cases.md`.
//!
//! `TIMESINK_UPDATE=1` writes the findings into the pages, to be read before they are committed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};

use timesink_query::Limits;
use timesink_rules::{Rule, RuleSet, check, run_case};
use timesink_testkit::cases::{self, Case};
use tokio::runtime::Runtime;

#[test]
fn every_page_says_what_its_rule_finds() {
    check_pages(&RuleSet::embedded().unwrap());
}

#[test]
fn every_page_says_what_its_check_finds() {
    check_pages(&RuleSet::checks().unwrap());
}

fn check_pages(rules: &RuleSet) {
    let runtime = Runtime::new().unwrap();
    let mut wrong = Vec::new();
    for rule in rules.rules() {
        for page in ["README.md", "cases.md"] {
            for case in cases::cases(folder(rule).join(page)) {
                let lines = runtime.block_on(run_case(rule, &case, Limits::default()));
                let lines = lines.unwrap_or_else(|error| panic!("{error}"));
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
    for (rules, cases_min) in [(RuleSet::embedded(), 6), (RuleSet::checks(), 5)] {
        for rule in rules.unwrap().rules() {
            let name = rule.name();
            let cases = cases::cases(folder(rule).join("cases.md"));
            let is_silent = |case: &&Case| {
                matches!(case.expected[0].split(' ').next(), Some("clean" | "skipped" | "cannot"))
            };
            let silent = cases.iter().filter(is_silent).count();
            assert!(cases.len() >= cases_min, "{name}: {} cases", cases.len());
            assert!(cases.len() - silent >= 2, "{name}: {} cases fire", cases.len() - silent);
            assert!(silent >= 3, "{name}: {silent} cases stay silent");
            assert_eq!(cases::cases(folder(rule).join("README.md")).len(), 1, "{name}");
        }
    }
}

#[test]
fn every_rule_folder_is_sound() {
    let runtime = Runtime::new().unwrap();
    for rules in [RuleSet::embedded(), RuleSet::checks()] {
        for rule in rules.unwrap().rules() {
            let problems = runtime.block_on(check(rule, Limits::default())).unwrap();
            assert_eq!(problems, [], "{}", rule.name());
        }
    }
}

/// Returns where the files of a shipped rule are.
fn folder(rule: &Rule) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(&rule.folder)
}
