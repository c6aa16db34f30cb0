//! A server beside files of its tables that are damaged, or gone.

use std::time::Instant;

use serde_json::json;
use timesink_testkit::notation;

use crate::data::{end, files_below, rows};
use crate::support::{LOOP, PATIENCE, Serve, export};

const QUICK: [&str; 6] =
    ["--live-settle-seconds", "1", "--live-interval-seconds", "1", "--store-flush-seconds", "1"];

fn start(data: &str) -> Serve {
    Serve::start(&[&QUICK[..], &["--data", data]].concat())
}

/// Returns a message of one span, of a trace of its own or of another.
fn span(trace: &str) -> String {
    let start = 1_795_867_200_000_000_000_u64;
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{trace}",
        "spanId":"00000000000000ff","name":"late","startTimeUnixNano":"{start}",
        "endTimeUnixNano":"{}"}}]}}]}}]}}"#,
        start + 1
    )
}

/// Waits until a counter of `/metrics` is not 0.
fn wait_for_failures(serve: &Serve) {
    let began = Instant::now();
    let counter = "timesink_tables_maintenance_failures_total ";
    loop {
        let (_, text) = serve.get("/metrics", "");
        let line = text.lines().find(|line| line.starts_with(counter)).expect("it is counted");
        if line != format!("{counter}0") {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "nothing fails");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Scenario: files of a table are cut off, or removed, between two runs; then spans come, also of a
/// trace whose facts were in them.
/// Guarantee: it is counted, spans go on to be kept, and each has its facts once: where the table
/// lacks them, the traces are walked.
#[test]
fn spans_go_on_beside_damaged_facts() {
    for (table, is_gone) in [("facts", false), ("facts", true), ("gaps", true)] {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data").to_string_lossy().into_owned();
        let serve = start(&data);
        serve.post(&notation::otlp_json(LOOP));
        serve.wait_for(220);
        end(serve);
        let known = rows("SELECT min(trace_id) AS id FROM spans", &data);
        let known = known[0]["id"].as_str().expect("an id").to_owned();
        let of_table = folder.path().join("data/tables").join(table);
        for file in files_below(&of_table, ".parquet") {
            if is_gone {
                std::fs::remove_file(file).expect("it is there");
            } else {
                std::fs::write(file, "cut off").expect("it is there");
            }
        }
        let serve = start(&data);
        for trace in [known.as_str(), "000000000000000000000000000000aa"] {
            let answer = export(&serve.http, &span(trace)).expect("it answers");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        wait_for_failures(&serve);
        let answer = export(&serve.http, &span("000000000000000000000000000000bb"));
        assert!(answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")));
        end(serve);
        let counted = |table: &str| {
            let query = format!(
                "SELECT count(*) AS n, count(DISTINCT concat(trace_id, span_id)) AS ids \
                 FROM {table}"
            );
            rows(&query, &data)
        };
        let expected = json!([{"n": 223, "ids": 223}]);
        assert_eq!(counted("spans"), expected, "{table}");
        assert_eq!(counted("facts"), expected, "{table}, gone: {is_gone}");
    }
}

/// Scenario: the file of the table `findings` is cut off.
/// Guarantee: it is counted, what is found is told, and it goes on to be kept.
#[test]
fn findings_go_on_beside_damaged_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").to_string_lossy().into_owned();
    let findings = folder.path().join("data/tables/findings");
    let serve = start(&data);
    serve.post(&notation::otlp_json(LOOP));
    serve.wait_for(220);
    end(serve);
    let before = files_below(&findings, ".parquet");
    assert!(!before.is_empty(), "nothing was found");
    for file in &before {
        std::fs::write(file, "cut off").expect("it is there");
    }
    let serve = start(&data);
    serve.wait_for(220);
    wait_for_failures(&serve);
    let (_, found) = serve.get("/api/v1/findings?format=jsonl&rule=n-plus-one-query", "");
    let found: serde_json::Value = serde_json::from_str(&found).expect("one finding");
    assert_eq!(found["status"], "new");
    end(serve);
    assert_eq!(files_below(&findings, ".parquet").len(), before.len() + 1);
}
