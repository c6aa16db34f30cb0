//! What a server does with its tables while it serves: flushes by size, and joins files.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use timesink_testkit::notation;

use crate::data::{end, files_below, rows, store};
use crate::support::{PATIENCE, Serve, succeed};

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

/// Makes the files of a data directory look as if they had been written so many hours sooner.
fn written_sooner(data: &str, hours: u64) {
    let mut made = 0;
    for commit in files_below(&Path::new(data).join("tables"), ".json") {
        let text = std::fs::read_to_string(&commit).expect("a commit");
        let mut parts = text.split(MODIFIED);
        let mut older = parts.next().expect("the first").to_owned();
        for part in parts {
            let digits = part.find(|c: char| !c.is_ascii_digit()).expect("an object goes on");
            let written: u64 = part[..digits].parse().expect("a time");
            let written = written - hours * HOUR_SECONDS * 1000;
            older.extend([MODIFIED, &written.to_string(), &part[digits..]]);
            made += 1;
        }
        std::fs::write(&commit, older).expect("it is written");
    }
    assert!(made > 0, "there are files");
}

/// Where Delta's log says when a file was written, ms since the epoch.
const MODIFIED: &str = "\"modificationTime\":";

/// Scenario: a server goes on with a store whose spans came a month ago, and more come.
/// Guarantee: by `store.keep_days` the old ones go from the tables while it serves, and the new
/// ones stay.
#[test]
fn old_rows_go_while_it_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").to_string_lossy().into_owned();
    let options = ["--store-keep-days", "7", "--data", &data];
    let serve = Serve::start(&options);
    serve.post(&span(1, 31 * 24));
    end(serve);
    written_sooner(&data, 31 * 24);
    let after_long = folder.path().join("after long").to_string_lossy().into_owned();
    succeed(std::process::Command::new("cp").args(["-r", &data, &after_long]));
    let serve = Serve::start(&options);
    serve.post(&span(2, 0));
    end(serve);
    let of_both = "SELECT span_id FROM spans UNION ALL SELECT span_id FROM facts ORDER BY 1";
    let kept = || rows(of_both, &data);
    let twice = |numbers: &[u64]| {
        let ids = numbers.iter().flat_map(|number| [number, number]);
        ids.map(|number| json!({"span_id": format!("{number:016x}")})).collect::<Vec<_>>()
    };
    assert_eq!(kept(), json!(twice(&[1, 2])));
    // Where nothing was written for long it may be the clock that is wrong.
    let unsure = Serve::start(&["--store-keep-days", "7", "--data", &after_long]);
    assert_eq!(unsure.metric("timesink_tables_clock_jumps_total"), 1);
    // Rows that were written since do not vouch for it, until a day has passed.
    let serve = Serve::start(&options);
    assert_eq!(serve.metric("timesink_tables_clock_jumps_total"), 1);
    end(serve);
    written_sooner(&data, 25);
    let serve = Serve::start(&options);
    assert_eq!(serve.metric("timesink_tables_clock_jumps_total"), 0);
    serve.post(&span(3, 0));
    let left = json!(twice(&[2, 3]));
    wait_until("old rows are gone", LOOKS_WITHIN, || kept() == left);
    end(serve);
    assert_eq!(kept(), left);
    end(unsure);
    assert_eq!(rows(of_both, &after_long), json!(twice(&[1])));
}
