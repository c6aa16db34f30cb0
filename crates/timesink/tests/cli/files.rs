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
