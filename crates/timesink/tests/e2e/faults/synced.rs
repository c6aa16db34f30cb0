//! What a sync has to come before, told by `strace`; and a disk that is slow.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use timesink_otlp::{Decoder, DecoderOptions, encode_protobuf};
use timesink_server::Exporter;
use timesink_store::log::{Log, Record};
use timesink_store::{Error, Journal, LocalDisk};

use super::{SPANS, head_of, is_taken, message};
use crate::data::{counted, each_once};
use crate::support::{PATIENCE, Serve, export_over, kill, timesink};

/// Exporters at a time.
const EXPORTERS: u64 = 8;

/// For spans that are to stay in the log.
pub(super) const IN_LOG: [&str; 2] = ["--store-flush-seconds", "3600"];

/// A server whose calls of the system are written down.
pub(super) struct Traced {
    pub(super) serve: Serve,
    /// The server itself: `serve` holds strace.
    process: u32,
    pub(super) data: PathBuf,
    calls: PathBuf,
    has_ended: bool,
}

impl Traced {
    /// Starts a server with its data in a folder; `faults` are for strace.
    pub(super) fn start(folder: &Path, faults: &[&str], options: &[&str]) -> Self {
        let (data, calls) = (data_in(folder), folder.join("calls"));
        let mut command = Command::new("strace");
        // Files and peers by their names, the bytes of gRPC in hex.
        command.args(["-f", "-yy", "-x", "-s", "1024", "-o"]).arg(&calls).args(faults);
        command.args(["-e", "trace=write,writev,sendto,fdatasync"]);
        command.arg(timesink().get_program()).arg("serve");
        let data_option = ["--data", &data.to_string_lossy()];
        let serve = Serve::start_by(&mut command, &[&data_option[..], options].concat());
        let process = child_of(serve.child.id());
        Self { serve, process, data, calls, has_ended: false }
    }

    /// Ends the server, and returns what was seen of it.
    pub(super) fn end(mut self, signal: &str) -> Seen {
        kill(signal, self.process);
        self.serve.child.wait().expect("it ends");
        self.has_ended = true;
        let mut seen = Seen::default();
        for line in BufReader::new(std::fs::File::open(&self.calls).expect("it is there")).lines() {
            seen.line(&line.expect("a line"));
        }
        seen
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if !self.has_ended {
            // Without it, strace alone is ended.
            let _ = Command::new("kill").args(["-KILL", &self.process.to_string()]).output();
        }
    }
}

/// Returns where a traced server has its data.
pub(super) fn data_in(folder: &Path) -> PathBuf {
    // As strace names it.
    folder.canonicalize().expect("it is there").join("data")
}

/// Returns the process that a process started.
fn child_of(process: u32) -> u32 {
    let children = Path::new("/proc").join(format!("{process}/task/{process}/children"));
    let children = std::fs::read_to_string(children).expect("it is told");
    children.split_whitespace().next().and_then(|id| id.parse().ok()).expect("a child")
}

/// What strace saw of a server: when it wrote to its log, made that safe, and answered.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Bytes of the log that were written.
    written: u64,
    /// Bytes of it that a sync has made safe.
    safe: u64,
    syncs: u64,
    /// Calls on the log that have begun and not returned, by thread.
    begun: BTreeMap<String, Call>,
    /// To which port answers went, and how much was safe when each began.
    answers: Vec<(u16, u64)>,
}

/// A call on the log.
#[derive(Debug)]
enum Call {
    Write,
    /// It makes safe what was written before: so many bytes.
    Sync(u64),
}

impl Seen {
    /// Looks at a line of strace: `17 fdatasync(9</data/log/1.log>) = 0`, or its two halves,
    /// `... <unfinished ...>` and `17 <... fdatasync resumed>) = 0`.
    fn line(&mut self, line: &str) {
        let (thread, call) = line.split_once(' ').unwrap_or_default();
        let call = call.trim_start();
        let (name, arguments) = call.split_once('(').unwrap_or_default();
        let is_of_log = arguments.split('>').next().is_some_and(|file| file.contains("/log/"));
        let begun = match name {
            _ if call.starts_with("<... ") => self.begun.remove(thread),
            "write" if is_of_log => Some(Call::Write),
            "fdatasync" if is_of_log => Some(Call::Sync(self.written)),
            _ => None,
        };
        match begun {
            Some(begun) if call.ends_with("<unfinished ...>") => {
                self.begun.insert(thread.to_owned(), begun);
            }
            Some(Call::Write) => self.written += returned(call).unwrap_or_default(),
            Some(Call::Sync(bytes)) if returned(call) == Some(0) => {
                self.syncs += 1;
                self.safe = self.safe.max(bytes);
            }
            _ => {}
        }
        if let Some(port) = peer(arguments) {
            let answers = std::iter::repeat_n((port, self.safe), answers(arguments));
            self.answers.extend(answers);
        }
    }

    /// Returns how many exports were answered before their spans were safe. Of each, `sent` has the
    /// port that it came from and its trace; those of one port in order.
    fn too_soon(&self, data: &Path, sent: &[(u16, u64)]) -> usize {
        let mut answers: BTreeMap<u16, VecDeque<u64>> = BTreeMap::new();
        for (port, safe) in &self.answers {
            answers.entry(*port).or_default().push_back(*safe);
        }
        let ends = ends(data);
        let is_too_soon = |(port, trace): &&(u16, u64)| {
            let safe = answers.get_mut(port).and_then(VecDeque::pop_front);
            safe.expect("it was answered") < ends[&format!("{trace:032x}")]
        };
        sent.iter().filter(is_too_soon).count()
    }
}

/// Returns what a call returned, if that is no error: `... = 0`, `... = 0 (DELAYED)`.
fn returned(call: &str) -> Option<u64> {
    let (_, returned) = call.rsplit_once(" = ")?;
    returned.split(' ').next()?.parse().ok()
}

/// Returns the port of the peer: `11<TCP:[127.0.0.1:4318->127.0.0.1:55002]>, ...`.
fn peer(arguments: &str) -> Option<u16> {
    let (socket, _) =
        arguments.strip_prefix(|first: char| first.is_ascii_digit())?.split_once(']')?;
    let (_, peer) = socket.split_once("->")?;
    peer.rsplit(':').next()?.parse().ok()
}

/// Returns how many answers that all went well end in what is sent.
fn answers(arguments: &str) -> usize {
    let texts: Vec<&str> = arguments.split('"').skip(1).step_by(2).collect();
    if texts.first().is_some_and(|text| text.starts_with("HTTP/1.1 200")) {
        return 1;
    }
    let bytes = texts.iter().flat_map(|text| text.split("\\x").skip(1));
    let bytes: Vec<u8> =
        bytes.filter_map(|byte| u8::from_str_radix(byte.get(..2)?, 16).ok()).collect();
    let mut rest = bytes.as_slice();
    let mut answers = 0;
    // Frames of HTTP/2 (RFC 9113, 4.1): HEADERS with END_STREAM are the trailers of a call.
    while let Some(([a, b, c, kind, flags, ..], _)) = rest.split_first_chunk::<9>() {
        answers += usize::from(*kind == 1 && flags & 1 == 1);
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    answers
}

/// Returns where the record of each trace ends in the log, by its one file.
fn ends(data: &Path) -> BTreeMap<String, u64> {
    // Bytes of a header, and of a record before its payload: see the format of the log.
    const HEADER: u64 = 40;
    const FRAME: u64 = 44;
    let mut payloads = Vec::new();
    let visit = |_, record: Record<'_>| {
        payloads.push(record.payload.len() as u64);
        Ok::<_, Error>(())
    };
    Log::read(&LocalDisk, &data.join("log"), 0, visit).expect("it can be read");
    let read = Journal::read(&LocalDisk, data, [0, 0], u64::MAX).expect("it can be read");
    assert_eq!((read.replayed.bytes_skipped, read.logged.len()), (0, payloads.len()));
    let mut ends = BTreeMap::new();
    let mut end = HEADER;
    for (payload, logged) in payloads.iter().zip(&read.logged) {
        end += FRAME + payload;
        for batch in &logged.spans {
            let ids = batch.column_by_name("trace_id").expect("a column").as_string_view();
            ends.extend(ids.iter().flatten().map(|id| (id.to_owned(), end)));
        }
    }
    ends
}

/// Sends a message; returns the port that it was sent from, and the head of the answer.
fn send(address: &str, trace: u64) -> (u16, String) {
    let stream = TcpStream::connect(address).expect("it listens");
    let port = stream.local_addr().expect("an address").port();
    let answer = export_over(stream, &message(trace)).expect("it answers");
    (port, head_of(&answer))
}

/// Sends a message, which has to be taken; returns port and trace.
fn sent(address: &str, trace: u64) -> (u16, u64) {
    let (port, head) = send(address, trace);
    assert!(is_taken(&head), "{head}");
    (port, trace)
}

/// Scenario: exports come one after the other, and each call of the system is written down.
/// Guarantee: each is answered after a sync of the log, which has completed since its spans were
/// written.
#[test]
fn a_sync_completes_before_each_answer() {
    const EXPORTS: u64 = 12;
    let folder = tempfile::tempdir().expect("a folder");
    let traced = Traced::start(folder.path(), &[], &IN_LOG);
    let data = traced.data.clone();
    let sent: Vec<_> = (1..=EXPORTS).map(|trace| sent(&traced.serve.http, trace)).collect();
    let seen = traced.end("-KILL");
    assert_eq!(seen.too_soon(&data, &sent), 0, "{seen:?}");
    assert!(seen.syncs >= EXPORTS, "{seen:?}");
}

/// Scenario: the same over gRPC.
#[test]
fn a_sync_completes_before_each_answer_of_grpc() {
    const EXPORTS: u64 = 12;
    let folder = tempfile::tempdir().expect("a folder");
    let traced = Traced::start(folder.path(), &[], &IN_LOG);
    let data = traced.data.clone();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let exporter = Exporter::connect(&format!("http://{}", traced.serve.grpc)).await;
        let exporter = exporter.expect("it listens");
        for trace in 1..=EXPORTS {
            let told = exporter.export(&protobuf(&message(trace))).await.expect("it is taken");
            assert_eq!(told, None);
        }
    });
    let seen = traced.end("-KILL");
    assert_eq!(seen.answers.len() as u64, EXPORTS, "{seen:?}");
    let port = seen.answers[0].0;
    let sent: Vec<_> = (1..=EXPORTS).map(|trace| (port, trace)).collect();
    assert_eq!(seen.too_soon(&data, &sent), 0, "{seen:?}");
}

/// Returns a message of OTLP JSON as protobuf.
fn protobuf(json: &str) -> Vec<u8> {
    let mut decoder = Decoder::new(DecoderOptions::new(1_795_867_200_000_000_000));
    decoder.json(json.as_bytes()).expect("it is OTLP");
    encode_protobuf(&decoder.finish().spans[0])
}

/// Scenario: exports are to be answered before the sync, which takes half a second; the process is
/// killed as soon as the last was.
/// Guarantee: no answer waits for a sync of its spans, and none is lost: the system has them.
#[test]
fn a_kill_takes_nothing_where_answers_come_before_the_sync() {
    const EXPORTS: u64 = 4;
    let folder = tempfile::tempdir().expect("a folder");
    let slow = ["-e", "inject=fdatasync:delay_enter=500000"];
    let traced = Traced::start(
        folder.path(),
        &slow,
        &[&IN_LOG[..], &["--store-durability", "interval"]].concat(),
    );
    let data = traced.data.clone();
    let sent: Vec<_> = (1..=EXPORTS).map(|trace| sent(&traced.serve.http, trace)).collect();
    let seen = traced.end("-KILL");
    assert_eq!(seen.too_soon(&data, &sent) as u64, EXPORTS, "{seen:?}");
    assert_eq!(counted(&data.to_string_lossy()), each_once(EXPORTS, SPANS));
}

/// Scenario: eight exporters send at the same time, a sync takes a tenth of a second, and the
/// process is killed in the end.
/// Guarantee: they share syncs, each is answered after one of its own spans, and nothing is lost.
#[test]
fn exporters_share_the_syncs_of_a_slow_disk() {
    const EACH: u64 = 6;
    let folder = tempfile::tempdir().expect("a folder");
    let slow = ["-e", "inject=fdatasync:delay_enter=100000"];
    let traced = Traced::start(folder.path(), &slow, &IN_LOG);
    let data = traced.data.clone();
    let address = traced.serve.http.as_str();
    let sent: Vec<_> = std::thread::scope(|scope| {
        let all = (0..EXPORTERS).map(|exporter| {
            let numbers = 1 + exporter * EACH..=exporter * EACH + EACH;
            scope.spawn(move || numbers.map(|trace| sent(address, trace)).collect::<Vec<_>>())
        });
        let all: Vec<_> = all.collect();
        all.into_iter().flat_map(|exporter| exporter.join().expect("it sends")).collect()
    });
    let seen = traced.end("-KILL");
    assert_eq!(seen.too_soon(&data, &sent), 0, "{seen:?}");
    println!("{} exports shared {} syncs", sent.len(), seen.syncs);
    assert!(seen.syncs < EXPORTERS * EACH / 2, "{seen:?}");
    assert_eq!(counted(&data.to_string_lossy()), each_once(EXPORTERS * EACH, SPANS));
}

/// Scenario: a sync takes half a second, and meanwhile eight exporters send more than there is room
/// for.
/// Guarantee: they are told to try again at once, and when they do, all is taken, once.
#[test]
fn a_slow_disk_turns_exporters_away() {
    let folder = tempfile::tempdir().expect("a folder");
    // Of the log alone: what is in the tables makes room.
    let log = data_in(folder.path()).join("log/00000000000000000001.log");
    let slow = ["-e", "inject=fdatasync:delay_enter=500000", "-P", &log.to_string_lossy()];
    let quick = ["--live-settle-seconds", "1", "--live-interval-seconds", "1"];
    let tight = ["--store-flush-seconds", "1", "--receiver-memory-mib-max", "1"];
    let tight = [&quick[..], &tight].concat();
    let traced = Traced::start(folder.path(), &slow, &tight);
    let data = traced.data.to_string_lossy().into_owned();
    let (address, turned_away) = (traced.serve.http.as_str(), AtomicU64::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for trace in 1..=EXPORTERS {
            let turned_away = &turned_away;
            scope.spawn(move || {
                while !is_taken(&send(address, trace).1) {
                    turned_away.fetch_add(1, Ordering::Relaxed);
                    assert!(began.elapsed() < PATIENCE, "there is no room");
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
        }
    });
    assert!(turned_away.into_inner() > 0, "there was room for all");
    traced.end("-KILL");
    assert_eq!(counted(&data), each_once(EXPORTERS, SPANS));
}

/// The order is told from lines, also where a thread's call is cut in two.
#[test]
fn an_answer_before_its_sync_is_seen() {
    let mut seen = Seen::default();
    for line in [
        r#"7 write(9</data/log/1.log>, "\x54\x53"..., 90) = 90"#,
        "7 fdatasync(9</data/log/1.log> <unfinished ...>",
        r#"8 sendto(11<TCP:[127.0.0.1:1->127.0.0.1:51]>, "HTTP/1.1 200 OK", 15, 0, NULL, 0) = 15"#,
        r#"8 sendto(12<TCP:[127.0.0.1:1->127.0.0.1:52]>, "HTTP/1.1 503 Ser", 15, 0, NULL, 0) = 15"#,
        "7 <... fdatasync resumed>) = 0 (DELAYED)",
        r#"7 write(9</data/log/1.log>, "\x54\x53"..., 10 <unfinished ...>"#,
        "7 <... write resumed>) = 10",
        "7 fdatasync(9</data/log/1.log>) = -1 EIO (Input/output error) (INJECTED)",
    ] {
        seen.line(line);
    }
    // The head of an answer, and its trailers.
    let (head, end) =
        (r"\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88", r"\x00\x00\x00\x01\x05\x00\x00\x00\x01");
    let alone = format!("\"{head}\", 10");
    let both = format!("[{{iov_base=\"{head}\"}}, {{iov_base=\"{end}\"}}]");
    for texts in [alone, both] {
        seen.line(&format!("8 writev(13<TCP:[127.0.0.1:1->127.0.0.1:53]>, {texts}) = 1"));
    }
    assert_eq!((seen.written, seen.safe, seen.syncs), (100, 90, 1), "{seen:?}");
    assert_eq!(seen.answers, [(51, 0), (53, 90)], "{seen:?}");
}
