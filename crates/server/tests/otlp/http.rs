//! OTLP/HTTP.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use serde_json::{Value, json};
use timesink_server::{ReceiverLimits, ServerOptions, Token};

use crate::support::{
    Answer, call, framed, gzip, http1, keys_of, options, post, protobuf, request, server, spans,
    zstd,
};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

fn json_of(good: u64, bad: u64) -> Vec<u8> {
    serde_json::to_vec(&request(good, bad)).expect("JSON")
}

fn value(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"))
}

fn status(answer: &Answer) -> tonic_types::Status {
    tonic_types::Status::decode(answer.body.as_slice()).expect("a status")
}

/// OTLP/HTTP Response, Full Success: "On success, the server MUST respond with `HTTP 200 OK`. [...]
/// The server MUST leave the `partial_success` field unset". OTLP/HTTP Response: "The server MUST
/// use the same "Content-Type" in the response as it received in the request."
#[test]
fn full_success_in_both_encodings() {
    let (server, address) = server(&options());
    let answer = post(address, &[PROTOBUF], &protobuf(3, 0));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(PROTOBUF.1)));
    assert_eq!(answer.body, b"");
    assert_eq!(spans(&server), 3);
    let answer =
        post(address, &[("content-type", "application/json; charset=utf-8")], &json_of(2, 0));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(JSON.1)));
    assert_eq!(value(&answer), json!({}));
    assert_eq!(spans(&server), 2);
}

/// Full Success: "If the server receives an empty request [...] the server SHOULD respond with
/// success." "OTLP/JSON receivers MUST ignore message fields with unknown names".
#[test]
fn empty_requests_and_unknown_fields_succeed() {
    let (server, address) = server(&options());
    for path in ["/v1/traces", "/v1/metrics", "/v1/logs"] {
        assert_eq!(http1(address, "POST", path, &[PROTOBUF], b"").status, 200, "{path}");
    }
    assert_eq!(post(address, &[JSON], b"{}").status, 200);
    assert_eq!(post(address, &[JSON], br#"{"resourceSpans":[],"new":[{"field":1}]}"#).status, 200);
    assert_eq!(spans(&server), 0);
}

/// OTLP/HTTP Request: "The client MAY gzip the content and in that case MUST include
/// "Content-Encoding: gzip" request header."
#[test]
fn bodies_may_be_compressed() {
    let (server, address) = server(&options());
    let message = protobuf(2, 0);
    for (encoding, body) in
        [("gzip", gzip(&message)), ("zstd", zstd(&message)), ("identity", message.clone())]
    {
        let answer = post(address, &[PROTOBUF, ("content-encoding", encoding)], &body);
        assert_eq!(answer.status, 200, "{encoding}");
        assert_eq!(spans(&server), 2, "{encoding}");
    }
    let answer = post(address, &[PROTOBUF, ("content-encoding", "br")], &message);
    assert_eq!(
        (answer.status, answer.header("accept-encoding")),
        (415, Some("identity, gzip, zstd"))
    );
}

/// Partial Success: "the server MUST respond with `HTTP 200 OK`. [...] it MUST set the respective
/// `rejected_spans` [...]. The server SHOULD populate the `error_message` field".
#[test]
fn partial_success_in_both_encodings() {
    let (server, address) = server(&options());
    let answer = post(address, &[PROTOBUF], &protobuf(4, 3));
    let response = ExportTraceServiceResponse::decode(answer.body.as_slice()).expect("a response");
    let partial = response.partial_success.expect("some were refused");
    assert_eq!((answer.status, partial.rejected_spans), (200, 3));
    assert!(partial.error_message.contains("trace id"), "{}", partial.error_message);
    let answer = post(address, &[JSON], &json_of(4, 3));
    let partial = &value(&answer)["partialSuccess"];
    // 64-bit integers are strings in JSON.
    assert_eq!((answer.status, &partial["rejectedSpans"]), (200, &json!("3")));
    assert!(partial["errorMessage"].as_str().is_some_and(|text| !text.is_empty()));
    assert_eq!(spans(&server), 8);
}

/// Partial Success, warnings: each signal counts under its own name.
#[test]
fn metrics_and_logs_are_taken_and_said_once_to_go_nowhere() {
    let (_server, address) = server(&options());
    for (path, count) in [("/v1/metrics", "rejectedDataPoints"), ("/v1/logs", "rejectedLogRecords")]
    {
        let partial = value(&http1(address, "POST", path, &[JSON], b"{}"));
        assert_eq!(partial["partialSuccess"][count], "0", "{partial}");
        assert_eq!(value(&http1(address, "POST", path, &[JSON], b"{}")), json!({}));
    }
}

/// Failures: "The response body for all `HTTP 4xx` and `HTTP 5xx` responses MUST be a
/// Protobuf-encoded Status message". Bad Data: "the server MUST respond with `HTTP 400 Bad
/// Request`. The `Status.details` field in the response SHOULD contain a `BadRequest`".
#[test]
fn bad_data_is_answered_with_a_status_in_the_same_encoding() {
    let (server, address) = server(&options());
    let answer = post(address, &[PROTOBUF], &protobuf(1, 0)[..9]);
    assert_eq!((answer.status, answer.header("content-type")), (400, Some(PROTOBUF.1)));
    let found = status(&answer);
    assert_eq!(found.code, 3);
    assert_eq!(found.details[0].type_url, "type.googleapis.com/google.rpc.BadRequest");
    assert!(found.message.contains("expected"), "{}", found.message);
    let answer = post(address, &[JSON], br#"{"resourceSpans":"#);
    assert_eq!((answer.status, answer.header("content-type")), (400, Some(JSON.1)));
    let found = value(&answer);
    assert!(found["message"].as_str().is_some_and(|text| text.contains("byte 17")), "{found}");
    assert_eq!(found["details"][0]["@type"], "type.googleapis.com/google.rpc.BadRequest");
    let zipped = [PROTOBUF, ("content-encoding", "gzip")];
    assert_eq!(post(address, &zipped, b"this is no gzip").status, 400);
    assert_eq!(spans(&server), 0);
}

/// What a message holds never comes back at length, nor as it is.
#[test]
fn answers_are_short_and_clean() {
    let (_server, address) = server(&options());
    let hostile = format!(r#"{{"resourceSpans":[],"x{}":}}"#, "\u{1b}[31m\r\n".repeat(100_000));
    let answer = post(address, &[JSON], hostile.as_bytes());
    assert_eq!(answer.status, 400);
    assert!(answer.body.len() < 8192, "{}", answer.body.len());
    assert!(!answer.text().contains('\u{1b}'));
}

/// OTLP/HTTP Request: "The server MUST limit the size of the request body when parsing it,
/// including after decompression [...] the server SHOULD respond with `HTTP 413 Content Too
/// Large`."
#[test]
fn what_is_too_large_is_not_to_be_sent_again() {
    let limits = ReceiverLimits { message_bytes_max: 1000, ..ReceiverLimits::default() };
    let (server, address) = server(&ServerOptions { receiver: limits, ..options() });
    let bomb = gzip(&vec![0; 1 << 20]);
    for (headers, body) in [
        (vec![PROTOBUF], vec![0; 1001]),
        (vec![PROTOBUF, ("content-encoding", "gzip")], bomb),
        (vec![PROTOBUF], vec![0; 100_000]),
    ] {
        let answer = post(address, &headers, &body);
        assert_eq!((answer.status, answer.header("retry-after")), (413, None), "{answer:?}");
        assert!(status(&answer).message.contains("`receiver.message_mib_max`"));
    }
    assert_eq!(post(address, &[PROTOBUF], &protobuf(3, 0)).status, 200, "others go on");
    assert_eq!(spans(&server), 3);
}

/// OTLP/HTTP Throttling: "the server SHOULD respond with `HTTP 429 Too Many Requests` or `HTTP 503
/// Service Unavailable` and MAY include "Retry-After"".
#[test]
fn an_overload_asks_to_try_again() {
    let memory = ReceiverLimits { memory_bytes_max: 1, ..ReceiverLimits::default() };
    let in_flight = ReceiverLimits { inflight_bytes_max: 10, ..ReceiverLimits::default() };
    for (limits, fitting) in [(memory, 1), (in_flight, 0)] {
        let (server, address) = server(&ServerOptions { receiver: limits, ..options() });
        for _ in 0..fitting {
            assert_eq!(post(address, &[PROTOBUF], &protobuf(1, 0)).status, 200);
        }
        let answer = post(address, &[PROTOBUF], &protobuf(1, 0));
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
        assert_eq!(status(&answer).code, 14);
        assert_eq!(spans(&server), fitting, "nothing taken is hurt");
    }
}

/// OTLP/HTTP Request: "Telemetry data is sent via HTTP POST request." The rest is HTTP's (RFC
/// 9110): 404, 405 with `Allow`, 415 with `Accept`.
#[test]
fn other_requests_are_told_what_to_send() {
    let (_server, address) = server(&options());
    assert_eq!(http1(address, "POST", "/v1/spans", &[PROTOBUF], b"").status, 404);
    let answer = http1(address, "POST", "/", &[JSON], b"");
    assert!(answer.text().contains("/v1/traces"), "{answer:?}");
    let answer = http1(address, "GET", "/v1/traces", &[], b"");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    for headers in [&[][..], &[("content-type", "text/plain")]] {
        let answer = post(address, headers, b"spans");
        assert_eq!(answer.status, 415);
        let accepted = Some("application/x-protobuf, application/json");
        assert_eq!(answer.header("accept"), accepted);
        assert!(value(&answer)["message"].as_str().is_some_and(|text| text.contains("expected")));
    }
}

/// OTLP/HTTP Connection: "Server implementations MAY accept OTLP/gRPC and OTLP/HTTP requests on the
/// same port"; "Implementations MAY use HTTP/1.1 or HTTP/2 transports."
#[test]
fn one_port_takes_both_protocols_and_both_versions_of_http() {
    let (server, address) = server(&options());
    assert_eq!(post(address, &[PROTOBUF], &protobuf(1, 0)).status, 200);
    let grpc = call(address, crate::support::TRACES, &[], framed(0, &protobuf(1, 0)));
    assert_eq!(grpc.code(), 0);
    let http2 = call(address, "/v1/traces", &[PROTOBUF], protobuf(1, 0));
    assert_eq!((http2.http, &http2.metadata["content-type"]), (200, &PROTOBUF.1.parse().unwrap()));
    assert_eq!(spans(&server), 3);
}

/// "The client SHOULD keep the connection alive between requests."
#[test]
fn a_connection_takes_many_requests() {
    use std::io::Write;
    let (server, address) = server(&options());
    let mut stream = crate::support::connect(address);
    let body = protobuf(1, 0);
    let head = |last: bool| {
        let connection = if last { "close" } else { "keep-alive" };
        format!(
            "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nconnection: {connection}\r\n\
             content-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
    };
    for last in [false, false, true] {
        stream.write_all(head(last).as_bytes()).expect("it reads");
        stream.write_all(&body).expect("it reads");
    }
    let answers = crate::support::read_answer(stream);
    assert_eq!(answers.status, 200);
    assert_eq!(answers.text().matches("HTTP/1.1 200 OK").count(), 2, "the other two");
    assert_eq!(spans(&server), 3);
}

#[test]
fn requests_of_other_sites_and_without_the_token_are_refused() {
    let (server, address) = server(&options());
    let origin = ("origin", "https://evil.example");
    assert_eq!(post(address, &[PROTOBUF, origin], &protobuf(1, 0)).status, 403);
    assert_eq!(spans(&server), 0);
    let token = Token::parse("0123456789abcdef").expect("a token");
    let (server, address) =
        crate::support::server(&ServerOptions { keys: keys_of(&token), ..options() });
    let answer = post(address, &[PROTOBUF], &protobuf(1, 0));
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(status(&answer).code, 16);
    let right = ("authorization", "Bearer 0123456789abcdef");
    assert_eq!(post(address, &[PROTOBUF, right], &protobuf(1, 0)).status, 200);
    assert_eq!(spans(&server), 1);
}
