//! Findings of no interest: muted by the configuration, or by spans.

use std::io::Read;

use serde_json::{Value, json};
use timesink_testkit::sarif;

use crate::support::{Output, Place, recording};

const RULE: &str = "n-plus-one-query";

/// A recording with one finding, of that rule.
fn django() -> String {
    recording("django_fk_n1.jsonl.gz")
}

/// The example of `docs/options.md`, which is about that finding.
fn example() -> String {
    let page = include_str!("../../../../docs/options.md");
    let (_, rest) = page.split_once("```toml\n[[mute]]\n").unwrap();
    format!("[[mute]]\n{}", rest.split_once("```").unwrap().0)
}

fn analyze(place: &Place, options: &[&str], file: &str) -> Output {
    let output = place.run(&[&["analyze"], options, &[file]].concat());
    assert_eq!(output.stderr, "", "{options:?}");
    output
}

fn document(place: &Place, file: &str) -> Value {
    serde_json::from_str(&analyze(place, &["--format", "json"], file).stdout).unwrap()
}

#[test]
fn the_configuration_mutes_until_a_day() {
    let place = Place::new();
    let before = document(&place, &django());
    let found = before["findings"].as_array().unwrap().clone();
    assert_eq!((found.len(), &before["muted"]), (1, &json!([])));

    place.write("timesink.toml", example());
    let after = document(&place, &django());
    assert_eq!((&after["findings"], &after["findings_total"]), (&json!([]), &json!(0)));
    let muted = after["muted"].as_array().unwrap();
    assert_eq!((muted.len(), &muted[0]["finding_id"]), (1, &found[0]["finding_id"]));
    assert_eq!(muted[0]["status"], "muted");
    let reason = "the page goes in February, SHOP-1234";
    let by = json!({"by": "configuration", "reason": reason, "until": "2099-02-28"});
    assert_eq!(muted[0]["evidence"]["muted"], by);
    let of_rule = |rule: &&Value| rule["rule"] == RULE;
    let outcome = after["rules"].as_array().unwrap().iter().find(of_rule).unwrap();
    assert_eq!(outcome["outcome"], "findings", "it is not clean");
}

#[test]
fn every_report_says_what_is_muted_and_no_gate_trips() {
    let place = Place::new();
    assert_eq!(analyze(&place, &["--fail-on", "warning"], &django()).code, 1);
    place.write("timesink.toml", example());
    let output = analyze(&place, &["--fail-on", "info"], &django());
    assert_eq!(output.code, 0);
    assert!(output.stdout.starts_with("no findings in "), "{}", output.stdout);
    let line =
        "\n  muted        n-plus-one-query: 21 queries of one shape in one request; shop-web";
    assert!(output.stdout.contains(line), "{}", output.stdout);
    for format in ["markdown", "github", "html"] {
        let report = analyze(&place, &["--format", format], &django()).stdout;
        for said in ["21 queries of one shape", "until 2099-02-28: the page goes in February"] {
            assert!(report.contains(said), "{format}: {report}");
        }
        assert!(!report.contains("::warning"), "{report}");
    }
    let log = analyze(&place, &["--format", "sarif"], &django()).stdout;
    let log: Value = serde_json::from_str(&log).unwrap();
    assert_eq!((sarif::faults(&log), &log["runs"][0]["results"]), (Vec::new(), &json!([])));
    assert!(log["runs"][0]["invocations"][0].to_string().contains("until 2099-02-28"));
    let lines = analyze(&place, &["--format", "jsonl"], &django()).stdout;
    let line: Value = serde_json::from_str(&lines).unwrap();
    assert_eq!(line["status"], "muted");
}

#[test]
fn a_mute_that_is_over_is_told_with_what_is_back() {
    let place = Place::new();
    place.write("timesink.toml", example().replace("2099", "2020"));
    let output = analyze(&place, &["--fail-on", "warning"], &django());
    assert_eq!(output.code, 1);
    assert!(output.stdout.starts_with("warning[n-plus-one-query]: "), "{}", output.stdout);
    let over = "\n  mute over    what was muted until 2020-02-28 is found again: the page goes";
    assert!(output.stdout.contains(over), "{}", output.stdout);
    // What another mute still holds is not told.
    place.write("timesink.toml", example().replace("2099", "2020") + &example());
    let output = analyze(&place, &[], &django());
    assert!(!output.stdout.contains("mute over"), "{}", output.stdout);
}

/// All that is named has to fit; a finding is named by its id, too.
#[test]
fn what_is_named_has_to_fit() {
    let place = Place::new();
    let found = document(&place, &django())["findings"][0].clone();
    let [id, subject] = ["finding_id", "subject"].map(|name| found[name].as_str().unwrap());
    for (named, is_muted) in [
        (format!("finding = {id:?}"), true),
        (format!("finding = {id:?}\nrule = \"slow-dependency\""), false),
        (format!("finding = \"{}\"", "0".repeat(16)), false),
        (format!("rule = {RULE:?}"), true),
        (format!("rule = {RULE:?}\nsubject = {subject:?}"), true),
        (format!("rule = {RULE:?}\nsubject = \"SELECT\""), false),
        (format!("rule = {RULE:?}\nservice = \"shop\""), false),
        (format!("rule = {RULE:?}\nendpoint = \"GET api/orders/recent\""), true),
        (format!("rule = {RULE:?}\nendpoint = \"GET api/orders\""), false),
    ] {
        let text = format!("[[mute]]\n{named}\nreason = \"a\"\nuntil = 2099-01-01\n");
        place.write("timesink.toml", text);
        let document = document(&place, &django());
        assert_eq!(document["muted"] != json!([]), is_muted, "{named}");
        assert_eq!(document["findings"] == json!([]), is_muted, "{named}");
    }
}

/// Returns the recording with an attribute on its server spans.
fn marked(value: &Value) -> String {
    let file = std::fs::File::open(django()).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mark = json!({"key": "timesink.mute.rules", "value": value});
    let lines = text.lines().map(|line| {
        let mut request: Value = serde_json::from_str(line).unwrap();
        let all = request["resourceSpans"].as_array_mut().unwrap().iter_mut();
        let scopes = all.flat_map(|of| of["scopeSpans"].as_array_mut().unwrap());
        for span in scopes.flat_map(|of| of["spans"].as_array_mut().unwrap()) {
            if span["kind"] == 2 {
                span["attributes"].as_array_mut().unwrap().push(mark.clone());
            }
        }
        format!("{request}\n")
    });
    lines.collect()
}

#[test]
fn spans_mute_rules_in_their_endpoint() {
    let list = |names: &[&str]| {
        let names: Vec<Value> = names.iter().map(|name| json!({"stringValue": name})).collect();
        json!({"arrayValue": {"values": names}})
    };
    for (value, is_muted) in [
        (json!({"stringValue": RULE}), true),
        (json!({"stringValue": "slow-dependency, n-plus-one-query"}), true),
        (list(&["slow-dependency", RULE]), true),
        (list(&["slow-dependency"]), false),
        (json!({"stringValue": "n-plus-one"}), false),
        (json!({"boolValue": true}), false),
    ] {
        let place = Place::new();
        place.write("in.jsonl", marked(&value));
        let document = document(&place, "in.jsonl");
        assert_eq!(document["findings"] == json!([]), is_muted, "{value}");
        if is_muted {
            assert_eq!(document["muted"][0]["evidence"]["muted"], json!({"by": "spans"}));
            let output = analyze(&place, &[], "in.jsonl");
            assert!(output.stdout.contains("(by its spans: `timesink.mute.rules`)"), "{output:?}");
        }
    }
}

#[test]
fn explain_says_that_it_is_muted() {
    let place = Place::new();
    place.write("timesink.toml", example());
    let document = document(&place, &django());
    let trace = document["muted"][0]["evidence"]["trace_ids"][0].as_str().unwrap();
    let output = place.run(&["explain", trace, "--rule", RULE, &django()]);
    assert!(output.stdout.contains("muted until 2099-02-28: the page goes"), "{output:?}");
}
