//! Who is let in to `timesink serve`, and that no secret is said.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use timesink_server::{Exporter, Token};

use crate::support::{LOOP, Serve, kill, text, timesink, wait_until};

/// A configuration with a token for senders and one for readers.
struct Tokens {
    file: String,
    ingest: String,
    read: String,
}

impl Tokens {
    /// Makes the tokens, and writes what the server is to know of them.
    fn make(folder: &Path) -> Self {
        let mut configuration = String::new();
        let [ingest, read] = ["ingest", "read"].map(|role| {
            let name = format!("the {role}er");
            let made = timesink().args(["token", "--role", role, "--name", &name]).output();
            let made = text(&made.expect("it starts").stdout);
            configuration.extend(made.split_inclusive('\n').filter(|line| !line.starts_with('#')));
            let secret = made.split("Bearer ").nth(1).and_then(|rest| rest.split('`').next());
            secret.expect("a secret").to_owned()
        });
        let file = folder.join("timesink.toml");
        fs::write(&file, configuration).expect("it is written");
        Self { file: file.to_string_lossy().into_owned(), ingest, read }
    }
}

/// Returns the header that shows a token.
fn header(secret: &str) -> String {
    format!("authorization: Bearer {secret}\r\n")
}

/// Sends a body with some more headers; returns the status of the answer.
fn post(address: &str, headers: &str, body: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let length = body.len();
    write!(
        stream,
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
    .expect("it reads");
    stream.write_all(body).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer comes");
    answer[9..12].parse().expect("a status")
}

/// Scenario: a token for senders and one for readers, known to the server by their hashes.
/// Guarantee: each is let in where it is for, and what was asked is in the audit log, without a
/// secret.
#[test]
fn tokens_are_for_their_role() {
    let folder = tempfile::tempdir().expect("a folder");
    let Tokens { file, ingest, read } = Tokens::make(folder.path());
    let data = folder.path().join("data").to_string_lossy().into_owned();
    let serve = Serve::start(&["--config", &file, "--data", &data]);
    let (of_sender, of_reader) = (header(&ingest), header(&read));
    let findings = "/api/v1/findings?top=1";
    assert_eq!(serve.get(findings, "").0, 401);
    assert_eq!(serve.get(findings, &of_reader).0, 200);
    let (status, refused) = serve.get(findings, &of_sender);
    assert!(status == 403 && refused.contains("`read`"), "{status} {refused}");
    let statuses = [&of_sender, &of_reader, ""].map(|token| post(&serve.http, token, b"{}"));
    assert_eq!(statuses, [200, 403, 401]);
    let shown = timesink().args(["config", "show", "--config", &file]).output();
    let shown = text(&shown.expect("it starts").stdout);
    assert!(shown.contains("[[serve.tokens]]") && shown.contains("the reader"), "{shown}");
    let audited = || {
        let audited = fs::read_to_string(folder.path().join("data/audit.jsonl"));
        audited.expect("it is there")
    };
    wait_until("four lines", || audited().lines().count() == 4);
    let audited = audited();
    assert!(audited.contains(r#""what":"GET /api/v1/findings?top=1","status":200"#), "{audited}");
    assert!(audited.contains(r#""who":"the reader""#) && audited.contains("401"), "{audited}");
    let configured = fs::read_to_string(&file).expect("it is there");
    for said in [&audited, &shown, &configured] {
        assert!(!said.contains(&ingest) && !said.contains(&read), "{said}");
    }
}

/// Scenario: what is small on the wire and huge once decompressed comes without the token for it,
/// and so does what cannot be decompressed.
/// Guarantee: it is refused for the token: nobody without one has anything decompressed.
#[test]
fn what_comes_without_a_token_is_not_decompressed() {
    let folder = tempfile::tempdir().expect("a folder");
    let Tokens { file, ingest, read } = Tokens::make(folder.path());
    let serve = Serve::start(&["--config", &file, "--receiver-message-mib-max", "1"]);
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b' '; 64 << 20]).expect("it is held");
    let bomb = bomb.finish().expect("it is held");
    let unknown = "0123456789abcdef";
    let tokens = [String::new(), header(unknown), header(&read), header(&ingest)];
    let statuses = |encoding: &str, body: &[u8]| {
        let headers = tokens.each_ref().map(|token| format!("{token}{encoding}"));
        headers.map(|headers| post(&serve.http, &headers, body))
    };
    assert_eq!(statuses("content-encoding: gzip\r\n", &bomb), [401, 401, 403, 413]);
    assert_eq!(statuses("content-encoding: gzip\r\n", b"no gzip"), [401, 401, 403, 400]);
    assert_eq!(statuses("content-encoding: none\r\n", b"?"), [401, 401, 403, 415]);

    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let exporter = Exporter::connect(&format!("http://{}", serve.grpc)).await;
        let exporter = exporter.expect("it listens").with_gzip();
        let with = |secret: &str| exporter.with_token(&Token::parse(secret).expect("a token"));
        let unauthenticated = "does not have valid authentication credentials";
        for (exporter, expected) in [
            (exporter.clone(), unauthenticated),
            (with(unknown), unauthenticated),
            (with(&read), "does not have permission"),
            (with(&ingest), "`receiver.message_mib_max`"),
        ] {
            let refused = exporter.export(&large_message()).await.expect_err("it is refused");
            assert!(refused.to_string().contains(expected), "{refused}");
        }
    });
}

/// Returns a message over the limit, as protobuf: a resource with a schema URL of 4 MiB.
fn large_message() -> Vec<u8> {
    let field = |tag: u8, content: Vec<u8>| {
        let mut field = vec![tag];
        let mut length = content.len();
        while length > 0x7f {
            field.push(length as u8 | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        field.extend(content);
        field
    };
    // `resource_spans` and its `schema_url`.
    field(0x0a, field(0x1a, vec![b'a'; 4 << 20]))
}

/// What nobody is to see.
const TOKEN: &str = "a-token-that-nobody-is-to-see";
const WRONG: &str = "a-token-that-is-not-the-one";
const AWS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "a-key-that-nobody-is-to-see"),
    ("AWS_SECRET_ACCESS_KEY", "a-secret-that-nobody-is-to-see"),
    ("AWS_SESSION_TOKEN", "a-session-that-nobody-is-to-see"),
];

fn check_silent(said: &str) {
    let secrets = AWS.iter().map(|(_, secret)| *secret).chain([TOKEN, WRONG]);
    for secret in secrets {
        assert!(!said.contains(secret), "`{secret}` is in: {said}");
    }
}

/// Returns all that a command says.
fn said(command: &mut Command) -> String {
    let output = command.envs(AWS).output().expect("it starts");
    text(&output.stdout) + &text(&output.stderr)
}

/// Scenario: a token in the environment, then in a file, and credentials of a bucket; requests show
/// the token, none, and another one.
/// Guarantee: no secret is in what is written to both outputs, in the metrics, the audit log and
/// `config show`.
#[test]
fn no_secret_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (file, errors) = (path("token"), path("errors"));
    fs::write(&file, TOKEN).expect("it is written");
    for (number, by_file) in [false, true].into_iter().enumerate() {
        let data = path(&format!("data{number}"));
        let mut command = timesink();
        command.arg("serve").envs(AWS);
        command.stderr(fs::File::create(&errors).expect("it is made"));
        let quick = ["--live-settle-seconds", "1", "--live-interval-seconds", "1"];
        let mut options = [&["--data", &data][..], &quick].concat();
        if by_file {
            options.extend(["--token-file", &file]);
        } else {
            command.env("TIMESINK_TOKEN", TOKEN);
        }
        let mut serve = Serve::start_by(&mut command, &options);
        let json = timesink_testkit::notation::otlp_json(LOOP);
        let tokens = [String::new(), header(WRONG), header(TOKEN)];
        let taken = tokens.each_ref().map(|token| post(&serve.http, token, json.as_bytes()));
        assert_eq!(taken, [401, 401, 200]);
        let findings = "/api/v1/findings?format=jsonl";
        let read = tokens.each_ref().map(|token| serve.get(findings, token).0);
        assert_eq!(read, [401, 401, 200]);
        wait_until("a finding", || !serve.get(findings, &header(TOKEN)).1.is_empty());
        check_silent(&serve.get("/metrics", &header(TOKEN)).1);
        kill("-TERM", serve.child.id());
        serve.child.wait().expect("it ends");
        let mut told = String::new();
        serve.rest.read_to_string(&mut told).expect("text");
        assert!(told.contains("n-plus-one-query"), "{told}");
        check_silent(&told);
        check_silent(&fs::read_to_string(&errors).expect("it is there"));
        let audited = fs::read_to_string(format!("{data}/audit.jsonl")).expect("it is there");
        assert!(audited.contains("401"), "{audited}");
        check_silent(&audited);
    }
    let config = path("timesink.toml");
    fs::write(&config, format!("[serve]\ntoken_file = '{file}'\n")).expect("it is written");
    let show = ["config", "show", "--config", &config];
    let shown = said(timesink().args(show).env("TIMESINK_TOKEN", TOKEN));
    assert!(shown.contains("token_file"), "{shown}");
    check_silent(&shown);
    check_silent(&said(timesink().args(["serve", "--help"]).env("TIMESINK_TOKEN", TOKEN)));
    // Neither is it said of one that cannot be used.
    let spaced = format!("{TOKEN} {WRONG}");
    let refused = said(timesink().arg("serve").env("TIMESINK_TOKEN", &spaced));
    assert!(refused.contains("`TIMESINK_TOKEN`"), "{refused}");
    check_silent(&refused);
    fs::write(&file, &spaced).expect("it is written");
    let refused = said(timesink().args(["serve", "--token-file", &file]));
    assert!(refused.contains(&file), "{refused}");
    check_silent(&refused);
    let bucket = format!("s3://{TOKEN}:{WRONG}@traces/shop");
    let refused =
        said(timesink().args(["serve", "--data", &path("new"), "--store-bucket", &bucket]));
    assert!(refused.contains("`store.bucket`"), "{refused}");
    check_silent(&refused);
}
