//! `analyze`: diagnostics for people, JSON lines for programs, an exit code for scripts.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Map, Value};

use crate::support::{Place, one_span, recording, run};

fn findings(stdout: &str) -> Vec<Map<String, Value>> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn json_lines_have_the_names_of_the_findings_table() {
    let output = run(&["analyze", "--format", "jsonl", &recording("django_fk_n1.pb.gz")]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let findings = findings(&output.stdout);
    let table = timesink_model::schema::findings::table();
    let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    for finding in &findings {
        assert_eq!(finding.keys().collect::<Vec<_>>(), columns);
    }
    let first = &findings[0];
    assert_eq!(first["rule"], "n-plus-one-query");
    assert_eq!(first["service_name"], "shop-web");
    assert_eq!(first["endpoint"], "GET api/orders/recent");
    let time = first["window_start"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.len() == "2026-11-23T11:00:00.000000000Z".len(), "{time}");
    for key in ["trace_ids", "span_ids", "code_location"] {
        assert!(first["evidence"].as_object().unwrap().contains_key(key), "{key}");
    }
    for key in ["summary", "guide", "references", "next_step"] {
        assert!(first["remediation"].as_object().unwrap().contains_key(key), "{key}");
    }
}

#[test]
fn the_same_spans_as_json_and_protobuf_give_the_same_findings() {
    let of = |name| run(&["analyze", "--format", "jsonl", &recording(name)]).stdout;
    assert_eq!(of("django_fk_n1.pb.gz"), of("django_fk_n1.jsonl.gz"));
}

#[test]
fn several_files_are_one_set_of_spans_and_repeats_count_once() {
    let file = recording("django_fk_n1.jsonl.gz");
    let once = run(&["analyze", "--format", "jsonl", &file]);
    let twice = run(&["analyze", "--format", "jsonl", &file, &recording("django_fk_n1.pb.gz")]);
    assert_eq!(once.stdout, twice.stdout);
    let text = run(&["analyze", &file, &file]);
    let repeated = "repeated     977 spans had arrived before and count once";
    assert!(text.stdout.contains(repeated), "{}", text.stdout);
}

#[test]
fn reads_standard_input() {
    let file = recording("django_fk_n1.jsonl.gz");
    let bytes = std::fs::read(&file).unwrap();
    let place = Place::new();
    let piped = place.run_with(&["analyze", "--format", "jsonl", "-"], &[], &bytes);
    assert_eq!(piped.stdout, run(&["analyze", "--format", "jsonl", &file]).stdout);
    assert_eq!(piped.code, 0);
}

#[test]
fn fail_on_sets_the_exit_code_and_changes_nothing_else() {
    let file = recording("django_fk_n1.jsonl.gz");
    let plain = run(&["analyze", &file]);
    let failing = run(&["analyze", "--fail-on", "warning", &file]);
    assert_eq!((plain.code, failing.code), (0, 1));
    assert_eq!(plain.stdout, failing.stdout);
    assert_eq!(run(&["analyze", "--fail-on", "error", &file]).code, 0);
    let clean = recording("flask_json_ok.jsonl.gz");
    assert_eq!(run(&["analyze", "--fail-on", "info", &clean]).code, 0);
}

#[test]
fn one_rule_can_be_run_alone() {
    let file = recording("django_fk_n1.jsonl.gz");
    let output = run(&["analyze", "--rule", "slow-dependency", &file]);
    assert!(output.stdout.starts_with("no findings in 977 spans"), "{}", output.stdout);
    assert!(output.stdout.contains("\n  clean        slow-dependency\n"), "{}", output.stdout);
    let wrong = run(&["analyze", "--rule", "slow-dependencies", &file]);
    let expected = "error: no rule is named `slow-dependencies`; did you mean `slow-dependency`?\n";
    assert_eq!((wrong.code, wrong.stderr.as_str()), (2, expected));
}

#[test]
fn clean_and_skipped_never_look_alike() {
    let place = Place::new();
    place.write("one.json", one_span("shop", "GET /"));
    let output = place.run(&["analyze", "one.json"]);
    assert!(output.stdout.starts_with("no findings in 1 span of 1 trace, 1 service\n"));
    assert!(output.stdout.contains("\n  clean        "), "{}", output.stdout);
    let (_, skipped) = output.stdout.split_once("\n  skipped      ").unwrap();
    let skipped = skipped.split_whitespace().collect::<Vec<_>>().join(" ");
    let without = "n-plus-one-query, slow-query: no span carries `db.query.text`";
    assert!(skipped.contains(without), "{}", output.stdout);
}

/// Scenario: names of services and spans hold escape sequences and text that reads backwards.
/// Guarantee: none of it reaches the output raw, in no format.
#[test]
fn no_span_text_reaches_the_terminal_raw() {
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}";
    let place = Place::new();
    let bytes = std::fs::read(recording("django_fk_n1.jsonl.gz")).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(&bytes[..]), &mut text)
        .unwrap();
    let escaped = serde_json::to_string(hostile).unwrap();
    let text = text.replace("shop-web", &format!("shop-web{}", escaped.trim_matches('"')));
    place.write("hostile.jsonl", text);
    let query = "SELECT DISTINCT service_name FROM spans";
    let runs: [&[&str]; 10] = [
        &["analyze", "hostile.jsonl"],
        &["analyze", "--format", "json", "hostile.jsonl"],
        &["analyze", "--format", "jsonl", "hostile.jsonl"],
        &["analyze", "--format", "markdown", "hostile.jsonl"],
        &["analyze", "--format", "sarif", "hostile.jsonl"],
        &["analyze", "--format", "html", "hostile.jsonl"],
        &["analyze", "--format", "github", "hostile.jsonl"],
        &["sql", query, "hostile.jsonl"],
        &["sql", "--format", "json", query, "hostile.jsonl"],
        &["sql", "--format", "csv", query, "hostile.jsonl"],
    ];
    for arguments in runs {
        let output = place.run(arguments);
        assert_eq!(output.code, 0, "{output:?}");
        assert!(output.stdout.contains("shop-web"), "{arguments:?}: {}", output.stdout);
        let steers = |c: char| (c.is_control() && c != '\n' && c != '\r') || c == '\u{202e}';
        assert!(!output.stdout.contains(steers), "{arguments:?}: {:?}", output.stdout);
    }
}

/// Scenario: `timesink analyze ... | head -1`.
/// Guarantee: the command ends quietly once nobody reads it.
#[test]
fn a_closed_pipe_ends_it_quietly() {
    let place = Place::new();
    let query = "SELECT * FROM spans CROSS JOIN (SELECT name AS other FROM spans LIMIT 100)";
    let file = recording("django_fk_n1.jsonl.gz");
    let mut command = place.command(&["sql", "--format", "json", query, &file]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    // More follows than any pipe holds.
    BufReader::new(child.stdout.take().unwrap().by_ref_take()).read_line(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

/// Scenario: whoever reads the findings is gone before the first of them.
/// Guarantee: the exit code is that of the findings.
#[test]
fn a_closed_pipe_changes_no_exit_code() {
    let place = Place::new();
    let (good, part) = (one_span("shop", "GET /"), &one_span("shop", "GET /")[..100]);
    place.write("part.jsonl", format!("{good}{part}"));
    let file = recording("django_fk_n1.jsonl.gz");
    let runs: [(&[&str], i32); 4] = [
        (&["analyze", "--fail-on", "warning", &file], 1),
        (&["analyze", "--format", "jsonl", "--fail-on", "warning", &file], 1),
        (&["analyze", &file, "part.jsonl"], 2),
        (&["sql", "SELECT 1", "part.jsonl"], 2),
    ];
    for (arguments, code) in runs {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = place.command(arguments);
        let status = command.stdout(writer).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

/// Reads no more than the first bytes, then closes the pipe.
trait TakeFirst: std::io::Read + Sized {
    fn by_ref_take(self) -> std::io::Take<Self> {
        self.take(100)
    }
}

impl TakeFirst for std::process::ChildStdout {}
