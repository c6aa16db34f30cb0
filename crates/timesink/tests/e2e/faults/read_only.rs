//! Disks that cannot be written, or cannot any more.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::synced::{IN_LOG, Traced, data_in};
use super::{SPANS, is_taken, message, on_its_own_disk, post, seen_from_outside};
use crate::data::{counted, each_once, end, end_at_once};
use crate::support::{LOOP, Serve, succeed, text, timesink, wait_until};

/// Does something where a server sees its disk.
fn beside(serve: &Serve, script: &str, folder: &str) {
    let target = serve.child.id().to_string();
    let mut command = Command::new("nsenter");
    command.args(["--target", &target, "--user", "--mount", "--preserve-credentials"]);
    succeed(command.args(["sh", "-c", script, folder]));
}

/// Scenario: the data directory is read-only from one moment to the next, and later is not; the log
/// that is open can be written on, as is so after a new mount.
/// Guarantee: exporters are told to try again once what waits for the tables fills the room, the
/// API and commands that read go on, it goes on by itself, and what was acknowledged is there once.
#[test]
fn a_folder_that_turns_read_only_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().to_string_lossy().into_owned();
    let said = folder.path().with_extension("errors");
    let mut command = on_its_own_disk(&disk, 64 << 20);
    command.stderr(fs::File::create(&said).expect("it is made"));
    let quick = ["--store-flush-seconds", "1", "--live-settle-seconds", "1"];
    let tight = ["--live-interval-seconds", "1", "--receiver-memory-mib-max", "1"];
    let serve = Serve::start_by(&mut command, &[&quick[..], &tight].concat());
    let data = format!("{}/data", seen_from_outside(&disk, &serve));
    let counts = |metric: &str| serve.get("/metrics", "").1.contains(metric);
    assert!(is_taken(&post(&serve.http, &message(1))));
    wait_until("a flush", || !counts("timesink_tables_flush_seconds_count 0\n"));
    let of_disk = format!("{disk}/data");
    beside(&serve, "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"", &of_disk);
    let (mut acknowledged, mut trace, mut refused) = (1, 1, 0);
    wait_until("a refusal", || {
        trace += 1;
        let is_taken = is_taken(&post(&serve.http, &message(trace)));
        acknowledged += u64::from(is_taken);
        refused += u64::from(!is_taken);
        refused >= 20 && !counts("timesink_tables_flush_failures_total 0\n")
    });
    assert_eq!(serve.get("/readyz", "").0, 200);
    assert_eq!(serve.get("/api/v1/findings", "").0, 200);
    assert_eq!(counted(&data), each_once(acknowledged, SPANS), "while it is read-only");
    beside(&serve, "umount \"$0\"", &of_disk);
    let mut again = 0;
    wait_until("room", || {
        trace += 1;
        again += u64::from(is_taken(&post(&serve.http, &message(trace))));
        again == 5
    });
    assert_eq!(counted(&data), each_once(acknowledged + again, SPANS));
    end(serve);
    let said = fs::read_to_string(&said).expect("it is there");
    let why = said.lines().filter(|line| line.contains("failed to bring spans from the log into"));
    let why: Vec<&str> = why.collect();
    assert!(why.len() == 1 && why[0].contains("Read-only file system"), "it is said once: {said}");
}

/// Scenario: the disk of the log is read-only for a while.
/// Guarantee: exporters are told to try again, the API goes on, it goes on by itself, and what was
/// acknowledged is there once.
#[test]
fn a_log_that_turns_read_only_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = data_in(folder.path()).join("log/00000000000000000001.log");
    // The first writes what the file begins with.
    let fault = ["-e", "inject=write:error=EROFS:when=4..6", "-P", &log.to_string_lossy()];
    let traced = Traced::start(folder.path(), &fault, &IN_LOG);
    let (serve, data) = (&traced.serve, traced.data.to_string_lossy().into_owned());
    let taken: Vec<bool> =
        (1..=8).map(|trace| is_taken(&post(&serve.http, &message(trace)))).collect();
    assert_eq!(taken, [true, true, false, false, false, true, true, true]);
    assert_eq!(serve.get("/api/v1/findings", "").0, 200);
    let (_, metrics) = serve.get("/metrics", "");
    assert!(metrics.contains("timesink_log_failures_total 3\n"), "{metrics}");
    traced.end("-KILL");
    assert_eq!(counted(&data), each_once(5, SPANS));
    end(Serve::start(&["--data", &data]));
    assert_eq!(counted(&data), each_once(5, SPANS), "after a restart");
}

/// Runs a command where a copy of a data directory lies on a disk that is read-only.
fn on_a_read_only_disk(data: &Path, disk: &Path, words: &[&str]) -> Output {
    let script = "mount -t tmpfs none \"$1\" && cp -r \"$0\" \"$1/data\" && \
                  mount -o remount,ro \"$1\" && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
    command.arg(data).arg(disk).arg(timesink().get_program()).args(words);
    command.output().expect("`unshare` starts")
}

/// Scenario: a data directory of tables and log, which a killed server left, is on a disk that is
/// read-only.
/// Guarantee: what reads works; what writes is refused, and says which folder cannot be written.
#[test]
fn a_read_only_disk_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, disk) = (folder.path().join("kept"), folder.path().join("disk"));
    fs::create_dir(&disk).expect("it is made");
    let start = |seconds: &str| {
        Serve::start(&["--data", &data.to_string_lossy(), "--store-flush-seconds", seconds])
    };
    let serve = start("1");
    serve.post(&timesink_testkit::notation::otlp_json(LOOP));
    end(serve);
    let serve = start("3600");
    assert!(is_taken(&post(&serve.http, &message(1))));
    end_at_once(serve);
    let at = disk.join("data").to_string_lossy().into_owned();
    let run = |words: &[&str]| on_a_read_only_disk(&data, &disk, words);
    let reads = |words: &[&str]| {
        let output = run(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let query = "SELECT count(*) AS n FROM spans";
    assert_eq!(reads(&["sql", "--format", "csv", "--data", &at, query]), "n\r\n320\r\n");
    let found = reads(&["analyze", "--format", "jsonl", "--data", &at]);
    assert!(found.contains("n-plus-one-query"), "{found}");
    assert_eq!(reads(&["rules", "run", "--format", "jsonl", "--data", &at]), found);
    assert!(reads(&["store", "info", "--data", &at]).contains("nobody writes"));
    assert!(reads(&["store", "verify", "--data", &at]).ends_with(": no problems\n"));
    let exported = reads(&["store", "export", "--data", &at, "--output", "-"]);
    assert_eq!(exported.matches("\"spanId\"").count(), 320);
    let backup = folder.path().join("backup").to_string_lossy().into_owned();
    reads(&["store", "backup", "--data", &at, &backup]);
    assert_eq!(counted(&backup)[0]["n"], 320);
    for words in [&["serve"][..], &["store", "compact"], &["store", "expire", "--gib-max", "1"]] {
        let refused = run(&[words, &["--data", &at]].concat());
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains(&at) && said.contains("Read-only file system"), "{words:?}: {said}");
    }
}
