//! OTLP/gRPC.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use timesink_server::{ReceiverLimits, Token};
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{
    Called, LOGS, METRICS, TRACES, call, framed, gzip, keys_of, options, protobuf, server, spans,
    zstd,
};

const OK: i32 = 0;

fn response(called: &Called) -> ExportTraceServiceResponse {
    assert_eq!((called.http, called.code()), (200, OK), "{called:?}");
    ExportTraceServiceResponse::decode(called.message()).expect("a response")
}

/// OTLP/gRPC Response, Full Success: "The server MUST leave the `partial_success` field unset in
/// case of a successful response."
#[test]
fn full_success_leaves_partial_success_unset() {
    let (server, address) = server(&options());
    let called = call(address, TRACES, &[], framed(0, &protobuf(3, 0)));
    assert_eq!(response(&called), ExportTraceServiceResponse::default());
    assert_eq!(called.message(), b"");
    assert_eq!(called.metadata["content-type"], "application/grpc");
    assert_eq!(spans(&server), 3);
}

/// OTLP/gRPC Response, Full Success: "If the server receives an empty request (a request that does
/// not carry any telemetry data) the server SHOULD respond with success."
#[test]
fn an_empty_request_succeeds() {
    let (_server, address) = server(&options());
    for path in [TRACES, METRICS, LOGS] {
        assert_eq!(call(address, path, &[], framed(0, b"")).code(), OK, "{path}");
    }
}

/// "All server components MUST support [...] no compression [...] gzip"; zstd is ours.
#[test]
fn messages_may_be_compressed() {
    let (server, address) = server(&options());
    let message = protobuf(2, 0);
    for (encoding, body) in [
        ("identity", framed(0, &message)),
        ("gzip", framed(1, &gzip(&message))),
        // gRPC, "Compression": a message without the flag is not compressed, whatever the header.
        ("gzip", framed(0, &message)),
        ("zstd", framed(1, &zstd(&message))),
    ] {
        let called = call(address, TRACES, &[("grpc-encoding", encoding)], body);
        assert_eq!(response(&called), ExportTraceServiceResponse::default());
        assert_eq!(spans(&server), 2, "{encoding}");
    }
}

/// gRPC, "Compression": a compression that is not known is UNIMPLEMENTED, with the known ones in
/// `grpc-accept-encoding`; a flag without a header is INTERNAL.
#[test]
fn unknown_compression_is_refused_with_the_known_ones() {
    let (_server, address) = server(&options());
    let body = framed(1, &protobuf(1, 0));
    let called = call(address, TRACES, &[("grpc-encoding", "snappy")], body.clone());
    assert_eq!(called.status().code(), Code::Unimplemented);
    assert_eq!(called.metadata["grpc-accept-encoding"], "identity, gzip, zstd");
    assert_eq!(call(address, TRACES, &[], body).status().code(), Code::Internal);
}

/// OTLP/gRPC Response, Partial Success: "the server MUST initialize the `partial_success` field
/// [...] and it MUST set the respective `rejected_spans` [...]. The server SHOULD populate the
/// `error_message` field with a human-readable error message in English."
#[test]
fn partial_success_counts_and_explains_what_was_refused() {
    let (server, address) = server(&options());
    let called = call(address, TRACES, &[], framed(0, &protobuf(5, 2)));
    let partial = response(&called).partial_success.expect("some were refused");
    assert_eq!(partial.rejected_spans, 2);
    assert!(
        partial.error_message.contains("2 spans: trace id is missing, zero or not 16 bytes"),
        "{}",
        partial.error_message
    );
    assert_eq!(spans(&server), 5, "good spans of a bad batch are kept");
}

/// OTLP/gRPC Response, Failures: "To indicate not-retryable errors, the server is recommended to
/// use code `InvalidArgument` and MAY supply additional details via status using `BadRequest`."
#[test]
fn bad_data_is_an_invalid_argument() {
    let (server, address) = server(&options());
    let whole = protobuf(2, 0);
    let called = call(address, TRACES, &[], framed(0, &whole[..whole.len() - 3]));
    let status = called.status();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let bad = status.get_details_bad_request().expect("details");
    assert_eq!(bad.field_violations.len(), 1);
    assert!(status.message().contains("the span before that was taken"), "{status:?}");
    assert_eq!(spans(&server), 1, "what could be read is kept");
    let zipped = framed(1, b"this is no gzip");
    let called = call(address, TRACES, &[("grpc-encoding", "gzip")], zipped);
    assert_eq!(called.status().code(), Code::InvalidArgument);
}

/// OTLP/gRPC Request: "The server MUST enforce a message size limit [...] the gRPC server
/// implementations return a `RESOURCE_EXHAUSTED` status code". Failures: "If no such status
/// [`RetryInfo`] is returned, then the `RESOURCE_EXHAUSTED` code SHOULD be treated as
/// non-retryable."
#[test]
fn what_is_too_large_is_not_to_be_sent_again() {
    let limits = ReceiverLimits { message_bytes_max: 1000, ..ReceiverLimits::default() };
    let (server, address) =
        server(&timesink_server::ServerOptions { receiver: limits, ..options() });
    let large = vec![0; 1001];
    let bomb = gzip(&vec![0; 100_000]);
    assert!(bomb.len() < 1000);
    for (headers, body) in [
        (&[][..], framed(0, &large)),
        (&[("grpc-encoding", "gzip")], framed(1, &bomb)),
        (&[("grpc-encoding", "zstd")], framed(1, &zstd(&vec![0; 100_000]))),
    ] {
        let status = call(address, TRACES, headers, body).status();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert!(status.get_details_retry_info().is_none(), "{status:?}");
        assert!(status.message().contains("`receiver.message_mib_max`"), "{status:?}");
    }
    let called = call(address, TRACES, &[], framed(0, &protobuf(3, 0)));
    assert_eq!(called.code(), OK, "others go on");
    assert_eq!(spans(&server), 3);
}

/// OTLP/gRPC Throttling: "the server SHOULD return an error with code `Unavailable` and MAY supply
/// additional details via status using `RetryInfo`."
#[test]
fn an_overload_asks_to_try_again() {
    let limits = ReceiverLimits { memory_bytes_max: 1, ..ReceiverLimits::default() };
    let (server, address) =
        server(&timesink_server::ServerOptions { receiver: limits, ..options() });
    let export = || call(address, TRACES, &[], framed(0, &protobuf(1, 0)));
    assert_eq!(export().code(), OK);
    let status = export().status();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
    assert!(delay.is_some_and(|delay| !delay.is_zero()), "{status:?}");
    // Where the Python SDK looks for it.
    let retry_info = status.metadata().get_bin("google.rpc.retryinfo-bin").expect("metadata");
    assert_eq!(retry_info.to_bytes().expect("bytes").as_ref(), [0x0a, 2, 0x08, 5]);
    assert_eq!(spans(&server), 1, "nothing taken is hurt");
    assert_eq!(export().code(), OK, "there is room again");
}

/// Partial Success: "Servers MAY also use the `partial_success` field to convey warnings [...] In
/// such cases, the `rejected_<signal>` field MUST have a value of `0`, and the `error_message`
/// field MUST be non-empty."
#[test]
fn metrics_and_logs_are_taken_and_said_once_to_go_nowhere() {
    let (server, address) = server(&options());
    for (path, variable) in [(METRICS, "OTEL_METRICS_EXPORTER"), (LOGS, "OTEL_LOGS_EXPORTER")] {
        let first = response(&call(address, path, &[], framed(0, b"\x0a\0")));
        let partial = first.partial_success.expect("a warning");
        assert_eq!(partial.rejected_spans, 0);
        assert!(partial.error_message.contains(variable), "{}", partial.error_message);
        let second = response(&call(address, path, &[], framed(0, b"\x0a\0")));
        assert_eq!(second, ExportTraceServiceResponse::default());
    }
    assert_eq!(spans(&server), 0);
}

/// gRPC, "Status codes": a method that is not there is UNIMPLEMENTED.
#[test]
fn unknown_methods_are_unimplemented() {
    let (_server, address) = server(&options());
    for path in ["/", "/opentelemetry.proto.collector.trace.v1.TraceService/Import", "/a.B/C"] {
        let status = call(address, path, &[], framed(0, b"")).status();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
}

/// gRPC over HTTP/2, "Length-Prefixed-Message": a unary call has exactly one.
#[test]
fn a_call_has_one_whole_message() {
    let (server, address) = server(&options());
    let message = protobuf(1, 0);
    let two = [framed(0, &message), framed(0, &message)].concat();
    let cut = framed(0, &message)[..message.len()].to_vec();
    for body in [Vec::new(), vec![0, 0], two, cut, framed(7, &message)] {
        let status = call(address, TRACES, &[], body).status();
        assert_eq!(status.code(), Code::Internal, "{status:?}");
    }
    assert_eq!(spans(&server), 0);
}

/// Failures: UNAUTHENTICATED is not to be sent again.
#[test]
fn without_the_token_nothing_is_taken() {
    let token = Token::parse("0123456789abcdef").expect("a token");
    let (server, address) =
        server(&timesink_server::ServerOptions { keys: keys_of(&token), ..options() });
    let body = framed(0, &protobuf(1, 0));
    let wrong = [&[][..], &[("authorization", "Bearer wrong-wrong-wrong")]];
    for headers in wrong {
        let status = call(address, TRACES, headers, body.clone()).status();
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    }
    let right = [("authorization", "Bearer 0123456789abcdef")];
    assert_eq!(call(address, TRACES, &right, body).code(), OK);
    assert_eq!(spans(&server), 1);
}
