//! Answers as gRPC: the only place that builds a gRPC status.

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::{BodyExt, Full};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::frame::frame;
use crate::answer::{Answer, RETRY_AFTER, Refusal};
use crate::decompress::Compression;

const RETRY_INFO: &str = "google.rpc.retryinfo-bin";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Returns the response to an export. The responses of all signals have the same fields.
pub(super) fn response(answer: &Answer) -> Response<Body> {
    let partial_success = match answer {
        Answer::Success => None,
        Answer::Partial { rejected, message } => Some(ExportTracePartialSuccess {
            rejected_spans: i64::try_from(*rejected).unwrap_or(i64::MAX),
            error_message: message.clone(),
        }),
        Answer::Refused(refusal) => return of_status(status(refusal)),
    };
    let message = ExportTraceServiceResponse { partial_success }.encode_to_vec();
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::new(frame(&message)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    let content_type = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    response
}

/// Returns a response that is a status alone.
fn of_status(status: Status) -> Response<Body> {
    let accepted = HeaderValue::from_static(Compression::ACCEPTED);
    let mut response = status.into_http::<Body>();
    response.headers_mut().insert(GRPC_ACCEPT_ENCODING, accepted);
    response
}

/// `RetryInfo` is a detail of the status (OTLP 1.11, "OTLP/gRPC Throttling"). The Python SDK looks
/// for it in metadata of its own name instead, and else chooses a time itself.
fn busy(message: &str) -> Status {
    let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
    let mut status = Status::with_error_details(Code::Unavailable, message, details);
    // `RetryInfo.retry_delay` is field 1, `Duration.seconds` field 1 of that (error_details.proto).
    let seconds = RETRY_AFTER.as_secs() as u8;
    let retry_info = MetadataValue::from_bytes(&[0x0a, 2, 0x08, seconds]);
    status.metadata_mut().insert_bin(RETRY_INFO, retry_info);
    status
}

/// Which code an exporter sends again is the table of OTLP 1.11, "OTLP/gRPC Response, Failures":
/// `RESOURCE_EXHAUSTED` only with `RetryInfo`.
fn status(refusal: &Refusal) -> Status {
    let code = match refusal {
        Refusal::Malformed(text) => {
            let details = ErrorDetails::with_bad_request_violation("message", text);
            return Status::with_error_details(Code::InvalidArgument, text, details);
        }
        Refusal::TooLarge(_) => Code::ResourceExhausted,
        Refusal::Busy(_) => {
            return busy(refusal.message());
        }
        Refusal::TooSlow(_) => Code::DeadlineExceeded,
        Refusal::Compression(_) | Refusal::Unknown(_) => Code::Unimplemented,
        Refusal::Unauthenticated(_) => Code::Unauthenticated,
        Refusal::Forbidden(_) => Code::PermissionDenied,
        // gRPC, "Responses" and "Compression": what breaks the protocol fails with INTERNAL.
        Refusal::Protocol(_) | Refusal::Internal(_) => Code::Internal,
    };
    Status::new(code, refusal.message())
}
