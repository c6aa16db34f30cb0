//! Documents of OpenTelemetry and Jaeger: what must be taken is, what must be refused says why.

mod common;
mod flat;

use common::{decode, rows};
use flat::flatten;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde_json::Value;
use timesink_otlp::{Decoder, DecoderOptions, MessageError, encode_json};

fn cases(name: &str) -> Vec<(String, String)> {
    let path = format!("{}/tests/data/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the oracle is in the repository");
    let oracle: Value = serde_json::from_str(&text).expect("the oracle is JSON");
    let cases = oracle["cases"].as_array().expect("a list of cases");
    assert_eq!(oracle["count"], cases.len());
    let case =
        |case: &Value| (case["id"].as_str().expect("an id").to_owned(), case["doc"].to_string());
    cases.iter().map(case).collect()
}

#[test]
fn takes_the_traces_of_the_specification_and_refuses_other_signals_by_name() {
    for (id, document) in cases("otlp_json_examples") {
        let mut decoder = Decoder::new(DecoderOptions::new(common::NOW));
        let read = decoder.json(document.as_bytes());
        let spans = rows(&decoder.finish().spans);
        match id.as_str() {
            "examples/trace.json" => assert_eq!((read, spans), (Ok(()), 1)),
            "examples/metrics.json" => refused(read, spans, "found metrics"),
            "examples/logs.json" | "examples/events.json" => refused(read, spans, "found logs"),
            _ => panic!("unknown case {id}"),
        }
    }
}

fn refused(read: Result<(), MessageError>, spans: usize, text: &str) {
    let error = read.expect_err(text).to_string();
    assert_eq!(error, format!("expected traces (`resourceSpans`), {text}"));
    assert_eq!(spans, 0);
}

#[test]
fn takes_what_jaeger_takes_and_writes_it_back() {
    for (id, document) in cases("otlp_jaeger_roundtrip") {
        let decoded = decode(|decoder| decoder.json(document.as_bytes()));
        assert!(decoded.rejected.is_empty(), "{id}: {:?}", decoded.rejected);
        assert!(decoded.repaired.is_empty(), "{id}: {:?}", decoded.repaired);
        assert!(decoded.quarantine.is_empty(), "{id}");
        let sent: ExportTraceServiceRequest = serde_json::from_str(&document).expect(&id);
        let [batch] = decoded.spans.as_slice() else { panic!("{id}: not one batch") };
        let back = serde_json::from_slice(&encode_json(batch)).expect(&id);
        assert_eq!(flatten(back), flatten(sent), "{id}");
    }
}
