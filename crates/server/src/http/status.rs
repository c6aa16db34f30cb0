//! Answers as OTLP/HTTP: a response in the encoding of the request.

use axum::body::Body;
use http::header::{CONTENT_TYPE, RETRY_AFTER as RETRY_AFTER_HEADER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::{BadRequest, ErrorDetails, Status, StatusExt};

use crate::answer::{Answer, RETRY_AFTER, Refusal};
use crate::decompress::Compression;
use crate::intake::Encoding;
use crate::receiver::Signal;

const ACCEPT_ENCODING: HeaderName = http::header::ACCEPT_ENCODING;

/// The media types of the two encodings (OTLP 1.11, "OTLP/HTTP Request").
pub(super) const PROTOBUF: &str = "application/x-protobuf";
pub(super) const JSON: &str = "application/json";
pub(super) const MEDIA_TYPES: &str = "application/x-protobuf, application/json";

/// What is bad of a request with bad data.
const BODY: &str = "body";

/// Returns the response to an export.
pub(super) fn response(answer: &Answer, signal: Signal, encoding: Encoding) -> Response<Body> {
    match answer {
        Answer::Success => success(None, signal, encoding),
        Answer::Partial { rejected, message } => {
            success(Some((*rejected, message)), signal, encoding)
        }
        Answer::Refused(refusal) => refused(refusal, encoding),
    }
}

/// Returns a refusal: a `Status` with its code and message (OTLP 1.11, "Failures").
pub(super) fn refused(refusal: &Refusal, encoding: Encoding) -> Response<Body> {
    let (http, code) = codes(refusal);
    let body = match encoding {
        Encoding::Protobuf => protobuf_status(refusal, code),
        Encoding::Json => json_status(refusal, code).to_string().into_bytes(),
    };
    let mut response = of(http, encoding, body);
    let headers = response.headers_mut();
    match refusal {
        Refusal::Busy(_) => {
            headers.insert(RETRY_AFTER_HEADER, HeaderValue::from(RETRY_AFTER.as_secs()));
        }
        Refusal::Unauthenticated(_) => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Refusal::Compression(_) => {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(Compression::ACCEPTED));
        }
        _ => {}
    }
    response
}

/// Bad data is described once more where programs look for it (OTLP 1.11, "Bad Data").
fn protobuf_status(refusal: &Refusal, code: i32) -> Vec<u8> {
    let message = refusal.message();
    match refusal {
        Refusal::Malformed(_) => {
            let details = ErrorDetails::with_bad_request_violation(BODY, message);
            let status = tonic::Status::with_error_details(Code::InvalidArgument, message, details);
            status.details().to_vec()
        }
        _ => Status { code, message: message.to_owned(), details: Vec::new() }.encode_to_vec(),
    }
}

/// Protobuf's JSON form; that of `Any` names its type (`ProtoJSON`, "Any").
fn json_status(refusal: &Refusal, code: i32) -> Value {
    let message = refusal.message();
    let violation = json!([{ "field": BODY, "description": message }]);
    match refusal {
        Refusal::Malformed(_) => json!({
            "code": code,
            "message": message,
            "details": [{ "@type": BadRequest::TYPE_URL, "fieldViolations": violation }],
        }),
        _ => json!({ "code": code, "message": message }),
    }
}

/// The HTTP status, and the gRPC code of the same meaning. Exporters send again what is answered
/// 429, 502, 503 and 504, and nothing else.
fn codes(refusal: &Refusal) -> (StatusCode, i32) {
    match refusal {
        Refusal::Malformed(_) => (StatusCode::BAD_REQUEST, 3),
        Refusal::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, 8),
        Refusal::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, 14),
        Refusal::TooSlow(_) => (StatusCode::REQUEST_TIMEOUT, 4),
        Refusal::Compression(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, 3),
        Refusal::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, 16),
        Refusal::Forbidden(_) => (StatusCode::FORBIDDEN, 7),
        Refusal::Unknown(_) => (StatusCode::NOT_FOUND, 5),
        Refusal::Protocol(_) | Refusal::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, 13),
    }
}

fn success(partial: Option<(u64, &str)>, signal: Signal, encoding: Encoding) -> Response<Body> {
    let body = match encoding {
        Encoding::Protobuf => {
            let partial_success = partial.map(|(rejected, message)| ExportTracePartialSuccess {
                rejected_spans: i64::try_from(rejected).unwrap_or(i64::MAX),
                error_message: message.to_owned(),
            });
            ExportTraceServiceResponse { partial_success }.encode_to_vec()
        }
        Encoding::Json => json_response(partial, signal).to_string().into_bytes(),
    };
    of(StatusCode::OK, encoding, body)
}

/// Protobuf's JSON form: 64-bit integers are strings, what is unset is left out.
fn json_response(partial: Option<(u64, &str)>, signal: Signal) -> Value {
    let Some((rejected, message)) = partial else { return json!({}) };
    let count = match signal {
        Signal::Traces => "rejectedSpans",
        Signal::Metrics => "rejectedDataPoints",
        Signal::Logs => "rejectedLogRecords",
    };
    json!({ "partialSuccess": { count: rejected.to_string(), "errorMessage": message } })
}

fn of(status: StatusCode, encoding: Encoding, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let media_type = match encoding {
        Encoding::Protobuf => PROTOBUF,
        Encoding::Json => JSON,
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
