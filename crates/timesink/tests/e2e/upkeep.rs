//! What a server does with its tables while it serves: flushes by size, and joins files.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use timesink_testkit::notation;

use crate::data::{copy_folder, end, files_below, rows, store};
use crate::support::{PATIENCE, Serve, root};

/// A server looks once a minute at which files are to be joined.
const LOOKS_WITHIN: Duration = Duration::from_secs(150);

const HOUR_SECONDS: u64 = 3600;

/// Returns the files of `spans`, also those that are no part of the table any more.
fn files(data: &str) -> Vec<PathBuf> {
    files_below(&Path::new(data).join("tables/spans"), ".parquet")
}

fn wait_until(what: &str, time_max: Duration, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < time_max, "{what}: not within {time_max:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Returns a message of one span that began in an hour so many before this one.
#[expect(clippy::disallowed_methods, reason = "the server goes by the system's clock")]
fn span(number: u64, hours_ago: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let start = (now / HOUR_SECONDS - hours_ago) * HOUR_SECONDS * 1_000_000_000;
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{number:032x}",
        "spanId":"{number:016x}","name":"GET /","startTimeUnixNano":"{start}",
        "endTimeUnixNano":"{}"}}]}}]}}]}}"#,
        start + 1
    )
}

/// Scenario: the next flush by time is an hour away, and more spans come than one is to take.
/// Guarantee: they go into the table at once; with fewer they wait.
#[test]
fn a_flush_does_not_wait_once_there_is_enough() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").to_string_lossy().into_owned();
    let options = ["--store-flush-seconds", "3600", "--store-flush-mib", "1", "--data", &data];
    let serve = Serve::start(&options);
    serve.post(&span(1, 0));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(files(&data), Vec::<PathBuf>::new(), "one span is no reason");
    let query = "  shop CLIENT Q 5ms 10ms db.system.name=mysql db.query.text=\"SELECT 1\"\n";
    let trace = "shop SERVER GET/cart-of-a-customer 0ms 120ms x4000\n";
    serve.post(&notation::otlp_json(&format!("{trace}{query}")));
    wait_until("spans are in a file", PATIENCE, || !files(&data).is_empty());
    assert_eq!(rows("SELECT count(*) AS n FROM spans", &data), json!([{"n": 8001}]));
    end(serve);
}

/// Scenario: two flushes bring spans of one hour that is over.
/// Guarantee: while the server serves, they come to lie in one file.
#[test]
fn files_are_joined_meanwhile() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").to_string_lossy().into_owned();
    let serve = Serve::start(&["--store-flush-seconds", "1", "--data", &data]);
    for number in 1..=2 {
        serve.post(&span(number, 3));
        wait_until("a flush", PATIENCE, || files(&data).len() == number as usize);
    }
    let info = || store(&["info", "--data", &data]).1;
    assert!(info().starts_with("spans: 2 rows in 2 files,"), "{}", info());
    wait_until("joined", LOOKS_WITHIN, || info().starts_with("spans: 2 rows in 1 file,"));
    let of_files = "SELECT count(*) AS n, count(DISTINCT trace_id) AS traces FROM spans";
    assert_eq!(rows(of_files, &data), json!([{"n": 2, "traces": 2}]));
    end(serve);
}

/// Scenario: a server goes on with a store whose spans are from another day, and more come.
/// Guarantee: by `store.keep_days` the old ones go from every table while it serves, and what was
/// found, and the new ones, stay.
#[test]
fn old_rows_go_while_it_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("data");
    // Written on 2026-11-28.
    copy_folder(&root().join("tests/stores/0.1.0"), &copy);
    let data = copy.to_string_lossy().into_owned();
    let counts = || {
        let tables = ["spans", "facts", "quarantine", "findings"];
        let counts = tables.map(|table| format!("(SELECT count(*) FROM {table}) AS {table}"));
        rows(&format!("SELECT {}", counts.join(", ")), &data)
    };
    let before = json!([{"spans": 72, "facts": 72, "quarantine": 1, "findings": 1}]);
    assert_eq!(counts(), before);
    let serve = Serve::start(&["--store-keep-days", "1", "--data", &data]);
    serve.post(&span(1000, 0));
    let after = json!([{"spans": 1, "facts": 1, "quarantine": 0, "findings": 1}]);
    wait_until("old rows are gone", LOOKS_WITHIN, || counts() == after);
    end(serve);
    assert_eq!(counts(), after);
}
