//! `timesink run`: what it passes on, and what it says.

use std::process::{Command, Output, Stdio};

use crate::data::copy_folder;
use crate::support::{kill, path_with_python, python, root, succeed, text, timesink};

fn run(arguments: &[&str]) -> Output {
    let mut command = timesink();
    command.arg("run").args(arguments).env("PATH", path_with_python());
    command.output().expect("it starts")
}

/// A program that sends spans: a loop of queries under one request, exported at its end.
const LOOP: &str = "
import os, sys, time
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
if os.environ['OTEL_EXPORTER_OTLP_PROTOCOL'] == 'grpc':
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
tracer = provider.get_tracer('shop')
attributes = {'db.system': 'mysql', 'db.statement': 'SELECT * FROM item WHERE id = ?'}
for request in range(5):
    with tracer.start_as_current_span('GET /cart', kind=SpanKind.SERVER):
        for item in range(8 + request):
            query = tracer.start_span('SELECT', kind=SpanKind.CLIENT, attributes=attributes)
            time.sleep(0.002)
            query.end()
provider.shutdown()
sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
";

#[test]
fn the_exit_code_is_the_commands() {
    for (script, code) in
        [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -9 $$", 137)]
    {
        let output = run(&["--", "sh", "-c", script]);
        assert_eq!(output.status.code(), Some(code), "{script}");
    }
    let missing = run(&["--", "no-such-command"]);
    assert_eq!(missing.status.code(), Some(127));
    assert!(text(&missing.stderr).contains("`no-such-command`"), "{}", text(&missing.stderr));
    assert_eq!(run(&["--", "/etc/passwd"]).status.code(), Some(126));
    assert_eq!(run(&[]).status.code(), Some(2));
}

#[test]
fn what_was_sent_is_found_whatever_the_protocol() {
    let python = python().to_string_lossy();
    for protocol in ["grpc", "http/protobuf"] {
        let mut command = timesink();
        command
            .args(["run", "--", &python, "-c", LOOP])
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        let output = command.output().expect("it starts");
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
        assert!(said.contains("warning[n-plus-one-query]"), "{protocol}: {said}");
    }
}

#[test]
fn a_finding_can_fail_a_command_that_succeeded_and_no_other() {
    let python = python().to_string_lossy();
    let fail_on = ["--fail-on", "warning", "--", &python, "-c", LOOP];
    assert_eq!(run(&fail_on).status.code(), Some(1));
    assert_eq!(run(&[&fail_on[..], &["4"]].concat()).status.code(), Some(4));
    let fail_on_errors = ["--fail-on", "error", "--", &python, "-c", LOOP];
    assert_eq!(run(&fail_on_errors).status.code(), Some(0));
}

#[test]
fn what_was_sent_can_be_kept() {
    let python = python().to_string_lossy();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sent.jsonl").to_string_lossy().into_owned();
    let output = run(&["--save", &file, "--format", "jsonl", "--", &python, "-c", LOOP]);
    let analyzed = timesink().args(["analyze", "--format", "jsonl", &file]).output();
    let analyzed = text(&analyzed.expect("it starts").stdout);
    assert!(analyzed.starts_with("{\"finding_id\""), "{analyzed}");
    assert_eq!(text(&output.stdout).trim_start(), analyzed);
}

/// Scenario: a command starts others, and all of them send spans.
/// Guarantee: the spans of all processes are looked at.
#[test]
fn several_processes_are_one_set_of_spans() {
    let python = python().to_string_lossy();
    let script = format!("for n in 1 2 3; do {python} -c \"$LOOP\" & done; wait");
    let mut command = timesink();
    command.args(["run", "--format", "json", "--", "sh", "-c", &script]).env("LOOP", LOOP);
    let output = command.env("PATH", path_with_python()).output().expect("it starts");
    let answer: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(answer["traces"], 15);
}

#[test]
fn a_command_that_sent_nothing_is_told_why_that_may_be() {
    let python = python().to_string_lossy();
    let output = run(&["--", &python, "-c", "print('hello')"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "hello\n".to_owned()));
    let said = text(&output.stderr);
    assert!(said.contains("no spans came from the command"), "{said}");
    assert!(said.contains("opentelemetry-instrument"), "{said}");
}

/// Scenario: nothing came, and somebody reads the report or the exit code.
/// Guarantee: an older report is replaced; a gate does not pass; the command's own failure is told.
#[test]
fn nothing_is_no_success() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report.json");
    std::fs::write(&report, "yesterday's").expect("it is ours");
    let file = report.to_string_lossy();
    let output = run(&["--format", "json", "-o", &file, "--", "true"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let written = std::fs::read_to_string(&report).expect("a report");
    assert!(written.contains("\"spans\": 0"), "{written}");
    assert_eq!(run(&["--fail-on", "error", "--", "true"]).status.code(), Some(2));
    let gone = folder.path().join("gone");
    std::fs::create_dir(&gone).expect("a folder");
    let (kept, script) = (gone.join("kept.jsonl"), format!("rm -r {}; exit 5", gone.display()));
    let output = run(&["--save", &kept.to_string_lossy(), "--", "sh", "-c", &script]);
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stderr).contains("kept.jsonl"), "{}", text(&output.stderr));
}

/// Scenario: a command sends more than may be held.
/// Guarantee: what is looked at is not taken for the whole.
#[test]
fn spans_beyond_the_memory_are_told() {
    let python = python().to_string_lossy();
    let flood = LOOP
        .replace("range(5)", "range(400)")
        .replace("time.sleep(0.002)", "span = 'x' * 4000")
        .replace("'SELECT * FROM item WHERE id = ?'", "'SELECT ' + 'x' * 4000");
    let mut command = timesink();
    command.args(["run", "--receiver-memory-mib-max", "1", "--", &python, "-c", &flood]);
    let output = command.output().expect("it starts");
    let said = text(&output.stderr);
    assert!(said.contains("`receiver.memory_mib_max`"), "{said}");
    assert_eq!(output.status.code(), Some(2), "{said}");
}

/// Scenario: `run` itself is told to end.
/// Guarantee: the command gets the signal, and its end is passed on.
/// A program that begins an export and ends, while a process of its own holds the connection.
const HALF: &str = "
import os, socket, time
host, port = os.environ['OTEL_EXPORTER_OTLP_ENDPOINT'].removeprefix('http://').split(':')
connection = socket.create_connection((host, int(port)))
connection.sendall(b'POST /v1/traces HTTP/1.1\\r\\nhost: localhost\\r\\n'
    b'content-type: application/json\\r\\ncontent-length: 100\\r\\n\\r\\n{')
if os.fork() == 0:
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1), os.dup2(nothing, 2)
    time.sleep(30)
";

#[test]
fn an_export_that_does_not_end_is_told() {
    let output = run(&["--", &python().to_string_lossy(), "-c", HALF]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("were cut off after 10 seconds"), "{said}");
}

#[test]
fn signals_are_passed_on() {
    let mut command = timesink();
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    command.args(["run", "--", "sh", "-c", script]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    let mut ready = [0; 6];
    let mut out = child.stdout.take().expect("it is piped");
    std::io::Read::read_exact(&mut out, &mut ready).expect("it is ready");
    kill("-TERM", child.id());
    assert_eq!(child.wait().expect("it ends").code(), Some(7));
}

/// The command's own words and options are its own.
#[test]
fn options_behind_the_command_are_the_commands() {
    let output = run(&["echo", "--format", "x", "--", "--help"]);
    assert_eq!(text(&output.stdout), "--format x -- --help\n");
    assert!(Command::new("true").status().is_ok_and(|status| status.success()));
}

/// A program that sets up the SDK itself, and blocks its event loop in line 14.
const NAP: &str = "\
import asyncio
import time
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer('opentelemetry.instrumentation.aiohttp_server')
async def handle():
    with tracer.start_as_current_span('GET /nap', kind=trace.SpanKind.SERVER):
        await asyncio.sleep(0.01)
        time.sleep(0.12)
async def serve():
    for _ in range(6):
        await asyncio.create_task(handle())
asyncio.run(serve())
provider.shutdown()
";

/// Scenario: a service with one client, with the companion in its Python and without.
/// Guarantee: `run` loads it where it is installed, without a change in the code, and says how to
/// get it where it is not.
#[test]
fn the_companion_is_used_where_it_is_installed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("nap.py"), NAP).expect("it is written");
    // Pip leaves files beside the sources.
    copy_folder(&root().join("deploy/python"), &path("sources"));
    let mut pip = Command::new(python());
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]);
    succeed(pip.arg("--target").arg(path("packages")).arg(path("sources")));
    let nap = |packages: &str| {
        let mut command = timesink();
        command.args(["run", "--format", "jsonl", "--", "python", "nap.py"]);
        command.current_dir(folder.path()).env("PATH", path_with_python());
        succeed(command.env("PYTHONPATH", path(packages)))
    };
    let output = nap("packages");
    let said = text(&output.stdout);
    assert!(said.contains(r#""confidence":"certain""#), "{said}{}", text(&output.stderr));
    assert!(said.contains(r#""code_location":"nap.py:14""#), "{said}");
    assert!(!text(&output.stderr).contains("timesink-otel"), "{}", text(&output.stderr));
    let output = nap("nothing");
    let (said, noted) = (text(&output.stdout), text(&output.stderr));
    assert!(!said.contains("blocking-event-loop"), "one client cannot tell: {said}");
    assert!(noted.contains("note: with timesink-otel in that Python"), "{noted}");
}
