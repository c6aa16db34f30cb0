//! `doctor`: what spans cannot show, and what to change.

use serde_json::Value;

use crate::support::{Place, one_span, recording, run};

/// Scenario: two hosts whose clocks are a quarter of a second apart.
/// Guarantee: it is told with what it hides and how to change it; rules that had nothing to look at
/// are named with what they lack.
#[test]
fn says_what_is_wrong_what_it_hides_and_how_to_change_it() {
    let output = run(&["doctor", &recording("mesh_skew.jsonl.gz")]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let text = &output.stdout;
    let skew = "warning[clock-skew]: the clock of orders is 252 ms ahead of that of gateway\n";
    assert!(text.contains(skew), "{text}");
    for label in ["hides", "trace", "fix", "next"] {
        assert!(text.contains(&format!("\n  {label:<9}")), "{label}: {text}");
    }
    let other = "\n  also     orders, orders -> inventory: the clock of inventory is 250 ms behind";
    assert!(text.contains(other), "{text}");
    assert!(text.contains(" on 520 spans of 40 traces, 4 services\n"), "{text}");
    let able = text.split_once("\n  can tell     ").unwrap().1.split("\n  skipped").next().unwrap();
    assert!(able.contains("n-plus-one-query"), "{text}");
    assert!(!able.contains("slow-llm-call"), "{text}");
    assert!(text.contains("slow-llm-call: no span carries `gen_ai.operation.name`"), "{text}");
}

/// Scenario: one client at a time, on an event loop.
/// Guarantee: what that hides is a warning, and what the rules say of it is there, too.
#[test]
fn one_client_is_no_load() {
    let output = run(&["doctor", &recording("fa_requests_bad_only_c1.jsonl.gz")]);
    assert!(output.stdout.contains("warning[single-client]: "), "{}", output.stdout);
    let (_, undecided) = output.stdout.split_once("\n  cannot tell  ").unwrap();
    assert!(undecided.starts_with("blocking-event-loop: "), "{}", output.stdout);
}

#[test]
fn json_is_the_document_of_analyze() {
    let file = recording("mesh_skew.jsonl.gz");
    let output = run(&["doctor", "--format", "json", &file]);
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    let findings = document["findings"].as_array().unwrap();
    assert!(findings.iter().any(|finding| finding["rule"] == "clock-skew"), "{}", output.stdout);
    let rules = document["rules"].as_array().unwrap();
    assert!(rules.iter().any(|rule| rule["rule"] == "n-plus-one-query"), "{}", output.stdout);
    assert!(rules.iter().all(|rule| rule["rule"] != "clock-skew"), "{}", output.stdout);
    let analyzed = run(&["analyze", "--format", "json", &file]);
    let analyzed: Value = serde_json::from_str(&analyzed.stdout).unwrap();
    assert_eq!(document["rules"], analyzed["rules"]);
    let is_check = |finding: &Value| finding["rule"] == "clock-skew";
    assert!(!analyzed["findings"].as_array().unwrap().iter().any(is_check));
}

/// Scenario: a gate on the instrumentation, thresholds and mutes of checks in the configuration.
/// Guarantee: they hold, and `analyze` takes the same file.
#[test]
fn checks_are_set_and_muted_as_rules_are() {
    let place = Place::new();
    let file = recording("mesh_skew.jsonl.gz");
    assert_eq!(place.run(&["doctor", "--fail-on", "warning", &file]).code, 1);
    assert_eq!(place.run(&["doctor", "--fail-on", "error", &file]).code, 0);
    let mute = "[[mute]]\nrule = \"clock-skew\"\nreason = \"a lab\"\nuntil = \"2199-01-01\"\n";
    place.write("timesink.toml", mute);
    let muted = place.run(&["doctor", &file]).stdout;
    assert!(!muted.contains("[clock-skew]"), "{muted}");
    assert!(muted.contains("\n  muted        clock-skew: "), "{muted}");
    assert_eq!(place.run(&["analyze", &file]).code, 0);
    place.write("timesink.toml", "[rules.clock-skew]\nenabled = false\n");
    let off = place.run(&["doctor", &file]).stdout;
    assert!(off.contains("\n  switched off clock-skew\n"), "{off}");
    place.write("timesink.toml", "[rules.clock-skew]\nskew_millis = 1\n");
    let wrong = place.run(&["doctor", &file]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("`rules.clock-skew.skew_millis` is no parameter"), "{wrong:?}");
}

#[test]
fn no_spans_have_nothing_to_change() {
    let place = Place::new();
    place
        .write("none.json", "{\"resourceSpans\": []}")
        .write("one.json", one_span("shop", "GET /"));
    let none = place.run(&["doctor", "none.json"]);
    assert_eq!((none.code, none.stdout.as_str()), (0, "no spans: there is nothing to look at\n"));
    assert_eq!(place.run(&["doctor", "--fail-on", "error", "none.json"]).code, 2);
    let one = place.run(&["doctor", "one.json"]);
    assert_eq!(one.code, 0, "{one:?}");
    assert!(one.stdout.contains(" on 1 span of 1 trace, 1 service\n"), "{}", one.stdout);
}

/// Scenario: the names of services and spans try to steer the terminal.
/// Guarantee: none of it reaches it raw.
#[test]
fn no_span_text_reaches_the_terminal_raw() {
    let place = Place::new();
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}";
    let spans: Vec<String> =
        (0..40).map(|n| one_span(hostile, &format!("GET /{n}{hostile}"))).collect();
    place.write("in.jsonl", spans.join("\n"));
    let output = place.run(&["doctor", "in.jsonl"]);
    let steers = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!output.stdout.contains(steers), "{:?}", output.stdout);
}

/// Scenario: the same file twice; and checks that fail.
/// Guarantee: both are told, in the report or beside it.
#[test]
fn what_arrived_twice_and_what_failed_is_told() {
    let file = recording("mesh_skew.jsonl.gz");
    let twice = run(&["doctor", &file, &file]).stdout;
    assert!(twice.contains("\n  repeated     520 spans had arrived before"), "{twice}");
    let failed = run(&["doctor", "--query-rows-max", "1", "--format", "json", &file]);
    assert_eq!(failed.code, 2);
    let warning = "warning: rule `clock-skew` failed: the query returned more rows than";
    assert!(failed.stderr.contains(warning), "{}", failed.stderr);
}
