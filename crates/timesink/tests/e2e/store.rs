//! `timesink serve --data`: what was acknowledged is there after a kill.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use timesink_testkit::notation;

use crate::support::{LOOP, PATIENCE, Serve, export, kill, python, root, succeed, text, timesink};

const QUICK: [&str; 4] = ["--live-settle-seconds", "1", "--live-interval-seconds", "1"];

fn start(data: &str) -> Serve {
    Serve::start(&[&QUICK[..], &["--data", data]].concat())
}

/// Scenario: the process is killed as soon as an export was answered, before anything settled.
/// Guarantee: the next one has its spans, and finds in them what is there.
#[test]
fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").to_string_lossy().into_owned();
    let mut serve = start(&data);
    serve.post(&notation::otlp_json(LOOP));
    kill("-KILL", serve.child.id());
    serve.child.wait().expect("it ends");
    let serve = start(&data);
    serve.wait_for(220);
    let (_, body) = serve.get("/api/v1/findings?format=jsonl", "");
    assert!(body.contains("n-plus-one-query"), "{body}");
    let (_, metrics) = serve.get("/metrics", "");
    assert!(metrics.contains("timesink_log_failures_total 0"), "{metrics}");
}

#[test]
fn there_is_one_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_string_lossy().into_owned();
    let serve = start(&data);
    let second = timesink().args(["serve", "--data", &data]).output().expect("it starts");
    let said = text(&second.stderr);
    assert_eq!(second.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("process {} writes in it", serve.child.id())), "{said}");
}

/// Set to kill more often than a test of every day does: `cargo xtask faults`.
const KILLS: &str = "TIMESINK_TEST_KILLS";

/// Exporters at a time, and spans of each of their messages.
const EXPORTERS: u64 = 8;
const SPANS: u64 = 20;

/// Returns a message: one trace.
fn message(trace: u64) -> String {
    let spans = (1..=SPANS).map(|span| {
        format!(
            r#"{{"traceId":"{trace:032x}","spanId":"{span:016x}","name":"GET /",
            "startTimeUnixNano":"{start}","endTimeUnixNano":"{end}"}}"#,
            start = 1_000_000_000 * span,
            end = 1_000_000_000 * span + 1,
        )
    });
    let spans = spans.collect::<Vec<_>>().join(",");
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#)
}

/// Sends a message; returns whether it was acknowledged.
fn send(address: &str, json: &str) -> bool {
    export(address, json).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// Counts the spans of a trace, and their ids.
fn spans_of(serve: &Serve, trace: u64) -> (usize, usize) {
    let (status, body) = serve.get(&format!("/api/v1/traces/{trace:032x}"), "");
    assert_eq!(status, 200, "trace {trace}: {body}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let mut ids = Vec::new();
    for resource in answer["resourceSpans"].as_array().into_iter().flatten() {
        for scope in resource["scopeSpans"].as_array().into_iter().flatten() {
            let spans = scope["spans"].as_array().into_iter().flatten();
            ids.extend(spans.map(|span| span["spanId"].as_str().expect("an id").to_owned()));
        }
    }
    (ids.len(), ids.into_iter().collect::<BTreeSet<_>>().len())
}

/// Scenario: eight exporters send, and send again what was not answered, while the process is
/// killed again and again. Guarantee: every span that was acknowledged is there, once.
#[test]
fn kills_take_nothing_that_was_acknowledged() {
    let kills: u64 =
        std::env::var_os(KILLS).map_or(3, |text| text.to_string_lossy().parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").to_string_lossy().into_owned();
    // Traces settle, and get facts, between the kills.
    let start = || {
        // The window has room for all of them, also after a start.
        let settle = ["--live-settle-seconds", "1", "--receiver-memory-mib-max", "16384"];
        Serve::start(&[&settle[..], &["--store-flush-seconds", "1", "--data", &data]].concat())
    };
    let mut serve = start();
    let address = Mutex::new(serve.http.clone());
    let (next, acknowledged, stop) =
        (AtomicU64::new(1), Mutex::new(BTreeMap::new()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..EXPORTERS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let trace = next.fetch_add(1, Ordering::Relaxed);
                    let json = message(trace);
                    let mut tries = 1;
                    loop {
                        let to = address.lock().expect("no panic").clone();
                        if send(&to, &json) {
                            acknowledged.lock().expect("no panic").insert(trace, tries);
                            // Few enough to look at each in the end.
                            std::thread::sleep(Duration::from_millis(10));
                            break;
                        }
                        tries += 1;
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            });
        }
        for number in 0..kills {
            // At no special moment: 200 to 900 ms after the start.
            std::thread::sleep(Duration::from_millis(200 + number * 7919 % 700));
            kill("-KILL", serve.child.id());
            serve.child.wait().expect("it ends");
            serve = start();
            (*address.lock().expect("no panic")).clone_from(&serve.http);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let acknowledged = acknowledged.into_inner().expect("no panic");
    let again = acknowledged.values().filter(|tries| **tries > 1).count();
    println!(
        "{} traces acknowledged, {again} of them sent again; {kills} kills",
        acknowledged.len()
    );
    assert!(again > 0, "no kill hit an export");
    // The window takes what has arrived at every interval.
    let began = std::time::Instant::now();
    let wanted = format!("timesink_live_spans {}\n", SPANS * acknowledged.len() as u64);
    while !serve.get("/metrics", "").1.contains(&wanted) {
        assert!(began.elapsed() < PATIENCE, "no `{wanted}`");
        std::thread::sleep(Duration::from_millis(50));
    }
    for trace in acknowledged.keys() {
        let spans = SPANS as usize;
        assert_eq!(spans_of(&serve, *trace), (spans, spans), "trace {trace}");
    }
    let traces = acknowledged.len() as u64;
    let expected =
        serde_json::json!([{"n": SPANS * traces, "ids": SPANS * traces, "traces": traces}]);
    assert_eq!(counted(&data), expected, "from tables and log, while it serves");
    assert_eq!(facts_counted(&data), expected, "facts, while it serves");
    kill("-TERM", serve.child.id());
    serve.child.wait().expect("it ends");
    assert_eq!(counted(&data), expected, "from the tables");
    assert_eq!(facts_counted(&data), expected, "facts, from the tables");
}

/// Counts the facts of a data directory, and their ids.
fn facts_counted(data: &str) -> Value {
    let query = "SELECT count(*) AS n, count(DISTINCT concat(trace_id, span_id)) AS ids, \
                 count(DISTINCT trace_id) AS traces FROM facts";
    rows(query, data)
}

/// Counts the spans of a data directory, and their ids.
fn counted(data: &str) -> Value {
    let query = "SELECT count(*) AS n, count(DISTINCT concat(trace_id, span_id)) AS ids, \
                 count(DISTINCT trace_id) AS traces FROM spans";
    rows(query, data)
}

/// Answers a query over a data directory.
fn rows(query: &str, data: &str) -> Value {
    let output = timesink().args(["sql", "--data", data, "--format", "json", query]).output();
    let output = output.expect("it starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Scenario: what was found is found again after a restart.
/// Guarantee: the table says how it stands, and since when it is known; a query for what is not
/// kept walks the traces.
#[test]
fn findings_and_facts_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").to_string_lossy().into_owned();
    for round in 0..2 {
        let serve = start(&data);
        if round == 0 {
            serve.post(&notation::otlp_json(LOOP));
        }
        serve.wait_for(220);
        let (_, found) = serve.get("/api/v1/findings?format=jsonl&rule=n-plus-one-query", "");
        let found: Value = serde_json::from_str(&found).expect("one finding");
        assert_eq!(found["status"], ["new", "ongoing"][round]);
        end(serve);
    }
    let history = "SELECT rule, status, traces_affected, first_seen < window_start AS is_old, \
                   arrow_cast(evidence, 'Utf8') LIKE '%trace_ids%' AS has_evidence \
                   FROM findings WHERE rule = 'n-plus-one-query' ORDER BY window_end";
    let row = |status: &str| {
        serde_json::json!({"rule": "n-plus-one-query", "status": status, "traces_affected": 20,
                           "is_old": true, "has_evidence": true})
    };
    assert_eq!(rows(history, &data), serde_json::json!([row("new"), row("ongoing")]));
    let beside_a_view = "SELECT DISTINCT f.rule FROM findings AS f JOIN entries USING (endpoint) \
                         WHERE f.status = 'new' AND f.severity <> 'info'";
    let rule = serde_json::json!([{"rule": "n-plus-one-query"}]);
    assert_eq!(rows(beside_a_view, &data), rule);
    let kept = "SELECT count(*) AS n, sum(critical_nanos) > 0 AS has_time FROM facts";
    assert_eq!(rows(kept, &data), serde_json::json!([{"n": 220, "has_time": true}]));
    let gaps = "SELECT count(*) > 0 AS are_there FROM gaps JOIN facts USING (trace_id, span_id)";
    assert_eq!(rows(gaps, &data), serde_json::json!([{"are_there": true}]));
    let walked = "SELECT count(stalled_nanos) AS n FROM facts";
    assert_eq!(rows(walked, &data), serde_json::json!([{"n": 220}]));
}

/// Scenario: statements hold values, and attributes what nobody is to see.
/// Guarantee: neither is shown or kept, equal values stay equal, and what is found stays the same.
#[test]
fn what_is_private_is_hidden() {
    const RULES: &str = "[[redaction.attributes]]\nattribute = \"http.request.header.*\"\naction = \
                         \"drop\"\n\n[[redaction.attributes]]\nattribute = \"user.id\"\naction = \
                         \"hash\"\n";
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    std::fs::write(path("timesink.toml"), RULES).expect("it is written");
    let traces = LOOP
        .replace("id = ?", "mail = 'bob-{i}@example.org'")
        .replace("0ms    120ms", "0ms 120ms http.request.header.cookie=topsecret user.id=u-4711");
    let started = |data: &str, more: &[&str]| {
        let configured = ["--config", &path("timesink.toml"), "--data", data];
        let serve = Serve::start(&[&QUICK[..], &configured, more].concat());
        serve.post(&notation::otlp_json(&traces));
        serve.wait_for(220);
        serve
    };
    let data = path("data");
    let serve = started(&data, &[]);
    let (_, findings) = serve.get("/api/v1/findings?format=jsonl", "");
    assert!(findings.contains("n-plus-one-query"), "{findings}");
    end(serve);
    let query = "SELECT count(DISTINCT db_query_text) AS statements, \
                 count(*) FILTER (WHERE db_query_text LIKE '%bob%') AS shown, \
                 count(DISTINCT attributes['user.id']) AS users, \
                 count(*) FILTER (WHERE attributes['user.id'] = 'u-4711') AS named, \
                 count(attributes['http.request.header.cookie']) AS cookies FROM spans";
    let expected = |statements: u64, shown: u64| {
        serde_json::json!([{"statements": statements, "shown": shown, "users": 1, "named": 0,
                            "cookies": 0}])
    };
    let masked = rows(query, &data);
    let statements = masked[0]["statements"].as_u64().expect("a number");
    assert!(statements > 1, "other values are other tokens: {masked}");
    assert_eq!(masked, expected(statements, 0));
    for file in files_below(Path::new(&data), "") {
        let bytes = std::fs::read(&file).expect("it is there");
        for secret in ["bob-", "topsecret", "u-4711"] {
            let is_there = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!is_there, "`{secret}` is in {}", file.display());
        }
    }
    let kept = path("kept");
    end(started(&kept, &["--redaction-statements", "keep"]));
    assert_eq!(rows(query, &kept), expected(statements, 200));
}

/// Scenario: a trace is in the tables, another in the log alone.
/// Guarantee: every command reads both, while the server runs and after it was killed.
#[test]
fn commands_read_what_a_server_keeps() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("the data").to_string_lossy().into_owned();
    let flush = ["--store-flush-seconds", "1"];
    let mut serve = Serve::start(&[&flush[..], &["--data", &data]].concat());
    serve.post(&notation::otlp_json(LOOP));
    let began = std::time::Instant::now();
    while !serve.get("/metrics", "").1.contains("timesink_tables_flush_seconds_count 1\n") {
        assert!(began.elapsed() < PATIENCE, "nothing is flushed");
        std::thread::sleep(Duration::from_millis(50));
    }
    serve.post(&message(1000));
    let expected = serde_json::json!([{"n": 240, "ids": 240, "traces": 21}]);
    assert_eq!(counted(&data), expected, "while it serves");
    kill("-KILL", serve.child.id());
    serve.child.wait().expect("it ends");
    assert_eq!(counted(&data), expected, "after it was killed");
    let analyze = ["analyze", "--data", &data, "--format", "jsonl"];
    let output = timesink().args(analyze).output().expect("it starts");
    assert!(text(&output.stdout).contains("n-plus-one-query"), "{output:?}");
    check_history(&data, &text(&output.stdout));
}

/// Checks that the rules say the same of the history, however little of it is in memory.
fn check_history(data: &str, expected: &str) {
    let run = |more: &[&str]| {
        let rules = ["rules", "run", "--data", data, "--format", "jsonl"];
        timesink().args(rules).args(more).output().expect("it starts")
    };
    let all = run(&[]);
    assert_eq!((all.status.code(), text(&all.stdout)), (Some(0), expected.to_owned()), "{all:?}");
    assert_eq!(text(&run(&["--since", "36500d"]).stdout), expected);
    let none = run(&["--since", "2099-01-01T00:00:00Z"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).contains("no trace begins at 2099-01-01"), "{none:?}");
    let failed = run(&["--rule", "n-plus-one-query", "--fail-on", "warning"]);
    assert_eq!(failed.status.code(), Some(1));
    let mut nowhere = timesink();
    nowhere.args(["rules", "run", "--data", data]).env("TMPDIR", "/nowhere");
    let nowhere = nowhere.output().expect("it starts");
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(text(&nowhere.stderr).contains("set TMPDIR to another folder"), "{nowhere:?}");
}

fn end(mut serve: Serve) {
    kill("-TERM", serve.child.id());
    serve.child.wait().expect("it ends");
}

/// Scenario: a server ends, and is started and ended again without a span.
/// Guarantee: other engines find in the tables what was acknowledged, each row once.
#[test]
fn other_engines_read_the_tables() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").to_string_lossy().into_owned();
    let serve = start(&data);
    serve.post(&notation::otlp_json(LOOP));
    serve.post(&message(1000));
    // Its first span ends before it starts.
    serve.post(&message(1001).replacen("1000000001", "1", 1));
    serve.wait_for(259);
    end(serve);
    for _ in 0..3 {
        end(start(&data));
    }
    let ids = &["trace_id", "span_id"][..];
    check_other_engines(&data, "spans", ids, Some((259, 259)));
    check_other_engines(&data, "facts", ids, Some((259, 259)));
    check_other_engines(&data, "quarantine", ids, Some((1, 1)));
    check_other_engines(&data, "gaps", &["trace_id", "span_id", "start_time_unix_nano"], None);
    check_other_engines(&data, "findings", &["finding_id"], None);
}

/// Checks that other engines count the rows of a table, and the distinct ones of some columns, as
/// we do; there are some, or so many.
fn check_other_engines(data: &str, table: &str, columns: &[&str], counts: Option<(u64, u64)>) {
    let mut count = std::process::Command::new(python());
    count.arg(root().join("tests/e2e/python/count_rows.py"));
    count.arg(format!("{data}/tables/{table}")).args(columns);
    let counted: Value = serde_json::from_slice(&succeed(&mut count).stdout).expect("JSON");
    let query = format!(
        "SELECT (SELECT count(*) FROM {table}) AS n, (SELECT count(*) FROM \
         (SELECT DISTINCT {} FROM {table})) AS distinct_rows",
        columns.join(", ")
    );
    let ours = rows(&query, data);
    let (n, distinct) = (&ours[0]["n"], &ours[0]["distinct_rows"]);
    let expected = serde_json::json!({
        "deltalake": n, "duckdb": n, "duckdb_distinct": distinct, "polars": n,
        "polars_distinct": distinct,
    });
    assert_eq!(counted, expected, "{table}");
    assert!(n.as_u64() > Some(0), "{table}");
    if let Some((all, distinct_rows)) = counts {
        assert_eq!((n.as_u64(), distinct.as_u64()), (Some(all), Some(distinct_rows)), "{table}");
    }
}

#[test]
fn a_folder_that_is_no_data_directory_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = timesink().arg("analyze").arg("--data").arg(folder.path()).output();
    let output = output.expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("it has no `tables` folder"), "{said}");
}

/// Runs `timesink store`, and returns its exit code, output and errors.
fn store(args: &[&str]) -> (Option<i32>, String, String) {
    let output = timesink().arg("store").args(args).output().expect("it starts");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Scenario: an operator backs up a store while it is written, compacts, verifies and exports it,
/// restores the backup and goes on with that.
/// Guarantee: every span is there in all of them, once, also those that come after.
#[test]
fn an_operator_looks_after_a_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (data, backup, restored) = (path("data"), path("backup"), path("restored"));
    let serve = start(&data);
    serve.post(&notation::otlp_json(LOOP));
    serve.post(&message(999));
    end(serve);
    let serve = start(&data);
    serve.post(&message(1000));
    let all = serde_json::json!([{"n": 260, "ids": 260, "traces": 22}]);
    let (code, said, _) = store(&["info", "--data", &data, "--format", "json"]);
    let info: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(info["writer_pid"], serve.child.id(), "{info}");
    assert_eq!(
        (&info["tables"][0]["rows"], &info["tables"][0]["rows_in_log_alone"]),
        (&Value::from(240), &Value::from(20))
    );
    let (code, _, said) = store(&["compact", "--data", &data]);
    assert_eq!(code, Some(2));
    assert!(said.contains(&format!("process {} writes in it", serve.child.id())), "{said}");
    let (code, _, said) = store(&["expire", "--data", &backup, "--gib-max", "1"]);
    assert_eq!(code, Some(2), "nothing is made by mistake");
    assert!(said.contains("it has no `tables` folder"), "{said}");
    std::fs::write(&backup, "a file").expect("it is written");
    let (code, _, said) = store(&["backup", "--data", &data, &backup]);
    assert_eq!((code, said.contains("is no empty folder")), (Some(2), true), "{said}");
    std::fs::remove_file(&backup).expect("it is there");
    let cut_off = format!("{backup}.unfinished");
    std::fs::create_dir(&cut_off).expect("it is made");
    let (code, _, said) = store(&["backup", "--data", &data, &backup]);
    assert_eq!((code, said.contains("was cut off")), (Some(2), true), "{said}");
    std::fs::remove_dir(&cut_off).expect("it is empty");
    let (code, _, said) = store(&["backup", "--data", &data, &backup]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(counted(&backup), all);
    end(serve);
    let (code, said, _) = store(&["compact", "--data", &data]);
    assert_eq!((code, said.as_str()), (Some(0), "4 files joined as 2 files, 4 files removed\n"));
    let (code, said, errors) = store(&["verify", "--data", &data]);
    assert_eq!(code, Some(0), "{said}{errors}");
    assert!(
        said.starts_with("5 files of the tables, ") && said.ends_with(": no problems\n"),
        "{said}"
    );
    assert_eq!(counted(&data), all);
    let (_, said, _) = store(&["info", "--data", &data]);
    assert!(
        said.contains("spans: 260 rows in 2 files, ") && said.contains("nobody writes"),
        "{said}"
    );

    let file = path("spans.jsonl");
    let (code, said, errors) = store(&["export", "--data", &data, "--output", &file]);
    assert_eq!((code, said), (Some(0), format!("260 spans in `{file}`\n")), "{errors}");
    let output = timesink().args(["analyze", "--format", "jsonl", &file]).output().expect("starts");
    assert!(text(&output.stdout).contains("n-plus-one-query"), "{output:?}");
    let one = format!("{:032x}", 1000);
    let (_, said, _) = store(&["export", "--data", &data, "--trace", &one, "--output", "-"]);
    assert_eq!(said.matches("\"spanId\"").count(), 20, "{said}");

    let (code, _, said) = store(&["restore", &backup, "--data", &restored]);
    assert_eq!(code, Some(0), "{said}");
    let (code, _, said) = store(&["restore", &backup, "--data", &restored]);
    assert_eq!(code, Some(2));
    assert!(said.contains("is no empty folder"), "{said}");
    let serve = start(&restored);
    serve.post(&message(2000));
    end(serve);
    let more = serde_json::json!([{"n": 280, "ids": 280, "traces": 23}]);
    assert_eq!(counted(&restored), more, "what comes after a restore is kept");
    let (code, said, _) = store(&["expire", "--data", &restored, "--gib-max", "1"]);
    assert_eq!((code, said.starts_with("the rows of 0 files")), (Some(0), true), "{said}");
    let (code, said, _) =
        store(&["expire", "--data", &restored, "--before", "2100-01-01T00:00:00Z"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(counted(&restored)[0]["n"], 0);
}

/// Returns the files below a folder that end so.
fn files_below(folder: &std::path::Path, ending: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Scenario: somebody moves the log away; a file of a table is damaged, then gone.
/// Guarantee: what comes after is kept; `verify` and readers name the file.
#[test]
fn what_is_damaged_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").to_string_lossy().into_owned();
    let serve = start(&data);
    serve.post(&notation::otlp_json(LOOP));
    end(serve);
    std::fs::remove_dir_all(folder.path().join("data/log")).expect("it is there");
    let serve = start(&data);
    serve.post(&message(1000));
    end(serve);
    assert_eq!(counted(&data), serde_json::json!([{"n": 240, "ids": 240, "traces": 21}]));
    let parts = files_below(&folder.path().join("data/tables/spans"), ".zstd.parquet");
    let name = parts[0].file_name().expect("a name").to_string_lossy().into_owned();
    let whole = std::fs::read(&parts[0]).expect("it is there");
    let mut damaged = whole.clone();
    let footer = damaged.len() - 20;
    damaged[footer..].fill(7);
    std::fs::write(&parts[0], &damaged).expect("it is written");
    let (code, said, errors) = store(&["verify", "--data", &data]);
    assert_eq!(code, Some(2), "{said}");
    assert!(errors.contains(&name) && said.ends_with(": 1 problem\n"), "{said}{errors}");
    std::fs::remove_file(&parts[0]).expect("it is there");
    let (code, _, errors) = store(&["verify", "--data", &data]);
    assert_eq!((code, errors.contains(&name)), (Some(2), true), "{errors}");
    let output = timesink().args(["analyze", "--data", &data]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains(&name), "{output:?}");
    let query = ["sql", "--data", &data, "SELECT max(duration_nanos) FROM spans"];
    let output = timesink().args(query).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains(&name), "{output:?}");
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("it is made");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let copy = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            std::fs::copy(&path, &copy).expect("it is copied");
        }
    }
}

/// Scenario: data directories that servers of each release left.
/// Guarantee: all that was acknowledged is read, once, and this version goes on with it.
#[test]
fn stores_of_older_versions_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let stores = root().join("tests/stores");
    let mut seen = 0;
    for entry in std::fs::read_dir(stores).expect("a folder") {
        let path = entry.expect("an entry").path();
        if !path.is_dir() {
            continue;
        }
        seen += 1;
        let copy = folder.path().join(path.file_name().expect("a version"));
        copy_folder(&path, &copy);
        let data = copy.to_string_lossy().into_owned();
        let kept = serde_json::json!([{"n": 30, "ids": 30, "traces": 6}]);
        assert_eq!(counted(&data), kept, "{data}");
        let quarantined = "SELECT count(*) AS n FROM quarantine";
        assert_eq!(rows(quarantined, &data), serde_json::json!([{"n": 1}]));
        let serve = start(&data);
        serve.post(&message(1000));
        end(serve);
        let more = serde_json::json!([{"n": 50, "ids": 50, "traces": 7}]);
        assert_eq!(counted(&data), more, "{data}");
        assert_eq!(rows(quarantined, &data), serde_json::json!([{"n": 1}]));
        let (code, said, errors) = store(&["verify", "--data", &data]);
        assert_eq!(code, Some(0), "{said}{errors}");
    }
    assert!(seen > 0, "no version");
}
