//! Every log is valid against the schema of SARIF, whatever spans hold.

use serde_json::{Value, json};
use timesink_model::{Finding, Severity};
use timesink_testkit::sarif;

use super::{artifact, plain};
use crate::Format;
use crate::test_support::{finding, hostile, rule, steers, written, written_with};

/// Returns the one run of a log that was found valid.
fn run(text: &str) -> Value {
    let log: Value = serde_json::from_str(text).unwrap();
    assert_eq!(sarif::faults(&log), Vec::<String>::new());
    assert_eq!(log["version"], "2.1.0");
    log["runs"][0].clone()
}

#[test]
fn a_finding_is_a_result_in_its_file() {
    let run = run(&written(Format::Sarif, &[finding()]));
    let result = &run["results"][0];
    assert_eq!(result["ruleId"], rule());
    assert_eq!(run["tool"]["driver"]["rules"][0]["id"], rule());
    assert_eq!(result["ruleIndex"], 0);
    assert_eq!(result["level"], "warning");
    assert_eq!(
        result["message"]["text"],
        "25 queries of one shape in one request: 75 ms wasted. checkout GET /cart: SELECT * FROM \
         item WHERE id = ?. checkout GET /cart sends this statement 25 times. Wasted: 75 ms in a \
         typical request, 31 of 40 requests, 18 % of the endpoint's time, 2.33 s in all. Sure: \
         certain: the statements differ in their literals. Help: load the rows in one query."
    );
    assert_eq!(
        result["locations"][0]["physicalLocation"],
        json!({
            "artifactLocation": {"uri": "shop/views.py", "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": 12},
        })
    );
    assert_eq!(result["partialFingerprints"], json!({"timesinkFindingId/v1": "0123456789abcdef"}));
    assert_eq!((&result["rank"], &result["occurrenceCount"]), (&json!(18.0), &json!(775)));
    assert_eq!(result["properties"]["wasted_nanos"], 2_325_000_000_i64);
    let help = run["tool"]["driver"]["rules"][0]["help"]["markdown"].as_str().unwrap();
    assert!(help.contains("## How to fix it"), "{help}");
    assert!(!help.contains("](../"), "{help}");
}

#[test]
fn without_code_the_endpoint_is_the_place() {
    let mut finding = finding();
    finding.evidence.code_location = None;
    finding.severity = Severity::Info;
    finding.wasted_share = None;
    finding.rule = "of-a-user".to_owned();
    let run = run(&written(Format::Sarif, &[finding]));
    let result = &run["results"][0];
    assert_eq!(
        result["locations"],
        json!([{"logicalLocations": [{
            "name": "GET /cart",
            "fullyQualifiedName": "checkout GET /cart",
            "kind": "function",
        }]}])
    );
    assert_eq!(result["level"], "note");
    assert!(result.get("rank").is_none() && result.get("ruleIndex").is_none());
}

#[test]
fn files_are_addresses() {
    let of = |file: &str| artifact(file);
    let in_checkout = |uri: &str| json!({"uri": uri, "uriBaseId": "%SRCROOT%"});
    assert_eq!(of("shop/views.py"), in_checkout("shop/views.py"));
    assert_eq!(of("./shop/a b.py"), in_checkout("shop/a%20b.py"));
    assert_eq!(of("shop\\views.py"), in_checkout("shop/views.py"));
    assert_eq!(of("a:b/ü.py"), in_checkout("a%3Ab/%C3%BC.py"));
    assert_eq!(of("/app/shop/views.py"), json!({"uri": "file:///app/shop/views.py"}));
    assert_eq!(of("C:\\app\\views.py"), json!({"uri": "file:///C:/app/views.py"}));
}

#[test]
fn messages_hold_no_links_and_no_arguments() {
    assert_eq!(plain("[a](http://e.org) {0} {id} {}"), "[a] (http://e.org) { 0} {id} {}");
}

#[test]
fn any_log_is_valid() {
    let many: Vec<Finding> = (0..300).map(|_| finding()).collect();
    let wide = Finding { subject: "x".repeat(1 << 20), ..finding() };
    for findings in [&[][..], &[hostile()], &[hostile(), wide], &many] {
        let text = written(Format::Sarif, findings);
        assert!(!text.contains(steers));
        assert_eq!(run(&text)["results"].as_array().unwrap().len(), findings.len());
    }
}

#[test]
fn what_went_wrong_is_told_with_the_run() {
    let text = written_with(Format::Sarif, &[], &[], |report| {
        report.notices = vec!["refused: 1 span: span is malformed".to_owned()];
    });
    let run = run(&text);
    assert_eq!(run["results"], json!([]));
    let invocation = &run["invocations"][0];
    assert_eq!(invocation["executionSuccessful"], false);
    let told: Vec<(&str, &str)> = invocation["toolExecutionNotifications"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| (n["level"].as_str().unwrap(), n["message"]["text"].as_str().unwrap()))
        .collect();
    let expected = [
        ("note", "cannot tell: c-rule: one client only (checkout GET /cart)"),
        ("note", "skipped: d-rule: no span carries `db.query.text`"),
        ("error", "failed: e-rule: too many rows"),
        ("warning", "refused: 1 span: span is malformed"),
    ];
    assert_eq!(told, expected);
}
