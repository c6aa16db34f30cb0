//! The pass against inputs with known right answers, from the projects that set the standard
//! (`tests/data/README.md`).

#[path = "../src/test_support.rs"]
#[expect(dead_code, reason = "shared with the unit tests")]
mod test_support;

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use serde_json::{Value, json};
use test_support::{Pass, Span, batch, span_at, span_id};
use timesink_facts::{PassOptions, Sampling, critical_path, sampling};
use timesink_otlp::{Decoder, DecoderOptions};

const NOW: i64 = 2_000_000_000_000_000_000;
const MICRO: i64 = 1000;

fn cases(name: &str, expected_count: usize) -> (Value, Vec<Value>) {
    let path = format!("{}/tests/data/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the oracle's file");
    let oracle: Value = serde_json::from_str(&text).expect("JSON");
    let cases = oracle["cases"].as_array().expect("a list of cases").clone();
    assert_eq!(cases.len(), expected_count, "{name}");
    (oracle, cases)
}

fn decode(otlp: &Value) -> Vec<RecordBatch> {
    let mut decoder = Decoder::new(DecoderOptions::new(NOW));
    decoder.json(otlp.to_string().as_bytes()).expect("OTLP JSON");
    decoder.finish().spans
}

fn nanos(text: &Value) -> i64 {
    text.as_str().and_then(|text| text.parse().ok()).expect("nanoseconds as text")
}

#[test]
fn critical_paths_are_those_of_jaeger() {
    for case in cases("critical_path_jaeger", 9).1 {
        let micros = |section: &Value, name: &str| section[name].as_i64().expect("a time") * MICRO;
        let expected = case["expected_sections"].as_array().expect("sections").iter();
        let mut expected: Vec<(u64, i64, i64)> = expected
            .map(|section| {
                let id = span_id(section["spanId"].as_str().expect("an id"));
                (id, micros(section, "start_us"), micros(section, "end_us"))
            })
            .collect();
        expected.sort_by_key(|&(_, start, _)| start);
        let spans = decode(&case["otlp"]);
        let pass = Pass::with(&spans, &PassOptions::default());
        let is_of_root = |id: u64| pass.id(id, "tiling_span_id") == pass.id(id, "root_span_id");
        let sections = critical_path(&spans, &PassOptions::default()).expect("spans").into_iter();
        // What does not block the root heads a tiling of its own; Jaeger drops it.
        let found: Vec<(u64, i64, i64)> = sections
            .map(|of| (span_id(&of.span_id), of.start_unix_nano, of.end_unix_nano))
            .filter(|&(id, ..)| is_of_root(id))
            .collect();
        assert_eq!(found, expected, "{}: {}", case["id"], case["drawing"]);
    }
}

#[test]
fn clocks_are_corrected_as_by_jaeger() {
    for case in cases("clock_skew_jaeger", 9).1 {
        let skew_nanos_max = case["max_delta_ns"].as_i64().expect("a limit");
        let options = PassOptions { skew_nanos_max, ..PassOptions::default() };
        let pass = Pass::with(&decode(&case["otlp"]), &options);
        let starts = starts(&pass);
        for expected in case["expected"].as_array().expect("spans") {
            let id = span_id(expected["spanId"].as_str().expect("an id"));
            let skew = pass.int(id, "skew_nanos").expect("never NULL");
            assert_eq!(starts[&id] + skew, nanos(&expected["startTimeUnixNano"]), "{}", case["id"]);
        }
    }
}

/// Raw starts: correction leaves them as they are.
fn starts(pass: &Pass) -> BTreeMap<u64, i64> {
    let mut starts = BTreeMap::new();
    for batch in &pass.facts.spans {
        for row in 0..batch.num_rows() {
            let id = arrow::array::AsArray::as_string_view(&batch["span_id"]).value(row);
            let times = &batch["start_time_unix_nano"];
            let times = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(times);
            starts.insert(span_id(id), times.value(row));
        }
    }
    starts
}

/// A host is told by its id, else its first address, else its name.
#[test]
fn hosts_are_told_as_by_jaeger() {
    let (oracle, _) = cases("clock_skew_jaeger", 9);
    let keys = oracle["host_key_cases"].as_array().expect("a list");
    assert_eq!(keys.len(), 6);
    for case in keys {
        let attributes = case["attrs"].as_object().expect("attributes").iter();
        let mut attributes: Vec<Value> =
            attributes.map(|(key, value)| json!({"key": key, "value": any_value(value)})).collect();
        attributes.push(json!({"key": "service.instance.id", "value": {"stringValue": "parent"}}));
        let key = case["key"].as_str().expect("a key");
        let is_same = |host: &str| {
            let host = json!([{"key": "host.name", "value": {"stringValue": host}}]);
            skew_between(&json!(attributes), &host) == 0
        };
        // Without a key nothing is the same host.
        assert_eq!(is_same(key), !key.is_empty(), "{case}");
        assert!(!is_same("another host"), "{case}");
    }
}

fn any_value(value: &Value) -> Value {
    match value {
        Value::Array(values) => {
            let values: Vec<Value> = values.iter().map(any_value).collect();
            json!({"arrayValue": {"values": values}})
        }
        text => json!({"stringValue": text}),
    }
}

/// By how much a child that starts before its parent is moved.
fn skew_between(parent_resource: &Value, child_resource: &Value) -> i64 {
    let resource_spans = |resource: &Value, span: Value| {
        let scope_spans = json!([{"spans": [span]}]);
        json!({"resource": {"attributes": resource}, "scopeSpans": scope_spans})
    };
    let span = |id: &str, parent: &str, start: &str| {
        json!({
            "traceId": "00000000000000000000000000000001", "spanId": id, "parentSpanId": parent,
            "name": "op", "kind": 1, "startTimeUnixNano": format!("1700000000{start}000000"),
            "endTimeUnixNano": "1700000000200000000",
        })
    };
    let otlp = json!({"resourceSpans": [
        resource_spans(parent_resource, span("0000000000000001", "", "100")),
        resource_spans(child_resource, span("0000000000000002", "0000000000000001", "050")),
    ]});
    let pass = Pass::with(&decode(&otlp), &PassOptions::default());
    pass.int(2, "skew_nanos").expect("never NULL")
}

/// Zipkin allows for 1 µs of transport, and says by how much the server's clock is ahead.
#[test]
fn clocks_are_corrected_as_by_zipkin() {
    for case in cases("clock_skew_zipkin", 3).1 {
        let of = |side: &str, id: u64, parent: u64| {
            let micros = |name: &str| case[side][name].as_i64().expect("a time") * MICRO;
            let start = test_support::BASE + micros("t");
            let ip = case[side]["ip"].as_str().expect("an address");
            let span: Span = span_at(id, parent, start, start + micros("d")).service(side);
            span.with("host_ip", ip)
        };
        let spans = [of("client", 1, 0).client(), of("server", 2, 1).server()];
        let pass = Pass::with(&[batch(&spans)], &PassOptions::default());
        let expected = case["skew"].as_i64().map_or(0, |micros| -micros * MICRO);
        let found = pass.int(2, "skew_nanos").expect("never NULL");
        assert!((found - expected).abs() <= MICRO, "{case}: {found}");
    }
}

#[test]
fn thresholds_are_counted_as_specified() {
    for case in cases("sampling_threshold_otel", 39).1 {
        let threshold = case["th"].as_str().expect("a threshold");
        let expected = case["adjusted_count"].as_f64().expect("a count");
        match sampling(&format!("ot=th:{threshold}")) {
            Sampling::Counted(count) => {
                assert!((count / expected - 1.0).abs() < 1e-12, "{threshold}: {count}");
            }
            other => panic!("{threshold}: {other:?}"),
        }
    }
}
