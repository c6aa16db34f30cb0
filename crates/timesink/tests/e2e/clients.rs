//! Every recording, sent by real clients to the real binary, gives what `analyze` finds in it.
//!
//! `TIMESINK_RECORDINGS=DIR` takes the recordings of another folder, and sends each of them in
//! every way; `cargo xtask clients` does so with all that lie beside the repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use timesink_otlp::{ReadOptions, encode_protobuf, read};
use timesink_server::Exporter;

use crate::support::{Serve, python, root, succeed, text, timesink};

/// How spans are sent.
#[derive(Debug, Clone, Copy)]
enum Client {
    /// The Python SDK's exporter of this protocol and compression.
    Python { protocol: &'static str, compression: &'static str },
    /// The client that comes with the standard's definitions.
    Rust { gzip: bool },
}

const CLIENTS: [Client; 6] = [
    Client::Python { protocol: "grpc", compression: "none" },
    Client::Python { protocol: "http", compression: "gzip" },
    Client::Rust { gzip: false },
    Client::Python { protocol: "grpc", compression: "gzip" },
    Client::Python { protocol: "http", compression: "none" },
    Client::Rust { gzip: true },
];

/// Servers at a time.
const AT_A_TIME: usize = 6;

/// The year 2100: no recording lies in its future.
const NOW_UNIX_NANO: i64 = 4_102_444_800_000_000_000;

/// What `analyze` says of a file.
struct Recording {
    path: PathBuf,
    spans: u64,
    findings: String,
}

#[test]
fn what_is_sent_is_found_as_in_the_file() {
    let folder = std::env::var_os("TIMESINK_RECORDINGS").map(PathBuf::from);
    let is_all = folder.is_some();
    let recordings = recordings(&folder.unwrap_or_else(|| root().join("tests/data")));
    assert!(recordings.len() > 10, "recordings");
    for (number, client) in CLIENTS.iter().enumerate() {
        // Here each recording goes one way, and every way is gone by several.
        let chosen = recordings.iter().enumerate();
        let chosen: Vec<&Recording> = chosen
            .filter(|(at, _)| is_all || at % CLIENTS.len() == number)
            .map(|(_, recording)| recording)
            .collect();
        for some in chosen.chunks(AT_A_TIME) {
            send_and_compare(*client, some);
        }
        println!("{client:?}: {} recordings", chosen.len());
    }
}

fn recordings(folder: &Path) -> Vec<Recording> {
    let entries = std::fs::read_dir(folder).expect("a folder of recordings");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(".jsonl.gz"));
    paths.sort();
    paths.into_iter().map(recording).collect()
}

fn recording(path: PathBuf) -> Recording {
    let analyzed = |format: &str| {
        let mut command = timesink();
        text(&succeed(command.args(["analyze", "--format", format]).arg(&path)).stdout)
    };
    let document: Value = serde_json::from_str(&analyzed("json")).expect("JSON");
    let spans = document["spans"].as_u64().expect("a number of spans");
    Recording { spans, findings: analyzed("jsonl"), path }
}

fn send_and_compare(client: Client, recordings: &[&Recording]) {
    let quick = ["--live-settle-seconds", "1", "--live-interval-seconds", "1"];
    let servers: Vec<Serve> = recordings.iter().map(|_| Serve::start(&quick)).collect();
    match client {
        Client::Python { protocol, compression } => {
            let mut command = Command::new(python());
            command.arg(root().join("tests/e2e/python/send_recording.py")).args([
                "--protocol",
                protocol,
                "--compression",
                compression,
            ]);
            for (recording, serve) in recordings.iter().zip(&servers) {
                let address = if protocol == "grpc" { &serve.grpc } else { &serve.http };
                let job = format!("{}=http://{address}", recording.path.display());
                command.args(["--job", &job]);
            }
            succeed(&mut command);
        }
        Client::Rust { gzip } => {
            for (recording, serve) in recordings.iter().zip(&servers) {
                send(&recording.path, &serve.grpc, gzip);
            }
        }
    }
    for (recording, serve) in recordings.iter().zip(&servers) {
        serve.wait_for(recording.spans);
        let (status, findings) = serve.get("/api/v1/findings?format=jsonl", "");
        let name = recording.path.display();
        assert_eq!(status, 200, "{name}");
        assert_eq!(findings, recording.findings, "{client:?} {name}");
    }
}

fn send(path: &Path, address: &str, gzip: bool) {
    let file = std::fs::File::open(path).expect("a recording");
    let content = read(file, &ReadOptions::new(NOW_UNIX_NANO)).expect("spans");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let exporter = Exporter::connect(&format!("http://{address}")).await.expect("it listens");
        let exporter = if gzip { exporter.with_gzip() } else { exporter };
        let decoded = &content.decoded;
        for batch in decoded.spans.iter().chain(&decoded.quarantine) {
            exporter.export(&encode_protobuf(batch)).await.expect("it is taken");
        }
    });
}
