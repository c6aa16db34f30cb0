//! Files that are wrong, empty, truncated or foreign: the answer names the file, the place in it,
//! and what was expected.

use crate::support::{Place, check_refusal, one_span, recording};

const EXPECTED: &str = "expected OTLP JSON (one object, or one a line), OTLP protobuf, Jaeger JSON \
                        or Zipkin JSON, plain or compressed with gzip or zstd";

fn check_file(content: impl AsRef<[u8]>, expected: &str) {
    let place = Place::new();
    place.write("in", content);
    let output = place.run(&["analyze", "in"]);
    check_refusal(&output, &format!("error: failed to read `in`: {expected}\n"));
    assert_eq!(output.stdout, "");
}

#[test]
fn names_what_a_file_is_instead() {
    check_file("", &format!("file is empty: {EXPECTED}"));
    check_file(" \n\n", &format!("file is empty: {EXPECTED}"));
    check_file(
        "{\"rows\": []}\n",
        &format!("line 1 (byte 0): {EXPECTED}, found an object with the keys `rows`"),
    );
    check_file(
        "file,scenario\na,b\n",
        &format!("found text, starting with `file,scenario`: {EXPECTED}"),
    );
    check_file(
        "<!DOCTYPE html><html></html>",
        "found HTML: it may be an error page in place of the download",
    );
    check_file("PAR1....PAR1", "found Parquet: not supported yet: pass OTLP JSON or protobuf");
    check_file("{\"resourceLogs\": []}", "found OTLP logs: expected traces (`resourceSpans`)");
    check_file("\u{7f}ELF\u{2}\u{1}\u{1}\0\0", &format!("found a program: {EXPECTED}"));
}

#[test]
fn names_a_missing_file_and_a_folder() {
    let place = Place::new();
    place.write("folder/in", "");
    let output = place.run(&["analyze", "none.jsonl", "folder"]);
    check_refusal(
        &output,
        "error: failed to read `none.jsonl`: No such file or directory (os error 2)\n  \
         failed to read `folder`: it is a folder: name the files in it, `folder/*`\n",
    );
}

#[test]
fn standard_input_can_be_read_once() {
    check_refusal(
        &Place::new().run(&["analyze", "-", "-"]),
        "error: standard input (`-`) is named twice: it can be read once\n",
    );
}

/// The memory of the process opens, and cannot be read at its start.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_cannot_be_read_is_named_with_its_cause_once() {
    check_refusal(
        &Place::new().run(&["analyze", "/proc/self/mem"]),
        "error: failed to read `/proc/self/mem`: Input/output error (os error 5)\n",
    );
}

/// Scenario: a file ends in the middle of a line, as one that is still written does.
/// Guarantee: what was whole is analyzed, the place named, and the exit code says it was not all.
#[test]
fn a_truncated_file_gives_what_it_holds() {
    let place = Place::new();
    let line = one_span("shop", "GET /");
    place.write("in.jsonl", format!("{line}{}", &line[..100]));
    let output = place.run(&["analyze", "in.jsonl"]);
    assert_eq!(output.code, 2);
    assert!(output.stdout.starts_with("no findings in 1 span of 1 trace"), "{}", output.stdout);
    let place_named = format!(
        "error: a part of `in.jsonl` could not be read, the rest was\n  line 2 (byte {}): ",
        line.len() + 100
    );
    assert!(output.stderr.starts_with(&place_named), "{}", output.stderr);
}

/// Scenario: the message that names a wrong file quotes what it begins with.
/// Guarantee: it reaches the terminal as visible escapes.
#[test]
fn quotes_foreign_content_safely() {
    let place = Place::new();
    place.write("in", "\u{1b}]0;owned\u{7} is no trace\n");
    let output = place.run(&["analyze", "in"]);
    assert_eq!(output.code, 2);
    assert!(!output.stderr.contains(['\u{1b}', '\u{7}']), "{:?}", output.stderr);
}

#[test]
fn a_file_without_spans_is_not_clean() {
    let place = Place::new();
    place.write("in.json", "{\"resourceSpans\": []}");
    let text = place.run(&["analyze", "in.json"]);
    assert_eq!(text.stdout, "no spans: there is nothing to look at\n");
    let lines = place.run(&["analyze", "--format", "jsonl", "in.json"]);
    assert_eq!(lines.stdout, "");
    assert_eq!(lines.stderr, "warning: no spans: there is nothing to look at\n");
    assert_eq!((text.code, lines.code), (0, 0));
    // A gate must not pass because there was nothing to look at.
    assert_eq!(place.run(&["analyze", "--fail-on", "error", "in.json"]).code, 2);
}

#[test]
fn refused_and_quarantined_spans_are_counted_with_their_reason() {
    let place = Place::new();
    let good = one_span("shop", "GET /");
    let no_id = good.replace("5b8efff798038103d269b633813fc60c", "not an id");
    let backwards = good
        .replace("\"1795431600050000000\"", "\"1795431500000000000\"")
        .replace("eee19b7ec3c1b174", "eee19b7ec3c1b175");
    place.write("in.jsonl", format!("{good}{no_id}{backwards}"));
    let output = place.run(&["analyze", "in.jsonl"]);
    assert!(output.stdout.starts_with("no findings in 1 span of 1 trace"), "{}", output.stdout);
    let refused = "\n  refused      1 span: trace id is missing, zero or not 16 bytes";
    assert!(output.stdout.contains(refused), "{}", output.stdout);
    assert!(output.stdout.contains("\n  quarantined  1 span: "), "{}", output.stdout);
    assert_eq!(output.code, 0);
    let lines = place.run(&["analyze", "--format", "jsonl", "in.jsonl"]);
    assert!(lines.stderr.starts_with("warning: refused: 1 span: trace id"), "{}", lines.stderr);
    for arguments in [
        ["sql", "--format", "csv", "SELECT 1 AS x", "in.jsonl"],
        ["explain", "5b8e", "--rule", "n-plus-one-query", "in.jsonl"],
        ["explain", "ffff", "--rule", "n-plus-one-query", "in.jsonl"],
    ] {
        let output = place.run(&arguments);
        let (first, second) = output.stderr.split_once('\n').unwrap();
        assert!(first.starts_with("warning: refused: 1 span: trace id"), "{output:?}");
        assert!(second.starts_with("warning: quarantined: 1 span: "), "{output:?}");
    }
}

#[test]
fn a_truncated_compressed_file_names_the_byte() {
    let bytes = std::fs::read(recording("django_fk_n1.jsonl.gz")).unwrap();
    let place = Place::new();
    place.write("in.gz", &bytes[..bytes.len() / 2]);
    let output = place.run(&["analyze", "in.gz"]);
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("`in.gz`"), "{}", output.stderr);
    assert!(output.stderr.contains("byte "), "{}", output.stderr);
}

#[test]
fn a_message_over_the_limit_names_the_option() {
    let place = Place::new();
    let big = one_span("shop", &"x".repeat(3 << 20));
    place.write("in.jsonl", format!("{}{big}{big}", one_span("shop", "GET /")));
    let output = place.run(&["analyze", "--input-message-mib-max", "1", "in.jsonl"]);
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("line 2"), "{}", output.stderr);
    assert!(output.stderr.contains("`input.message_mib_max`"), "{}", output.stderr);
}
