//! What a redaction hides is in no buffer of what was decoded: they are written to disk whole.

mod common;

use std::sync::Arc;

use arrow::array::{Array, ArrayData, AsArray, RecordBatch};
use common::{NOW, rows};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use timesink_otlp::{
    Action, Decoded, Decoder, DecoderOptions, ReadOptions, Redaction, RedactionKey, Rule, read,
};

const CLIENT: i32 = 3;

/// Puts a token in the place of the whole statement, and says how it was read.
fn mask(system: Option<&str>, text: &str, hash: &dyn Fn(&str) -> u64) -> String {
    format!("{} '~{:016x}'", system.unwrap_or("unknown"), hash(text))
}

fn redaction(rules: &[(&str, Action)]) -> Redaction {
    let rule = |(attribute, action): &(&str, Action)| Rule {
        attribute: (*attribute).to_owned(),
        action: *action,
    };
    Redaction {
        key: RedactionKey::new(*b"a key for tests."),
        rules: rules.iter().map(rule).collect(),
        statements: Some(mask),
    }
}

fn options(redaction: Redaction) -> DecoderOptions {
    DecoderOptions { redaction: Some(Arc::new(redaction)), ..DecoderOptions::new(NOW) }
}

fn decode(redaction: Redaction, request: &ExportTraceServiceRequest) -> Decoded {
    let mut decoder = Decoder::new(options(redaction));
    decoder.protobuf(&request.encode_to_vec()).expect("the framing is whole");
    decoder.finish()
}

/// All bytes of all buffers.
fn bytes(decoded: &Decoded) -> Vec<u8> {
    let mut bytes = Vec::new();
    for column in decoded.spans.iter().chain(&decoded.quarantine).flat_map(RecordBatch::columns) {
        push_bytes(&column.to_data(), &mut bytes);
    }
    bytes
}

fn push_bytes(data: &ArrayData, bytes: &mut Vec<u8>) {
    for buffer in data.buffers() {
        bytes.extend_from_slice(buffer.as_slice());
    }
    data.child_data().iter().for_each(|child| push_bytes(child, bytes));
}

fn shows(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, key_strindex: 0 }
}

fn string(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn span(attributes: Vec<KeyValue>) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "SELECT".to_owned(),
        kind: CLIENT,
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        attributes,
        ..Span::default()
    }
}

fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

/// Returns the text of a column, `-` for NULL.
fn text(batch: &RecordBatch, column: &str, row: usize) -> String {
    let column = batch[column].as_string_view();
    if column.is_valid(row) { column.value(row).to_owned() } else { "-".to_owned() }
}

/// Returns the attributes of a row as `key=value`, and their kinds.
fn attributes(batch: &RecordBatch, row: usize) -> (Vec<String>, String) {
    let entries = batch["attributes"].as_map().value(row);
    let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1));
    let values = values.as_string::<i32>();
    let entry = |at| format!("{}={}", keys.value(at), values.value(at));
    ((0..entries.len()).map(entry).collect(), text(batch, "attribute_kinds", row))
}

// Single spans.

#[test]
fn each_action_does_what_it_says_and_columns_follow() {
    let rules = [
        ("user_agent.original", Action::Drop),
        ("url.full", Action::Hash),
        ("server.*", Action::Mask),
    ];
    let attributes_of = |url: &str| {
        vec![
            string("http.request.method", "GET"),
            string("http.user_agent", "Mozilla"),
            string("http.url", url),
            string("server.address", "db.internal"),
            attribute("server.port", Value::IntValue(5432)),
        ]
    };
    let urls = ["http://a/secret", "http://a/secret", "http://a/other"];
    let spans = urls.map(|url| span(attributes_of(url))).to_vec();
    let decoded = decode(redaction(&rules), &request(spans));
    let batch = &decoded.spans[0];
    let hashes = [0, 1, 2].map(|row| text(batch, "url_full", row));
    assert!(hashes[0].len() == 32 && hashes[0].bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(hashes[0], hashes[1]);
    assert_ne!(hashes[0], hashes[2]);
    let expected = [
        "http.request.method=GET",
        &format!("http.url={}", hashes[0]),
        "server.address=***",
        "server.port=***",
    ];
    let (found, kinds) = attributes(batch, 0);
    assert_eq!((found, kinds.as_str()), (expected.map(str::to_owned).to_vec(), "ssss"));
    let columns = ["http_request_method", "user_agent_original", "server_address"];
    assert_eq!(columns.map(|column| text(batch, column, 0)), ["GET", "-", "***"]);
    assert!(batch["server_port"].is_null(0));
}

/// Scenario: few statements come again and again among many, each of two systems.
/// Guarantee: each is masked as if it came alone.
#[test]
fn a_statement_that_comes_again_is_masked_as_before() {
    let statement = |number: usize| match number % 4 {
        0 => "select 'secret 0'".to_owned(),
        1 => format!("select '{}'", "secret ".repeat(1000)),
        _ => format!("select 'secret {number}'"),
    };
    let long = "a system that nobody knows ".repeat(1000);
    let systems = ["mysql", "mssql", &long];
    let statements = |number| (systems[number / 4 % 3], statement(number));
    let spans = (0..400).map(statements).map(|(system, statement)| {
        span(vec![string("db.system", system), string("db.statement", &statement)])
    });
    let decoded = decode(redaction(&[]), &request(spans.collect()));
    assert!(!shows(&bytes(&decoded), "secret"));
    for row in 0..400 {
        let (system, statement) = statements(row);
        let alone = request(vec![span(vec![
            string("db.system", system),
            string("db.statement", &statement),
        ])]);
        let alone = decode(redaction(&[]), &alone);
        let found = text(&decoded.spans[0], "db_query_text", row);
        assert_eq!(found, text(&alone.spans[0], "db_query_text", 0), "{system} {statement}");
    }
}

/// What the sender dropped is its own count.
#[test]
fn what_is_dropped_here_does_not_count_as_dropped_by_the_sender() {
    let mut sent = span(vec![string("a", "secret")]);
    sent.dropped_attributes_count = 3;
    let decoded = decode(redaction(&[("a", Action::Drop)]), &request(vec![sent]));
    let batch = &decoded.spans[0];
    let counts = batch["dropped_attributes_count"].as_primitive::<arrow::datatypes::Int64Type>();
    assert_eq!((counts.value(0), attributes(batch, 0).0.len()), (3, 0));
}

#[test]
fn statements_are_masked_in_the_language_of_their_span() {
    let systems: [(&[KeyValue], &str); 4] = [
        (&[], "unknown"),
        (&[string("db.system", "mssql")], "microsoft.sql_server"),
        (&[string("db.system", "x"), string("db.system.name", "mysql")], "mysql"),
        (&[string("db.system", "x"), string("db.system", "redis")], "redis"),
    ];
    for (attributes_of_system, expected) in systems {
        for name in ["db.statement", "db.query.text"] {
            let mut attributes = attributes_of_system.to_vec();
            attributes.push(string(name, "SELECT 'secret'"));
            let decoded = decode(redaction(&[]), &request(vec![span(attributes)]));
            let column = text(&decoded.spans[0], "db_query_text", 0);
            assert_eq!(column.split_once(' ').expect("a mask").0, expected);
            assert!(!shows(&bytes(&decoded), "secret"));
        }
    }
}

#[test]
fn parameters_and_statements_that_are_no_strings_are_hashed() {
    let list = ArrayValue {
        values: vec![AnyValue { value: Some(Value::StringValue("secret".to_owned())) }],
    };
    let sent = span(vec![
        attribute("db.query.text", Value::ArrayValue(list)),
        string("db.query.parameter.name", "secret"),
        string("db.statement.parameters", "('secret',)"),
        attribute("db.operation.parameter.0", Value::IntValue(4_111_111_111)),
    ]);
    let decoded = decode(redaction(&[]), &request(vec![sent]));
    let shown = bytes(&decoded);
    assert!(!shows(&shown, "secret") && !shows(&shown, "4111111111"));
    assert_eq!(attributes(&decoded.spans[0], 0).1, "ssss");
}

#[test]
fn a_name_that_is_the_statement_is_masked_with_it() {
    let statement = "SELECT * FROM users WHERE name = 'secret' AND id = 4111111111";
    let check = |name: &str, kind, is_masked: bool| {
        let mut sent = span(vec![string("db.statement", statement)]);
        (sent.name, sent.kind) = (name.to_owned(), kind);
        let status = "a status message that stays".to_owned();
        sent.status = Some(opentelemetry_proto::tonic::trace::v1::Status {
            message: status.clone(),
            code: 2,
        });
        let decoded = decode(redaction(&[]), &request(vec![sent]));
        let batch = &decoded.spans[0];
        assert_eq!(text(batch, "name", 0).starts_with("unknown '~"), is_masked, "{name}");
        assert_eq!(text(batch, "status_message", 0), status);
        if is_masked {
            assert!(!shows(&bytes(&decoded), "secret"), "{name}");
        }
    };
    check(statement, CLIENT, true);
    check(&statement[..50], CLIENT, true);
    check(&format!("{}...", &statement[..50]), CLIENT, true);
    check(&format!("{}…", &statement[..50]), CLIENT, true);
    check("SELECT * FROM", CLIENT, true);
    check(&statement.to_lowercase().replace(' ', "\n"), CLIENT, true);
    check("SELECT", CLIENT, false);
    check("", CLIENT, false);
    check("SELECT users", CLIENT, false);
    check(statement, 1, false);
}

#[test]
fn spans_of_the_quarantine_are_redacted_as_well() {
    let mut late = span(vec![string("a", "secret of the late"), string("b", "kept")]);
    late.start_time_unix_nano = NOW as u64 * 2;
    late.end_time_unix_nano = late.start_time_unix_nano;
    let good = span(vec![string("a", "secret of the good")]);
    let decoded = decode(redaction(&[("a", Action::Mask)]), &request(vec![late, good]));
    assert_eq!((rows(&decoded.spans), rows(&decoded.quarantine)), (1, 1));
    let shown = bytes(&decoded);
    assert!(!shows(&shown, "secret") && shows(&shown, "kept"));
}

/// Rows of more attributes than are remembered, and of none, between others.
#[test]
fn rows_of_any_length_follow_each_other() {
    let attributes_of = |count: usize| {
        let wide = (0..count).map(|at| string(&format!("a.{at}"), &format!("secret {at}")));
        wide.chain([string("db.system", "mysql"), string("db.statement", "secret")])
            .collect::<Vec<_>>()
    };
    let spans = [300, 3, 0, 300].map(|count| span(attributes_of(count)));
    let spans = spans.into_iter().flat_map(|full| [full, span(Vec::new())]).collect();
    let decoded =
        decode(redaction(&[("a.*7", Action::Hash), ("a.*", Action::Drop)]), &request(spans));
    assert_eq!(rows(&decoded.spans), 8);
    let lengths: Vec<usize> =
        (0..8).map(|row| attributes(&decoded.spans[0], row).0.len()).collect();
    assert_eq!(lengths, [32, 0, 2, 0, 2, 0, 32, 0]);
    assert!(!shows(&bytes(&decoded), "secret"));
}

// Every format.

const OTLP_JSON: &str = r#"{"resourceSpans": [{
    "resource": {"attributes": [{"key": "a", "value": {"stringValue": "secret 1"}}]},
    "scopeSpans": [{
        "scope": {"attributes": [{"key": "a", "value": {"stringValue": "secret 2"}}]},
        "spans": [{
            "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
            "name": "select 'secret 3' from t", "kind": 3,
            "startTimeUnixNano": "1", "endTimeUnixNano": "2",
            "attributes": [
                {"key": "a", "value": {"stringValue": "secret 4"}},
                {"key": "db.statement", "value": {"stringValue": "select 'secret 3' from t"}},
                {"key": "b", "value": {"stringValue": "kept"}}],
            "events": [{"name": "e", "attributes": [
                {"key": "a", "value": {"arrayValue": {"values": [{"stringValue": "secret 5"}]}}}]}],
            "links": [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b175",
                "attributes": [{"key": "a", "value": {"stringValue": "secret 6"}}]}]
        }]}]}]}"#;

const JAEGER: &str = r#"{"data": [{"traceID": "5b8efff798038103d269b633813fc60c", "spans": [{
    "traceID": "5b8efff798038103d269b633813fc60c", "spanID": "eee19b7ec3c1b174",
    "operationName": "select 'secret 1'", "startTime": 1, "duration": 2, "processID": "p1",
    "references": [],
    "tags": [{"key": "a", "type": "string", "value": "secret 2"},
        {"key": "b", "type": "string", "value": "kept"},
        {"key": "span.kind", "type": "string", "value": "client"},
        {"key": "sql.query", "type": "string", "value": "select 'secret 3'"},
        {"key": "db.statement", "type": "string", "value": "select 'secret 1'"}],
    "logs": [{"timestamp": 1, "fields": [{"key": "a", "type": "string", "value": "secret 4"}]}]}],
    "processes": {"p1": {"serviceName": "s",
        "tags": [{"key": "a", "type": "string", "value": "secret 5"}]}}}]}"#;

const ZIPKIN: &str = r#"[{"traceId": "5b8efff798038103d269b633813fc60c", "id": "eee19b7ec3c1b174",
    "name": "select 'secret 1'", "kind": "CLIENT", "timestamp": 1, "duration": 2,
    "localEndpoint": {"serviceName": "s"},
    "tags": {"a": "secret 2", "b": "kept", "sql.query": "select 'secret 1'",
        "db.statement": "SELECT 'secret 1'"}}]"#;

fn check_file(content: &[u8]) {
    let mut options = ReadOptions::new(NOW);
    options.decoder.redaction = Some(Arc::new(redaction(&[("a", Action::Hash)])));
    let decoded = read(content, &options).expect("a trace file").decoded;
    assert_eq!(rows(&decoded.spans), 1);
    let shown = bytes(&decoded);
    assert!(shows(&shown, "kept") && !shows(&shown, "secret"));
}

#[test]
fn every_format_is_redacted() {
    check_file(OTLP_JSON.as_bytes());
    check_file(JAEGER.as_bytes());
    check_file(ZIPKIN.as_bytes());
    let request: ExportTraceServiceRequest = serde_json::from_str(OTLP_JSON).expect("OTLP JSON");
    check_file(&request.encode_to_vec());
    let mut decoder = Decoder::new(options(redaction(&[("a", Action::Hash)])));
    decoder.json(OTLP_JSON.as_bytes()).expect("an object");
    assert!(!shows(&bytes(&decoder.finish()), "secret"));
}

#[test]
fn without_a_redaction_everything_is_kept() {
    let decoded = common::decode(|decoder| decoder.json(OTLP_JSON.as_bytes()));
    let shown = bytes(&decoded);
    assert!((1..=6).all(|number| shows(&shown, &format!("secret {number}"))));
}

// Any attributes, any rules.

const KEYS: [&str; 12] = [
    "a",
    "a.b",
    "http.request.header.cookie",
    "http.url",
    "url.full",
    "http.target",
    "net.peer.name",
    "service.name",
    "db.statement",
    "db.query.text",
    "db.query.parameter.id",
    "code.function",
];

/// Patterns, with the keys among those above that they meet.
const PATTERNS: [(&str, &[&str]); 8] = [
    ("a", &["a"]),
    ("a*", &["a", "a.b"]),
    ("*.header.*", &["http.request.header.cookie"]),
    ("url.full", &["url.full", "http.url"]),
    ("url.*", &["url.full", "http.url", "http.target"]),
    ("http.*", &["http.request.header.cookie", "http.url", "http.target"]),
    ("service.name", &["service.name"]),
    ("db.query.text", &["db.statement", "db.query.text"]),
];

const STATEMENT_KEYS: [&str; 3] = ["db.statement", "db.query.text", "db.query.parameter.id"];

fn rules() -> impl Strategy<Value = Vec<(&'static str, Action)>> {
    let pattern = prop::sample::select(&PATTERNS[..]).prop_map(|(pattern, _)| pattern);
    let action = prop::sample::select(&[Action::Drop, Action::Hash, Action::Mask][..]);
    vec((pattern, action), 0..4)
}

/// Attributes of five places, of keys of which each place has one.
type Places = [Vec<(&'static str, bool)>; 5];

fn places() -> impl Strategy<Value = Places> {
    let keys = prop::sample::subsequence(&KEYS[..], 0..KEYS.len()).prop_shuffle();
    let keys = keys.prop_flat_map(|keys| {
        let count = keys.len();
        (Just(keys), vec(any::<bool>(), count))
            .prop_map(|(keys, lists)| keys.into_iter().zip(lists).collect::<Vec<_>>())
    });
    prop::array::uniform5(keys)
}

/// A value that nothing else has; the long one is no text of a view by itself.
fn secret(span: usize, place: usize, key: &str) -> String {
    let key = KEYS.iter().position(|known| *known == key).expect("a key");
    format!("s{span}p{place}k{key:02}x, as long as it takes")
}

fn key_values(span: usize, place: usize, keys: &[(&str, bool)]) -> Vec<KeyValue> {
    let key_value = |(key, is_list): &(&str, bool)| {
        let text = Value::StringValue(secret(span, place, key));
        if *is_list {
            let values = vec![AnyValue { value: Some(text) }];
            return attribute(key, Value::ArrayValue(ArrayValue { values }));
        }
        attribute(key, text)
    };
    keys.iter().map(key_value).collect()
}

fn full_request(number: usize, places: &Places, is_late: bool) -> ResourceSpans {
    let [resource, scope, own, event, link] = places;
    let of = |place, keys| key_values(number, place, keys);
    let event = Event { attributes: of(3, event), ..Event::default() };
    let link = Link {
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        attributes: of(4, link),
        ..Link::default()
    };
    let mut sent = span(of(2, own));
    if is_late {
        sent.end_time_unix_nano = 0;
    }
    (sent.events, sent.links) = (vec![Event::default(), event], vec![link]);
    let scope =
        InstrumentationScope { attributes: of(1, scope), ..InstrumentationScope::default() };
    let scope_spans = ScopeSpans { scope: Some(scope), spans: vec![sent], ..ScopeSpans::default() };
    let resource = Resource { attributes: of(0, resource), ..Resource::default() };
    ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_hidden_is_in_any_buffer_and_all_else_is(
        spans in vec((places(), any::<bool>()), 1..4),
        rules in rules(),
        masks_statements in any::<bool>(),
        rows_max in 1..4_usize,
    ) {
        let numbered = spans.iter().enumerate();
        let resource_spans = numbered.map(|(n, (places, late))| full_request(n, places, *late));
        let request = ExportTraceServiceRequest { resource_spans: resource_spans.collect() };
        let mut redaction = redaction(&rules);
        redaction.statements = redaction.statements.filter(|_| masks_statements);
        let options = DecoderOptions { batch_rows_max: rows_max, ..options(redaction) };
        let mut decoder = Decoder::new(options);
        decoder.protobuf(&request.encode_to_vec()).expect("the framing is whole");
        let decoded = decoder.finish();
        prop_assert_eq!(rows(&decoded.spans) + rows(&decoded.quarantine), spans.len());
        let shown = bytes(&decoded);
        for (number, (places, _)) in spans.iter().enumerate() {
            for (place, keys) in places.iter().enumerate() {
                for (key, _) in keys {
                    let meets = |rule: &str| {
                        PATTERNS.iter().any(|(name, keys)| *name == rule && keys.contains(key))
                    };
                    let is_hidden = rules.iter().any(|(rule, _)| meets(rule))
                        || masks_statements && STATEMENT_KEYS.contains(key);
                    let is_shown = shows(&shown, &secret(number, place, key));
                    prop_assert_eq!(is_shown, !is_hidden, "{} of place {}", key, place);
                }
            }
        }
    }
}
