//! Damage that is done to a log while nobody writes it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{SPANS, is_taken, message, post};
use crate::data::{copy_folder, counted, each_once, end, end_at_once, files_below, rows, store};
use crate::support::{Serve, timesink};

/// Messages that were acknowledged, each a record of the log.
const MESSAGES: u64 = 8;

/// Lets a server take messages into its log, and nothing into tables, and be killed; returns its
/// data directory.
fn killed(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    let serve = Serve::start(&["--data", &data.to_string_lossy(), "--store-flush-seconds", "3600"]);
    for trace in 1..=MESSAGES {
        assert!(is_taken(&post(&serve.http, &message(trace))));
    }
    end_at_once(serve);
    data
}

/// Changes the log in a copy of a data directory; returns the copy, and the file's name.
fn damaged(data: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> (String, String) {
    let copy = data.with_file_name(name);
    copy_folder(data, &copy);
    let files = files_below(&copy.join("log"), ".log");
    assert_eq!(files.len(), 1, "{files:?}");
    let mut bytes = fs::read(&files[0]).expect("it is there");
    change(&mut bytes);
    fs::write(&files[0], bytes).expect("it is written");
    let file = files[0].file_name().expect("a name").to_string_lossy().into_owned();
    (copy.to_string_lossy().into_owned(), file)
}

/// Starts a server, and returns it with what it says as errors until it is ready.
fn started(data: &str) -> (Serve, String) {
    let said = format!("{data}.errors");
    let file = fs::File::create(&said).expect("it is made");
    let serve = Serve::start_by(timesink().arg("serve").stderr(file), &["--data", data]);
    (serve, fs::read_to_string(said).expect("it is there"))
}

/// Checks that `/metrics` counts so much.
fn check_counter(serve: &Serve, name: &str, count: u64) {
    let (_, metrics) = serve.get("/metrics", "");
    assert!(metrics.contains(&format!("\n{name}_total {count}\n")), "{metrics}");
}

/// Checks that `verify` and the next server say what is wrong, that the server counts the bytes it
/// speaks of, and that so many messages are read, by other commands, by the server and after it.
fn check(data: &str, problem: &str, warning: &str, messages: u64) {
    let (code, said, errors) = store(&["verify", "--data", data]);
    assert_eq!(code, Some(2), "{said}{errors}");
    assert!(errors.contains(problem) && said.ends_with(": 1 problem\n"), "{said}{errors}");
    assert_eq!(counted(data), each_once(messages, SPANS), "before a server opens it");
    let (serve, said) = started(data);
    assert!(said.contains(warning), "{said}");
    let (skipped, _) = said.split_once(" bytes of the log").expect("it says how many");
    let skipped = skipped.rsplit(' ').next().and_then(|number| number.parse().ok());
    check_counter(&serve, "timesink_log_bytes_skipped", skipped.expect("a number"));
    serve.wait_for(messages * SPANS);
    assert_eq!(counted(data), each_once(messages, SPANS), "while it serves");
    assert!(is_taken(&post(&serve.http, &message(1000))));
    end(serve);
    assert_eq!(counted(data), each_once(messages + 1, SPANS), "from the tables");
}

/// Scenario: a crash leaves the end of the log torn: bytes of a record that was never whole, or the
/// last one without its end.
/// Guarantee: `verify` and the next server say how many bytes are passed by, and all before them
/// is there once.
#[test]
fn a_torn_end_of_the_log_is_passed_by() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = killed(folder.path());
    // It begins as a record does.
    let (more, _) = damaged(&data, "more", |log| log.extend(b"TSR1 and no more"));
    let said = "16 bytes of the log are no records: exports that were under way when the process";
    check(&more, said, said, MESSAGES);
    let (less, _) = damaged(&data, "less", |log| log.truncate(log.len() - 10));
    let said = "bytes of the log are no records: exports that were under way when the process";
    check(&less, said, said, MESSAGES - 1);
}

/// Scenario: a byte in the middle of the log is another one.
/// Guarantee: `verify` and the next server say that a record is lost that was safe; the spans of
/// all others are there once.
#[test]
fn a_damaged_record_of_the_log_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = killed(folder.path());
    let (flipped, _) = damaged(&data, "flipped", |log| {
        let middle = log.len() / 2;
        log[middle] ^= 1;
    });
    let ids = "SELECT trace_id, count(*) AS n FROM spans GROUP BY trace_id ORDER BY trace_id";
    let left = rows(ids, &flipped);
    let all = (1..=MESSAGES).map(|trace| format!("{trace:032x}"));
    let all: Vec<Value> = all.map(|id| serde_json::json!({"trace_id": id, "n": SPANS})).collect();
    let lost = all.iter().position(|trace| !left.as_array().expect("rows").contains(trace));
    let mut expected = all.clone();
    expected.remove(lost.expect("one is lost"));
    assert_eq!(left, Value::Array(expected), "one trace is lost, and it alone");
    let lost = lost.expect("one is lost") + 1;
    let problem = format!("records {lost} to {lost} of the log are lost");
    let warning = format!(
        "the log is damaged: 1 of its records that were safe, between {lost} and {lost}, cannot be \
         read, and their spans are lost"
    );
    let (code, said, errors) = store(&["verify", "--data", &flipped]);
    assert_eq!(code, Some(2), "{said}{errors}");
    assert!(errors.contains(&problem), "{errors}");
    let (serve, said) = started(&flipped);
    assert!(said.contains(&warning), "{said}");
    check_counter(&serve, "timesink_log_records_lost", 1);
    assert_eq!(counted(&flipped), each_once(MESSAGES - 1, SPANS), "while it serves");
    end(serve);
    assert_eq!(counted(&flipped), each_once(MESSAGES - 1, SPANS), "from the tables");
}

/// Scenario: the beginning of the log's file is damaged.
/// Guarantee: `serve` names the file and does not start: what is behind it may be read one day.
#[test]
fn a_damaged_beginning_of_the_log_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = killed(folder.path());
    let (damaged, file) = damaged(&data, "damaged", |log| log[15] ^= 1);
    let refused = timesink().args(["serve", "--data", &damaged]).output().expect("it starts");
    let said = crate::support::text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains(&file) && said.contains("its header is damaged"), "{said}");
}
