//! `timesink serve` as a process.

use std::io::Read;

use crate::support::{Serve, kill, text, timesink};

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
