//! `explain`: every step of a rule on one trace, and why it fired or did not.

use crate::support::{Place, check_refusal, one_span, recording, run};

/// Returns the trace that a finding of the rule names first.
fn example(rule: &str, file: &str) -> String {
    let output = run(&["analyze", "--format", "jsonl", "--rule", rule, file]);
    let finding: serde_json::Value =
        serde_json::from_str(output.stdout.lines().next().unwrap()).unwrap();
    finding["evidence"]["trace_ids"][0].as_str().unwrap().to_owned()
}

#[test]
fn says_that_it_fired_and_on_what() {
    let file = recording("django_fk_n1.jsonl.gz");
    let trace = example("n-plus-one-query", &file);
    let output = run(&["explain", &trace, "--rule", "n-plus-one-query", &file]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let head = format!("n-plus-one-query on trace {trace}\n");
    assert!(output.stdout.starts_with(&head), "{}", output.stdout);
    assert!(output.stdout.contains("\n  repeats_min = 5 queries: "), "{}", output.stdout);
    let (_, end) = output.stdout.split_once("\nfired, with 1 row of this trace, in:\n").unwrap();
    assert!(end.contains("warning[n-plus-one-query]: "), "{end}");
}

#[test]
fn takes_the_beginning_of_a_trace_id() {
    let file = recording("django_fk_n1.jsonl.gz");
    let trace = example("n-plus-one-query", &file);
    let whole = run(&["explain", &trace, "--rule", "n-plus-one-query", &file]);
    let prefix = run(&["explain", &trace[..12], "--rule", "n-plus-one-query", &file]);
    assert_eq!(whole.stdout, prefix.stdout);
}

/// Scenario: a call blocks the event loop, and one client waits for each of its answers.
/// Guarantee: it is said that this recording cannot tell, which is not the same as clean.
#[test]
fn says_that_one_client_cannot_tell() {
    let file = recording("fa_requests_bad_only_c1.jsonl.gz");
    let query = "SELECT trace_id FROM spans ORDER BY trace_id LIMIT 1";
    let rows = run(&["sql", "--format", "csv", query, &file]).stdout;
    let trace = rows.lines().nth(1).unwrap();
    let output = run(&["explain", trace, "--rule", "blocking-event-loop", &file]);
    let end = "\ndid not fire: unknown: too few requests ran beside these to tell; one client \
               alone can never tell\n";
    assert!(output.stdout.ends_with(end), "{}", output.stdout);
}

#[test]
fn names_the_step_at_which_the_trace_was_lost() {
    let file = recording("django_fk_ok.jsonl.gz");
    let query = "SELECT trace_id FROM db_client_spans ORDER BY trace_id LIMIT 1";
    let rows = run(&["sql", "--format", "csv", query, &file]).stdout;
    let trace = rows.lines().nth(1).unwrap();
    let output = run(&["explain", trace, "--rule", "n-plus-one-query", &file]);
    assert!(output.stdout.contains("\nrepeats 1 row of this trace\n"), "{}", output.stdout);
    let (_, end) = output.stdout.split_once("\ndid not fire: ").unwrap();
    assert!(end.starts_with("step `loops` kept no row of this trace. It keeps: "), "{end}");
}

#[test]
fn says_what_was_missing() {
    let place = Place::new();
    place.write("in.json", one_span("shop", "GET /"));
    let output = place.run(&["explain", "5b8e", "--rule", "n-plus-one-query", "in.json"]);
    let missing = "\nmissing: no span of this trace carries `db.query.text`, which it requires\n";
    assert!(output.stdout.contains(missing), "{}", output.stdout);
    let end = "\ndid not fire: no span of this trace carries `db.query.text`\n";
    assert!(output.stdout.ends_with(end), "{}", output.stdout);
}

#[test]
fn refuses_a_trace_that_is_not_there() {
    let place = Place::new();
    place.write("in.json", one_span("shop", "GET /"));
    check_refusal(
        &place.run(&["explain", "ffff", "--rule", "n-plus-one-query", "in.json"]),
        "error: trace `ffff` is not there: 1 other traces were read\n",
    );
    check_refusal(
        &place.run(&["explain", "xyz", "--rule", "n-plus-one-query", "in.json"]),
        "error: `xyz` is no trace id: expected up to 32 hex digits\n",
    );
}
