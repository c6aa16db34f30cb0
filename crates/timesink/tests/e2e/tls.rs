//! `timesink serve` with TLS: real clients, certificates of clients, new certificates.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;

use crate::support::{PATIENCE, Serve, python, root, succeed, text, timesink};

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
