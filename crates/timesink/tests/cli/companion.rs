//! Recordings of services that measure themselves (`tests/companion`): what is found, how sure, and
//! in which line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{recording, run};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/companion")
}

/// A line of `labels.csv`; its last column, which may have commas, is left out.
struct Label {
    file: String,
    route: String,
    clients: u32,
    expected: BTreeSet<String>,
    /// What a slow machine adds in truth.
    may: BTreeSet<String>,
    places: BTreeSet<String>,
}

fn labels() -> Vec<Label> {
    let text = std::fs::read_to_string(folder().join("labels.csv")).expect("labels");
    let mut lines = text.lines();
    let header = "file,case,route,clients,requests,expected,may,code_file,code_lines,operation";
    assert_eq!(lines.next(), Some(header));
    lines.map(label).collect()
}

fn label(line: &str) -> Label {
    let words: Vec<&str> = line.splitn(10, ',').collect();
    let [file, _, route, clients, _, expected, may, code_file, code_lines, _] = words[..] else {
        panic!("ten columns: {line}")
    };
    let told = |words: &str| {
        let words = words.split('+').filter(|word| ["blocked", "serialize"].contains(word));
        words.map(str::to_owned).collect()
    };
    let places = code_lines.split_whitespace().map(|line| format!("{code_file}:{line}"));
    Label {
        file: file.to_owned(),
        route: route.to_owned(),
        clients: clients.parse().expect("a number"),
        expected: told(expected),
        may: told(may),
        places: places.collect(),
    }
}

/// Returns the findings in a recording, of the rules that gain from a service that measures itself.
fn findings(file: &str) -> Vec<Value> {
    let path = folder().join("recordings").join(file).to_string_lossy().into_owned();
    let output = run(&["analyze", "--format", "jsonl", &path]);
    assert_eq!(output.code, 0, "{file}: {}", output.stderr);
    let findings = output.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    findings.filter(|finding| told_by(finding).is_some()).collect()
}

/// Returns the label's word for a finding.
fn told_by(finding: &Value) -> Option<&'static str> {
    match finding["rule"].as_str() {
        Some("blocking-event-loop") => Some("blocked"),
        Some("slow-serialization") => Some("serialize"),
        _ => None,
    }
}

/// Guarantee: with one client every culprit is found as certain, in its line, and its healthy twin
/// is silent.
#[test]
fn one_client_is_enough() {
    let labels = labels();
    assert!(labels.len() > 80, "{} recordings", labels.len());
    let mut wrong = Vec::new();
    for label in labels.iter().filter(|label| label.clients == 1) {
        let found = findings(&label.file);
        let told: BTreeSet<String> = found.iter().filter_map(told_by).map(str::to_owned).collect();
        let is_told = label.expected.is_subset(&told)
            && told.iter().all(|word| label.expected.contains(word) || label.may.contains(word));
        let is_certain = found.iter().all(|finding| finding["confidence"] == "certain");
        let is_placed = found.iter().all(|finding| match finding["evidence"]["code_location"] {
            Value::String(ref place) => label.places.contains(place),
            _ => label.places.is_empty(),
        });
        if !(is_told && is_certain && is_placed) {
            let brief = |f: &Value| {
                format!("{} {} {}", f["rule"], f["confidence"], f["evidence"]["code_location"])
            };
            let found: Vec<String> = found.iter().map(brief).collect();
            wrong.push(format!("{} {}: {}", label.file, label.route, found.join("; ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Guarantee: what Logfire says of slow callbacks is certain; the request is named where a call
/// lies in the callback.
#[test]
fn logfire_warns_of_slow_callbacks() {
    let file = recording("logfire_blocking_c1.jsonl.gz");
    let output = run(&["analyze", "--format", "jsonl", &file]);
    let findings = output.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let findings = findings.filter(|finding: &Value| finding["severity"] != "info");
    let brief = |finding: Value| {
        ["rule", "endpoint", "subject", "confidence"].map(|name| finding[name].to_string())
    };
    let found: BTreeSet<[String; 4]> = findings.map(brief).collect();
    let expected = [
        ["(entry span not recorded)", "a task of RequestResponseCycle.run_asgi"],
        ["GET /quote/{item}", "requests GET 127.0.0.1:8191/upstream/{}"],
    ];
    let expected = expected.map(|[endpoint, subject]| {
        ["blocking-event-loop", endpoint, subject, "certain"].map(|word| format!("{word:?}"))
    });
    assert_eq!(found, BTreeSet::from(expected));
}
