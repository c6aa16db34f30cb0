//! `timesink serve` with TLS: real clients, certificates of clients, new certificates.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;

use crate::support::{PATIENCE, Serve, python, root, succeed, text, timesink, wait_until};

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// Makes a root.
fn authority() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.push(DnType::CommonName, "root of the tests");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root")
}

/// Writes a certificate for this machine, and its key.
fn certify(authority: &Issuer, folder: &Path, name: &str) {
    let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.expect("names").signed_by(&key, authority).expect("it is signed");
    let write = |ending: &str, pem: String| {
        // Whole or not at all, as whoever renews certificates does.
        let beside = folder.join(format!("{name}.{ending}.new"));
        fs::write(&beside, pem).expect("it is written");
        fs::rename(&beside, folder.join(format!("{name}.{ending}"))).expect("it is renamed");
    };
    write("key", key.serialize_pem());
    write("pem", certificate.pem());
}

/// Lets Python send: over gRPC and HTTP with a client's certificate, then without one, then in the
/// clear; returns what came of it.
fn send(serve: &Serve, folder: &Path) -> Value {
    let mut command = Command::new(python());
    command.arg(root().join("tests/e2e/python/send_encrypted.py"));
    command.args([&serve.grpc, &serve.http]).arg(folder);
    serde_json::from_slice(&succeed(&mut command).stdout).expect("JSON")
}

/// Scenario: clients show certificates, or none, or speak in the clear; the server's certificate is
/// replaced, then by a file that is none.
/// Guarantee: only the first are let in; new connections get the new certificate, without a
/// restart, and what cannot be used changes nothing.
#[test]
fn connections_are_encrypted() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let authority = authority();
    fs::write(folder.join("root.pem"), authority.pem()).expect("it is written");
    certify(&authority, folder, "server");
    certify(&authority, folder, "client");
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (certificate, key, roots) = (file("server.pem"), file("server.key"), file("root.pem"));
    let serve = Serve::start(&[
        "--tls-certificate-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-client-roots-file",
        &roots,
    ]);
    let sent = send(&serve, folder);
    assert_eq!(sent["grpc"], true, "{sent}");
    assert_eq!(sent["http"], true, "{sent}");
    assert_eq!(sent["without_certificate"], false, "{sent}");
    assert_eq!(sent["in_the_clear"], false, "{sent}");

    certify(&authority, folder, "server");
    let began = Instant::now();
    loop {
        let again = send(&serve, folder);
        assert_eq!((&again["grpc"], &again["http"]), (&Value::Bool(true), &Value::Bool(true)));
        if again["certificate"] != sent["certificate"] {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the old certificate is still in use");
        std::thread::sleep(Duration::from_secs(1));
    }
    fs::write(folder.join("server.pem"), "no certificate").expect("it is written");
    // Longer than it takes to be looked at.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(send(&serve, folder)["grpc"], true);
    let mut command = Command::new(python());
    command.args(["-c", ASK, "GET", &serve.web, "/metrics", &roots]);
    command.args([file("client.pem"), file("client.key")]);
    let metrics = text(&succeed(&mut command).stdout);
    let count = |name: &str| {
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.expect(name).parse::<u64>().expect("a count")
    };
    assert!(count("timesink_tls_reload_failures_total") > 0, "{metrics}");
    assert!(count("timesink_tls_refused_total") > 1, "{metrics}");
}

/// Asks a server with a client's certificate; prints the status of the answer, 0 for none, then the
/// answer.
const ASK: &str = "
import http.client, ssl, sys
method, address, path, root, certificate, key = sys.argv[1:]
context = ssl.create_default_context(cafile=root)
context.load_cert_chain(certificate, key)
connection = http.client.HTTPSConnection(address, timeout=10, context=context)
try:
    connection.request(method, path, b'{}', {'content-type': 'application/json'})
    answer = connection.getresponse()
    print(answer.status)
    print(answer.read().decode())
except (OSError, http.client.HTTPException):
    print(0)
";

/// Scenario: the roots of the clients' certificates are replaced while the server runs.
/// Guarantee: from then on clients of the old root are refused and those of the new one let in,
/// by the receivers and by page and API.
#[test]
fn clients_of_another_root_are_let_in_once_it_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let roots = [authority(), authority()];
    let clients = ["first", "second"];
    for (root, client) in roots.iter().zip(clients) {
        certify(root, folder.path(), client);
    }
    certify(&roots[0], folder.path(), "server");
    fs::write(file("root.pem"), roots[0].pem()).expect("it is written");
    let name_root = |root: &Issuer| {
        fs::write(file("clients.new"), root.pem()).expect("it is written");
        fs::rename(file("clients.new"), file("clients.pem")).expect("it is renamed");
    };
    name_root(&roots[0]);
    let (certificate, key) = (file("server.pem"), file("server.key"));
    let serve = Serve::start(&[
        "--tls-certificate-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-client-roots-file",
        &file("clients.pem"),
    ]);
    let asked = |method: &str, address: &str, path: &str| {
        clients.map(|client| {
            let mut command = Command::new(python());
            command.args(["-c", ASK, method, address, path, &file("root.pem")]);
            command.args([file(&format!("{client}.pem")), file(&format!("{client}.key"))]);
            let status = text(&succeed(&mut command).stdout);
            status.lines().next().expect("a line").parse::<u16>().expect("a status")
        })
    };
    let all = || {
        [
            asked("POST", &serve.grpc, "/v1/traces"),
            asked("POST", &serve.http, "/v1/traces"),
            asked("GET", &serve.web, "/api/v1/findings"),
        ]
    };
    assert_eq!(all(), [[200, 0]; 3]);
    name_root(&roots[1]);
    wait_until("the new root", || asked("GET", &serve.web, "/healthz") == [0, 200]);
    assert_eq!(all(), [[0, 200]; 3]);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "").expect("it is written");
    let empty = empty.to_string_lossy();
    let refused = |arguments: &[&str]| {
        let output = timesink().arg("serve").args(arguments).output().expect("it starts");
        assert_eq!(output.status.code(), Some(2));
        text(&output.stderr)
    };
    let both = ["--tls-certificate-file", &empty, "--tls-key-file", "missing.key"];
    let said = refused(&both);
    assert!(said.contains("empty.pem` for TLS: it has no certificate"), "{said}");
    let said = refused(&both[..2]);
    assert!(said.contains("`serve.tls_key_file`"), "{said}");
}
