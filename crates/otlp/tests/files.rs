//! Trace files: formats told apart by content, compression, damage, limits, threads.

use std::io::{self, Read, Write as _};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use arrow::array::{AsArray as _, RecordBatch};
use proptest::prelude::*;
use serde_json::{Value, json};
use timesink_otlp::Format::{JaegerJson, OtlpJson, OtlpProtobuf, ZipkinJson};
use timesink_otlp::{
    BROKEN_MAX, Compression, FileContent, FileError, Format, ReadOptions, Reason, encode_json,
    encode_protobuf, read,
};

const NOW: i64 = 1_800_000_000_000_000_000;

fn options(threads: usize) -> ReadOptions {
    ReadOptions { threads, ..ReadOptions::new(NOW) }
}

fn read_bytes(bytes: &[u8]) -> Result<FileContent, FileError> {
    read(bytes, &options(1))
}

fn content(bytes: &[u8]) -> FileContent {
    read_bytes(bytes).unwrap_or_else(|error| panic!("{error}"))
}

fn error(bytes: &[u8]) -> String {
    match read_bytes(bytes) {
        Ok(content) => panic!("read as {} with {} messages", content.format, content.messages),
        Err(error) => error.to_string(),
    }
}

fn broken(content: &FileContent) -> Vec<String> {
    content.broken.iter().map(ToString::to_string).collect()
}

fn span_count(content: &FileContent) -> usize {
    let decoded = &content.decoded;
    decoded.spans.iter().chain(&decoded.quarantine).map(RecordBatch::num_rows).sum()
}

/// Every span with its resource and scope, as OTLP JSON.
fn spans(content: &FileContent) -> Vec<Value> {
    let mut spans = Vec::new();
    for batch in &content.decoded.spans {
        let request: Value = serde_json::from_slice(&encode_json(batch)).expect("OTLP JSON");
        for resource_spans in request["resourceSpans"].as_array().expect("resourceSpans") {
            for scope_spans in resource_spans["scopeSpans"].as_array().expect("scopeSpans") {
                for span in scope_spans["spans"].as_array().expect("spans") {
                    spans.push(json!({
                        "resource": resource_spans["resource"],
                        "scope": scope_spans["scope"],
                        "span": span,
                    }));
                }
            }
        }
    }
    spans
}

/// A request with spans `from..to`, of two services.
fn request(from: u64, to: u64) -> Value {
    let span = |number: u64| {
        json!({
            "traceId": format!("{:032x}", number / 10 + 1),
            "spanId": format!("{:016x}", number + 1),
            "name": format!("GET /{number} \u{e9}"),
            "kind": 2,
            "startTimeUnixNano": (1_700_000_000_000_000_000 + number * 1_000_000).to_string(),
            "endTimeUnixNano": (1_700_000_000_000_000_000 + number * 1_000_000 + 5000).to_string(),
            "attributes": [{"key": "http.route", "value": {"stringValue": format!("/{number}")}}],
            "status": {},
        })
    };
    let resource_spans = |service: &str, from: u64, to: u64| {
        let name = json!({"key": "service.name", "value": {"stringValue": service}});
        let spans: Vec<Value> = (from..to).map(span).collect();
        json!({
            "resource": {"attributes": [name]},
            "scopeSpans": [{"scope": {"name": "flask"}, "spans": spans}],
        })
    };
    let middle = u64::midpoint(from, to);
    json!({"resourceSpans": [
        resource_spans("cart", from, middle),
        resource_spans("shop", middle, to),
    ]})
}

fn lines(requests: impl Iterator<Item = Value>) -> String {
    let mut lines: Vec<String> = requests.map(|request| request.to_string()).collect();
    lines.push(String::new());
    lines.join("\n")
}

fn protobuf(request: &Value) -> Vec<u8> {
    let content = content(request.to_string().as_bytes());
    encode_protobuf(&content.decoded.spans[0])
}

fn varint_delimited(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        prost::encoding::encode_varint(message.len() as u64, &mut bytes);
        bytes.extend_from_slice(message);
    }
    bytes
}

fn big_endian_delimited(messages: &[Vec<u8>]) -> Vec<u8> {
    let with_length = |message: &Vec<u8>| {
        let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
        [&length, message.as_slice()].concat()
    };
    messages.iter().flat_map(with_length).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory")
}

/// The bytes in two gzip members or zstd frames.
fn in_two(compress: fn(&[u8]) -> Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    let (one, two) = bytes.split_at(bytes.len() / 2);
    [compress(one), compress(two)].concat()
}

const JAEGER: &[u8] = include_bytes!("data/jaeger/shop.json");
const ZIPKIN: &[u8] = include_bytes!("data/zipkin/shop.json");

/// The same eight spans in every form of OTLP, and the other formats.
fn forms() -> &'static [Form] {
    static FORMS: LazyLock<Vec<Form>> = LazyLock::new(make_forms);
    &FORMS
}

type Form = (&'static str, Format, Vec<u8>);

fn make_forms() -> Vec<Form> {
    let requests = [request(0, 4), request(4, 8)];
    let mut whole = requests[0].clone();
    let second = requests[1]["resourceSpans"].as_array().expect("an array").clone();
    whole["resourceSpans"].as_array_mut().expect("an array").extend(second);
    let messages: Vec<Vec<u8>> = requests.iter().map(protobuf).collect();
    let lines = format!("{}\n{}\n", requests[0], requests[1]);
    let pretty = |value: &Value| serde_json::to_string_pretty(value).expect("JSON");
    let bytes = |text: &str| text.as_bytes().to_vec();
    vec![
        ("object", OtlpJson, bytes(&whole.to_string())),
        ("object and newline", OtlpJson, bytes(&format!("{whole}\n"))),
        ("pretty object", OtlpJson, bytes(&pretty(&whole))),
        ("pretty objects", OtlpJson, bytes(&requests.each_ref().map(pretty).join("\n"))),
        ("lines", OtlpJson, bytes(&lines)),
        ("lines of CRLF, last one open", OtlpJson, bytes(&lines.trim_end().replace('\n', "\r\n"))),
        ("mark, blanks, lines", OtlpJson, bytes(&format!("\u{feff}\n \n{lines}\n\n"))),
        ("array", OtlpJson, bytes(&json!(requests).to_string())),
        (
            "array, an object a line",
            OtlpJson,
            bytes(&format!("[\n{}]", lines.trim().replace('\n', ",\n"))),
        ),
        ("one message", OtlpProtobuf, messages.concat()),
        ("varint lengths", OtlpProtobuf, varint_delimited(&messages)),
        ("empty message first", OtlpProtobuf, [&[0, 0][..], &varint_delimited(&messages)].concat()),
        ("big-endian lengths", OtlpProtobuf, big_endian_delimited(&messages)),
        ("Jaeger", JaegerJson, JAEGER.to_vec()),
        ("Zipkin", ZipkinJson, ZIPKIN.to_vec()),
    ]
}

#[test]
fn reads_every_format_in_every_compression() {
    let expected = spans(&content(request(0, 8).to_string().as_bytes()));
    assert_eq!(expected.len(), 8);
    for (name, format, bytes) in forms() {
        let format = *format;
        let plain = content(bytes);
        assert_eq!((plain.format, plain.compression), (format, Compression::Plain), "{name}");
        assert_eq!(broken(&plain), Vec::<String>::new(), "{name}");
        if matches!(format, Format::OtlpJson | Format::OtlpProtobuf) {
            let of_service = |spans: &[Value]| -> Vec<Value> {
                spans.iter().map(|span| span["span"].clone()).collect()
            };
            assert_eq!(of_service(&spans(&plain)), of_service(&expected), "{name}");
            assert_eq!(span_count(&plain), 8, "{name}");
        }
        for (compressed, compression) in [
            (gzip(bytes), Compression::Gzip),
            (in_two(gzip, bytes), Compression::Gzip),
            (zstd(bytes), Compression::Zstd),
            (in_two(zstd, bytes), Compression::Zstd),
            ([b"\x50\x2a\x4d\x18\x01\0\0\0x", &zstd(bytes)[..]].concat(), Compression::Zstd),
        ] {
            let read = content(&compressed);
            assert_eq!((read.format, read.compression), (format, compression), "{name}");
            assert_eq!(spans(&read), spans(&plain), "{name} in {compression}");
            assert_eq!(read.messages, plain.messages, "{name} in {compression}");
        }
    }
}

/// *Scenario*: the part of a message that is looked at ends anywhere in it. *Guarantee*: it is told
/// all the same.
#[test]
fn tells_a_large_message_wherever_the_first_look_at_it_ends() {
    let message = protobuf(&request(0, 2));
    let messages = message.repeat((96 << 10) / message.len());
    let one = protobuf(&request(0, 1000));
    for padding in 0..120_u8 {
        // A `ResourceSpans` with nothing but a schema URL comes first.
        let padded =
            [&[0x0a, padding + 2, 0x1a, padding], &vec![b'x'; padding.into()][..]].concat();
        for messages in [&messages, &one] {
            let read = content(&[padded.as_slice(), messages].concat());
            assert_eq!((read.format, broken(&read)), (Format::OtlpProtobuf, vec![]), "{padding}");
        }
    }
}

#[test]
fn counts_messages() {
    let messages = |wanted: &str| {
        let form = forms().iter().find(|form| form.0 == wanted).expect("a form");
        content(&form.2).messages
    };
    assert_eq!(messages("object"), 1);
    assert_eq!(messages("lines"), 2);
    assert_eq!(messages("pretty objects"), 2);
    assert_eq!(messages("one message"), 1);
    assert_eq!(messages("varint lengths"), 2);
    assert_eq!(messages("Jaeger"), 1);
}

#[test]
fn says_what_a_foreign_file_is() {
    let check = |bytes: &[u8], expected: &str| {
        let error = error(bytes);
        assert!(error.contains(expected), "{error}\ndoes not contain\n{expected}");
        assert!(!error.ends_with('.'), "{error}");
    };
    check(b"", "file is empty: expected OTLP JSON");
    check(b" \n\t\n", "file is empty");
    check(b"\xef\xbb\xbf", "file is empty");
    check(&gzip(b""), "file is empty");
    check(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "found a PNG image: expected OTLP JSON");
    check(b"id,name,duration\n1,a,2\n", "found text, starting with `id,name,duration`: expected");
    check(b"just some words", "starting with `just some words`");
    check(b"\"a string\"", "found text, starting with");
    check(b"[2026-01-01 12:00] started", "found text, starting with `[2026-01-01 12:00] started`");
    check(b"<!doctype html><html></html>", "found HTML: it may be an error page");
    check(b"\n<html><body>502</body></html>", "found HTML: it may be an error page");
    check(
        b"\x80\x04\x95\x0c\0\0\0\0\0\0\0",
        "found a Python pickle: export the traces as OTLP JSON",
    );
    check(b"PAR1\x15\x04\x15\x10", "found Parquet: not supported yet");
    check(b"PK\x03\x04\x14\0\0\0", "found a ZIP archive: unpack it");
    check(b"BZh91AY&SY", "found bzip2 data: decompress it first");
    check(b"\xff\xfe{\0\"\0", "found UTF-16 text: convert it to UTF-8");
    check(b"SQLite format 3\0", "found an SQLite database");
    check(
        b"\x01\x02\x03\x04\x05\x06\x07\x08\x09",
        "unknown binary data, starting with the bytes 01 02 03",
    );
    check(&gzip(&gzip(b"{}")), "found data that is compressed twice: decompress it once");
    check(&zstd(b"\x7fELF\x02"), "found a program");
    let jaeger =
        [b"\x0a\x2e\x0a\x10".as_slice(), &[7; 16], b"\x12\x08", &[9; 8], &[0x1a, 2, b'o', b'p']];
    let delimited = |message: &Vec<u8>| varint_delimited(std::slice::from_ref(message));
    let (batch, span) = (jaeger.concat(), jaeger.concat()[2..].to_vec());
    for bytes in [&batch, &span, &delimited(&batch), &delimited(&span)] {
        check(bytes, "found Jaeger protobuf: export the traces as Jaeger JSON");
    }
}

#[test]
fn says_which_keys_were_expected() {
    let check = |text: &str, expected: &str| {
        let error = error(text.as_bytes());
        assert!(error.contains(expected), "{error}\ndoes not contain\n{expected}");
    };
    check("{\"foo\":1}", "line 1 (byte 0): expected OTLP JSON");
    check("{\"foo\":1,\"bar\":[]}", "found an object with the keys `foo`, `bar`");
    check("[{\"foo\":1}]", "line 1 (byte 1): expected OTLP JSON");
    check("[{},1,2]", "found neither an object nor an array (and 1 more broken part)");
    check(
        "{\"foo\":1}\n{\"bar\":1}\n",
        "expected an object with `resourceSpans`, found an object with the key",
    );
    check(
        "{\"traceId\":\"1\",\"id\":\"2\",\"binaryAnnotations\":[]}",
        "a Zipkin span of version 1 (use `/api/v2`)",
    );
    check("{\"batches\":[{\"resource\":{}}]}", "found Tempo's own JSON (ask it for protobuf");
    check("{\"took\":5,\"hits\":{\"hits\":[]}}", "`jq -c '.hits.hits[]._source'`");
    let console = "{\n    \"name\": \"a\",\n    \"context\": {\"trace_id\": \"0x1\"}\n}\n";
    check(console, "like a span of an SDK's console exporter (use an OTLP exporter");
    check("{\"data\":{\"x\":1}}", "found an object with the keys `data`");
    check("{\"resourceLogs\":[]}", "found OTLP logs: expected traces (`resourceSpans`)");
    check("{\"resourceMetrics\":[]}\n{\"resourceMetrics\":[]}\n", "found OTLP metrics");
}

#[test]
fn says_where_json_breaks() {
    let check = |text: &str, expected: &str| {
        assert_eq!(error(text.as_bytes()), expected, "{text}");
    };
    check("{\"resourceSpans\":[", "line 1 (byte 18): expected a value, found the end");
    check("{\"resourceSpans\":1}", "line 1 (byte 17): expected `[`, found `1`");
    check("{\n  \"resourceSpans\": [}\n", "line 2 (byte 22): expected a value, found `}`");
    check(
        "{\"data\":[{\"traceID\":\"1\",\"spans\":[}]}",
        "line 1 (byte 33): expected a value, found `}`",
    );
    check("[{\"traceId\":\"1\",\"id\":", "line 1 (byte 21): expected a value, found the end");
}

/// *Scenario*: a list or object of a document is a number. *Guarantee*: the document is refused,
/// and the error names the part, its place and what was expected, whatever the layout.
#[test]
fn a_part_of_a_wrong_type_is_named() {
    let check = |document: &str, expected: &str| {
        let byte = document.find('0').expect("a number");
        let expected = format!("(byte {byte}): {expected}, found `0`");
        for text in [document.to_owned(), format!("{document}\n{document}\n")] {
            let error = error(text.as_bytes());
            assert!(error.contains(&expected), "{text}: {error}\ndoes not contain\n{expected}");
        }
    };
    for (member, expected) in [
        ("\"spans\":0", "expected an array in `spans`"),
        ("\"spans\":[],\"processes\":0", "expected an object in `processes`"),
        ("\"processes\":0,\"spans\":[]", "expected an object in `processes`"),
        ("\"processes\":{\"p\":0},\"spans\":[]", "expected an object as a process"),
        ("\"processes\":{\"p\":{\"tags\":0}},\"spans\":[]", "expected an array of tags"),
    ] {
        check(&format!("{{\"traceID\":\"1\",{member}}}"), expected);
        check(&format!("{{\"data\":[{{\"traceID\":\"1\",{member}}}]}}"), expected);
    }
    check("{\"resourceSpans\":0}", "expected `[`");
    check("{\"resourceSpans\":[0]}", "expected `{`");
    check("{\"resourceSpans\":[{\"scopeSpans\":0}]}", "expected `[`");
    check("{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":0}]}]}", "expected `[`");
    let error = error(b"{\"data\":0}");
    assert!(error.contains("found an object with the keys `data`"), "{error}");
}

/// *Scenario*: a part of a Jaeger trace is of a wrong type. *Guarantee*: what else there is in the
/// trace and behind it is read, and what was passed over is named.
#[test]
fn a_part_of_a_wrong_type_costs_itself() {
    let check = |members: &str, services: &[&str], expected: &[&str]| {
        let good = "{\"traceID\":\"2\",\"spans\":[{\"spanID\":\"2\",\"startTime\":1}]}";
        for text in [
            format!("{{\"data\":[{{\"traceID\":\"1\",{members}}},{good}]}}"),
            format!("[{{\"traceID\":\"1\",{members}}},{good}]"),
            format!("{{\"traceID\":\"1\",{members}}}\n{good}\n"),
        ] {
            let read = content(text.as_bytes());
            let service = |span: &Value| {
                let attributes = &span["resource"]["attributes"];
                attributes[0]["value"]["stringValue"].as_str().unwrap_or_default().to_owned()
            };
            let found: Vec<String> = spans(&read).iter().map(service).collect();
            let mut services = services.to_vec();
            services.push("");
            let rejected = read.decoded.rejected.total();
            assert_eq!((found.len(), rejected), (services.len(), 0), "{text}");
            assert!(services.iter().all(|name| found.iter().any(|it| it == name)), "{text}");
            let broken = broken(&read);
            assert_eq!(broken.len(), expected.len(), "{text}: {broken:?}");
            for (broken, expected) in broken.iter().zip(expected) {
                assert!(broken.ends_with(expected), "{text}: {broken}");
            }
        }
    };
    let span = "{\"spanID\":\"1\",\"startTime\":1,\"processID\":\"p\"}";
    let shop = "\"processes\":{\"q\":0,\"p\":{\"tags\":0,\"serviceName\":\"shop\"}}";
    let process = "expected an object as a process, found `0`";
    check(&format!("{shop},\"spans\":[{span}]"), &["shop"], &[process]);
    check(&format!("\"spans\":[{span}],{shop}"), &["shop"], &[process]);
    check(
        &format!("\"processes\":0,\"spans\":[{span}]"),
        &[""],
        &["expected an object in `processes`, found `0`"],
    );
    check("\"spans\":0", &[], &["expected an array in `spans`, found `0`"]);
    check(
        &format!("\"spans\":{{}},\"spans\":[{span}],\"processes\":{{}}"),
        &[""],
        &["expected an array in `spans`, found `{`"],
    );
    // A process of `null` is none.
    let span = "{\"spanID\":\"1\",\"startTime\":1,\"process\":null,\"processID\":\"p\"}";
    let shop = "\"processes\":{\"p\":{\"serviceName\":\"shop\"}}";
    check(&format!("\"spans\":[{span}],{shop}"), &["shop"], &[]);
}

/// *Scenario*: a member of a span is of a wrong type. *Guarantee*: it costs its span, which is
/// counted, and no other.
#[test]
fn a_member_of_a_wrong_type_costs_its_span() {
    let check = |format: Format, member: &str| {
        let text = if format == JaegerJson {
            let good = "{\"spanID\":\"2\",\"startTime\":1}";
            let bad = format!("{{\"spanID\":\"1\",\"startTime\":1,{member}}}");
            format!("{{\"data\":[{{\"traceID\":\"1\",\"spans\":[{bad},{good}]}}]}}")
        } else {
            let ids = "\"traceId\":\"1\",\"timestamp\":1,\"id\"";
            format!("[{{{ids}:\"1\",{member}}},{{{ids}:\"2\"}}]")
        };
        let read = content(text.as_bytes());
        let rejected = rejected(&read);
        assert_eq!((read.format, span_count(&read), broken(&read)), (format, 1, vec![]), "{text}");
        let [(Reason::Malformed, 1, example)] = rejected.as_slice() else {
            panic!("{text}: {rejected:?}");
        };
        assert!(example.contains("`1`"), "{text}: {example}");
    };
    for member in [
        "\"tags\":0",
        "\"tags\":[0]",
        "\"logs\":0",
        "\"logs\":[0]",
        "\"logs\":[{\"timestamp\":1,\"fields\":0}]",
        "\"references\":0",
        "\"references\":[0]",
        "\"warnings\":0",
        "\"process\":0",
        "\"process\":{\"tags\":0}",
        "\"operationName\":[]",
    ] {
        check(JaegerJson, member);
    }
    for member in [
        "\"tags\":0",
        "\"tags\":{\"a\":[]}",
        "\"annotations\":0",
        "\"annotations\":[0]",
        "\"localEndpoint\":0",
        "\"remoteEndpoint\":0",
        "\"remoteEndpoint\":{\"port\":\"x\"}",
        "\"name\":[]",
    ] {
        check(ZipkinJson, member);
    }
}

#[test]
fn takes_empty_requests() {
    for text in
        ["{}", "{}\n{}\n", "{\"resourceSpans\":[]}", "[]", "{\"data\":[]}", "{\"data\":null}"]
    {
        let read = content(text.as_bytes());
        assert_eq!((span_count(&read), broken(&read).len()), (0, 0), "{text}");
    }
}

/// A length-delimited field.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut bytes);
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    [&bytes, content].concat()
}

/// *Scenario*: fields of a later version of OTLP, or a key that is not UTF-8, come first on some
/// level. *Guarantee*: the file is told all the same, in every framing.
#[test]
fn tells_protobuf_whatever_fields_come_first() {
    let resource = |key: &[u8]| field(1, &[field(1, key), field(2, &field(1, b"shop"))].concat());
    let span = [field(1, &[7; 16]), field(2, &[9; 8]), field(5, b"GET /")].concat();
    let scope_spans = |first: &[u8]| [first, &field(2, &span)].concat();
    let resource_spans = |first: &[u8], resource: &[u8], scope: &[u8]| {
        [first, &field(1, resource), &field(2, &scope_spans(scope))].concat()
    };
    let service = resource(b"service.name");
    // A number, a text, a message, and a group with a number in it.
    let number = vec![0x90, 0x03, 0x01];
    let group = vec![0xeb, 0x04, 0x08, 0x01, 0xeb, 0x04, 0xec, 0x04, 0xec, 0x04];
    for unknown in [number, group, field(1000, b""), field(50, b"\x0a\x02x"), field(99, &span)] {
        for message in [
            [&unknown, &field(1, &resource_spans(b"", &service, b""))[..]].concat(),
            [&field(1, &resource_spans(b"", &service, b""))[..], &unknown].concat(),
            field(1, &resource_spans(&unknown, &service, b"")),
            field(1, &resource_spans(b"", &[&unknown[..], &service].concat(), b"")),
            field(1, &resource_spans(b"", b"", &unknown)),
            field(1, &resource_spans(b"", &resource(b"\xff\xfe"), b"")),
        ] {
            let delimited = varint_delimited(&[message.clone(), message.clone()]);
            let big_endian = big_endian_delimited(&[message.clone(), message.clone()]);
            for (bytes, spans) in [(message, 1), (delimited, 2), (big_endian, 2)] {
                let read = read_bytes(&bytes).unwrap_or_else(|e| panic!("{e}: {bytes:02x?}"));
                let found = (read.format, span_count(&read), broken(&read));
                assert_eq!(found, (OtlpProtobuf, spans, vec![]), "{bytes:02x?}");
            }
        }
    }
    let blank = content(&field(1, b""));
    assert_eq!((blank.format, span_count(&blank)), (OtlpProtobuf, 0));
    let open_group = [&field(1, &resource_spans(b"", &service, b""))[..], &[0xeb, 0x04]].concat();
    let read = content(&open_group);
    assert_eq!((span_count(&read), read.broken_count), (1, 1));
}

#[test]
fn names_other_signals_of_protobuf() {
    // ResourceLogs / ScopeLogs / LogRecord with a time; Metrics with a name.
    let logs = b"\x0a\x0f\x12\x0d\x12\x0b\x09\x01\0\0\0\0\0\0\0\x10\x09";
    let metrics = b"\x0a\x10\x12\x0e\x12\x0c\x0a\x0acpu.load.1";
    let varint = |message: &[u8]| varint_delimited(&[message.to_vec()]);
    assert_eq!(error(logs), "found OTLP logs: expected traces (`resourceSpans`)");
    assert_eq!(error(&varint(logs)), "found OTLP logs: expected traces (`resourceSpans`)");
    assert_eq!(error(&varint(metrics)), "found OTLP metrics: expected traces (`resourceSpans`)");
    let mixed = content(&varint_delimited(&[logs.to_vec(), protobuf(&request(0, 2))]));
    assert_eq!((span_count(&mixed), mixed.other_signals, mixed.messages), (2, 1, 2));
    assert_eq!(mixed.decoded.rejected.total(), 0);
}

/// *Scenario*: objects and arrays nest in `data`, as deep as a small compressed file can say.
/// *Guarantee*: the stack holds, and the time stays in proportion to the size.
#[test]
fn data_in_data_does_not_overflow_the_stack() {
    for (before, after) in [("{\"data\":", "}"), ("[{\"data\":", "}]"), ("{\"data\":[", "]}")] {
        for times in [10, 100_000] {
            let text = format!("{}1{}", before.repeat(times), after.repeat(times));
            let error = error(&gzip(text.as_bytes()));
            assert!(error.contains("expected OTLP JSON (one object"), "{error}");
            let _ = read_bytes(before.repeat(times).as_bytes());
        }
    }
}

/// *Scenario*: some lines of a file are broken. *Guarantee*: the others are read, each broken one
/// is named with its line and byte.
#[test]
fn keeps_good_lines_among_broken_ones() {
    let good = request(0, 2).to_string();
    let text = format!(
        "{good}\n{{\"resourceSpans\":[{{\n\n{good}\r\nnot json\n{{\"resourceLogs\":[]}}\n\
         {{\"x\":1}}\n{good}"
    );
    let read = content(text.as_bytes());
    assert_eq!((span_count(&read), read.messages, read.other_signals), (6, 4, 1));
    let start_of = |part: &str| text.find(part).expect(part);
    let second = good.len() + 1 + "{\"resourceSpans\":[{".len();
    let (fifth, seventh) = (start_of("not json"), start_of("{\"x\""));
    let expected = [
        format!("line 2 (byte {second}): expected a key, found the end of the message"),
        format!("line 5 (byte {fifth}): expected `{{`, found `n`"),
        format!(
            "line 7 (byte {seventh}): expected an object with `resourceSpans`, \
             found an object with the keys `x`"
        ),
    ];
    assert_eq!(broken(&read), expected);
    assert_eq!(read.broken_count, 3);
}

/// *Scenario*: several objects stand on a line, whatever lines come before. *Guarantee*: all are
/// read, those behind a broken one included.
#[test]
fn reads_every_object_of_a_line() {
    let [a, b, c] = [request(0, 2), request(2, 4), request(4, 6)].map(|r| r.to_string());
    let check = |text: String, spans: usize, expected: &[&str]| {
        let read = content(text.as_bytes());
        assert_eq!(
            (span_count(&read), broken(&read)),
            (spans, expected.iter().map(ToString::to_string).collect()),
            "{text}"
        );
    };
    check(format!("{a} {b}\n{c}\n"), 6, &[]);
    check(format!("{a}\n{b} {c}\n"), 6, &[]);
    check(format!("{a}\n{b}{c}{{}}{a}\n"), 8, &[]);
    let place = a.len() + 1 + b.len() + 1;
    let behind = format!("line 2 (byte {place}): expected the end of the message, found `x`");
    check(format!("{a}\n{b} x\n"), 4, &[&behind]);
    let number = "{\"resourceSpans\":1}";
    let at = place + number.len() - 2;
    let type_of = format!("line 2 (byte {at}): expected `[`, found `1`");
    check(format!("{a}\n{b} {number} {c}\n"), 6, &[&type_of]);
    let cut = format!("{a}\n{b} {}\n{c}\n", &c[..c.len() - 8]);
    let read = content(cut.as_bytes());
    assert!(span_count(&read) > 6 && read.broken_count == 1, "{:?}", read.broken);
    let jaeger: Value = serde_json::from_slice(JAEGER).expect("JSON");
    let read = content(format!("{jaeger}\n{jaeger} {jaeger}\n").as_bytes());
    assert_eq!((span_count(&read), read.broken_count), (12, 0));
}

/// *Scenario*: a message from before OTLP 0.15, in JSON, and in protobuf by the number that the
/// field had later. *Guarantee*: it is read as one of today; behind the field of today it is
/// skipped.
#[test]
fn instrumentation_library_spans_are_scope_spans() {
    let new = request(0, 2);
    let old_text = new
        .to_string()
        .replace("\"scopeSpans\"", "\"instrumentationLibrarySpans\"")
        .replace("\"scope\"", "\"instrumentationLibrary\"");
    let expected = spans(&content(new.to_string().as_bytes()));
    assert_eq!(expected[0]["scope"]["name"], "flask");
    for text in [old_text.clone(), format!("{old_text}\n{{}}\n")] {
        let read = content(text.as_bytes());
        assert_eq!((spans(&read), broken(&read)), (expected.clone(), vec![]));
    }
    let span = [field(1, &[7; 16]), field(2, &[9; 8]), field(5, b"GET /")].concat();
    let scope_spans = [field(1, &field(1, b"flask")), field(2, &span)].concat();
    let old = field(1000, &scope_spans);
    let read = content(&field(1, &old));
    assert_eq!(spans(&read)[0]["scope"]["name"], "flask");
    let both = content(&field(1, &[field(2, &scope_spans), old].concat()));
    assert_eq!(span_count(&both), 1);
    let resource_spans = &new["resourceSpans"][0];
    let (list, twice) = (resource_spans["scopeSpans"].to_string(), resource_spans.to_string());
    let twice = format!("{},\"instrumentationLibrarySpans\":{list}}}", &twice[..twice.len() - 1]);
    assert_eq!(span_count(&content(format!("{{\"resourceSpans\":[{twice}]}}").as_bytes())), 1);
}

/// JSON text sequences (RFC 7464) have a mark before each record.
#[test]
fn reads_json_text_sequences() {
    let requests = [request(0, 2), request(2, 4)];
    let pretty = |value: &Value| serde_json::to_string_pretty(value).expect("JSON");
    for records in [requests.each_ref().map(ToString::to_string), requests.each_ref().map(pretty)] {
        let text = format!("\u{1e}{}\n\u{1e}{}\n", records[0], records[1]);
        let read = content(text.as_bytes());
        assert_eq!((read.format, span_count(&read), read.messages), (OtlpJson, 4, 2));
        assert_eq!(broken(&read), Vec::<String>::new());
    }
    let text = format!("\u{1e}{}\n\u{1e}{{\"x\"}}\n", requests[0]);
    let place = requests[0].to_string().len() + 2 + 1 + 4;
    let expected = format!("line 2 (byte {place}): expected `:`, found `}}`");
    assert_eq!(broken(&content(text.as_bytes())), [expected]);
}

/// `gzip` passes zeros behind a member by, too.
#[test]
fn zeros_behind_gzip_members_are_padding() {
    let requests = [request(0, 2), request(2, 4)].map(|request| format!("{request}\n"));
    let [one, two] = requests.each_ref().map(|request| gzip(request.as_bytes()));
    for zeros in [1, 1000, 300_000] {
        let zeros = vec![0; zeros];
        for input in [
            [&one[..], &two, &zeros].concat(),
            [&one[..], &zeros, &two].concat(),
            [&one[..], &zeros, &two, &zeros].concat(),
        ] {
            let read = content(&input);
            assert_eq!((span_count(&read), broken(&read)), (4, vec![]), "{}", zeros.len());
        }
    }
    let read = content(&[&one[..], &two, &[0, 0, 7]].concat());
    assert_eq!((span_count(&read), read.broken_count), (4, 1));
}

#[test]
fn a_broken_first_line_costs_itself() {
    let good = request(0, 2).to_string();
    for first in ["{\"resourceSpans\":[{\"resource\"", "{\"resourceSpans\":[{}", "starting up"] {
        let read = content(format!("{first}\n{good}\n{good}\n").as_bytes());
        assert_eq!((span_count(&read), read.messages), (4, 2), "{first}");
        assert_eq!(read.broken[0].line, Some(1), "{first}");
        assert_eq!(read.broken_count, 1, "{first}: {:?}", read.broken);
    }
}

#[test]
fn goes_on_behind_a_broken_document() {
    let good = serde_json::to_string_pretty(&request(0, 2)).expect("JSON");
    let cut = &good[..good.len() / 2];
    let read = content(format!("{good}\n{cut}\n{good}\n").as_bytes());
    assert!(span_count(&read) >= 4, "{:?}", read.broken);
    assert_eq!((read.messages, read.broken_count), (2, 1), "{:?}", read.broken);
}

#[test]
fn names_at_most_a_hundred_broken_lines() {
    let text = format!("{}\n{}", request(0, 2), "{\n".repeat(1000));
    let read = content(text.as_bytes());
    assert_eq!((read.broken.len(), read.broken_count), (BROKEN_MAX, 1000));
    assert_eq!(read.broken[99].line, Some(101));
}

/// *Scenario*: small documents without number are broken or unknown, or name many lists.
/// *Guarantee*: the time stays in proportion to the size; what took its square took minutes here.
#[test]
fn many_broken_parts_take_no_longer_than_as_many_good_ones() {
    let times = 200_000;
    let list = |part: &str| format!("[{}]", vec![part; times].join(",\n"));
    let unknown = list("{\"data\":{\"a\":1}}");
    let cut = "{\"resourceSpans\":[{\n".repeat(times);
    let astray = format!("{{\"resourceSpans\":[\n{}", "\n{\"a\"".repeat(times));
    let no_objects = list("{\"resourceSpans\":[1]}");
    let before = format!("\"x\":\"{}\"", "x".repeat(1 << 19));
    let lists = vec!["\"scopeSpans\":[{}]"; 900_000].join(",");
    let lists = format!("{{\"resourceSpans\":[{{{before},{lists}}}]}}");
    for (text, count, line) in [
        (unknown, 200_000, BROKEN_MAX as u64),
        (cut, 200_000, BROKEN_MAX as u64 + 1),
        (astray, 200_000, BROKEN_MAX as u64 + 3),
        (no_objects, 200_000, BROKEN_MAX as u64),
    ] {
        let started = Instant::now();
        let text = format!("{text}\n{}", request(0, 2));
        let read = read(text.as_bytes(), &options(2)).expect("two spans");
        assert_eq!((span_count(&read), read.broken_count), (2, count), "{:?}", read.broken[0]);
        assert_eq!(read.broken.last().and_then(|broken| broken.line), Some(line));
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }
    let started = Instant::now();
    assert_eq!(content(lists.as_bytes()).broken_count, 0);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

/// *Scenario*: a file is cut off at any byte. *Guarantee*: no panic, no span that the whole file
/// does not have, and all of them at its end.
#[test]
fn a_file_cut_off_anywhere_gives_no_more_spans_than_the_whole() {
    for (name, _, bytes) in forms() {
        for file in [bytes.clone(), gzip(bytes), zstd(bytes)] {
            let whole = span_count(&content(&file));
            // Every byte of what is small, one in seven of what is not.
            let step = if file.len() > 2000 { 7 } else { 1 };
            for length in (0..file.len()).step_by(step) {
                let Ok(read) = read_bytes(&file[..length]) else { continue };
                assert!(span_count(&read) <= whole, "{name} cut at {length}");
            }
        }
    }
}

#[test]
fn a_cut_off_file_keeps_what_was_readable() {
    for compress in [gzip, zstd] {
        let lines = lines((0..2000).map(|n| request(n * 4, n * 4 + 4)));
        let file = compress(lines.as_bytes());
        let read = content(&file[..file.len() - 40]);
        assert!(span_count(&read) > 4, "{}", span_count(&read));
        assert_eq!(read.broken_count, 1, "{:?}", read.broken);
        let expected = format!("{} data ends early: the file was cut off", read.compression);
        assert_eq!(read.broken[0].what, expected);
        let nothing = error(&compress(request(0, 4).to_string().as_bytes())[..10]);
        assert!(nothing.starts_with("byte 0: ") && nothing.ends_with("cut off"), "{nothing}");
    }
    let messages = varint_delimited(&[protobuf(&request(0, 4)), protobuf(&request(4, 8))]);
    let read = content(&messages[..messages.len() - 3]);
    assert_eq!(span_count(&read), 7);
    assert_eq!(read.broken[0].what, "file ends within a message: it was cut off");
    assert_eq!(read.broken[0].byte, messages.len() as u64 - 3, "where it ends");
    let object = gzip(request(0, 8).to_string().as_bytes());
    let read = content(&object[..object.len() - 40]);
    assert_eq!(read.broken_count, 1, "{:?}", read.broken);
}

#[test]
fn damaged_compression_is_named() {
    let lines = lines((0..2000).map(|n| request(n * 4, n * 4 + 4)));
    let mut file = gzip(lines.as_bytes());
    let last = file.len() - 6;
    file[last] ^= 0xff;
    let read = content(&file);
    assert_eq!(span_count(&read), 8000);
    assert!(read.broken[0].what.starts_with("gzip data is damaged: "), "{:?}", read.broken);
    let trailing = [gzip(lines.as_bytes()), b"trailing".to_vec()].concat();
    assert_eq!(span_count(&content(&trailing)), 8000);
}

/// Input that fails after some bytes, and gives them one by one.
struct Failing<'a> {
    bytes: &'a [u8],
    fails: bool,
}

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.bytes.split_first() {
            Some((first, rest)) if !buffer.is_empty() => {
                buffer[0] = *first;
                self.bytes = rest;
                Ok(1)
            }
            None if self.fails => Err(io::Error::other("the disk is gone")),
            _ => Ok(0),
        }
    }
}

#[test]
fn what_comes_out_does_not_depend_on_how_bytes_arrive() {
    for (name, _, bytes) in forms() {
        for file in [bytes.clone(), gzip(bytes), zstd(bytes)] {
            let trickled = read(Failing { bytes: &file, fails: false }, &options(1)).expect(name);
            assert_eq!(trickled.decoded.spans, content(&file).decoded.spans, "{name}");
        }
    }
}

#[test]
fn failing_input_keeps_what_was_read() {
    let line = format!("{}\n", request(0, 4));
    let input = Failing { bytes: line.as_bytes(), fails: true };
    let read_part = read(input, &options(1)).expect("a line");
    assert_eq!(span_count(&read_part), 4);
    assert_eq!(read_part.broken[0].what, "failed to read on: the disk is gone");
    let nothing = read(Failing { bytes: b"", fails: true }, &options(1)).expect_err("nothing");
    assert_eq!(nothing.to_string(), "failed to read: the disk is gone");
}

/// Lines, documents and messages of a few MiB, cut into many pieces.
fn large_forms() -> Vec<(&'static str, Vec<u8>)> {
    let requests: Vec<Value> = (0..40).map(|n| request(n * 400, n * 400 + 400)).collect();
    let lines = lines(requests.iter().cloned());
    let elements: Vec<Value> = requests
        .iter()
        .flat_map(|request| request["resourceSpans"].as_array().expect("an array").clone())
        .collect();
    let messages: Vec<Vec<u8>> = requests.iter().map(protobuf).collect();
    vec![
        ("lines", lines.clone().into_bytes()),
        ("gzip lines", gzip(lines.as_bytes())),
        ("broken lines", lines.replace("\"kind\"", "\"kind").into_bytes()),
        ("object", json!({"resourceSpans": elements}).to_string().into_bytes()),
        ("array", json!(requests).to_string().into_bytes()),
        ("one message", messages.concat()),
        ("varint lengths", varint_delimited(&messages)),
    ]
}

#[test]
fn any_number_of_threads_gives_the_same() {
    for (name, bytes) in large_forms() {
        let one = read(bytes.as_slice(), &options(1));
        for threads in [2, 5] {
            let many = read(bytes.as_slice(), &options(threads));
            match (&one, &many) {
                (Ok(one), Ok(many)) => {
                    assert_eq!(many.decoded.spans, one.decoded.spans, "{name}");
                    assert_eq!(many.broken, one.broken, "{name}");
                    assert_eq!(many.messages, one.messages, "{name}");
                    assert_eq!(span_count(one) > 0, !name.starts_with("broken"), "{name}");
                }
                (Err(one), Err(many)) => assert_eq!(many.to_string(), one.to_string(), "{name}"),
                _ => panic!("{name}: {one:?} and {many:?}"),
            }
        }
    }
}

/// *Scenario*: one object whose only resource holds more than fits a message. *Guarantee*: it is
/// taken apart, and gives every span with its resource, scope and schema URLs.
#[test]
fn takes_a_large_object_apart() {
    let filler = "x".repeat(2000);
    let span = |number: u64| {
        format!(
            "{{\"traceId\":\"{:032x}\",\"spanId\":\"{:016x}\",\"name\":\"{filler}\"}}",
            number + 1,
            number + 1
        )
    };
    let list: Vec<String> = (0..11_000).map(span).collect();
    let text = format!(
        "{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{}],\"scope\":{{\"name\":\"flask\"}},\
         \"schemaUrl\":\"https://b\"}}],\"resource\":{{\"attributes\":[{{\"key\":\"service.name\",\
         \"value\":{{\"stringValue\":\"cart\"}}}}]}},\"schemaUrl\":\"https://a\"}}]}}",
        list.join(",")
    );
    assert!(text.len() > 20 << 20);
    let read = read(text.as_bytes(), &options(2)).expect("an object");
    assert_eq!((span_count(&read), read.messages), (11_000, 1));
    assert_eq!(broken(&read), Vec::<String>::new());
    assert!(read.decoded.spans.len() > 10, "{} batches", read.decoded.spans.len());
    for batch in &read.decoded.spans {
        let request: Value = serde_json::from_slice(&encode_json(batch)).expect("OTLP JSON");
        let resource_spans = &request["resourceSpans"][0];
        assert_eq!(resource_spans["schemaUrl"], "https://a");
        let service = &resource_spans["resource"]["attributes"][0]["value"]["stringValue"];
        assert_eq!(service, "cart");
        assert_eq!(resource_spans["scopeSpans"][0]["scope"]["name"], "flask");
        assert_eq!(resource_spans["scopeSpans"][0]["schemaUrl"], "https://b");
    }
}

#[test]
fn a_line_over_the_limit_costs_itself() {
    let (short, long) = (request(0, 2).to_string(), request(0, 40).to_string());
    let text = format!("{short}\n{long}\n{short}\n");
    let limit = |message_bytes_max| ReadOptions { message_bytes_max, ..options(1) };
    let read_all = read(text.as_bytes(), &limit(long.len())).expect("lines");
    assert_eq!((span_count(&read_all), read_all.broken_count), (44, 0));
    let bytes_max = long.len() - 1;
    let read_some = read(text.as_bytes(), &limit(bytes_max)).expect("lines");
    assert_eq!((span_count(&read_some), read_some.messages), (4, 2));
    assert_eq!(
        broken(&read_some),
        [format!(
            "line 2 (byte {}): message of {} bytes is over the limit of {bytes_max} \
         (`message_bytes_max`)",
            short.len() + 1,
            long.len()
        )]
    );
}

/// A line longer than a piece of the file is not even held.
#[test]
fn a_line_far_over_the_limit_costs_itself() {
    let short = request(0, 2).to_string();
    let long = format!("{{\"resourceSpans\":\"{}\"}}", "x".repeat(3 << 20));
    let text = format!("{short}\n{long}\n{short}\n{long}");
    let read_some = read(text.as_bytes(), &ReadOptions { message_bytes_max: 4096, ..options(1) });
    let read_some = read_some.expect("lines");
    assert_eq!((span_count(&read_some), read_some.messages), (4, 2));
    let expected = "line is over the limit of 4096 bytes (`message_bytes_max`)";
    assert_eq!(read_some.broken.iter().map(|b| b.line).collect::<Vec<_>>(), [Some(2), Some(4)]);
    assert_eq!(read_some.broken[0].what, expected);
}

#[test]
fn a_message_over_the_limit_costs_itself() {
    let (short, long) = (protobuf(&request(0, 2)), protobuf(&request(0, 40)));
    let messages = [short.clone(), long.clone(), short.clone()];
    for bytes in [varint_delimited(&messages), big_endian_delimited(&messages)] {
        let limit = |message_bytes_max| ReadOptions { message_bytes_max, ..options(1) };
        let read_all = read(bytes.as_slice(), &limit(long.len())).expect("messages");
        assert_eq!((span_count(&read_all), read_all.broken_count), (44, 0));
        let read_some = read(bytes.as_slice(), &limit(long.len() - 1)).expect("messages");
        assert_eq!((span_count(&read_some), read_some.messages), (4, 2));
        assert_eq!(read_some.broken_count, 1);
        assert!(
            read_some.broken[0].what.contains("(`message_bytes_max`)"),
            "{:?}",
            read_some.broken
        );
    }
}

/// *Scenario*: a length says more than there is. *Guarantee*: nothing of that size is allocated.
#[test]
fn a_length_that_lies_costs_the_rest() {
    let mut bytes = varint_delimited(&[protobuf(&request(0, 2))]);
    bytes.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x0a, 1]);
    let read = content(&bytes);
    assert_eq!((span_count(&read), read.broken_count), (2, 1));
}

/// Requests, each with a resource of 256 KiB over a hundred spans: in zstd a few hundred bytes.
fn heavy_requests(times: usize) -> Vec<Value> {
    let mut request = request(0, 100);
    let filler = json!({"key": "filler", "value": {"stringValue": "x".repeat(256 << 10)}});
    for resource_spans in request["resourceSpans"].as_array_mut().expect("an array") {
        let attributes = &mut resource_spans["resource"]["attributes"];
        attributes.as_array_mut().expect("an array").push(filler.clone());
    }
    vec![request; times]
}

/// *Scenario*: a file of a few KiB repeats large resources over many spans. *Guarantee*: it is
/// refused by name of the limit, in every form, by any number of threads, and what is decoded
/// behind the limit is not kept.
#[test]
fn spans_over_the_limit_of_memory_are_refused() {
    let requests = heavy_requests(4);
    let messages: Vec<Vec<u8>> = requests[..1].iter().map(protobuf).collect();
    let text = lines(requests.iter().cloned());
    let limit = |threads, decoded_bytes_max| ReadOptions { decoded_bytes_max, ..options(threads) };
    for threads in [1, 3] {
        for form in [
            zstd(text.as_bytes()),
            zstd(json!(requests).to_string().as_bytes()),
            varint_delimited(&vec![messages.concat(); 4]),
        ] {
            let taken = read(form.as_slice(), &limit(threads, 110 << 20)).expect("within limits");
            assert_eq!(span_count(&taken), 400);
            let error = read(form.as_slice(), &limit(threads, 100 << 20)).expect_err("too much");
            assert_eq!(
                error.to_string(),
                "spans that take more than 104857600 bytes of memory are over the limit \
                 (`decoded_bytes_max`): read the file in parts, or allow more"
            );
        }
        assert!(read(JAEGER, &limit(threads, 1000)).is_err());
        assert!(read(ZIPKIN, &limit(threads, 1000)).is_err());
    }
}

/// Spans without anything but their ids take columns too.
#[test]
fn small_spans_count_towards_the_limit_of_memory() {
    let spans: Vec<Value> = (1..10_001)
        .map(|n: u64| json!({"traceId": format!("{n:032x}"), "spanId": format!("{n:016x}")}))
        .collect();
    let text = json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string();
    let limit = |decoded_bytes_max| ReadOptions { decoded_bytes_max, ..options(1) };
    assert!(read(text.as_bytes(), &limit(5 << 20)).is_ok());
    assert!(read(text.as_bytes(), &limit(1 << 20)).is_err());
}

#[test]
fn a_document_over_the_limit_is_refused() {
    let object = request(0, 40).to_string();
    let limit = |document_bytes_max| ReadOptions { document_bytes_max, ..options(1) };
    assert!(read(object.as_bytes(), &limit(object.len())).is_ok());
    let error = read(object.as_bytes(), &limit(object.len() - 1)).expect_err("too large");
    assert!(error.to_string().contains("(`document_bytes_max`): write OTLP JSON"), "{error}");
    let pretty = serde_json::to_string_pretty(&request(0, 40)).expect("JSON");
    let error = read(pretty.as_bytes(), &limit(pretty.len() - 1)).expect_err("too large");
    assert!(error.to_string().starts_with("one OTLP JSON document of more than"), "{error}");
    let zipkin = read(ZIPKIN, &limit(1000)).expect_err("too large");
    assert!(zipkin.to_string().starts_with("Zipkin JSON of more than 1000 bytes"), "{zipkin}");
}

/// *Scenario*: a small file that decompresses to very much. *Guarantee*: reading stops at the limit
/// and says so.
#[test]
fn a_decompression_bomb_stops_at_the_limit() {
    let line = format!("{}\n", request(0, 2));
    let bomb = gzip(&[line.as_bytes(), &vec![b' '; 8 << 20]].concat());
    assert!(bomb.len() < 100_000);
    let limits = ReadOptions { file_bytes_max: 1 << 20, ..options(1) };
    let read_part = read(bomb.as_slice(), &limits).expect("a line");
    assert_eq!(span_count(&read_part), 2);
    assert!(read_part.broken[0].what.contains("(`file_bytes_max`)"), "{:?}", read_part.broken);
    let exact = ReadOptions { file_bytes_max: line.len() as u64, ..options(1) };
    assert_eq!(read(line.as_bytes(), &exact).expect("a line").broken_count, 0);
}

/// One line a span, in the order of the decoder: what a converted span says.
fn described(content: &FileContent) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let attributes = |owner: &Value| {
        let list = owner["attributes"].as_array().cloned().unwrap_or_default();
        let pair = |entry: &Value| {
            let value = entry["value"].to_string().replace("Value", "");
            format!("{}={}", text(&entry["key"]), value.replace('"', ""))
        };
        list.iter().map(pair).collect::<Vec<_>>().join(" ")
    };
    let micros = |value: &Value| {
        let nanos: i64 = text(value).parse().expect("nanoseconds");
        nanos / 1000 - 1_700_000_000_000_000
    };
    let describe = |entry: &Value| {
        let span = &entry["span"];
        let scope = [text(&entry["scope"]["name"]), text(&entry["scope"]["version"])];
        let (start, end) = (micros(&span["startTimeUnixNano"]), micros(&span["endTimeUnixNano"]));
        let mut parts = vec![format!(
            "{} {} <- {} `{}` kind {} {start}+{} | {} | {} | {}",
            text(&span["traceId"]).trim_start_matches('0'),
            text(&span["spanId"]).trim_start_matches('0'),
            text(&span["parentSpanId"]).trim_start_matches('0'),
            text(&span["name"]),
            span["kind"],
            end - start,
            attributes(&entry["resource"]),
            scope.join(" ").trim(),
            attributes(span),
        )];
        for event in span["events"].as_array().into_iter().flatten() {
            let time = micros(&event["timeUnixNano"]);
            parts.push(format!("event {time} {} {}", text(&event["name"]), attributes(event)));
        }
        for link in span["links"].as_array().into_iter().flatten() {
            let ids = [text(&link["traceId"]), text(&link["spanId"])];
            let [trace, span] = ids.each_ref().map(|id| id.trim_start_matches('0'));
            parts.push(format!("link {trace} {span} {}", attributes(link)));
        }
        let status = &span["status"];
        if status.as_object().is_some_and(|status| !status.is_empty()) {
            parts.push(format!("status {} {}", status["code"], text(&status["message"])));
        }
        if span["flags"].as_u64().unwrap_or_default() != 0 {
            parts.push(format!("flags {}", span["flags"]));
        }
        if !text(&span["traceState"]).is_empty() {
            parts.push(format!("state {}", text(&span["traceState"])));
        }
        parts.join(" | ")
    };
    spans(content).iter().map(describe).collect()
}

fn rejected(content: &FileContent) -> Vec<(Reason, u64, String)> {
    let rejected = content.decoded.rejected.iter();
    rejected.map(|(reason, counted)| (reason, counted.count, counted.example.clone())).collect()
}

/// *Scenario*: Jaeger made this from that OTLP. *Guarantee*: we make the same spans of both, but
/// for the schema URL, which Jaeger does not keep.
#[test]
fn jaeger_gives_back_what_otlp_put_in() {
    let from_jaeger = content(include_bytes!("data/jaeger/otlp2jaeger-out.json"));
    let from_otlp = content(include_bytes!("data/jaeger/otlp2jaeger-in.json"));
    assert_eq!(from_jaeger.format, Format::JaegerJson);
    assert_eq!(spans(&from_jaeger), spans(&from_otlp));
    assert_eq!(span_count(&from_jaeger), 2);
}

#[test]
fn a_jaeger_span_says_everything() {
    let read = content(JAEGER);
    assert_eq!(described(&read), JAEGER_SPANS);
    let expected = [
        (Reason::TraceId, 1, "Jaeger span with `traceID` `xyz`, `spanID` `a6`"),
        (
            Reason::SpanId,
            1,
            "Jaeger span with `traceID` `5b8efff798038103`, `spanID` `00112233445566778`",
        ),
        (Reason::ParentSpanId, 1, "Jaeger span with `traceID` `5b8efff798038103`, `spanID` `a7`"),
        (Reason::Time, 1, "Jaeger span with `traceID` `5b8efff798038103`, `spanID` `a5`"),
        (Reason::Malformed, 1, "Jaeger span with `traceID` `5b8efff798038103`, `spanID` `a8`"),
    ];
    assert_eq!(
        rejected(&read),
        expected.map(|(reason, count, text)| (reason, count, text.to_owned()))
    );
}

const JAEGER_SPANS: &[&str] = &[
    "5b8efff798038103 1 <-  `GET /cart` kind 2 0+120000 \
     | service.name={string:cart} host.name={string:web-1} host.ip={string:10.0.0.1} \
     service.instance.id={string:4f2a} process.pid={int:42} | flask 1.2 \
     | http.status_code={int:200} sampler.param={double:0.25} internal={bool:true} \
     blob={bytes:AAEC} big={int:9007199254740993} \
     jaeger.warnings={array:{values:[{string:clock skew adjustment disabled}]}} \
     | event 50000 cache miss key={string:cart:1} | event 60000  message={string:no name} \
     | status 1  | flags 1 | state vendor=1",
    "5b8efff798038103 a2 <- 1 `SELECT` kind 3 10000+3000 \
     | service.name={string:mailer} host.name={string:db-1} hostname={string:other} |  \
     | jaeger.flags={int:3} | link 5b8efff798038103 9 opentracing.ref_type={string:follows_from} \
     | link 1f 77 opentracing.ref_type={string:child_of} \
     | link 5b8efff798038103 9 opentracing.ref_type={string:child_of} \
     | status 2 deadlock | flags 1",
    "5b8efff798038103 a3 <- 1 `send mail` kind 5 130000+1000 \
     | service.name={string:mailer} host.name={string:db-1} hostname={string:other} | celery \
     | list={array:{values:[{int:1},{string:two}]}} \
     | link 5b8efff798038103 1 opentracing.ref_type={string:follows_from} | status 2 ",
    "5b8efff798038103 a4 <- a3 `old parent` kind null 130100+0 |  |  | error={bool:false}",
];

/// Jaeger's traces come as a document, alone, in an array, a line each; its spans as Elasticsearch
/// stores them.
#[test]
fn reads_jaeger_traces_in_every_wrapping() {
    let document: Value = serde_json::from_slice(JAEGER).expect("JSON");
    let trace = &document["data"][0];
    let expected = described(&content(JAEGER));
    let check = |text: String, times: usize| {
        let read = content(text.as_bytes());
        assert_eq!(read.format, Format::JaegerJson, "{text}");
        assert_eq!(described(&read), vec![expected.clone(); times].concat(), "{text}");
    };
    check(trace.to_string(), 1);
    check(json!([trace]).to_string(), 1);
    check(format!("{trace}\n{trace}\n"), 2);
    check(format!("{document}\n{document}\n"), 2);
    check(serde_json::to_string_pretty(trace).expect("JSON"), 1);
    let with_process = |span: &Value| {
        let mut span = span.clone();
        let name = span["processID"].as_str().expect("a name").to_owned();
        span["process"] = trace["processes"][&name].clone();
        span
    };
    let spans: Vec<Value> =
        trace["spans"].as_array().expect("spans").iter().map(with_process).collect();
    let lines: Vec<String> = spans.iter().map(ToString::to_string).collect();
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    for text in [json!(spans).to_string(), lines.join("\n")] {
        let read = content(text.as_bytes());
        assert_eq!(read.format, Format::JaegerJson, "{text}");
        assert_eq!(sorted(described(&read)), sorted(expected.clone()), "{text}");
    }
}

#[test]
fn a_zipkin_span_says_everything() {
    let read = content(ZIPKIN);
    assert_eq!(described(&read), ZIPKIN_SPANS);
    let expected = [
        (Reason::SpanId, "`id` `zz`"),
        (Reason::ParentSpanId, "`id` `0000000000000007`"),
        (Reason::Time, "`id` `0000000000000006`"),
        (Reason::Malformed, "`id` `0000000000000008`"),
    ];
    let trace = "Zipkin span with `traceId` `00000000000000005b8efff798038103`";
    assert_eq!(rejected(&read), expected.map(|(reason, id)| (reason, 1, format!("{trace}, {id}"))));
}

/// The server's side of the shared id 2 has an id of its own, and the query for its child. In the
/// other trace the client's side is missing: nothing is told apart.
const ZIPKIN_SPANS: &[&str] = &[
    "5b8efff798038103 1 <-  `get /` kind 2 0+100000 \
     | service.name={string:frontend} host.ip={string:10.0.0.1} |  \
     | http.method={string:GET} http.status_code={string:200} network.local.port={int:8080} \
     network.peer.address={string:2001:db8::1} network.peer.port={int:63840} | event 1000 wr ",
    "5b8efff798038103 2 <- 1 `get /api` kind 3 10000+50000 \
     | service.name={string:frontend} host.ip={string:10.0.0.1} |  \
     | service.peer.name={string:backend} network.peer.address={string:10.0.0.2} \
     network.peer.port={int:9000}",
    "5b8efff798038103 4 <- 2 `encode` kind 1 61000+100 \
     | service.name={string:frontend} host.ip={string:10.0.0.1} |  | ",
    "5b8efff798038103 c83799791f33527b <- 2 `get /api` kind 2 15000+40000 \
     | service.name={string:backend} host.ip={string:10.0.0.2} |  \
     | network.local.port={int:9000} zipkin.shared={bool:true}",
    "5b8efff798038103 3 <- c83799791f33527b `query` kind 3 20000+9000 \
     | service.name={string:backend} host.ip={string:10.0.0.2} |  \
     | sql.query={string:SELECT 1} service.peer.name={string:mysql} | status 2 deadlock found",
    "5b8efff798038104 2 <- 1 `late` kind 2 15000+0 \
     | service.name={string:backend} |  | zipkin.shared={bool:true} zipkin.debug={bool:true}",
    "5b8efff798038103 5 <- 1 `publish` kind 4 62000+20 \
     | service.name={string:frontend} process.pid={string:42} host.name={string:web-1} \
     telemetry.sdk.language={string:python} | kombu 5 |  | status 2 no broker | state a=b",
];

/// Checks the ids and parents of Zipkin spans, written `service KIND id <- parent`, `shared` behind
/// it or not. An id that was derived is written `(id of the call, service)`.
fn check_places(written: &[&str], expected: &[&str]) {
    let span = |text: &&str| {
        let words: Vec<&str> = text.split(' ').collect();
        let [service, kind, id, "<-", parent, rest @ ..] = words.as_slice() else {
            panic!("{text}");
        };
        let mut span = json!({
            "traceId": "1", "id": id, "parentId": parent, "kind": kind, "timestamp": 1,
            "localEndpoint": {"serviceName": service},
        });
        if !rest.is_empty() {
            span["shared"] = json!(true);
        }
        span
    };
    let list: Vec<Value> = written.iter().map(span).collect();
    let read = content(json!(list).to_string().as_bytes());
    let mut places = Vec::new();
    for batch in &read.decoded.spans {
        let column = |name: &str| {
            let column = batch.column_by_name(name).expect("a column").as_string_view();
            let short = |id: Option<&str>| id.unwrap_or("").trim_start_matches('0').to_owned();
            column.iter().map(short).collect::<Vec<_>>()
        };
        let (services, ids) = (column("service_name"), column("span_id"));
        let parents = column("parent_span_id");
        places.extend(
            (0..ids.len())
                .map(|row| (services[row].clone(), ids[row].clone(), parents[row].clone())),
        );
    }
    let name = |id: &str| match places.iter().find(|place| place.1 == id) {
        Some((service, _, parent)) if id.len() > 2 => format!("({parent},{service})"),
        _ => id.to_owned(),
    };
    let mut named: Vec<String> = places
        .iter()
        .map(|(service, id, parent)| format!("{service} {} <- {}", name(id), name(parent)))
        .collect();
    named.sort();
    assert_eq!(named, expected, "{written:?}");
}

#[test]
fn the_two_sides_of_a_call_are_told_apart() {
    // By their kinds alone; the work below the server is the server's.
    check_places(
        &["a CLIENT 2 <- 1", "b SERVER 2 <- 1", "b CLIENT 3 <- 2", "a CLIENT 4 <- 2"],
        &["a 2 <- 1", "a 4 <- 2", "b (2,b) <- 2", "b 3 <- (2,b)"],
    );
    // A service that calls itself: what is below is the server's.
    check_places(
        &["a CLIENT 2 <- 1", "a SERVER 2 <- 1 shared", "a CLIENT 3 <- 2"],
        &["a (2,a) <- 2", "a 2 <- 1", "a 3 <- (2,a)"],
    );
    // A call that reached two services.
    check_places(
        &["a CLIENT 2 <- 1", "b SERVER 2 <- 1 shared", "c SERVER 2 <- 1 shared", "c CLIENT 3 <- 2"],
        &["a 2 <- 1", "b (2,b) <- 2", "c (2,c) <- 2", "c 3 <- (2,c)"],
    );
    // One side only.
    check_places(&["b SERVER 2 <- 1 shared", "b CLIENT 3 <- 2"], &["b 2 <- 1", "b 3 <- 2"]);
    check_places(&["a CLIENT 2 <- 1", "b SERVER 3 <- 2"], &["a 2 <- 1", "b 3 <- 2"]);
}

/// Zipkin's API hands out one trace, an array of traces, or what a client sent, a line each.
#[test]
fn reads_zipkin_spans_in_every_wrapping() {
    let list: Vec<Value> = serde_json::from_slice(ZIPKIN).expect("JSON");
    let expected = described(&content(ZIPKIN));
    let lines: Vec<String> = list.iter().map(ToString::to_string).collect();
    let (one, two) = list.split_at(2);
    for text in [
        json!([list]).to_string(),
        json!([one, two]).to_string(),
        lines.join("\n"),
        format!("{}\n{}\n", json!(one), json!(two)),
    ] {
        let read = content(text.as_bytes());
        assert_eq!(read.format, Format::ZipkinJson, "{text}");
        assert_eq!(described(&read), expected, "{text}");
    }
}

/// The recordings, or `None` on a machine that does not have them.
fn recordings() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces");
    let is_there = folder.is_dir();
    let is_ci = std::env::var_os("CI").is_some();
    assert!(is_there || !is_ci, "{} is missing", folder.display());
    is_there.then_some(folder)
}

#[test]
fn recordings_are_the_same_in_both_encodings() {
    let Some(folder) = recordings() else { return };
    for name in ["django_fk_n1", "mesh_net_http", "fa_requests_bad_c8", "celery_queue_lag"] {
        let open = |ending: &str| {
            let path = folder.join(format!("{name}.{ending}"));
            let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            read(file, &options(2)).unwrap_or_else(|e| panic!("{path:?}: {e}"))
        };
        let (json, protobuf) = (open("jsonl.gz"), open("pb.gz"));
        assert_eq!(json.format, Format::OtlpJson);
        assert_eq!(protobuf.format, Format::OtlpProtobuf);
        assert_eq!(json.messages, protobuf.messages, "{name}");
        assert!(span_count(&json) > 0);
        assert_eq!(spans(&json), spans(&protobuf), "{name}");
        assert_eq!(json.broken_count + protobuf.broken_count, 0);
    }
}

/// Starts of files, so that arbitrary bytes get past the detection.
fn starts() -> impl Strategy<Value = Vec<u8>> {
    let starts: Vec<Vec<u8>> = [
        &b""[..],
        b"{\"resourceSpans\":[",
        b"{\"resourceSpans\":[]}\n{",
        b"{\"data\":[{\"traceID\":\"1\",\"spans\":[{\"spanID\":\"1\",",
        b"[{\"traceId\":\"1\",\"id\":\"1\",",
        b"\x0a\x10\x12",
        b"\x12\x0a\x10\x12\x0e",
        b"\0\0\0\x12\x0a\x10\x12",
        b"\x1f\x8b\x08\0\0\0\0\0\0\0",
        b"\x28\xb5\x2f\xfd",
        b"\xef\xbb\xbf",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    proptest::sample::select(starts)
}

/// Brackets, digits, and keys of Jaeger's and Zipkin's spans.
const WORD: &str = "[\\[\\]{},:\"\n 0-9a-f]{0,3}|\"(traceID|spans|tags|data|id|kind|logs)\":";

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        start in starts(),
        rest in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = read_bytes(&[start, rest].concat());
    }

    #[test]
    fn json_like_text_never_panics(
        start in starts(),
        words in proptest::collection::vec(WORD, 0..60),
    ) {
        let _ = read_bytes(&[start, words.concat().into_bytes()].concat());
    }

    #[test]
    fn changed_bytes_never_panic(
        form in 0..15_usize,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = forms()[form].2.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = read_bytes(&bytes);
        let _ = read_bytes(&gzip(&bytes));
    }
}
