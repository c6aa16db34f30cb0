//! Every recording decoded and encoded again equals its input, attribute for attribute.

mod common;
mod flat;

use std::io::Read;
use std::path::{Path, PathBuf};

use common::{decode, rows};
use flat::flatten;
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use timesink_otlp::{Decoded, encode_json, encode_protobuf};

const IN_REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data");

/// All 100 recordings, where the checkout stands beside them.
const BESIDE_REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/traces");

#[test]
fn every_recording_in_the_repository_comes_back_as_it_was() {
    assert!(check_folder(IN_REPOSITORY) > 0, "no recordings in {IN_REPOSITORY}");
}

#[test]
fn every_recording_beside_the_repository_comes_back_as_it_was() {
    if Path::new(BESIDE_REPOSITORY).is_dir() {
        assert!(check_folder(BESIDE_REPOSITORY) >= 100);
        return;
    }
    let is_ci = std::env::vars_os().any(|(name, _)| name == "CI");
    assert!(!is_ci, "{BESIDE_REPOSITORY} is missing: the round trip ran on few recordings");
    println!("NOT CHECKED: {BESIDE_REPOSITORY} is missing, only the repository's were");
}

/// Checks every recording of a folder and returns how many there are.
fn check_folder(folder: &str) -> usize {
    let paths = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("a readable folder").path());
    let of_kind = |path: &PathBuf, ending: &str| path.to_string_lossy().ends_with(ending);
    let mut count = 0;
    for path in paths {
        if of_kind(&path, ".jsonl.gz") {
            unzipped(&path).split(|byte| *byte == b'\n').for_each(|line| check_json(&path, line));
        } else if of_kind(&path, ".pb.gz") {
            check_protobuf(&path, &unzipped(&path));
        } else {
            continue;
        }
        count += 1;
    }
    count
}

fn unzipped(path: &Path) -> Vec<u8> {
    let file = std::fs::File::open(path).expect("a readable recording");
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).expect("a gzip file");
    bytes
}

fn check_json(path: &Path, line: &[u8]) {
    if line.is_empty() {
        return;
    }
    let sent = serde_json::from_slice(line).expect("OTLP JSON");
    check(path, sent, &decode(|decoder| decoder.json(line)));
}

fn check_protobuf(path: &Path, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let length = prost::decode_length_delimiter(&mut bytes).expect("a length");
        let (message, rest) = bytes.split_at(length);
        bytes = rest;
        let sent = ExportTraceServiceRequest::decode(message).expect("a request");
        check(path, sent, &decode(|decoder| decoder.protobuf(message)));
    }
}

fn check(path: &Path, sent: ExportTraceServiceRequest, decoded: &Decoded) {
    assert!(decoded.rejected.is_empty(), "{}: {:?}", path.display(), decoded.rejected);
    assert!(decoded.repaired.is_empty(), "{}: {:?}", path.display(), decoded.repaired);
    assert_eq!(rows(&decoded.quarantine), 0, "{}", path.display());
    let (mut by_protobuf, mut by_json) = (Vec::new(), Vec::new());
    for batch in &decoded.spans {
        let encoded = encode_protobuf(batch);
        let request = ExportTraceServiceRequest::decode(encoded.as_slice()).expect("a request");
        by_protobuf.extend(flatten(request));
        by_json.extend(flatten(serde_json::from_slice(&encode_json(batch)).expect("OTLP JSON")));
    }
    let sent = flatten(sent);
    assert!(by_protobuf == sent, "{} differs by protobuf", path.display());
    assert!(by_json == sent, "{} differs by JSON", path.display());
}
