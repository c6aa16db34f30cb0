//! `timesink serve --data`: what was acknowledged is there after a kill.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use timesink_tables::{Joining, Location, Tables};
use timesink_testkit::notation;

use crate::data::{copy_folder, counted, end, end_at_once, files_below, rows, store};
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

/// Set to kill at the moments of a run before, which printed it.
const SEED: &str = "TIMESINK_KILL_SEED";

/// Exporters at a time, and spans of each of their messages.
const EXPORTERS: u64 = 8;
const SPANS: u64 = 20;

/// Returns a message: one trace.
fn message(trace: u64) -> String {
    message_of(trace..trace + 1)
}

fn message_of(traces: Range<u64>) -> String {
    let ids = traces.flat_map(|trace| (1..=SPANS).map(move |span| (trace, span)));
    let spans = ids.map(|(trace, span)| {
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

/// Returns a message of requests without anything in them, over so many seconds.
fn requests_over(traces: Range<u64>, seconds: u64) -> String {
    let spans = traces.map(|trace| {
        let start = 1_000_000_000 * (trace % seconds);
        format!(
            r#"{{"traceId":"{id:032x}","spanId":"0000000000000001","name":"GET /","kind":2,
            "startTimeUnixNano":"{start}","endTimeUnixNano":"{end}"}}"#,
            id = trace + 1,
            end = start + 1,
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

/// Returns the number that a variable of the environment holds, if it is set.
fn number(name: &str) -> Option<u64> {
    std::env::var_os(name).map(|text| text.to_string_lossy().parse().expect("a number"))
}

/// Returns how long to wait for each kill, by a number: the same for the same. Every other one
/// comes within a second, before anything is flushed, the others while spans go into the tables.
fn pauses(seed: u64) -> impl Iterator<Item = Duration> {
    // SplitMix64: each of its numbers is one of a counter, mixed.
    (1..).map(move |count: u64| {
        let mut mixed = seed.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = mixed ^ (mixed >> 31);
        let is_short = count.is_multiple_of(2);
        Duration::from_millis(if is_short { 200 + mixed % 700 } else { 2400 + mixed % 1600 })
    })
}

/// Scenario: eight exporters send, and send again what was not answered, while the process is
/// killed again and again. Guarantee: every span that was acknowledged is there, once.
#[test]
fn kills_take_nothing_that_was_acknowledged() {
    let kills = number(KILLS).map_or(3, |kills| kills as usize);
    let seed = number(SEED).unwrap_or_else(|| RandomState::new().build_hasher().finish());
    // Shown where the test fails.
    println!("{SEED}={seed}");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").to_string_lossy().into_owned();
    // Traces settle, and get facts, before some of the kills.
    let start = || {
        // The window has room for all of them, also after a start.
        let settle = ["--live-settle-seconds", "1", "--receiver-memory-mib-max", "16384"];
        Serve::start(&[&settle[..], &["--store-flush-seconds", "1", "--data", &data]].concat())
    };
    let mut serve = start();
    let address = Mutex::new(serve.http.clone());
    let (next, acknowledged, stop) =
        (AtomicU64::new(1), Mutex::new(BTreeMap::new()), AtomicBool::new(false));
    let mut flushed = 0;
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
        for pause in pauses(seed).take(kills) {
            std::thread::sleep(pause);
            kill("-KILL", serve.child.id());
            serve.child.wait().expect("it ends");
            flushed = files_below(&Path::new(&data).join("tables/spans"), ".parquet").len();
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
    assert!(flushed > 0, "nothing was in the tables before a kill");
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

/// Scenario: what was found is found again after a restart.
/// Guarantee: the table says how it stands, and since when it is known; a query for what is not
/// kept walks the traces.
#[test]
fn findings_and_facts_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").to_string_lossy().into_owned();
    let muted = folder.path().join("timesink.toml").to_string_lossy().into_owned();
    let mute = "[[mute]]\nrule = 'n-plus-one-query'\nreason = 'known'\nuntil = 2099-01-01\n";
    std::fs::write(&muted, mute).expect("it is written");
    let config = ["--config", muted.as_str()];
    for (configured, status) in [(&[][..], "new"), (&[][..], "ongoing"), (&config[..], "muted")] {
        let serve = Serve::start(&[&QUICK[..], &["--data", &data], configured].concat());
        if status == "new" {
            serve.post(&notation::otlp_json(LOOP));
        }
        serve.wait_for(220);
        let (_, found) = serve.get("/api/v1/findings?format=jsonl&rule=n-plus-one-query", "");
        let found: Value = serde_json::from_str(&found).expect("one finding");
        assert_eq!(found["status"], status);
        end(serve);
    }
    let history = "SELECT rule, status, traces_affected, first_seen < window_start AS is_old, \
                   arrow_cast(evidence, 'Utf8') LIKE '%trace_ids%' AS has_evidence \
                   FROM findings WHERE rule = 'n-plus-one-query' ORDER BY window_end";
    let row = |status: &str| {
        serde_json::json!({"rule": "n-plus-one-query", "status": status, "traces_affected": 20,
                           "is_old": true, "has_evidence": true})
    };
    assert_eq!(rows(history, &data), serde_json::json!(["new", "ongoing", "muted"].map(row)));
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
    serve.post(&message(1000));
    assert_eq!(serve.metric("timesink_log_spans_repeated_total"), SPANS);
    let expected = serde_json::json!([{"n": 240, "ids": 240, "traces": 21}]);
    assert_eq!(counted(&data), expected, "while it serves");
    kill("-KILL", serve.child.id());
    serve.child.wait().expect("it ends");
    assert_eq!(counted(&data), expected, "after it was killed");
    let in_memory = findings_in_memory(&data, folder.path(), &[]);
    assert!(in_memory.contains("n-plus-one-query"), "{in_memory}");
    check_history(&data, &in_memory);
}

/// Returns the findings in a data directory that is read with a file, and so into memory; the file
/// holds nothing.
fn findings_in_memory(data: &str, folder: &Path, more: &[&str]) -> String {
    let empty = folder.join("empty.json");
    std::fs::write(&empty, r#"{"resourceSpans":[]}"#).expect("a file");
    let mut analyze = timesink();
    analyze.args(["analyze", "--data", data, "--format", "jsonl"]).args(more).arg(&empty);
    text(&succeed(&mut analyze).stdout)
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
    let (_, metrics) = serve.get("/metrics", "");
    assert!(metrics.contains("\ntimesink_receiver_spans_quarantined_total 1\n"), "{metrics}");
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

/// Scenario: files of an hour that is over are joined as a server does that has no time for more.
/// Guarantee: other engines read them as we do, and find a trace in them.
#[test]
fn other_engines_read_spliced_files() {
    const TRACES: u64 = 2000;
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").to_string_lossy().into_owned();
    for first in [1, TRACES + 1] {
        let serve = start(&data);
        for part in (first..first + TRACES).step_by(200) {
            serve.post(&message_of(part..part + 200));
        }
        end(serve);
    }
    let files = |table: &str| {
        let files = files_below(&Path::new(&data).join("tables").join(table), ".parquet");
        files.into_iter().filter(|path| path.to_string_lossy().contains("/spliced-")).count()
    };
    splice(Path::new(&data));
    assert_eq!((files("spans"), files("facts")), (1, 1));
    let ids = &["trace_id", "span_id"][..];
    let all = Some((2 * TRACES * SPANS, 2 * TRACES * SPANS));
    check_other_engines(&data, "spans", ids, all);
    check_other_engines(&data, "facts", ids, all);
}

/// Joins files as a server does that has no time for more.
fn splice(data: &Path) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let location = Location::of(data).expect("it is read").expect("a data directory");
    let store = location.store().expect("a folder");
    let tables = runtime.block_on(Tables::open(store, || 0));
    let mut tables = tables.expect("they open");
    while runtime.block_on(tables.join(i64::MAX, Joining::Splice)).expect("it works").files_before
        > 0
    {}
}

/// Checks that other engines count the rows of a table, the distinct ones of some columns, and
/// those of the first and of the last value of the first column, as we do; there are some, or so
/// many.
fn check_other_engines(data: &str, table: &str, columns: &[&str], counts: Option<(u64, u64)>) {
    let mut count = std::process::Command::new(python());
    count.arg(root().join("tests/e2e/python/count_rows.py"));
    count.arg(format!("{data}/tables/{table}")).args(columns);
    let counted: Value = serde_json::from_slice(&succeed(&mut count).stdout).expect("JSON");
    let query = format!(
        "SELECT (SELECT count(*) FROM {table}) AS n, (SELECT count(*) FROM \
         (SELECT DISTINCT {} FROM {table})) AS distinct_rows, \
         (SELECT min({first}) FROM {table}) AS least, \
         (SELECT max({first}) FROM {table}) AS greatest",
        columns.join(", "),
        first = columns[0],
    );
    let ours = rows(&query, data);
    let (n, distinct) = (&ours[0]["n"], &ours[0]["distinct_rows"]);
    let ends = ["least", "greatest"].map(|end| {
        let value = ours[0][end].as_str().expect("a text");
        let query = format!("SELECT count(*) AS n FROM {table} WHERE {} = '{value}'", columns[0]);
        rows(&query, data)[0]["n"].clone()
    });
    let expected = serde_json::json!({
        "deltalake": n,
        "duckdb": n, "duckdb_distinct": distinct, "duckdb_ends": ends,
        "polars": n, "polars_distinct": distinct, "polars_ends": ends,
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

    let part = files_below(&Path::new(&backup).join("tables/spans"), ".zstd.parquet").remove(0);
    let whole = std::fs::read(&part).expect("it is there");
    std::fs::write(&part, &whole[..whole.len() / 2]).expect("it is written");
    let (code, _, said) = store(&["restore", &backup, "--data", &restored]);
    assert_eq!(code, Some(2), "{said}");
    let name = part.file_name().expect("a name").to_string_lossy();
    assert!(said.contains("nothing was restored") && said.contains(&*name), "{said}");
    assert!(!Path::new(&restored).exists(), "a damaged backup leaves nothing behind");
    std::fs::write(&part, &whole).expect("it is written");
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

/// Scenario: traces of two days are in the tables, others of both in the log alone.
/// Guarantee: every command that is told `--since` looks at those of the second day, or says that
/// there are none; `explain` says the same of a trace there as in a file of them.
#[test]
fn commands_look_at_a_part_of_the_past() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (data, file) = (path("data"), path("spans.jsonl"));
    let traces = notation::otlp_json(LOOP);
    // Ids of their own, and the first seconds of a day.
    let traces = |first_digit: &str, seconds: &str| {
        let ids = traces.replace("\"traceId\":\"0", &format!("\"traceId\":\"{first_digit}"));
        ids.replace("UnixNano\":\"17672256", &format!("UnixNano\":\"{seconds}"))
    };
    let days = ["17672256", "17673120"];
    let serve = start(&data);
    serve.post(&traces("1", days[0]));
    serve.post(&traces("2", days[1]));
    end(serve);
    let serve = Serve::start(&["--data", &data, "--store-flush-seconds", "3600"]);
    serve.post(&traces("3", days[0]));
    serve.post(&traces("4", days[1]));
    end_at_once(serve);

    let said = |words: &[&str]| text(&succeed(timesink().args(words)).stdout);
    let of_second_day = ["--since", "2026-01-02T00:00:00Z"];
    let later = ["--since", "2099-01-01T00:00:00Z"];
    let refused = |words: &[&str]| {
        let output = timesink().args([words, &later].concat()).output().expect("it starts");
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {errors}");
        assert!(errors.contains("no trace begins at 2099-01-01"), "{words:?}: {errors}");
    };
    let analyze = ["analyze", "--format", "json", "--data", &data];
    for (since, spans) in [(&[][..], 880), (&of_second_day, 440)] {
        let report: Value = serde_json::from_str(&said(&[&analyze, since].concat())).expect("JSON");
        assert_eq!((&report["spans"], &report["traces"]), (&spans.into(), &(spans / 11).into()));
    }
    refused(&analyze);
    let query = "SELECT count(*) AS n, min(substr(trace_id, 1, 1)) AS first FROM spans";
    let sql = ["sql", "--format", "csv", "--data", &data, query];
    assert_eq!(said(&sql), "n,first\r\n880,1\r\n");
    assert_eq!(said(&[&sql[..], &of_second_day].concat()), "n,first\r\n440,2\r\n");
    refused(&sql);
    let export = ["store", "export", "--data", &data, "--output", &file];
    let exported = |spans: u64| format!("{spans} spans in `{file}`\n");
    assert_eq!(said(&[&export[..], &later].concat()), exported(0));
    assert_eq!(said(&[&export[..], &of_second_day].concat()), exported(440));

    for first_digit in ["2", "4"] {
        let query =
            format!("SELECT min(trace_id) AS id FROM spans WHERE trace_id LIKE '{first_digit}%'");
        let trace = rows(&query, &data)[0]["id"].as_str().expect("an id").to_owned();
        let explain = ["explain", &trace, "--rule", "n-plus-one-query"];
        let explained = said(&[&explain[..], &["--data", &data], &of_second_day].concat());
        assert!(explained.contains("\nfired, with 1 row of this trace, in:\n"), "{explained}");
        assert_eq!(explained, said(&[&explain[..], &[&file]].concat()));
        let explained = said(&[&explain[..], &["--data", &data]].concat());
        assert!(explained.contains("\nfired, with 1 row of this trace, in:\n"), "{explained}");
        refused(&[&explain[..], &["--data", &data]].concat());
    }
}

/// Scenario: the spans of a data directory do not fit into the memory that they may take; then
/// those of its process do not either; then what only the log has.
/// Guarantee: each command answers; then it says what does not fit, and what to do.
#[test]
fn history_need_not_fit_into_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").to_string_lossy().into_owned();
    let serve = start(&data);
    serve.post(&notation::otlp_json(LOOP));
    serve.post(&message_of(1000..1090));
    end(serve);
    let run = |words: &[&str]| {
        let limit = ["--input-decoded-mib-max", "1"];
        let output = timesink().args([words, &limit].concat()).output().expect("it starts");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let empty = folder.path().join("empty.json").to_string_lossy().into_owned();
    std::fs::write(&empty, r#"{"resourceSpans":[]}"#).expect("a file");
    let (code, _, errors) = run(&["analyze", "--data", &data, &empty]);
    assert_eq!(code, Some(2), "with a file they are read into memory");
    assert!(errors.contains("its rows take more than 1 MiB of memory"), "{errors}");
    let whole_past = ["--since", "36500d"];
    let views = "SELECT count(*) AS n FROM spans_with_facts";
    let [analyze, sql, explain] = [
        &["analyze", "--format", "jsonl", "--data", &data][..],
        &["sql", "--format", "csv", "--data", &data, views],
        &["explain", &trace_of(&data), "--rule", "n-plus-one-query", "--data", &data],
    ];
    for since in [&[][..], &whole_past] {
        let (code, said, errors) = run(&[sql, since].concat());
        assert_eq!((code, said.as_str()), (Some(0), "n\r\n2020\r\n"), "{errors}");
        let (code, said, errors) = run(&[analyze, since].concat());
        assert!(code == Some(0) && said.contains("n-plus-one-query"), "{said}{errors}");
        let (code, said, errors) = run(&[explain, since].concat());
        assert_eq!(code, Some(0), "{errors}");
        assert!(said.contains("this trace, in:\n  warning[n-plus-one-query]"), "{said}");
    }

    // More than fit, of one process: they are looked at in slices of time.
    let serve = start(&data);
    serve.post(&message_of(2000..2090));
    end(serve);
    let (code, _, errors) = run(analyze);
    assert_eq!(code, Some(0), "{errors}");
    let refused = |traces: Range<u64>, seconds: u64, expected: &str| {
        let copy = tempfile::tempdir().expect("a folder");
        let data = copy.path().join("data").to_string_lossy().into_owned();
        let serve = start(&data);
        serve.post(&requests_over(traces, seconds));
        end(serve);
        let (code, _, errors) = run(&["analyze", "--data", &data]);
        assert!(code == Some(2) && errors.contains(expected), "{errors}");
    };
    refused(
        0..2700,
        1,
        "2700 spans of a process at about the same time are more than the 2621 that fit into \
         `input.decoded_mib_max`: look at less of the past (`--since`)",
    );
    refused(
        0..5300,
        5300,
        "5300 requests of a process are more than the 3744 that fit into \
         `input.decoded_mib_max`: look at less of the past (`--since`)",
    );

    let serve = Serve::start(&["--data", &data, "--store-flush-seconds", "3600"]);
    serve.post(&message_of(3000..3200));
    end_at_once(serve);
    let (code, _, errors) = run(&["sql", "--data", &data, "SELECT count(*) FROM spans"]);
    assert_eq!(code, Some(2));
    let expected = "takes more than 1 MiB of memory (`input.decoded_mib_max`): allow more, or wait";
    assert!(errors.contains(expected), "{errors}");
    end(start(&data));
    let (code, _, errors) = run(&["sql", "--data", &data, "SELECT count(*) FROM spans"]);
    assert_eq!(code, Some(0), "{errors}");
}

/// Returns the id of a trace of [`LOOP`].
fn trace_of(data: &str) -> String {
    let query = "SELECT min(trace_id) AS id FROM spans WHERE db_query_text IS NOT NULL";
    rows(query, data)[0]["id"].as_str().expect("an id").to_owned()
}

/// Scenario: an operator does something to a data directory by commands.
/// Guarantee: each has its line in the audit log, with who did it, and no literal of a query; a
/// copy has no audit log, and is read all the same.
#[test]
fn what_an_operator_does_is_audited() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (data, backup, restored) = (path("data"), path("backup"), path("restored"));
    let serve = start(&data);
    serve.post(&message(1));
    end(serve);
    for words in [
        &["info", "--data", &data][..],
        &["verify", "--data", &data],
        &["compact", "--data", &data],
        &["backup", "--data", &data, &backup],
        &["expire", "--data", &data, "--gib-max", "1"],
        &["restore", &backup, "--data", &restored],
        &["expire", "--data", &path("nowhere"), "--gib-max", "1"],
    ] {
        let (code, said, errors) = store(words);
        let is_there = words[2] != path("nowhere");
        assert_eq!(code, Some(if is_there { 0 } else { 2 }), "{words:?}: {said}{errors}");
    }
    let user = succeed(std::process::Command::new("id").arg("-u"));
    let user = format!("uid {}", text(&user.stdout).trim());
    let audited = |data: &str| {
        let lines = std::fs::read_to_string(format!("{data}/audit.jsonl")).expect("it is there");
        let line = |line: &str| -> Value { serde_json::from_str(line).expect("JSON") };
        let commands = lines.lines().map(line).filter(|line| line["status"].is_null());
        let told = commands.map(|line| {
            assert!(line["time"].is_string() && line["who"] == user.as_str(), "{line}");
            line["what"].as_str().expect("a command").to_owned()
        });
        told.collect::<Vec<_>>()
    };
    let query = "SELECT count(*) FROM spans WHERE name = 'bob'";
    let explain = ["explain", "1", "--rule", "n-plus-one-query", "--data", &data];
    for words in [&["analyze", "--data", &data][..], &["sql", "--data", &data, query], &explain] {
        timesink().args(words).output().expect("it starts");
    }
    succeed(timesink().args(["rules", "run", "--data", &data]));
    let expected = [
        "serve",
        "serve ended",
        "store info",
        "store verify",
        "store compact",
        "store backup",
        "store expire",
        "analyze",
        "sql SELECT COUNT(*) FROM spans WHERE name = ?",
        "explain 1 --rule n-plus-one-query",
        "rules run",
    ];
    assert_eq!(audited(&data), expected);
    assert_eq!(audited(&restored), ["store restore"]);
    assert_eq!(counted(&backup)[0]["n"], 20);
    assert!(!Path::new(&backup).join("audit.jsonl").exists());
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

/// Scenario: data directories that servers of older versions left, by what these kept.
/// Guarantee: all that was acknowledged is read, once, and this version goes on with it; what is
/// found in them is found, and what was found is known.
#[test]
fn stores_of_older_versions_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let stores = root().join("tests/stores");
    let known = [("0.1.0-spans", 30, [].as_slice()), ("0.1.0", 72, &["new"])];
    let folders = std::fs::read_dir(&stores).expect("a folder").flatten();
    let versions = folders.filter(|entry| entry.path().is_dir()).count();
    assert_eq!(versions, known.len(), "each is looked at");
    for (version, spans, statuses) in known {
        let copy = folder.path().join(version);
        copy_folder(&stores.join(version), &copy);
        let data = copy.to_string_lossy().into_owned();
        let kept = serde_json::json!([{"n": spans, "ids": spans, "traces": 6}]);
        assert_eq!(counted(&data), kept, "{data}");
        assert_eq!(facts_counted(&data), kept, "{data}");
        let quarantined = "SELECT count(*) AS n FROM quarantine";
        assert_eq!(rows(quarantined, &data), serde_json::json!([{"n": 1}]));
        let rule = ["--rule", "n-plus-one-query", "--format", "jsonl", "--data", &data];
        let analyzed = succeed(timesink().args([&["analyze"][..], &rule].concat()));
        let in_memory = findings_in_memory(&data, folder.path(), &rule[..2]);
        assert_eq!(text(&analyzed.stdout), in_memory);
        assert_eq!(text(&analyzed.stdout).lines().count(), statuses.len().min(1), "{version}");
        let serve = start(&data);
        serve.post(&message(1000));
        end(serve);
        let more = spans + 20;
        let more = serde_json::json!([{"n": more, "ids": more, "traces": 7}]);
        assert_eq!(counted(&data), more, "{data}");
        assert_eq!(rows(quarantined, &data), serde_json::json!([{"n": 1}]));
        let history =
            "SELECT status FROM findings WHERE rule = 'n-plus-one-query' ORDER BY window_end";
        let row = |status: &&str| serde_json::json!({"status": status});
        let expected: Vec<Value> = statuses.iter().map(row).collect();
        assert_eq!(rows(history, &data), Value::Array(expected), "{version}");
        let (code, said, errors) = store(&["verify", "--data", &data]);
        assert_eq!(code, Some(0), "{said}{errors}");
    }
}
