//! Reports for other readers than people at a terminal, of real recordings; `--top`, `--since`,
//! `--output`; and every command of `docs/outputs.md`.

use std::path::Path;

use serde_json::Value;
use timesink_testkit::sarif;

use crate::support::{Place, check_refusal, one_span, recording, run};

const FORMATS: [&str; 7] = ["text", "json", "jsonl", "markdown", "sarif", "html", "github"];

/// Recordings with three findings, one of which causes a fourth.
fn three() -> [String; 3] {
    ["django_fk_n1.pb.gz", "mesh_net_http.jsonl.gz", "fa_requests_bad_c8.jsonl.gz"].map(recording)
}

fn report(options: &[&str]) -> String {
    let files = three();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let output = run(&[&["analyze"], options, &files].concat());
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{options:?}");
    output.stdout
}

#[test]
fn json_is_one_document() {
    let document: Value = serde_json::from_str(&report(&["--format", "json"])).unwrap();
    assert_eq!((&document["format_version"], &document["findings_total"]), (&1.into(), &4.into()));
    let findings = document["findings"].as_array().unwrap();
    let lines = report(&["--format", "jsonl"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(findings, &lines);
    let outcomes = document["rules"].as_array().unwrap().iter().map(|rule| &rule["outcome"]);
    assert_eq!(outcomes.filter(|outcome| *outcome == "findings").count(), 4);
    let ids: Vec<&Value> = findings.iter().map(|finding| &finding["finding_id"]).collect();
    let causes =
        findings.iter().map(|finding| ids.iter().position(|id| *id == &finding["caused_by"]));
    // The costliest is a blocked loop, and what it causes stands behind it.
    assert_eq!(causes.collect::<Vec<_>>(), [None, Some(0), None, None]);
}

#[test]
fn sarif_of_real_spans_is_valid() {
    let log: Value = serde_json::from_str(&report(&["--format", "sarif"])).unwrap();
    assert_eq!(sarif::faults(&log), Vec::<String>::new());
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    let first = &log["runs"][0]["tool"]["driver"]["rules"][0]["help"]["markdown"];
    assert!(first.as_str().unwrap().contains("## How to fix it"));
    let causes =
        results.iter().filter(|result| result.to_string().contains(" Causes: missing-cache: "));
    assert_eq!(causes.count(), 1);
}

#[test]
fn html_draws_the_traces() {
    let page = report(&["--format", "html"]);
    assert_eq!(page.matches("<article class=\"card\"").count(), 3);
    assert_eq!(page.matches("<figure class=\"waterfall\">").count(), 3);
    assert_eq!(page.matches("<tr class=\"culprit\">").count(), 3);
    assert_eq!(page.matches("<dt>Causes</dt><dd>missing-cache: ").count(), 1);
    assert!(page.contains("class=\"path\""));
    for start in ["<script", "<link rel=\"stylesheet", "<img", "src="] {
        assert!(!page.contains(start), "{start}");
    }
}

#[test]
fn markdown_and_annotations_say_the_same_as_the_terminal() {
    let terminal = report(&[]);
    let head = terminal.lines().find(|line| line.starts_with("3 findings, 1 symptom in ")).unwrap();
    assert!(report(&["--format", "markdown"]).starts_with(&format!("## timesink: {head}\n")));
    let annotations = report(&["--format", "github"]);
    assert_eq!(annotations.lines().filter(|line| line.starts_with("::warning ")).count(), 3);
    assert!(annotations.contains(&format!("\ntimesink: {head}\n")), "{annotations}");
    assert!(annotations.contains("%0Acauses: missing-cache: "), "{annotations}");
    assert!(report(&["--format", "md"]).contains("\n- **causes** missing-cache: "));
    assert_eq!(report(&["--format", "md"]), report(&["--format", "markdown"]));
    assert_eq!(report(&["--format", "terminal"]), terminal);
}

#[test]
fn the_same_spans_give_the_same_bytes() {
    for format in FORMATS {
        assert_eq!(report(&["--format", format]), report(&["--format", format]), "{format}");
    }
}

#[test]
fn no_findings_and_no_spans_have_a_report_in_every_format() {
    let place = Place::new();
    place.write("one.json", one_span("shop", "GET /"));
    place.write("none.json", "{\"resourceSpans\": []}");
    for format in FORMATS {
        for (file, code) in [("one.json", 0), ("none.json", 0)] {
            let output = place.run(&["analyze", "--format", format, file]);
            assert_eq!(output.code, code, "{format} {file}: {output:?}");
            assert_eq!(output.stdout.is_empty(), format == "jsonl", "{format} {file}");
        }
    }
}

#[test]
fn top_shows_the_costliest_and_counts_them_all() {
    let text = report(&["--top", "1"]);
    assert_eq!(text.lines().filter(|line| line.starts_with("warning[")).count(), 1);
    assert!(text.contains("\n  causes   missing-cache: 60 requests read the same thing"), "{text}");
    let head = "\n3 findings and notes, the costliest one shown, in 3,227 spans of ";
    assert!(text.contains(head), "{text}");
    let document: Value =
        serde_json::from_str(&report(&["--format", "json", "--top", "2"])).unwrap();
    assert_eq!(document["findings"].as_array().unwrap().len(), 3);
    assert_eq!(document["findings_total"], 4);
    assert_eq!(report(&["--top", "100"]), report(&[]));
    for wrong in ["0", "-1", "many"] {
        assert_eq!(run(&["analyze", "--top", wrong, "x"]).code, 2, "{wrong}");
    }
}

/// Scenario: the finding that trips the gate is not among those shown.
/// Guarantee: it trips all the same.
#[test]
fn fail_on_looks_at_findings_that_are_not_shown() {
    let output = run(&["analyze", "--fail-on", "warning", "--top", "1", &three()[0], &three()[1]]);
    assert_eq!(output.code, 1);
}

/// Two traces, the first of the year 2026-11-23T11:00:00Z, the second an hour later.
fn two_traces() -> String {
    let first = one_span("shop", "GET /");
    let second = first
        .replace("5b8efff798038103d269b633813fc60c", "5b8efff798038103d269b633813fc60d")
        .replace("17954316", "17954352");
    format!("{first}{second}")
}

#[test]
fn since_leaves_out_traces_that_begin_before() {
    let place = Place::new();
    place.write("two.jsonl", two_traces());
    let spans = |since: &str| {
        let output = place.run(&["analyze", "--format", "json", "--since", since, "two.jsonl"]);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{since}");
        serde_json::from_str::<Value>(&output.stdout).unwrap()["spans"].as_u64().unwrap()
    };
    assert_eq!(spans("2026-11-23T11:00:00Z"), 2);
    assert_eq!(spans("2026-11-23T11:00:00.000000001Z"), 1);
    assert_eq!(spans("2026-11-23T13:00:00+01:00"), 1);
    assert_eq!(spans("36500d"), 2);
}

#[test]
fn since_after_every_trace_says_what_there_is() {
    let place = Place::new();
    place.write("two.jsonl", two_traces());
    let since = "2026-11-23T12:00:00.001Z";
    check_refusal(
        &place.run(&["analyze", "--since", since, "two.jsonl"]),
        "error: no trace begins at 2026-11-23T12:00:00.001Z or later (`--since`): the traces begin \
         from 2026-11-23T11:00:00Z to 2026-11-23T12:00:00Z\n",
    );
    let wrong = place.run(&["analyze", "--since", "yesterday", "two.jsonl"]);
    let expected =
        "expected a time such as 2026-11-23T11:00:00Z, or how long ago: 90s, 15m, 2h, 7d";
    assert!(wrong.stderr.contains(expected), "{}", wrong.stderr);
    assert_eq!(wrong.code, 2);
}

#[test]
fn a_report_in_a_file_is_the_one_on_the_pipe() {
    let file = recording("django_fk_n1.pb.gz");
    for format in FORMATS {
        let place = Place::new();
        let piped = place.run(&["analyze", "--format", format, &file]);
        let output =
            place.run(&["--color", "always", "analyze", "--format", format, "-o", "r", &file]);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{format}");
        assert_eq!(output.stdout, "r: 1 finding in 977 spans of 40 traces, 1 service\n");
        assert_eq!(place.read("r"), piped.stdout, "{format}");
        assert_eq!(place.names(), ["r"], "{format}: nothing is left beside it");
    }
    let dash = run(&["analyze", "--output", "-", &file]);
    assert_eq!(dash.stdout, run(&["analyze", &file]).stdout);
}

#[test]
fn a_file_is_replaced_whole() {
    let place = Place::new();
    place.write("old.json", "x".repeat(1 << 20));
    let output = place.run(&["analyze", "--format", "jsonl", "-o", "old.json", &three()[0]]);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(place.read("old.json").lines().count(), 1);
}

#[cfg(unix)]
#[test]
fn a_link_stays_one_and_a_device_is_written_to() {
    let place = Place::new();
    place.write("target", "old");
    std::os::unix::fs::symlink("target", place.path("link")).unwrap();
    assert_eq!(place.run(&["analyze", "--format", "jsonl", "-o", "link", &three()[0]]).code, 0);
    assert!(place.path("link").is_symlink());
    assert!(place.read("target").starts_with('{'));
    assert_eq!(place.run(&["analyze", "-o", "/dev/null", &three()[0]]).code, 0);
    assert!(!Path::new("/dev/null").is_file());
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_anything_is_read() {
    let place = Place::new();
    check_refusal(
        &place.run(&["analyze", "-o", "no/such/folder.html", "missing.jsonl"]),
        "error: failed to write `no/such/folder.html`: there is no folder `no/such`\n",
    );
    check_refusal(
        &place.run(&["analyze", "-o", ".", "missing.jsonl"]),
        "error: failed to write `.`: it is a folder\n",
    );
}

/// Every command of the page runs, on a recording in the place of `traces.jsonl`.
#[test]
fn the_commands_of_the_page_run() {
    let page = include_str!("../../../../docs/outputs.md");
    let place = Place::new();
    place.write("traces.jsonl", one_span("shop", "GET /"));
    let mut count = 0;
    for line in page.lines().filter_map(|line| line.strip_prefix("timesink ")) {
        let command = line.split('#').next().unwrap();
        let words: Vec<&str> = command.split_whitespace().collect();
        let words: Vec<&str> = words.split(|word| *word == ">").next().unwrap().to_vec();
        let output = place.run(&words);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{line}");
        count += 1;
    }
    assert!(count >= 8, "{count} commands");
}
