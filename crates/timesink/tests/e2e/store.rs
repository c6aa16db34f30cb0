//! `timesink serve --data`: what was acknowledged is there after a kill.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use timesink_testkit::notation;

use crate::support::{PATIENCE, Serve, kill, text, timesink};

/// A loop of queries in requests of one service.
const LOOP: &str = "\
shop         SERVER  GET /cart          0ms    120ms
  shop CLIENT Q 5ms 10ms x10 db.system.name=mysql db.query.text=\"SELECT a FROM t WHERE id = ?\"
--- x20 every 200ms
";

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
    let exchange = || {
        let mut stream = TcpStream::connect(address)?;
        let length = json.len();
        write!(
            stream,
            "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{json}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    exchange().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
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
    // Nothing is to settle or to go meanwhile.
    let start = || Serve::start(&["--data", &data, "--live-settle-seconds", "3600"]);
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
}
