//! `timesink serve --data` beside a system that refuses or is slow, and where what it wrote is
//! damaged.

mod damage;
mod files;
mod read_only;
mod synced;

use std::process::Command;
use std::time::{Duration, Instant};

use crate::data::{counted, each_once, end, store};
use crate::support::{PATIENCE, Serve, export, timesink};

/// Bytes of the small file system.
const DISK_BYTES: u64 = 12 << 20;

/// Bytes that something else takes of it, and lets go later.
const BALLAST_BYTES: usize = 6 << 20;

/// Spans of a message.
const SPANS: u64 = 100;

/// Returns a message: a trace of a hundred spans whose names do not compress.
fn message(trace: u64) -> String {
    let mut random = trace.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut word = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        format!("{random:016x}")
    };
    let spans = (1..=SPANS).map(|span| {
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
    head_of(&export(address, json).expect("it listens, and answers"))
}

fn head_of(answer: &str) -> String {
    answer.split("\r\n\r\n").next().unwrap_or_default().to_lowercase()
}

/// Returns whether an export was taken; otherwise it has to be one to send again.
fn is_taken(head: &str) -> bool {
    let is_taken = head.starts_with("http/1.1 200");
    let is_retryable = head.starts_with("http/1.1 503") && head.contains("retry-after: ");
    assert!(is_taken || is_retryable, "{head}");
    is_taken
}

/// Returns a command that serves on a disk of so many bytes, which is memory, mounted at a folder
/// where only this process and its children see it: that needs no rights, and goes with them.
fn on_its_own_disk(disk: &str, bytes: u64) -> Command {
    on_a_prepared_disk(disk, bytes, ":")
}

/// As [`on_its_own_disk`]; a line of shell puts something on it first, where it stands.
fn on_a_prepared_disk(disk: &str, bytes: u64, prepare: &str) -> Command {
    let script = format!(
        "mount -t tmpfs -o size=$0 none \"$1\" && (cd \"$1\" && {prepare}) && shift && exec \"$@\""
    );
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    command.args([&bytes.to_string(), disk]).arg(timesink().get_program());
    command.args(["serve", "--data", &format!("{disk}/data")]);
    command
}

/// Returns where that disk is seen from outside.
fn seen_from_outside(disk: &str, serve: &Serve) -> String {
    format!("/proc/{}/root{disk}", serve.child.id())
}

/// Scenario: a server starts where no byte is free.
/// Guarantee: it names the file that it cannot write, and ends.
#[test]
fn a_start_on_a_full_disk_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (before, disk) = (path("before"), path("disk"));
    std::fs::create_dir(&disk).expect("a folder");
    let serve = Serve::start(&["--data", &before]);
    assert!(is_taken(&post(&serve.http, &message(1))));
    end(serve);
    let prepare = format!("cp -r '{before}' data && ! cat /dev/zero 2>/dev/null >ballast");
    let refused = on_a_prepared_disk(&disk, DISK_BYTES, &prepare).output().expect("it starts");
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{errors}");
    assert!(errors.contains(&format!("failed to begin `{disk}/data/log/")), "{errors}");
    assert!(errors.contains("No space left on device"), "{errors}");
}

/// Scenario: a small file system is filled to the brim while exports come, and has space later.
/// Guarantee: exporters are told to try again, it goes on by itself, and what was acknowledged is
/// there once.
#[test]
fn a_full_disk_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().to_string_lossy().into_owned();
    let quick = ["--store-flush-seconds", "1", "--live-settle-seconds", "1"];
    let serve = Serve::start_by(&mut on_its_own_disk(&disk, DISK_BYTES), &quick);
    let inside = seen_from_outside(&disk, &serve);
    let ballast = format!("{inside}/ballast");
    std::fs::write(&ballast, vec![1; BALLAST_BYTES]).expect("there is room for it");
    let (mut acknowledged, mut refused) = (0, 0);
    let mut trace = 0;
    let began = Instant::now();
    while refused < 20 {
        assert!(began.elapsed() < PATIENCE, "the disk is never full");
        trace += 1;
        if is_taken(&post(&serve.http, &message(trace))) {
            acknowledged += 1;
        } else {
            refused += 1;
        }
    }
    let lost = || serve.metric("timesink_audit_lost_total");
    let before = lost();
    while lost() == before {
        assert!(began.elapsed() < PATIENCE, "lines of the audit log find a place");
    }
    std::fs::remove_file(&ballast).expect("it is there");
    let mut again = 0;
    while again < 20 {
        assert!(began.elapsed() < PATIENCE, "it does not go on");
        trace += 1;
        if is_taken(&post(&serve.http, &message(trace))) {
            acknowledged += 1;
            again += 1;
        } else {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let data = format!("{inside}/data");
    println!("{acknowledged} messages acknowledged, {refused} refused on a full disk");
    assert_eq!(counted(&data), each_once(acknowledged, SPANS));
    let (code, _, errors) = store(&["verify", "--data", &data]);
    assert_eq!(code, Some(0), "{errors}");
    end(serve);
}
