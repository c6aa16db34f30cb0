//! `timesink serve` as a process.

use std::io::Read;

use timesink_testkit::notation;

use crate::support::{PATIENCE, Serve, kill, text, timesink};

#[test]
fn it_ends_in_order_when_it_is_told_to() {
    for signal in ["-TERM", "-INT"] {
        let mut serve = Serve::start(&[]);
        assert_eq!(serve.get("/readyz", ""), (200, "ready\n".to_owned()));
        kill(signal, serve.child.id());
        let status = serve.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
        let mut rest = String::new();
        serve.rest.read_to_string(&mut rest).expect("text");
        assert_eq!(rest, "");
    }
}

#[test]
fn findings_are_told_as_they_are_found() {
    use std::io::BufRead;
    let quick = ["--live-settle-seconds", "1", "--live-interval-seconds", "1"];
    let mut serve = Serve::start(&quick);
    let recording = crate::support::root().join("tests/data/django_fk_n1.jsonl.gz");
    let sent = std::process::Command::new(crate::support::python())
        .arg(crate::support::root().join("tests/e2e/python/send_recording.py"))
        .args(["--protocol", "http", "--endpoint", &format!("http://{}", serve.http)])
        .arg(recording)
        .status();
    assert!(sent.expect("it runs").success());
    let mut line = String::new();
    serve.rest.read_line(&mut line).expect("a line");
    assert!(line.starts_with("warning[n-plus-one-query]: "), "{line}");
    assert!(line.ends_with("; shop-web GET api/orders/recent\n"), "{line}");
}

/// Scenario: findings of more text than a pipe holds, and nobody reads what is told of them.
/// Guarantee: the analysis goes on.
#[test]
fn output_that_nobody_reads_holds_nothing_up() {
    const SERVICES: usize = 800;
    let quick = ["--live-settle-seconds", "1", "--live-interval-seconds", "1"];
    let serve = Serve::start(&quick);
    for (round, spans) in [("first", 11 * SERVICES), ("again", 22 * SERVICES)] {
        let traces = (0..SERVICES).map(|number| {
            format!(
                "{round}{number} SERVER GET /cart 0ms 120ms\n  {round}{number} CLIENT Q 5ms 10ms \
                 x10 db.system.name=mysql db.query.text=\"SELECT a FROM t WHERE id = ?\"\n"
            )
        });
        let json = notation::otlp_json(&traces.collect::<Vec<_>>().join("---\n"));
        // Ids of its own for each round.
        let prefix = if round == "first" { "1" } else { "2" };
        let json = json.replace("\"traceId\":\"0", &format!("\"traceId\":\"{prefix}"));
        serve.post(&json);
        serve.wait_for(spans as u64);
    }
    let (_, body) = serve.get("/api/v1/findings?format=jsonl", "");
    assert_eq!(body.lines().count(), 2 * SERVICES);
}

#[test]
fn the_demo_shows_the_token_that_it_asks_for() {
    const TOKEN: &str = "0123456789abcdef";
    let mut demo = timesink();
    demo.args(["demo", "--serve"]).env("TIMESINK_TOKEN", TOKEN);
    let serve = Serve::start_by(&mut demo, &[]);
    let header = format!("authorization: Bearer {TOKEN}\r\n");
    let began = std::time::Instant::now();
    loop {
        let (status, body) = serve.get("/api/v1/findings?format=jsonl", &header);
        assert_eq!(status, 200, "{body}");
        if !body.is_empty() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "no finding");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(serve.get("/api/v1/findings", "").0, 401);
}

#[test]
fn an_address_that_cannot_be_had_is_named() {
    let first = Serve::start(&[]);
    let second = timesink().args(["serve", "--grpc-address", &first.grpc]).output();
    let second = second.expect("it starts");
    assert_eq!(second.status.code(), Some(2));
    let said = text(&second.stderr);
    assert!(said.contains(&format!("failed to listen on `{}`", first.grpc)), "{said}");
    let wrong = timesink().args(["serve", "--web-address", "nonsense"]).output();
    let said = text(&wrong.expect("it starts").stderr);
    assert!(said.contains("`serve.web_address` is `nonsense`"), "{said}");
}

#[test]
fn other_machines_reach_it_with_a_token_only() {
    let exposed = ["serve", "--grpc-address", "0.0.0.0:0"];
    let refused = timesink().args(exposed).output().expect("it starts");
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(said.contains("TIMESINK_TOKEN") && said.contains("--token-file"), "{said}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "0123456789abcdef\n").expect("it is written");
    let file = file.to_string_lossy().into_owned();
    let serve = Serve::start(&["--token-file", &file]);
    assert_eq!(serve.get("/healthz", "").0, 200, "probes need none");
    assert_eq!(serve.get("/api/v1/findings", "").0, 401);
    let token = "authorization: Bearer 0123456789abcdef\r\n";
    assert_eq!(serve.get("/api/v1/findings", token).0, 200);
    std::fs::write(&file, "short").expect("it is written");
    let short = timesink().args(["serve", "--token-file", &file]).output().expect("it starts");
    assert!(text(&short.stderr).contains("at least 16 characters"), "{}", text(&short.stderr));
}
