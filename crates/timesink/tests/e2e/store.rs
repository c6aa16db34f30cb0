//! `timesink serve --data`: what was acknowledged is there after a kill.

use timesink_testkit::notation;

use crate::support::{Serve, kill, text, timesink};

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
