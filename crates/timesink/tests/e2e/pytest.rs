//! The examples: their test suites under `timesink run`, and their recordings.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Map, Value};

use crate::support::{path_with_python, python, root, succeed, text, timesink};

const STORIES: [&str; 2] = ["django-shop", "fastapi-quotes"];

fn folder(story: &str) -> PathBuf {
    root().join("examples").join(story)
}

fn expected(story: &str) -> Map<String, Value> {
    let text = std::fs::read_to_string(folder(story).join("expected.json")).expect("a file");
    serde_json::from_str(&text).expect("JSON")
}

/// Returns what is said of a finding in `expected.json`.
fn brief(line: &str) -> Value {
    let finding: Value = serde_json::from_str(line).expect("JSON");
    let mut brief = finding.clone();
    brief["test"] = finding["evidence"]["test_cases"][0].clone();
    brief
}

/// Checks that a finding says all that is expected of it. Ports differ from run to run.
fn check(found: &Value, expected: &Value, keys: &[&str]) {
    for key in keys {
        assert_eq!(found[*key], expected[*key], "{key} of {found}");
    }
}

#[test]
fn recordings_give_what_their_pages_say() {
    for story in STORIES {
        for (file, expected) in expected(story) {
            let path = folder(story).join("recordings").join(&file);
            let mut command = timesink();
            let output = succeed(command.args(["analyze", "--format", "jsonl"]).arg(path));
            let found = text(&output.stdout);
            let found = found.lines().map(brief).filter(|found| found["severity"] != "info");
            let found: Vec<Value> = found.collect();
            let expected = expected.as_array().expect("a list");
            assert_eq!(found.len(), expected.len(), "{story} {file}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                let keys: Vec<&str> =
                    expected.as_object().expect("an object").keys().map(String::as_str).collect();
                check(found, expected, &keys);
            }
        }
    }
}

fn run_suite(story: &str, arguments: &[&str]) -> Output {
    let mut command = timesink();
    command
        .args(["run", "--format", "jsonl", "--", "pytest", "-q"])
        .args(arguments)
        .current_dir(folder(story))
        .env("PATH", path_with_python())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    succeed(&mut command)
}

/// Returns the findings but those that are `info`: of one request that a busy machine slows down a
/// rule says that it may be slow.
fn culprits(said: &str) -> Vec<Value> {
    let findings = said.lines().filter(|line| line.starts_with('{'));
    findings.filter(|line| !line.contains(r#""severity":"info""#)).map(brief).collect()
}

/// Scenario: a developer types `timesink run -- pytest`.
/// Guarantee: the culprit is named with the test that showed it, and the fixed twin is not.
#[test]
fn suites_name_the_culprit_with_the_test_that_showed_it() {
    for story in STORIES {
        let output = run_suite(story, &["-p", "no:cacheprovider"]);
        let said = text(&output.stdout);
        let found = culprits(&said);
        let expected = &expected(story)["before.jsonl.gz"];
        assert_eq!(found.len(), 1, "{story}: {said}{}", text(&output.stderr));
        check(&found[0], &expected[0], &["rule", "service_name", "endpoint", "test"]);
    }
}

/// Scenario: the tests are spread over processes (pytest-xdist).
#[test]
fn a_suite_in_several_processes_is_looked_at_whole() {
    let output = run_suite("django-shop", &["-p", "no:cacheprovider", "-n", "2"]);
    let said = text(&output.stdout);
    let found = culprits(&said);
    assert_eq!(found.len(), 1, "{said}{}", text(&output.stderr));
    assert_eq!(found[0]["test"], expected("django-shop")["before.jsonl.gz"][0]["test"]);
    assert!(Path::new(python()).is_file());
}
