//! `timesink serve --data` beside a system that refuses: a full disk, and what a sync has to come
//! before.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{PATIENCE, Serve, export, kill, succeed, text, timesink};

/// Bytes of the small file system.
const DISK_BYTES: u64 = 12 << 20;

/// Bytes that something else takes of it, and lets go later.
const BALLAST_BYTES: usize = 6 << 20;

/// Returns a message: a trace of a hundred spans whose names do not compress.
fn message(trace: u64) -> String {
    let mut random = trace.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut word = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        format!("{random:016x}")
    };
    let spans = (1..=100_u64).map(|span| {
        let name: String = (0..24).map(|_| word()).collect();
        let start = 1_795_867_200_000_000_000 + trace * 1_000_000;
        format!(
            r#"{{"traceId":"{trace:032x}","spanId":"{span:016x}","name":"{name}",
            "startTimeUnixNano":"{start}","endTimeUnixNano":"{}"}}"#,
            start + 500_000,
        )
    });
    let spans = spans.collect::<Vec<_>>().join(",");
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#)
}

/// Sends a message; returns the head of the answer.
fn post(address: &str, json: &str) -> String {
    let answer = export(address, json).expect("it listens, and answers");
    answer.split("\r\n\r\n").next().unwrap_or_default().to_lowercase()
}

/// Scenario: a small file system is filled to the brim while exports come, and has space later.
/// Guarantee: exporters are told to try again, it goes on by itself, and what was acknowledged is
/// there once.
#[test]
fn a_full_disk_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().to_string_lossy().into_owned();
    // A mount that only this process and its children see: it needs no rights, and goes with them.
    let script = "mount -t tmpfs -o size=$0 none \"$1\" && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
    command.args([&DISK_BYTES.to_string(), &disk]);
    let binary = timesink().get_program().to_owned();
    command.arg(binary).args(["serve", "--data", &format!("{disk}/data")]);
    let quick = ["--store-flush-seconds", "1", "--live-settle-seconds", "1"];
    let mut serve = Serve::start_by(&mut command, &quick);
    // From outside the mount is seen through the process.
    let inside = format!("/proc/{}/root{disk}", serve.child.id());
    let ballast = format!("{inside}/ballast");
    std::fs::write(&ballast, vec![1; BALLAST_BYTES]).expect("there is room for it");
    let (mut acknowledged, mut refused) = (0_u64, 0);
    let mut trace = 0;
    let began = Instant::now();
    while refused < 20 {
        assert!(began.elapsed() < PATIENCE, "the disk is never full");
        trace += 1;
        let head = post(&serve.http, &message(trace));
        if head.starts_with("http/1.1 200") {
            acknowledged += 1;
        } else {
            assert!(head.starts_with("http/1.1 503") && head.contains("retry-after: "), "{head}");
            refused += 1;
        }
    }
    std::fs::remove_file(&ballast).expect("it is there");
    let mut again = 0;
    while again < 20 {
        assert!(began.elapsed() < PATIENCE, "it does not go on");
        trace += 1;
        if post(&serve.http, &message(trace)).starts_with("http/1.1 200") {
            acknowledged += 1;
            again += 1;
        } else {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let data = format!("{inside}/data");
    let query = "SELECT count(*) AS n, count(DISTINCT concat(trace_id, span_id)) AS ids FROM spans";
    let sql = ["sql", "--format", "json", "--data", &data, query];
    let counted = succeed(timesink().args(sql));
    let counted: Value = serde_json::from_slice(&counted.stdout).expect("JSON");
    let spans = acknowledged * 100;
    println!("{acknowledged} messages acknowledged, {refused} refused on a full disk");
    assert_eq!(counted, serde_json::json!([{"n": spans, "ids": spans}]));
    let verified = timesink().args(["store", "verify", "--data", &data]).output().expect("starts");
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    kill("-TERM", serve.child.id());
    serve.child.wait().expect("it ends");
}

/// Scenario: exports come one after the other, and each call of the system is written down.
/// Guarantee: between the write to the log and each answer a sync of the log has completed.
#[test]
fn a_sync_completes_before_each_answer() {
    const EXPORTS: u64 = 12;
    let folder = tempfile::tempdir().expect("a folder");
    let (data, calls) = (folder.path().join("data"), folder.path().join("calls"));
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-s", "16", "-e", "trace=write,writev,sendto,fdatasync", "-o"]);
    command.arg(&calls).arg(timesink().get_program()).arg("serve");
    let mut serve = Serve::start_by(
        &mut command,
        &["--data", &data.to_string_lossy(), "--store-flush-seconds", "3600"],
    );
    for trace in 1..=EXPORTS {
        let head = post(&serve.http, &message(trace));
        assert!(head.starts_with("http/1.1 200"), "{head}");
    }
    let served = child_of(serve.child.id());
    kill("-TERM", served);
    serve.child.wait().expect("it ends");
    let mut seen = Order::default();
    for line in BufReader::new(std::fs::File::open(&calls).expect("it is written")).lines() {
        seen.line(&line.expect("a line"));
    }
    assert_eq!((seen.answers, seen.too_soon), (EXPORTS, 0), "{seen:?}");
    assert!(seen.syncs >= EXPORTS, "{seen:?}");
}

/// Returns the process that a process started.
fn child_of(process: u32) -> u32 {
    let children = Path::new("/proc").join(format!("{process}/task/{process}/children"));
    let children = std::fs::read_to_string(children).expect("it is told");
    children.split_whitespace().next().and_then(|id| id.parse().ok()).expect("a child")
}

/// What was called so far, of the last export.
#[derive(Debug, Default)]
struct Order {
    is_written: bool,
    is_synced: bool,
    /// The threads whose sync has begun and not completed.
    syncing: Vec<String>,
    syncs: u64,
    answers: u64,
    /// Answers before a sync of what was written had completed.
    too_soon: u64,
}

impl Order {
    /// Looks at a line of strace: `17 fdatasync(9</data/log/1.log>) = 0`, or its two halves,
    /// `... <unfinished ...>` and `17 <... fdatasync resumed>) = 0`.
    fn line(&mut self, line: &str) {
        let (thread, call) = line.split_once(' ').unwrap_or_default();
        let call = call.trim_start();
        if call.starts_with("write") && call.contains("/log/") {
            (self.is_written, self.is_synced) = (true, false);
        } else if call.starts_with("fdatasync") && call.contains("/log/") {
            if call.ends_with("<unfinished ...>") {
                self.syncing.push(thread.to_owned());
            } else if call.ends_with("= 0") {
                self.synced();
            }
        } else if call.starts_with("<... fdatasync resumed") && call.ends_with("= 0") {
            if let Some(at) = self.syncing.iter().position(|known| known == thread) {
                self.syncing.remove(at);
                self.synced();
            }
        } else if call.contains("\"HTTP/1.1 200") {
            self.answers += 1;
            self.too_soon += u64::from(!(self.is_written && self.is_synced));
            (self.is_written, self.is_synced) = (false, false);
        }
    }

    fn synced(&mut self) {
        self.syncs += 1;
        self.is_synced = self.is_written;
    }
}

/// The order is told from lines, also where a thread's call is cut in two.
#[test]
fn an_answer_before_its_sync_is_seen() {
    let mut seen = Order::default();
    for line in [
        "7 write(9</data/log/1.log>, \"TSR1\", 4) = 4",
        "7 fdatasync(9</data/log/1.log> <unfinished ...>",
        "8 sendto(11<socket:[5]>, \"HTTP/1.1 200 OK\", 15, MSG_NOSIGNAL, NULL, 0) = 15",
        "7 <... fdatasync resumed>) = 0",
    ] {
        seen.line(line);
    }
    assert_eq!((seen.answers, seen.too_soon), (1, 1), "{seen:?}");
}
