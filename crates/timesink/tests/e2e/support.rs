//! The binary, a Python with the SDK, servers on free ports.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a test waits for what should take some seconds.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// A loop of queries in requests of one service.
pub(crate) const LOOP: &str = "\
shop         SERVER  GET /cart          0ms    120ms
  shop CLIENT Q 5ms 10ms x10 db.system.name=mysql db.query.text=\"SELECT a FROM t WHERE id = ?\"
--- x20 every 200ms
";

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The binary, away from what the surroundings set. `TIMESINK_BINARY` names another build of it.
pub(crate) fn timesink() -> Command {
    let built = env!("CARGO_BIN_EXE_timesink").into();
    let mut command = Command::new(std::env::var_os("TIMESINK_BINARY").unwrap_or(built));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("TIMESINK_") || text.starts_with("OTEL_") {
            command.env_remove(&name);
        }
    }
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Returns a Python that has the SDK, its exporters and what the examples need.
pub(crate) fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let script = root().join("tests/e2e/python/venv.sh");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("venv");
        let made = Command::new(&script).arg(&folder).output().expect("`sh` runs venv.sh");
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "these tests need python3, venv and packages: {said}");
        PathBuf::from(String::from_utf8_lossy(&made.stdout).trim())
    })
}

/// Returns `PATH` with the scripts of that Python first.
pub(crate) fn path_with_python() -> std::ffi::OsString {
    let first = python().parent().expect("a folder of scripts").to_owned();
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(first).chain(std::env::split_paths(&rest));
    std::env::join_paths(folders).expect("no colon in a folder's name")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that has to succeed.
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("it starts");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    output
}

/// Sends a message of OTLP JSON to a server; returns the answer, head and body.
pub(crate) fn export(address: &str, json: &str) -> std::io::Result<String> {
    export_over(TcpStream::connect(address)?, json)
}

/// Sends a message of OTLP JSON over a new connection; returns the answer, head and body.
pub(crate) fn export_over(mut stream: TcpStream, json: &str) -> std::io::Result<String> {
    let length = json.len();
    write!(
        stream,
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{json}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// `timesink serve` on free ports; ended when it is dropped.
pub(crate) struct Serve {
    pub(crate) child: Child,
    /// What it writes after the line with its addresses.
    pub(crate) rest: BufReader<ChildStdout>,
    pub(crate) grpc: String,
    pub(crate) http: String,
    pub(crate) web: String,
}

impl Serve {
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_by(timesink().arg("serve"), options)
    }

    /// Starts a command that serves.
    pub(crate) fn start_by(command: &mut Command, options: &[&str]) -> Self {
        let free = "127.0.0.1:0";
        let mut child = command
            .args(["--grpc-address", free, "--http-address", free, "--web-address", free])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut rest = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        while !line.contains("grpc ") {
            line.clear();
            let read = rest.read_line(&mut line).expect("it says where it listens");
            assert!(read > 0, "it ended: {:?}", child.wait());
        }
        let address = |name: &str| {
            let rest = line.split_once(name).unwrap_or_else(|| panic!("no `{name}` in `{line}`")).1;
            rest.split([',', '\n']).next().unwrap_or_default().to_owned()
        };
        let (grpc, http, web) = (address("grpc "), address("http "), address("web http"));
        let web = web.trim_start_matches('s').trim_start_matches("://").to_owned();
        Self { child, rest, grpc, http, web }
    }

    /// Returns what a counter says.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let (_, metrics) = self.get("/metrics", "");
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().expect("a count")
    }

    /// Returns status and body of the answer to a GET request.
    pub(crate) fn get(&self, path: &str, headers: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.web).expect("it listens");
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer comes");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    /// Sends a message of OTLP JSON, which has to be taken.
    pub(crate) fn post(&self, json: &str) {
        let answer = export(&self.http, json).expect("it listens, and answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Waits until so many spans were analyzed, and nothing arrives any more.
    pub(crate) fn wait_for(&self, spans: u64) {
        let began = Instant::now();
        loop {
            let (_, body) = self.get("/api/v1/findings", "");
            let answer: Value = serde_json::from_str(&body).expect("JSON");
            if answer["spans"] == spans && answer["provisional"] == false {
                return;
            }
            let so_far = &answer["spans"];
            assert!(began.elapsed() < PATIENCE, "{so_far} of {spans} spans");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // A test may have ended it already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so, and says what did not come otherwise.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends a signal, by the tool that every system has.
pub(crate) fn kill(signal: &str, pid: u32) {
    succeed(Command::new("kill").args([signal, &pid.to_string()]));
}
